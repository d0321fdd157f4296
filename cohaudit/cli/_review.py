"""`cohaudit review`: asks a person about the labels whose answers tell most."""

from __future__ import annotations

from pathlib import Path

import click

from cohaudit.cli._output import write_out
from cohaudit.errors import printable


@click.command(short_help="Ask a person about the labels that tell most.")
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--count",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Labels to ask about. A larger number asks about the same labels first.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "csv"]),
    default="html",
    show_default=True,
    help="html: a page that asks about one label after the other. csv: a table whose column answer you fill "
    "in with right, wrong or unsure.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write [default: review.html or review.csv beside AUDIT.JSON].",
)
def review(audit: Path, count: int, kind: str, out: Path | None) -> None:
    """Write a page that asks a person about single labels, from AUDIT.JSON alone.

    The answers calibrate the verdict on all labels: cohaudit scan --reviewed FILE.
    """
    from cohaudit.report import render_review
    from cohaudit.results.files import refuse_existing, refuse_source, write_file
    from cohaudit.results.read import read_audit
    from cohaudit.review.questions import questions_of, questions_table

    target = out or audit.parent / f"review.{kind}"
    refuse_source(target, audit)
    opened = read_audit(audit)
    ids = questions_of(opened, count)
    if kind == "csv":
        refuse_existing(target)  # it may hold a person's answers
        content = questions_table(opened, ids)
    else:
        content = render_review(opened, ids)
    written = write_file(target, content)
    write_out(f"Written: {printable(str(written))} ({len(ids)} labels to review)\n")
