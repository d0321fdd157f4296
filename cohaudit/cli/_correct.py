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
    help="The data that was audited: .npz, .safetensors, .csv, .jsonl, .parquet or an image folder [default: "
    "where AUDIT.JSON says it is].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="NEW",
    required=True,
    help="File or folder to write, with the list of all changes (NEW.changes.csv) and what later scans must "
    "know of them (NEW.provenance.json). None may exist.",
)
@click.option("--drop", is_flag=True, help="Leave the suspects out instead of correcting their labels.")
@click.option(
    "--only",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Change only some samples: a text file with one id per line; a .csv file with the columns id and "
    "new_label, as saved from the report's page; suspects.csv; or what Label Studio, Argilla or doccano "
    "exports.",
)
@click.option("--labels", default="", help="Key or column that holds the labels [default: as in the scan].")
@click.option("--ids", default="", help="Key or column that holds the ids [default: as in the scan].")
def correct(
    *, audit: Path, data: Path | None, out: Path, drop: bool, only: Path | None, labels: str, ids: str
) -> None:
    """Write a copy of the audited data in which suspects have the suggested label.

    A label is changed where that is likelier to help than to harm. The data itself is not changed, and
    everything else in the copy is as it was. Look at the suspects first, and name those that are wrong with
    --only: what a person said is evidence for later scans, what the audit concluded alone is not.
    """
    from cohaudit.report.terminal.next_step import after_correction
    from cohaudit.results.corrections import describe_correction
    from cohaudit.results.read import read_audit
    from cohaudit.review.audited_data import find_data
    from cohaudit.review.correct import correct as write_copy

    saved = read_audit(audit)
    data = data or find_data(saved, audit.parent)
    done = write_copy(saved, data, out, drop=drop, only=only, labels=labels, ids=ids)
    many = len(done.changes)
    rest = done.samples - len(done.changes)
    what = f"{many:,} sample{'s' * (many != 1)} {'left out' if drop else 'relabeled'}, {rest:,} as before"
    write_out(f"Written: {printable(str(done.copy))} ({what})\n")
    write_out(f"Changes: {printable(str(done.log))}\n")
    write_out(f"Provenance: {printable(str(done.provenance))} (keep it beside the copy, for later scans)\n")
    for line in describe_correction(done.summary):
        write_out(f"{line}\n")
    for notice in done.notices:
        write_out(f"Note: {printable(notice)}\n")
    write_out("Next: train on the copy, then audit and compare the new checkpoint:\n")
    for command in after_correction(audit, done.copy):
        write_out(f"  {printable(command)}\n")
