"""Shows a whole sample to a person: all of a text, and a picture in the size in which it is stored."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from cohaudit.loading.data._preview import as_numpy, grey_levels, object_preview, pixels
from cohaudit.results import Preview

_SHOWN_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
"""Pillow's modes that a PNG holds with 8 bits or fewer; of others, the values are spread over grey levels."""


def full_view(raw: Any) -> Preview:
    """Show a raw sample whole; what cannot be shown whole is shown as a preview.

    Args:
        raw: A sample, as `LabeledDataset.raw` returns it.
    """
    match raw:
        case str():
            return Preview("text", text=raw)
        case Image.Image():
            image = raw if raw.mode in _SHOWN_MODES else Image.fromarray(grey_levels(np.asarray(raw)))
            return Preview("image", image=_png(image))
        case torch.Tensor() | np.ndarray() | np.generic():
            return _array_view(as_numpy(raw))
        case Mapping():
            return _row_view(raw)
        case _:
            return object_preview(raw)


def _array_view(array: Any) -> Preview:
    if array.dtype.kind in "US" and array.ndim == 0:
        return Preview("text", text=str(array))
    shown = object_preview(array)
    picture = pixels(array)
    if shown.kind != "image" or picture is None:
        return shown
    return Preview("image", image=_png(Image.fromarray(grey_levels(picture))))


def _row_view(row: Mapping[Any, Any]) -> Preview:
    pictures = [value for value in row.values() if isinstance(value, Image.Image)]
    if pictures:
        return full_view(pictures[0])
    cells = {
        str(name): str(value) for name, value in row.items() if isinstance(value, str | int | float | bool)
    }
    texts = [value for value in row.values() if isinstance(value, str)]
    if len(cells) == 1 and texts:
        return Preview("text", text=texts[0])
    return Preview("row", row=cells) if cells else object_preview(row)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
