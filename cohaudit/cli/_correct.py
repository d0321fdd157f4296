"""`cohaudit correct`: writes a copy of the audited data with corrected labels."""

from __future__ import annotations

from pathlib import Path

import click

from cohaudit.cli._output import write_out
from cohaudit.errors import printable


@click.command(short_help="Write a copy of the data with corrected labels.")
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    required=True,
    help="The data that was audited: .npz, .safetensors, .csv, .jsonl, .parquet or an image folder.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="NEW",
    required=True,
    help="File or folder to write; all changes are listed in NEW.changes.csv. Neither may exist.",
)
@click.option("--drop", is_flag=True, help="Leave the suspects out instead of correcting their labels.")
@click.option(
    "--only",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Change only some suspects: a text file with one id per line, or a .csv file with the columns id "
    "and new_label, as saved from the report's page.",
)
@click.option("--labels", default="", help="Key or column that holds the labels [default: as in the scan].")
@click.option("--ids", default="", help="Key or column that holds the ids [default: as in the scan].")
def correct(
    *, audit: Path, data: Path, out: Path, drop: bool, only: Path | None, labels: str, ids: str
) -> None:
    """Write a copy of the audited data in which each suspect has the suggested label.

    The data itself is not changed, and everything else in the copy is as it was. Look at the suspects first,
    and name those that are wrong with --only.
    """
    from cohaudit.report.terminal.next_step import after_correction
    from cohaudit.results.read import read_audit
    from cohaudit.review.correct import correct as write_copy

    done = write_copy(read_audit(audit), data, out, drop=drop, only=only, labels=labels, ids=ids)
    many = len(done.changes)
    rest = done.samples - len(done.changes)
    what = f"{many:,} sample{'s' * (many != 1)} {'left out' if drop else 'relabeled'}, {rest:,} as before"
    write_out(f"Written: {printable(str(done.copy))} ({what})\n")
    write_out(f"Changes: {printable(str(done.log))}\n")
    for notice in done.notices:
        write_out(f"Note: {printable(notice)}\n")
    write_out("Next: train on the copy, then audit and compare the new checkpoint:\n")
    for command in after_correction(audit, done.copy):
        write_out(f"  {printable(command)}\n")
