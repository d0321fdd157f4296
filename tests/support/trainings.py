"""A training run with wrong labels, its checkpoints in a folder, and `cohaudit trajectory` on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn
from torch.nn import functional as F

import cohaudit
from cohaudit.cli import main
from cohaudit.results import Trajectory
from cohaudit.results.json_encode import audit_to_json

NET = """
from torch import nn
def build():
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
"""


EPOCHS = (3, 20, 400)


@dataclass(frozen=True)
class Training:
    """A training run: inputs [240, 8], given and true labels [240], and the content of its files by name."""

    inputs: Tensor
    labels: Tensor
    truth: Tensor
    files: dict[str, bytes]


@cache
def trained() -> Training:
    """Train on samples of three classes, a fifth of them with a wrong label; keep a few checkpoints."""
    torch.manual_seed(0)
    truth = torch.arange(240) % 3
    x = torch.randn(240, 8) + 3.5 * F.one_hot(truth, 8)
    y = torch.where(torch.arange(240) % 5 == 0, (truth + 1) % 3, truth)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    files = {"net.py": NET.encode()}
    for epoch in range(1, EPOCHS[-1] + 1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if epoch in EPOCHS:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            files[f"epoch-{epoch}.pt"] = content(partial(torch.save, state))
    files["train.npz"] = content(partial(np.savez, x=x.numpy(), y=y.numpy()))
    new = torch.randn(60, 8) + 3.5 * F.one_hot(truth[:60], 8)
    files["test.npz"] = content(partial(np.savez, x=new.numpy(), y=truth[:60]))
    return Training(x, y, truth, files)


def network() -> nn.Module:
    """Return the network of the training run, untrained."""
    space: dict[str, Any] = {}
    exec(NET, space)
    model: nn.Module = space["build"]()
    return model


def content(write: Callable[[BytesIO], object]) -> bytes:
    """Return what a function writes to a file."""
    file = BytesIO()
    write(file)
    return file.getvalue()


def training(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Write the files of the training run to a folder; return inputs, given and true labels."""
    run = trained()
    for name, data in run.files.items():
        (folder / name).write_bytes(data)
    return run.inputs.clone(), run.labels.clone(), run.truth.clone()


@contextmanager
def without_page() -> Iterator[None]:
    """Let scans write audit.json alone: drawing the page takes most of the time of a small one."""

    def write(audit: cohaudit.Audit, out: Path, *_: object) -> list[Path]:
        out.mkdir(exist_ok=True)
        (out / "audit.json").write_text(audit_to_json(audit), encoding="utf-8")
        return [out / "audit.json"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cohaudit.report.write_report", write)
        yield


def run(folder: Path, *options: object) -> Result:
    """Return the result of `cohaudit trajectory OPTIONS…`, with the page."""
    args = ["trajectory", *options, "--model", folder / "net.py:build", "--data", folder / "train.npz"]
    return CliRunner().invoke(main, [*map(str, args), "--bootstrap", "20", "--out", str(folder / "out")])


def run_without_page(folder: Path, *options: object) -> Result:
    """Return the result of `cohaudit trajectory OPTIONS…`, which writes audit.json alone."""
    with without_page():
        return run(folder, *options)


def of(folder: Path) -> Trajectory:
    found = cohaudit.read_audit(folder / "out" / "audit.json").audits.trajectory
    assert isinstance(found, Trajectory)
    return found


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    grads = torch.autograd.grad(F.cross_entropy(model(x[None]), y[None]), list(model.parameters()))
    return torch.cat([g.flatten() for g in grads])
