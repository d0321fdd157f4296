"""Sketches that lie in a file."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cases import make
from support.oracle import (
    run,
)

from cohaudit.errors import EngineError


def test_sketches_beyond_their_memory_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, inputs = make("residual with in-place addition", torch.float32)
    inside, outside = run(model, inputs), run(model, inputs, sketch_memory=0)
    assert isinstance(outside.sketches, np.memmap)
    assert outside.sketches.tobytes() == inside.sketches.tobytes()
    assert outside.certificate == inside.certificate
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(EngineError, match=r"temporary folder .* no room for the sketches of 9 samples"):
        run(*make("perceptron"), sketch_memory=0)
