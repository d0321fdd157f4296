"""`cohaudit report`: renders the page of a saved audit again."""

from __future__ import annotations

from pathlib import Path

import click

from cohaudit.cli._options import templates_option
from cohaudit.cli._output import write_out
from cohaudit.errors import printable


@click.command(short_help="Render the page of a saved audit again.")
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write [default: report.html beside AUDIT.JSON].",
)
@templates_option
def report(audit: Path, out: Path | None, templates: Path | None) -> None:
    """Render the report of a saved audit again, from AUDIT.JSON alone."""
    from cohaudit.report import write_html
    from cohaudit.results.files import refuse_source
    from cohaudit.results.read import read_audit

    target = out or audit.parent / "report.html"
    # the page must not replace the audit that it is made from
    refuse_source(target, audit)
    written = write_html(read_audit(audit), target, templates, audit)
    write_out(f"Report: {printable(str(written))}\n")
