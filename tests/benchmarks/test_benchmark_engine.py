"""The engine's benchmark: every method finds the same norms, and one that fails costs only its own rows."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.gradients import engine, memory, methods, parts, registry, scaling
from benchmarks.shared import networks, workloads

CPU = torch.device("cpu")
PEERS = [name for name in registry.METHODS if name.partition(" ")[0] in {"opacus", "backpack"}]

SMALL = {
    "perceptron": workloads.Spec(lambda: networks.mlp(8, 3), lambda n: torch.randn(n, 784), 3, 12, 5),
    "LSTM": workloads.Spec(
        lambda: networks.TextLSTM(20, 6, 5, 3), lambda n: torch.randint(20, (n, 4)), 3, 12, 5
    ),
    "ResNet-18": workloads.Spec(lambda: networks.resnet18(4, 3), lambda n: torch.randn(n, 3, 8, 8), 3, 12, 5),
    "ViT": workloads.Spec(lambda: networks.ViT(12, 2, 3, 8), workloads.images, 10, 12, 5),
    "GPT": workloads.Spec(lambda: networks.GPT(7, 6, 12, 2, 3), lambda n: torch.randint(7, (n, 6)), 7, 12, 5),
}


def contest(network: str, *names: str) -> Any:
    """Run methods once on a small network."""
    result = engine.Contest(workloads.make(SMALL[network], CPU), names)
    result.turn()
    return result


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("network", SMALL)
def test_torch_alone_finds_what_cohaudit_finds(network: str) -> None:
    run = contest(network, "cohaudit", "vmap(grad)", "loop")
    differences = run.judge()
    assert run.errors == {}
    assert set(differences) == {"cohaudit", "vmap(grad)", "loop"}
    assert max(differences.values()) < 1e-4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", PEERS)
@pytest.mark.parametrize("network", ["perceptron", "LSTM"])
def test_the_peers_find_what_cohaudit_finds(network: str, method: str) -> None:
    pytest.importorskip(method.partition(" ")[0])
    run = contest(network, "cohaudit", method)
    differences = run.judge()
    assert run.errors == {}
    assert differences[method] < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_a_peer_that_cannot_measure_a_network_says_so() -> None:
    pytest.importorskip("opacus")
    errors = contest("ResNet-18", "opacus gradients").errors
    assert "buffers" in errors["opacus gradients"]


def test_a_method_with_other_norms_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(workload: Any) -> Any:
        return lambda data: methods.Found(torch.ones(len(data.labels)))

    monkeypatch.setattr(engine, "METHODS", registry.METHODS | {"loop": wrong})
    run = contest("perceptron", "cohaudit", "loop")
    run.judge()
    assert run.errors["loop"].startswith("its norms differ from cohaudit's by")


@pytest.mark.parametrize("network", ["perceptron", "ViT"])
def test_how_far_bf16_is_off_is_a_result(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "TOLERANCE", 1e-5)
    run = contest(network, "plain", "plain-bf16", "cohaudit", "cohaudit-bf16")
    off = run.judge()
    assert run.errors == {}
    assert 1e-5 < off["cohaudit-bf16"] < 0.02
    assert set(run.seconds) == {"plain", "plain-bf16", "cohaudit", "cohaudit-bf16"}


def test_a_method_beyond_its_budget_is_not_run_again() -> None:
    run = engine.Contest(workloads.make(SMALL["perceptron"], CPU), ["plain", "loop"], 0.0)
    run.turn()
    run.turn()
    assert {name: len(turns) for name, turns in run.seconds.items()} == {"plain": 1, "loop": 1}


@pytest.mark.parametrize("kind", ["norms", "classes"])
def test_differences_are_relative(kind: str) -> None:
    def found(values: list[float]) -> Any:
        return methods.Found(**{kind: torch.tensor(values)})

    assert engine.difference(found([9.0, 9.0]), found([9.0, 16.0])) == pytest.approx(0.2)
    assert engine.difference(found([9.0]), found([9.0, 16.0])) == 0


class Unforeseen(nn.Module):
    """A network that every method fails on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no such thing")


