"""Runs `cohaudit scan` in this process, as the command line does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cohaudit.cli import main


def scan(checkpoint: Path, *options: Any) -> Result:
    """Return the result of `cohaudit scan CHECKPOINT OPTIONS…`; output and stderr are kept apart.

    A configuration beside the checkpoint is named: one that is merely found may not run code.
    """
    paths = [checkpoint, *(option for option in options if isinstance(option, Path))]
    found = [path.parent / "cohaudit.toml" for path in paths if (path.parent / "cohaudit.toml").exists()]
    named = ["--config", str(found[-1])] if found and "--config" not in options else []
    return CliRunner().invoke(main, ["scan", str(checkpoint), *map(str, options), *named])
