"""`cohaudit diff`: compares two saved audits."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cohaudit.cli._options import templates_option
from cohaudit.cli._output import write_out
from cohaudit.errors import GATE_FAILED, OK, printable

if TYPE_CHECKING:
    from cohaudit.review.diff.difference import Difference


@click.command(short_help="Compare an audit with a baseline.")
@click.argument("base", type=click.Path(path_type=Path), metavar="BASE.JSON")
@click.argument("head", type=click.Path(path_type=Path), metavar="HEAD.JSON")
@click.option("--json", "as_json", is_flag=True, help="Print the difference as JSON.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the difference as a page.",
)
@templates_option
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the difference as Markdown, for a comment on a pull request.",
)
@click.option(
    "--fail-on-regression",
    is_flag=True,
    help="Exit with code 1 if the head is worse: its score on new data is clearly lower, clearly more of its "
    "labels are wrong, or it has no verdict.",
)
@click.pass_context
def diff(
    ctx: click.Context,
    /,
    *,
    base: Path,
    head: Path,
    as_json: bool,
    html: Path | None,
    markdown: Path | None,
    templates: Path | None,
    fail_on_regression: bool,
) -> None:
    """Compare the audit HEAD.JSON with the baseline BASE.JSON, from the two files alone.

    Layers and classes are matched by name, suspects by the hash of their content. A difference is clear if
    the two intervals do not overlap.

    Exit code: 0 done, 1 with --fail-on-regression if the head is worse, 2 bad usage or input.
    """
    from cohaudit.report import render_difference, render_difference_markdown
    from cohaudit.results.files import refuse_source, write_file
    from cohaudit.results.read import read_audit
    from cohaudit.review.diff.compare import compare

    if templates is not None and html is None:
        ctx.fail("--templates is only for the page: name it with --html FILE")
    pages = (
        ("--html", html, lambda difference: render_difference(difference, templates)),
        ("--markdown", markdown, render_difference_markdown),
    )
    wanted = [(option, path, render) for option, path, render in pages if path is not None]
    for option, path, _ in wanted:  # before the work: neither page may replace an audit
        for source in (base, head):
            refuse_source(path, source, option)
    difference = compare(read_audit(base), read_audit(head))
    written = [write_file(path, render(difference), option) for option, path, render in wanted]
    if as_json:
        _print_json(difference)
    else:
        from cohaudit.report.terminal.diff_summary import render_difference_summary

        write_out(render_difference_summary(difference, sys.stdout))
        if written:
            write_out(f"\nWritten: {printable(', '.join(map(str, written)))}\n")
    ctx.exit(GATE_FAILED if fail_on_regression and difference.regressions else OK)


def _print_json(difference: Difference) -> None:
    """Print the difference as JSON, and on standard error the regressions, for a reader of the log."""
    # the headline is a property, which asdict leaves out
    content = {"headline": difference.headline, **asdict(difference)}
    # NaN is not JSON: an error is better than a file that other parsers refuse
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_out(text.encode())
    for regression in difference.regressions:
        click.echo(f"regression: {printable(regression)}", err=True)
