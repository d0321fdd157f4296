"""Inspecting a checkpoint: what is broken, dead, tied or unused, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from support.optimizers import trained
from torch import nn

from cohaudit.audits.checkpoint_inspection import decay_of, inspect, memory_of
from cohaudit.audits.optimizer_state import (
    progress_of,
)
from cohaudit.cli import main
from cohaudit.loading.checkpoint import Checkpoint, load_checkpoint
from cohaudit.results import Skipped


def saved(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Path:
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
    return path


def test_the_same_batch_at_every_step_is_steady(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", *trained(torch.optim.Adam))
    found = inspect(load_checkpoint(path))
    assert found.optimizer == "two moments (Adam, AdamW)"
    assert found.coherence is not None
    assert found.coherence > 0.6
    assert [one.name for one in found.layers] == ["0", "1", "3", "4"]
    assert any(f"{found.coherence:.1%} of the gradients' energy" in f for f in found.findings)
    assert not any(one.never_stepped for one in found.tensors)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}])
def test_one_moment_gives_no_coherence(options: dict[str, float], tmp_path: Path) -> None:
    found = inspect(load_checkpoint(saved(tmp_path / "c.pt", *trained(torch.optim.SGD, **options))))
    assert found.coherence is None
    assert found.layers == ()
    assert found.findings


def test_singular_values_are_those_of_the_matrix(tmp_path: Path) -> None:
    weight = torch.randn(8, 3, 3, 3)
    save_file({"conv.weight": weight, "conv.bias": torch.randn(8)}, tmp_path / "m.safetensors")
    first, second = inspect(load_checkpoint(tmp_path / "m.safetensors")).tensors
    conv, bias = (first, second) if first.name == "conv.weight" else (second, first)
    values = torch.linalg.svdvals(weight.flatten(1).double())
    assert conv.spectral_norm == pytest.approx(float(values[0]))
    assert conv.stable_rank == pytest.approx(float(values.square().sum() / values[0] ** 2))
    assert bias.spectral_norm is None


def test_what_is_broken_dead_tied_or_unused_is_found(tmp_path: Path) -> None:
    model, optimizer = trained(torch.optim.Adam)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["0.weight"][2] = 0
    state["3.weight"][0, 0] = torch.nan
    state["tied.weight"] = state["4.weight"]
    state["extra.weight"] = torch.randn(7, 7)
    torch.save({"model": state, "optimizer": optimizer.state_dict()}, tmp_path / "c.pt")
    found = inspect(load_checkpoint(tmp_path / "c.pt"))
    facts = {one.name: one for one in found.tensors}
    assert facts["0.weight"].dead_units == 1
    assert (facts["3.weight"].not_finite, facts["3.weight"].norm) == (1, None)
    assert facts["tied.weight"].tied_to == "4.weight"
    assert [one.name for one in found.tensors if one.never_stepped] == ["extra.weight"]
    told = " ".join(found.findings)
    for words in (
        "1 weights are NaN or infinite, first in 3.weight",
        "1 units have only zero",
        "extra.weight",
    ):
        assert words in told


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def test_the_command_prints_a_table_and_json(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", *trained(torch.optim.AdamW))
    shown = run(path)
    assert shown.exit_code == 0, shown.output
    assert "0.weight" in shown.stdout
    assert "steady" in shown.stdout
    content = json.loads(run(path, "--json").stdout)
    assert content["tensors"][0]["shape"] == [5, 6]
    assert 0 < content["coherence"] <= 1.05


def test_the_fixture_has_no_optimizer_state(digits: Path) -> None:
    result = run(digits / "model.safetensors")
    assert result.exit_code == 0, result.output
    assert "The checkpoint holds no optimizer state" in " ".join(result.stdout.split())


@pytest.mark.parametrize("content", [b"", b"\x80\x04garbage", b"PK\x03\x04"])
def test_what_is_not_a_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    result = run(tmp_path / "c.pt")
    assert result.exit_code == 2
    assert "c.pt" in result.stderr
    assert run(tmp_path / "none.pt").exit_code == 2


@pytest.mark.parametrize(
    "change",
    [
        {"state": [1, 2]},
        {"param_groups": [{"params": None, "lr": -1.0}]},
        {"param_groups": [{"params": [0, 1], "betas": ("a", "b"), "lr": 1e300}]},
        {"param_groups": "none"},
    ],
)
def test_what_is_not_an_optimizers_state_is_skipped(change: dict[str, object]) -> None:
    tensors = {"weight": torch.ones(2, 2)}
    optimizer = {"state": {0: {"step": "x", "exp_avg": torch.ones(2, 2)}}, "param_groups": [{"params": [0]}]}
    checkpoint = Checkpoint("ckpt.pt", "torch", "", tensors, optimizer=optimizer | change)
    assert isinstance(memory_of(checkpoint), Skipped)
    assert isinstance(decay_of(checkpoint), Skipped)
    assert math.isnan(progress_of(checkpoint.optimizer).rate)
