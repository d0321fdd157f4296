"""`cohaudit export`: writes the suspects of a saved audit as a list for cleaning."""

from __future__ import annotations

from pathlib import Path

import click

from cohaudit.cli._output import print_note, write_out
from cohaudit.errors import printable


@click.command(short_help="Write the suspects as a list for other tools.")
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--format",
    "kind",
    type=click.Choice(
        (
            *("csv", "jsonl", "parquet", "look", "keep", "cleanlab", "suppressions", "mask"),
            *("label-studio", "argilla", "doccano"),
        )
    ),
    default="csv",
    show_default=True,
    help="csv, jsonl, parquet: the suspects as a table. label-studio, argilla, doccano: as tasks for that "
    "tool. look: the samples most worth a look, also where there is no suspect. keep: the ids of all samples "
    "but the suspects. cleanlab: its columns, for every sample. suppressions: a file in which to note "
    "suspects that are right after all. mask: the hidden units that hold most of the coherent gradient; "
    "needs --audits width.",
)
@click.option("--all", "every", is_flag=True, help="List every sample, most suspicious first.")
@click.option(
    "--data",
    metavar="PATH",
    help="For tasks, the data that was audited, from which whole texts and pictures are read [default: where "
    "AUDIT.JSON says it is].",
)
@click.option(
    "--image-root",
    metavar="URL",
    default="",
    help="For tasks, the address of the image folder in the tool [default: pictures are put into the file].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write [default: beside AUDIT.JSON, named after the format].",
)
def export(
    *, audit: Path, kind: str, every: bool, data: str | None, image_root: str, out: Path | None
) -> None:
    """Write the suspects of a saved audit as a list for cleaning.

    Lists come from AUDIT.JSON alone. Tasks for a labeling tool show the samples whole, so that the data is
    read for them; nothing changes it.
    """
    from cohaudit.review.export_files import export as write_files

    done = write_files(audit, kind, out, every=every, data=data, image_root=image_root)
    for file in done.files:
        write_out(f"Written: {printable(str(file))}\n")
    for notice in done.notices:
        print_note(notice)
