"""`cohaudit doctor`: checks whether a scan would run, and how long it would take."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cohaudit.cli._memory import require_address_space
from cohaudit.cli._options import SectionedCommand, given_options, scan_options
from cohaudit.cli._order import in_training_order
from cohaudit.cli._output import write_out
from cohaudit.errors import BAD_INPUT, OK, printable

if TYPE_CHECKING:
    from rich.console import Console

    from cohaudit.doctor.finding import Finding

LONGEST_FINDING = 600
"""Characters shown of a finding; --json has all."""
STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "not run": "dim"}
"""Status of a finding → its style in the terminal."""


@click.command(cls=SectionedCommand, short_help="Check what a scan needs; say how to fix the rest.")
@click.argument("checkpoints", type=click.Path(path_type=Path), nargs=-1, metavar="[CHECKPOINT...]")
@scan_options
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(
    ctx: click.Context,
    /,
    *,
    checkpoints: tuple[Path, ...],
    config_file: Path | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Check everything that a scan needs, and say how to fix what would stop it.

    Takes the arguments and options of `cohaudit scan`. Prints one line per check: packages, device, settings,
    checkpoint, model, weights, data, a first batch, gradients of a few samples, and a forecast of the time
    and memory of the whole scan. Without CHECKPOINT, only checks that need none are run. Nothing is written.

    Exit code: 0 a scan would run (there may be warnings), 2 a check failed, 70 a bug in cohaudit.
    """
    require_address_space()
    from rich.console import Console

    from cohaudit.doctor.diagnose import examine

    in_order = in_training_order(checkpoints) if checkpoints else []
    console = Console()
    findings = []
    # printed one by one: the later checks take seconds, and a reader should see the first ones at once
    for finding in examine(in_order, given_options(options), config_file):
        findings.append(finding)
        if not as_json and (not quiet or finding.status in {"warning", "failed"}):
            _show(finding, console)
    if as_json:
        write_out(_as_json(findings))
    elif not quiet:
        write_out(f"\n{_conclusion(findings)}\n")
    ctx.exit(BAD_INPUT if any(finding.status == "failed" for finding in findings) else OK)


def _show(finding: Finding, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    # a table for each row, with fixed widths: the rows line up, although the next ones are not known yet
    row = Table.grid(padding=(0, 2, 0, 0))
    for width in (7, 13, None):
        row.add_column(width=width, overflow="fold")
    text = Text(printable(finding.found, LONGEST_FINDING))
    if finding.remedy:
        text.append(f"\n→ {printable(finding.remedy, LONGEST_FINDING)}")
    status = Text(finding.status, STYLES[finding.status])
    row.add_row(status, Text(printable(finding.check, 60)), text)
    with console.capture() as captured:
        console.print(row, highlight=False)
    write_out(captured.get().encode())


def _as_json(findings: Sequence[Finding]) -> bytes:
    failed = [finding.check for finding in findings if finding.status == "failed"]
    content = {"version": 1, "failed": failed, "findings": [asdict(finding) for finding in findings]}
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _conclusion(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.status for finding in findings)
    if counts["failed"]:
        return f"Failed: {counts['failed']}. A scan would stop there; each line says what to do."
    parts = [finding.status for finding in findings if finding.check in {"model", "data"}]
    if all(status == "not run" for status in parts):
        verdict = "Neither model nor data was tried: whether a scan would run is not known."
    else:
        verdict = "None of these checks would stop a scan." if counts["not run"] else "A scan would run."
    return verdict + f" Warnings: {counts['warning']}." * bool(counts["warning"])
