"""Samples as a person labels them: the whole text and the original picture, read from the audited data.

An audit holds previews only: texts cut to a readable length, and small pictures.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from cohaudit.config import KEYS, Config
from cohaudit.errors import DataError, ReportError
from cohaudit.loading.data import LabeledDataset, as_dataset, full_view
from cohaudit.results import Audit, Preview
from cohaudit.results.files import path_exists
from cohaudit.review.audited_data import GIVE_DATA, check_fingerprint, find_data

WEB_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/svg+xml"})
"""Types of image files that a browser shows as they are."""

MAX_EMBEDDED_BYTES = 200_000_000
"""Size of all pictures in one file of tasks, from which a labeling tool and its browser stop being usable."""

NAME_ROOT = "name the place where the tool finds them with --image-root (from Python: image_root=…)"
"""Remedy for too many pictures."""


@dataclass(frozen=True)
class SampleView:
    """One sample as a labeling tool shows it."""

    kind: Literal["image", "text"]
    """What the content is."""
    content: str
    """URL or data URI of a picture; or a text, of a row the columns as lines."""


@dataclass(frozen=True)
class SampleViews:
    """The views of some samples, and what to know of them."""

    views: tuple[SampleView, ...]
    """One for each sample, in the order asked for."""
    notices: tuple[str, ...]
    """What to know before labeling by them, in sentences."""


def view_samples(
    audit: Audit, ids: Sequence[str], data: Any = None, image_root: str = "", beside: Path | None = None
) -> SampleViews:
    """Show samples as a person labels them.

    Args:
        audit: The audit.
        ids: Ids of the samples.
        data: The audited data: a path, or what was given to `cohaudit.scan`. None to look where the audit
            says it is; where it is not, the audit's previews stand in, and a notice says so.
        image_root: Start of the address of each picture, to which the sample's id is added; empty to read the
            picture.
        beside: Folder of the audit.json; None for an audit in memory.

    Raises:
        DataError: The data that was given is not what was audited, or a sample cannot be read.
        ReportError: The pictures are too large for one file.
    """
    if image_root:
        root = image_root.rstrip("/")
        return SampleViews(tuple(SampleView("image", f"{root}/{quote(name)}") for name in ids), ())
    try:
        dataset = _open(audit, ids, data, beside)
    except DataError as error:
        if data is not None:
            raise
        return _previews(audit, ids, error)
    place = {name: position for position, name in enumerate(dataset.ids)}
    views = tuple(_view(dataset, place[name]) for name in ids)
    size = sum(len(view.content) for view in views if view.kind == "image")
    if size > MAX_EMBEDDED_BYTES:
        found = f"take {size / 1e6:,.0f} MB, too much for one file of tasks"
        raise ReportError(f"the pictures of {len(ids):,} samples", found, NAME_ROOT)
    return SampleViews(views, ())


def _open(audit: Audit, ids: Sequence[str], data: Any, beside: Path | None) -> LabeledDataset:
    """Open the audited data, to read samples as they are stored."""
    if data is None:
        data = find_data(audit, beside)
    if isinstance(data, str | Path) and path_exists(Path(data)):
        check_fingerprint(audit, Path(data))
        data = Path(data).absolute()
    # the inputs of the model are not needed: no transform has to be found again
    settings = {name: _recorded(audit, name) for name in ("inputs", "labels", "ids", "data_args")}
    names = tuple(one.name for one in audit.classes)
    dataset = as_dataset(data, Config(class_names=names, transform=_no_input, **settings))
    given = {
        name: dataset.class_names[label] for name, label in zip(dataset.ids, dataset.labels, strict=True)
    }
    audited = dict(zip(audit.samples["id"], audit.samples["label"], strict=True))
    for name in ids:
        if given.get(name) != audited[name]:
            now = f"{given[name]!r:.80}" if name in given else "missing"
            found = f"is {audited[name]!r:.80} in the audit, but {now} here"
            raise DataError(
                f"{dataset.source}, sample {name!r:.80}", found, "give the data as it was audited"
            )
    return dataset


def _recorded(audit: Audit, key: str) -> Any:
    return KEYS[key].checked(audit.settings.get(key, KEYS[key].default), f"settings.{key} of the audit")


def _no_input(_: Any) -> float:
    return 0.0


def _view(dataset: LabeledDataset, position: int) -> SampleView:
    file, line = dataset.place(position)
    kind = mimetypes.guess_type(file.name)[0] if file is not None and not line else None
    # the file of one sample, not one that holds them all
    if file is not None and kind in WEB_TYPES:
        content = base64.b64encode(file.read_bytes()).decode()
        return SampleView("image", f"data:{kind};base64,{content}")
    view = full_view(dataset.raw(position))
    return _of_preview(view, dataset.ids[position])


def _of_preview(view: Preview, name: str) -> SampleView:
    if view.image:
        return SampleView("image", view.image)
    lines = "\n".join(f"{column}: {value}" for column, value in view.row.items())
    return SampleView("text", view.text or lines or f"sample {name}")


def _previews(audit: Audit, ids: Sequence[str], error: DataError) -> SampleViews:
    """Show what the audit itself holds."""
    nothing = Preview("none")
    previews = [audit.previews.get(name, nothing) for name in ids]
    hidden = sum(preview.kind == "none" for preview in previews)
    why = f"{error.where} {error.found}"
    notice = f"The samples are shown as in the report, with texts cut and pictures small: {why}."
    if hidden:
        notice += f" {hidden:,} of {len(ids):,} have only their id."
    views = tuple(_of_preview(preview, name) for preview, name in zip(previews, ids, strict=True))
    return SampleViews(views, (f"{notice} To show them whole, {GIVE_DATA}.",))
