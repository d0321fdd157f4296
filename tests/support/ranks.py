"""Starts the ranks of one scan as torchrun does, each a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

SECONDS = 240
"""Longest time that a test waits for a rank; the machine may be loaded."""


def started(ranks: Sequence[Sequence[Any]], **more: Any) -> list[subprocess.Popen[str]]:
    """Start a process for each rank, and return them.

    Args:
        ranks: Arguments of `cohaudit` for each rank.
        **more: Arguments of Popen.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(ranks))}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "cohaudit", *map(str, arguments)],
            env={**os.environ, **place, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        for rank, arguments in enumerate(ranks)
    ]


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Return exit code, output and errors of each rank, once all have ended."""
    try:
        found = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, found, strict=True)]


def torchrun(count: int, arguments: Sequence[Any]) -> subprocess.CompletedProcess[str]:
    """Return the result of `torchrun --nproc-per-node COUNT -m cohaudit ARGUMENTS…`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    whole = [*command, "-m", "cohaudit", *map(str, arguments)]
    return subprocess.run(whole, capture_output=True, text=True, timeout=SECONDS, check=False)


NET = '''
import os, signal, time
from pathlib import Path
from torch import nn

HERE = Path(__file__).parent

class Slow(nn.Module):
    """Takes its time; a large input gives NaN, and in the file `dying` a rank finds when to end."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        time.sleep(SECONDS)
        with (HERE / "calls").open("a") as calls:
            calls.write(os.environ.get("RANK", "-"))
        if (HERE / "dying").exists():
            rank, count = (HERE / "dying").read_text().split()
            if (HERE / "calls").read_text().count(rank) > int(count) and os.environ["RANK"] == rank:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.last(x.where(x < 50, x / 0 * 0))

def build():
    return Slow()
'''
"""Source of a network that fails as a test wants it; SECONDS stands for the time of a forward pass."""


def project(folder: Path, seconds: float = 0.0, bad: int | None = None) -> list[Any]:
    """Write a network, 120 samples and a holdout, and return the arguments of their scan without --out.

    Args:
        folder: Folder to write to.
        seconds: Time of a forward pass.
        bad: Sample on which the network fails.
    """
    (folder / "net.py").write_text(NET.replace("SECONDS", str(seconds)))
    generator = np.random.default_rng(0)
    for name, size in (("data", 120), ("holdout", 60)):
        labels = np.arange(size) % 2
        inputs = generator.normal(size=(size, 4)).astype(np.float32)
        inputs[:, 0] += 4 * labels
        if bad is not None and name == "data":
            inputs[bad] = 99
        np.savez(folder / f"{name}.npz", inputs=inputs, labels=labels)
    weight = torch.zeros(2, 4)
    weight[:, 0] = torch.tensor([-1.0, 1.0])
    save_file({"last.weight": weight, "last.bias": torch.tensor([2.0, -2.0])}, folder / "c.safetensors")
    files = ["--data", folder / "data.npz", "--holdout", folder / "holdout.npz"]
    settings = ["--batch-size", 2, "--coherence-samples", 20, "--quiet"]
    return ["scan", folder / "c.safetensors", "--model", f"{folder / 'net.py'}:build", *files, *settings]
