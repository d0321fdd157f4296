"""Turns a raw sample into what an encoder takes: a text, or an image of 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from cohaudit.errors import DataError

_CHANNELS = (1, 3, 4)
"""Numbers of color channels of an image: grey, RGB, RGBA."""
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B")
"""Pillow's modes of grey images with 16 bits."""
_COLOR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pillow's modes of 8 bits, which convert to RGB."""


def text_of(raw: Any) -> str | None:
    """Return the text of a raw sample; None if it has none.

    Of a row with several columns these are its cells of text, a line each: a question and an answer belong
    together. Numbers beside them are left out.

    Args:
        raw: A sample, as `LabeledDataset.raw` returns it.
    """
    if isinstance(raw, np.ndarray) and raw.ndim == 0 and raw.dtype.kind in "US":
        raw = raw.item()
    if isinstance(raw, bytes):
        return raw.decode("utf-8", errors="replace")
    if isinstance(raw, str):
        return str(raw)
    if isinstance(raw, Mapping):
        cells = [value for value in raw.values() if isinstance(value, str)]
        return "\n".join(cells) if cells else None
    return None


def image_of(raw: Any, where: str) -> Image.Image | None:
    """Return the image of a raw sample, as RGB; None if it is no image.

    Args:
        raw: A sample, as `LabeledDataset.raw` returns it.
        where: The sample, for messages.

    Raises:
        DataError: If it is an image, but its white level is unknown.
    """
    if isinstance(raw, Image.Image):
        if raw.mode in _COLOR_MODES:
            # Pillow warns if a palette with transparency is converted to RGB directly
            return (raw.convert("RGBA") if raw.mode in {"P", "PA"} else raw).convert("RGB")
        deep = np.asarray(raw).astype(np.float32)
        return _rgb(_levels(deep / np.float32(65535) if raw.mode in _DEEP_MODES else deep, where))
    if isinstance(raw, torch.Tensor):
        tensor = raw.detach().cpu()
        raw = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if not isinstance(raw, np.ndarray) or raw.dtype.kind not in "uf" or not raw.size:
        return None
    pixels = _channels_last(raw)
    return None if pixels is None else _rgb(_levels(pixels, where))


def _channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return an array of an image's shape as [H, W] or [H, W, C]; None for any other shape."""
    if array.ndim == 2:
        return array
    if array.ndim != 3:
        return None
    if array.shape[-1] in _CHANNELS:
        return array
    return np.moveaxis(array, 0, -1) if array.shape[0] in _CHANNELS else None


def _levels(pixels: npt.NDArray[Any], where: str) -> npt.NDArray[np.uint8]:
    """Return pixels as 0..255; floats are in [0, 1]."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8)
    values = pixels.astype(np.float32)
    low = float(values.min())
    high = float(values.max())
    if not (low >= 0 and high <= 1 and pixels.dtype.kind == "f"):  # also for NaN
        raise DataError(
            where,
            f"the pixels run from {low:g} to {high:g} ({pixels.dtype}), so the encoder cannot know what is "
            "black and white",
            "store images as uint8 or as floats in [0, 1], and scale them in a transform (--transform); or "
            "compute the embeddings yourself: --features",
        )
    shades: npt.NDArray[np.uint8] = (values * 255).round().astype(np.uint8)
    return shades


def _rgb(levels: npt.NDArray[np.uint8]) -> Image.Image:
    if levels.ndim == 3 and levels.shape[-1] == 1:
        levels = levels[..., 0]
    return Image.fromarray(levels).convert("RGB")
