"""`cohaudit check`: gates on the audit of an earlier scan."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cohaudit.cli._output import annotate, write_out
from cohaudit.errors import GATE_FAILED, OK, printable, without_padding

if TYPE_CHECKING:
    from cohaudit.results import GateResult


@click.command()
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="TEXT",
    help="Gate: fail (exit code 1) when this holds, e.g. 'risk>=high' or 'suspects>2%'. May be repeated.",
)
@click.option(
    "--warn-on",
    multiple=True,
    metavar="TEXT",
    help="Gate that warns when this holds, and never fails. May be repeated.",
)
@click.option(
    "--gate-on-value",
    is_flag=True,
    help="Let a gate fail where its condition holds on the value itself, rather than on its whole interval.",
)
@click.option(
    "--formats",
    multiple=True,
    metavar="TEXT",
    help="Files to write, separated by commas: markdown, junit, sarif, parquet; github prints annotations. "
    "May be repeated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for these files [default: that of AUDIT.JSON].",
)
@click.option("--json", "as_json", is_flag=True, help="Print what came of the gates as JSON.")
@click.pass_context
def check(
    ctx: click.Context,
    /,
    audit: Path,
    fail_on: tuple[str, ...],
    warn_on: tuple[str, ...],
    gate_on_value: bool,
    formats: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Hold gates against an earlier scan, from AUDIT.JSON alone.

    They are those of `cohaudit scan`; the gates that the scan itself was given do not count. The files of
    --formats tell of these gates, and are written before one fails.

    Exit code: 0 passed, 1 a gate failed, 2 bad usage or input, 70 a bug in cohaudit.
    """
    from cohaudit.config import Config
    from cohaudit.report import parsed_formats, write_formats
    from cohaudit.results.read import read_audit
    from cohaudit.review.check import check as check_gates
    from cohaudit.review.gates import parsed_gates

    config = Config(fail_on=fail_on, warn_on=warn_on, gate_on_value=gate_on_value)
    if not parsed_gates(config):
        ctx.fail("no gate was given: give one, for example --fail-on 'risk>=high'")
    if out is not None and not parsed_formats(formats):
        ctx.fail("--out means nothing without --formats")
    found = read_audit(audit)
    results = check_gates(found, fail_on=fail_on, warn_on=warn_on, gate_on_value=gate_on_value).gates
    judged = replace(found, gates=results)
    files = write_formats(judged, audit.parent if out is None else out, formats, audit)
    if as_json:
        content = [asdict(result) | {"outcome": result.outcome} for result in results]
        text = json.dumps({"gates": content}, indent=1, ensure_ascii=False) + "\n"
        write_out(text.encode())
        for result in results:
            if result.failed or result.warned:
                told = printable(f"{result.expression}: {result.reason}")
                click.echo(f"gate {result.outcome}: {told}", err=True)
    else:
        _show(results)
        if files:
            write_out(f"Written: {printable(', '.join(map(str, files)))}\n")
    annotate(judged, formats, as_json)
    ctx.exit(GATE_FAILED if any(result.failed for result in results) else OK)


def _show(results: Sequence[GateResult]) -> None:
    from rich.console import Console

    from cohaudit.report.terminal.summary import gate_table

    console = Console(file=sys.stdout)
    with console.capture() as captured:
        console.print(gate_table(results), highlight=False)
    write_out(without_padding(captured.get()).encode())