def test_rows_of_failed_methods_have_an_error_and_no_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def peak(model: str, method: str, *rest: Any) -> dict[str, Any]:
        return {"peak_mb": 2.0} if method != "opacus ghost" else {"error": registry.NOT_INSTALLED}

    def broken(workload: Any) -> Any:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(engine, "SPECS", {"mlp": SMALL["perceptron"]})
    monkeypatch.setattr(engine, "METHODS", registry.METHODS | {"backpack l2": broken})
    monkeypatch.setattr(engine, "measure_apart", peak)
    names = ["cohaudit", "opacus ghost", "backpack l2"]
    code = engine.main(["--methods", *names, "--models", "mlp", "--repeats", "2", "--out", str(tmp_path)])
    rows = {row["method"]: row for row in json.loads((tmp_path / "engine.json").read_text())}
    assert code == 0
    assert list(rows) == ["plain", *names]
    assert rows["plain"]["ratio"] == rows["plain"]["peak_ratio"] == 1
    assert rows["cohaudit"]["seconds"] > 0
    assert rows["opacus ghost"]["error"] == "not installed"
    assert rows["backpack l2"]["error"] == "RuntimeError: first line"
    assert {rows["backpack l2"][key] for key in ("seconds", "ratio", "peak_mb", "peak_ratio")} == {None}
    assert "pip install --no-deps opacus" in capsys.readouterr().out


def test_results_replace_those_of_the_same_name_only(tmp_path: Path) -> None:
    def row(model: str, method: str, seconds: float) -> dict[str, Any]:
        return {"model": model, "method": method, "device": "cpu", "seconds": seconds}

    path = tmp_path / "new" / "engine.json"
    engine.merge(path, [row("vit", "plain", 1), row("mlp", "cohaudit", 2)])
    engine.merge(path, [row("mlp", "plain", 3), row("mlp", "cohaudit", 4)])
    found = [(row["model"], row["method"], row["seconds"]) for row in json.loads(path.read_text())]
    assert found == [("mlp", "plain", 3), ("mlp", "cohaudit", 4), ("vit", "plain", 1)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_measured_beyond_what_was_there_before() -> None:
    peak = memory.Peak(CPU)
    held = torch.ones(2**24)  # 64 MB
    del held
    assert peak.growth() == pytest.approx(64, abs=16)


def test_parts_are_the_time_of_the_functions_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SPECS", SMALL)
    _, clock = parts._measure("perceptron", CPU, 0)
    assert ("prepare.prepare", "planning.make_plan") in clock.seconds
    assert all(seconds >= 0 for seconds in clock.seconds.values())


def test_memory_is_drawn(tmp_path: Path) -> None:
    sizes = scaling.MEMORY_SAMPLES
    rows = [{"samples": n, "plain": 10.0, "cohaudit": 20.0 + n / 1e3, "result_mb": n / 1e3} for n in sizes]
    scaling.draw_memory(rows, tmp_path / "memory")
    assert "without its result" in (tmp_path / "memory.svg").read_text()


@pytest.mark.slow
def test_scaling_draws_every_axis(tmp_path: Path) -> None:
    rows = [
        {"family": family, "axis": axis, "size": size, "plain": size, "cohaudit": 2.0 * size}
        for family in scaling.FAMILIES
        for axis in scaling.AXES
        for size in (1, 10)
    ]
    scaling.draw(rows, tmp_path / "scaling")
    assert "cohaudit" in (tmp_path / "scaling.svg").read_text()
    assert {spec.classes for spec in scaling.FAMILIES["perceptron"].along("classes")} > {2, 10}


def test_plain_is_always_among_the_methods() -> None:
    args: argparse.Namespace = engine.parse(["--methods", "loop"])
    assert args.methods == ["plain", "loop"]
