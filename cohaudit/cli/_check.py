"""`cohaudit check`: evaluates gates on a saved audit."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cohaudit.cli._output import annotate, say, write_out
from cohaudit.errors import GATE_FAILED, OK, printable, without_padding

if TYPE_CHECKING:
    from cohaudit.results import GateResult


@click.command(short_help="Evaluate gates on a saved audit.")
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="TEXT",
    help="Gate: fail (exit code 1) if this holds, e.g. 'wrong_labels>5%' or "
    "'expected_score<0.8'. May be repeated.",
)
@click.option(
    "--warn-on",
    multiple=True,
    metavar="TEXT",
    help="Gate that only warns if this holds. May be repeated.",
)
@click.option(
    "--gate-on-value",
    is_flag=True,
    help="Let a gate fail if its condition holds for the value itself, not for the whole interval.",
)
@click.option(
    "--formats",
    multiple=True,
    metavar="TEXT",
    help="Formats to write, separated by commas: markdown, junit, sarif, parquet, badge; github prints "
    "annotations. May be repeated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for these files [default: the folder of AUDIT.JSON].",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results of the gates as JSON.")
@click.pass_context
def check(
    ctx: click.Context,
    /,
    *,
    audit: Path,
    fail_on: tuple[str, ...],
    warn_on: tuple[str, ...],
    gate_on_value: bool,
    formats: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Evaluate gates on a saved audit, from AUDIT.JSON alone.

    Conditions are those of `cohaudit scan`; the gates of the scan itself are ignored. The files of --formats
    show the results, and are written even if a gate fails.

    Exit code: 0 passed, 1 a gate failed, 2 bad usage or input, 70 a bug in cohaudit.
    """
    from cohaudit.config import Config
    from cohaudit.report import parsed_formats, write_formats
    from cohaudit.results.read import read_audit
    from cohaudit.review.check import check as check_gates
    from cohaudit.review.gates import parsed_gates

    config = Config(fail_on=fail_on, warn_on=warn_on, gate_on_value=gate_on_value)
    # exit code 0 would say that gates passed, and there is none
    if not parsed_gates(config):
        ctx.fail("no gate was given: give one, for example --fail-on 'risk>=high'")
    if out is not None and not parsed_formats(formats):
        ctx.fail("--out has no effect without --formats")
    saved = read_audit(audit)
    results = check_gates(saved, fail_on=fail_on, warn_on=warn_on, gate_on_value=gate_on_value).gates
    judged = replace(saved, gates=results)
    # written before anything can fail: a build server shows them for a failed gate, too
    files = write_formats(judged, audit.parent if out is None else out, formats, audit)
    if as_json:
        _print_json(results)
    else:
        _print_table(results)
        if files:
            write_out(f"Written: {printable(', '.join(map(str, files)))}\n")
    annotate(judged, formats, as_json)
    ctx.exit(GATE_FAILED if any(result.failed for result in results) else OK)


def _print_json(results: Sequence[GateResult]) -> None:
    """Print the results as JSON, and on standard error those that are not passed, for a reader of the log."""
    # the outcome is a property, which asdict leaves out
    content = [asdict(result) | {"outcome": result.outcome} for result in results]
    # as bytes: JSON is UTF-8, whatever the terminal's encoding
    write_out((json.dumps({"gates": content}, indent=1, ensure_ascii=False) + "\n").encode())
    for result in results:
        if result.failed or result.warned:
            line = printable(f"{result.expression}: {result.reason}")
            say(f"gate {result.outcome}: {line}")


def _print_table(results: Sequence[GateResult]) -> None:
    from rich.console import Console

    from cohaudit.report.terminal.summary import gate_table

    console = Console(file=sys.stdout)
    # captured, so that `write_out` alone deals with a reader that stops early
    with console.capture() as captured:
        console.print(gate_table(results), highlight=False)
    write_out(without_padding(captured.get()).encode())
