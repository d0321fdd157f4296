"""Audits of real scans, made once for all tests that read one: with a holdout, without, with history."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.trainings import EPOCHS, trained

from cohaudit.config.file import load_config
from cohaudit.pipeline.progress import SilentProgress
from cohaudit.pipeline.scan import scan_checkpoint
from cohaudit.results import Audit

FIXTURES = Path(__file__).parents[2] / "fixtures"
REAL = ("digits with a holdout", "tumors", "several checkpoints")
"""Names of the audits. One label in ten is wrong in the fixtures, one in five in the run of checkpoints."""


@cache
def real_audit(name: str) -> Audit:
    """Return a real audit by its name in `REAL`, scanned once."""
    if name == "tumors":
        return _scan(FIXTURES / "tumors" / "model.safetensors")
    if name == "digits with a holdout":
        digits = FIXTURES / "digits"
        return _scan(digits / "model.safetensors", holdout=digits / "holdout.npz", limit=400)
    with TemporaryDirectory() as folder:
        for file, content in trained().files.items():
            Path(folder, file).write_bytes(content)
        *earlier, last = (Path(folder, f"epoch-{epoch}.pt") for epoch in EPOCHS)
        files = {"model": f"{folder}/net.py:build", "data": f"{folder}/train.npz", "audits": ("all",)}
        return _scan(last, *earlier, **files, holdout=f"{folder}/test.npz")


def _scan(checkpoint: Path, *earlier: Path, **settings: Any) -> Audit:
    given = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    config = load_config(checkpoint, {"bootstrap": 20, **given})
    return scan_checkpoint(config, checkpoint, SilentProgress(), earlier)
