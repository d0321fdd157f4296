"""Commands that an audit calls for, as a shell takes them, with the paths of the scan."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from cohaudit.results import Audit

AUDIT_FILE = "audit.json"
"""Name of the file that the other commands work from."""
CORRECTED = "-corrected"
"""Added to the name of the data, the name of its corrected copy."""
HOLDOUT = "HOLDOUT"
"""Stands for a path that only the reader knows: data that the model was not trained on."""
_FACTORY = re.compile(r"[^/\\]*:[A-Za-z_]\w*\Z|.*\.py:\w+\Z", re.DOTALL)
"""Code that makes the data, such as dataset.py:function: no path that a command could take."""


@dataclass(frozen=True)
class Places:
    """Where the files of a scan are, from the folder that it ran in."""

    saved: str
    """The saved audit."""
    data: str
    """The training data; empty if code made them."""


def default_places(audit: Audit) -> Places:
    """Return where the files are as far as the audit itself says."""
    data = audit.subject.data
    is_path = data and not data.startswith("(") and not _FACTORY.match(data)
    return Places(AUDIT_FILE, data if is_path else "")


def correct_command(places: Places) -> str:
    """Return the command that corrects the suspects in a copy of the data, or lists them if code made it."""
    if not places.data:
        return shlex.join(["cohaudit", "export", places.saved, "--format", "csv"])
    return shlex.join(["cohaudit", "correct", places.saved, *_data_and_copy(places)])


def fixes_command(places: Places, fixes: str) -> str:
    """Return the command that corrects the labels in a file of fixes; empty if code made the data."""
    if not places.data:
        return ""
    return shlex.join(["cohaudit", "correct", places.saved, "--only", fixes, *_data_and_copy(places)])


def _data_and_copy(places: Places) -> tuple[str, str, str, str]:
    data = Path(places.data)
    return "--data", str(data), "--out", str(data.with_name(f"{data.stem}{CORRECTED}{data.suffix}"))


def review_command(places: Places) -> str:
    """Return the command that asks a person about labels."""
    return shlex.join(["cohaudit", "review", places.saved])


def holdout_command(audit: Audit) -> str:
    """Return the command that measures the score on new data; empty for a model that was never a file."""
    checkpoint = audit.subject.checkpoint
    if checkpoint.startswith("("):
        return ""
    return shlex.join(["cohaudit", "scan", *audit.subject.earlier, checkpoint, "--holdout", HOLDOUT])


def compare_command(places: Places) -> str:
    """Return the command that compares this audit with one of the retrained model."""
    return shlex.join(["cohaudit", "diff", places.saved, f"RETRAINED/{AUDIT_FILE}"])
