"""`cohaudit export`: writes the suspects of a saved audit as a list for cleaning."""

from __future__ import annotations

from pathlib import Path

import click

from cohaudit.cli._output import write_out
from cohaudit.errors import printable


@click.command(short_help="Write the suspects as a list for other tools.")
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--format",
    "kind",
    type=click.Choice(
        ["csv", "jsonl", "parquet", "look", "keep", "label-studio", "cleanlab", "suppressions", "mask"]
    ),
    default="csv",
    show_default=True,
    help="csv, jsonl, parquet: the suspects as a table. label-studio: as tasks, with the suggested labels. "
    "look: the samples most worth a look, also where there is no suspect. keep: the ids of all samples but "
    "the suspects. cleanlab: its columns, for every sample. suppressions: a file in which to note suspects "
    "that are right after all. mask: the hidden units that hold most of the coherent gradient; needs "
    "--audits width.",
)
@click.option("--all", "every", is_flag=True, help="List every sample, most suspicious first.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write [default: beside AUDIT.JSON, named after the format].",
)
def export(audit: Path, kind: str, every: bool, out: Path | None) -> None:
    """Write the suspects of a saved audit as a list for cleaning, from AUDIT.JSON alone.

    The dataset itself is neither read nor changed.
    """
    from cohaudit.results.files import refuse_existing, refuse_source, write_file
    from cohaudit.results.read import read_audit
    from cohaudit.review import export as exporting

    target = out or audit.parent / exporting.EXPORT_FILE_NAMES[kind]
    refuse_source(target, audit)
    content = exporting.export(read_audit(audit), kind, every)
    if kind == "suppressions":  # an existing file may hold a person's notes
        refuse_existing(target)
    written = write_file(target, content)
    write_out(f"Written: {printable(str(written))}\n")
