"""Runs `cohaudit scan` in this process, as the command line does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cohaudit.cli import main


def scan(checkpoint: Path, *options: Any) -> Result:
    """Return the result of `cohaudit scan CHECKPOINT OPTIONS…`; output and stderr are kept apart."""
    return CliRunner().invoke(main, ["scan", str(checkpoint), *map(str, options)])
