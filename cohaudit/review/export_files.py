"""Writes lists of samples to files: what `cohaudit export` does, from the command line and from Python."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from cohaudit.errors import ReportError, did_you_mean
from cohaudit.results import Audit
from cohaudit.results.files import refuse_existing, refuse_source, write_file
from cohaudit.results.read import AuditSource, as_audit
from cohaudit.results.tables import table_to_records
from cohaudit.review.export import LIST_FORMATS, require_judged
from cohaudit.review.export import export as render_list
from cohaudit.review.labeling_tasks import (
    ARGILLA,
    DOCCANO,
    LABEL_STUDIO,
    TASK_FORMATS,
    make_tasks,
    render_tasks,
)
from cohaudit.review.original_samples import view_samples

EXPORT_FORMATS = (*LIST_FORMATS, *TASK_FORMATS)
"""Formats of an export."""

EXPORT_FILE_NAMES = {
    "csv": "suspects.csv",
    "jsonl": "suspects.jsonl",
    "parquet": "suspects.parquet",
    "look": "look.csv",
    "keep": "keep.txt",
    "cleanlab": "cleanlab.csv",
    "suppressions": "suppressions.toml",
    "mask": "mask.json",
    LABEL_STUDIO: "tasks.json",
    ARGILLA: "argilla.json",
    DOCCANO: "doccano.jsonl",
}
"""Format → name of the file, unless the user names it."""


@dataclass(frozen=True)
class ExportedFiles:
    """What an export wrote."""

    files: tuple[Path, ...]
    """The list, then the files that belong to it, such as the settings of a labeling tool."""
    notices: tuple[str, ...]
    """What to know of the files, in sentences."""


def export(
    audit: AuditSource,
    kind: str = "csv",
    out: str | PathLike[str] | None = None,
    *,
    every: bool = False,
    data: Any = None,
    image_root: str = "",
) -> ExportedFiles:
    """Write a list of samples for other tools: the same as `cohaudit export`.

    Args:
        audit: An audit, or the path of an audit.json.
        kind: csv, jsonl or parquet: the suspects as a table. label-studio, argilla, doccano: as tasks for
            that tool. keep: ids of all other samples. cleanlab: its columns, for every sample.
            suppressions: a file for suspects that are right. mask: the hidden units that hold most of the
            coherent gradient.
        out: File to write; if left out, one named after the format, beside the audit.json or in the working
            directory.
        every: Whether to list every sample, not only the suspects.
        data: For tasks, the audited data, from which whole texts and pictures are read: a path, or what was
            given to `scan`. If left out, it is looked for where the audit says it is.
        image_root: For tasks, the address under which the tool finds the image folder: a URL, or Label
            Studio's /data/local-files/?d=PATH. If left out, pictures are put into the file.

    Returns:
        The files, and notices about them.

    Raises:
        ReportError: The audit cannot be read or judged no labels, the format is unknown, or a file cannot be
            written.
        DataError: The data that was given is not what was audited.
        MissingExtraError: Parquet needs a package that is not installed.
    """
    if kind not in EXPORT_FORMATS:
        raise ReportError(f"format {kind!r:.40}", "is unknown", did_you_mean(kind, EXPORT_FORMATS))
    if kind not in TASK_FORMATS and (data is not None or image_root):
        raise ReportError(
            "data and image_root (--data, --image-root)",
            f"have no effect for the format {kind}",
            f"leave them out, or choose {', '.join(TASK_FORMATS)}",
        )
    source = None if isinstance(audit, Audit) else Path(audit)
    target = Path(out) if out is not None else (source.parent if source else Path()) / EXPORT_FILE_NAMES[kind]
    if source:
        refuse_source(target, source)
    contents, notices = _contents(
        as_audit(audit), kind, every=every, data=data, image_root=image_root, source=source
    )
    if kind == "suppressions":  # an existing file may hold a person's notes
        refuse_existing(target)
    paths = {suffix: target if not suffix else target.with_suffix(suffix) for suffix in contents}
    files = tuple(write_file(paths[suffix], content) for suffix, content in contents.items())
    return ExportedFiles(files, notices)


def _contents(
    audit: Audit, kind: str, *, every: bool, data: Any, image_root: str, source: Path | None
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return ending → content of each file, and the notices."""
    if kind not in TASK_FORMATS:
        return {"": render_list(audit, kind, every)}, ()
    require_judged(audit)
    rows = table_to_records(audit.ranked_samples() if every else audit.suspects)
    shown = view_samples(
        audit, [row["id"] for row in rows], data, image_root, None if source is None else source.parent
    )
    return render_tasks(kind, audit, make_tasks(rows, shown.views)), shown.notices
