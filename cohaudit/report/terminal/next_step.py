"""The command that an audit calls for next, as a shell takes it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cohaudit.report.commands import AUDIT_FILE, Places, correct_command, review_command
from cohaudit.results import Audit, Skipped


@dataclass(frozen=True)
class NextStep:
    """What to do next."""

    words: str
    """Why, as the start of a line that ends in a colon."""
    command: str
    """The command, shell-quoted, with the paths of this run; on one line however long."""


def next_step(audit: Audit, files: Sequence[Path], data: Path | None, subject: Sequence[str]) -> NextStep:
    """Return what to do after a scan: fix what stopped it, correct the suspects, review labels, or keep it.

    Args:
        audit: Result of the scan.
        files: Files that were written; audit.json is beside the first.
        data: The training data if it is a file or folder; None if code makes it.
        subject: Arguments that name what was scanned: the checkpoint and the options.
    """
    saved = str(files[0].parent / AUDIT_FILE)
    places = Places(saved, "" if data is None else str(data))
    if not audit.sanity.auditable:
        return NextStep("check every part of the scan", shlex.join(["cohaudit", "doctor", *subject]))
    if not audit.suspects.empty:
        then = "list them for cleaning" if data is None else "correct them in a copy of the data"
        return NextStep(f"look at the suspects in the report, and {then}", correct_command(places))
    wrong = audit.labels.wrong
    # without a suspect labels can be wrong all the same, such as the rest of those that were corrected
    unsure = not isinstance(wrong, Skipped) and not (wrong.told and wrong.level == "low")
    if unsure and audit.questions:
        return NextStep(
            "review some labels, which tells how many are wrong, and which", review_command(places)
        )
    return NextStep(
        "keep this audit as the baseline of later ones", shlex.join(["cp", saved, "baseline.json"])
    )


def after_correction(audit: Path, copy: Path) -> tuple[str, str]:
    """Return the commands for the network that was trained on a corrected copy: scan it, and compare.

    Args:
        audit: The audit whose suspects were corrected.
        copy: The corrected copy of the data.
    """
    out = str(copy.with_name(f"{copy.stem}-report"))
    return (
        shlex.join(["cohaudit", "scan", "CHECKPOINT", "--data", str(copy), "--out", out]),
        shlex.join(["cohaudit", "diff", str(audit), str(Path(out, AUDIT_FILE))]),
    )
