"""Shows a sample to a person: as a small picture, a drawing of a signal, or a text."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from cohaudit.loading.data._inputs import CHANNEL_COUNTS
from cohaudit.results import Preview

_THUMBNAIL_SIDE = 160
"""Longest side of a thumbnail, in pixels; smaller images keep their size. A photo of this size takes less
room as a JPEG than one of 64 pixels as a PNG."""
_EXACT_SIDE = 64
"""Longest side of an image that is kept exactly, as a PNG; of a larger one, a JPEG leaves out what nobody
sees."""
_QUALITY = 80
"""Quality of a JPEG: at this size its artifacts are invisible."""
_MAX_TEXT_LENGTH = 300
"""Longest text to show, in characters; also the most numbers of an array to show."""
_MIN_SIGNAL_LENGTH = 1000
"""Fewest values of a series that is drawn as a signal over time; shorter ones are rows of a table."""
_SIGNAL_SIZE = (192, 48)
"""Width and height of the drawing of a signal, in pixels."""
_SIGNAL_COLOR = (0x3D, 0x8F, 0xC4)
"""Color of the drawing, RGB: readable on white and on black."""
_MODES_SHOWN = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"})
"""Pillow's modes that convert to RGB directly; others, of 16 bits or more, have their range stretched."""


def text_preview(text: str) -> Preview:
    """Show a text, cut to a readable length."""
    if len(text) > _MAX_TEXT_LENGTH:
        text = text[:_MAX_TEXT_LENGTH].rstrip() + "…"
    return Preview("text", text=text)


def image_preview(image: Image.Image) -> Preview:
    """Show an image of at most 160 × 160 pixels: a small or flat one as a PNG, a photo as a JPEG."""
    if image.mode not in _MODES_SHOWN:
        return array_preview(np.asarray(image))
    small = image.convert("L" if image.mode in {"1", "L"} else "RGB")
    small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    kind, content = "png", _encoded(small, "PNG", optimize=True)
    if max(small.size) > _EXACT_SIDE:
        jpeg = _encoded(small, "JPEG", quality=_QUALITY, optimize=True)
        if len(jpeg) < len(content):
            kind, content = "jpeg", jpeg
    return Preview("image", image=f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def object_preview(raw: Any) -> Preview:
    """Show whatever a dataset gives as an input: a picture, a text, numbers, a row, or nothing."""
    match raw:
        case str():
            return text_preview(raw)
        case Image.Image():
            return image_preview(raw)
        case torch.Tensor() | np.ndarray() | np.generic():
            return array_preview(as_numpy(raw))
        case Mapping():
            return _mapping_preview(raw)
        case _:
            return Preview("none")


def _mapping_preview(raw: Mapping[Any, Any]) -> Preview:
    """Show the texts and numbers of a dictionary as a row; its first picture, if it has one."""
    for value in raw.values():
        if isinstance(value, Image.Image):
            return image_preview(value)
    cells = {str(name): value for name, value in raw.items() if isinstance(value, str | int | float)}
    # tensors are what a tokenizer makes of the text beside them
    texts = [value for value in cells.values() if isinstance(value, str)]
    if len(cells) == len(texts) == 1:
        return text_preview(texts[0])
    return (
        Preview("row", row={name: str(value) for name, value in cells.items()}) if cells else Preview("none")
    )


def as_numpy(part: Any) -> npt.NDArray[Any]:
    """Return a tensor, an array or a number as an array."""
    if not isinstance(part, torch.Tensor):
        return np.asarray(part)
    tensor = part.detach().cpu()
    # float(), because numpy has no bfloat16
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def array_preview(sample: npt.NDArray[Any]) -> Preview:
    """Show an array as its shape suggests: an image, a signal, a list of numbers, a text, or nothing.

    Arrays of shape [H, W], [C, H, W] and [H, W, C] with 1, 3 or 4 channels are images. uint8 is shown
    unchanged, values in [0, 1] as grey levels, and any other range is stretched from its smallest to its
    largest value.
    Arrays of shape [T] and [C, T] are signals if they have at most 2 channels, at least 1,000 values in time,
    both signs, and the type int16 or floating point.
    """
    if sample.dtype.kind in "US" and sample.ndim == 0:
        return text_preview(str(sample))
    if sample.dtype.kind not in "biuf":
        return Preview("none")
    if _is_signal(sample):
        return _signal_preview(sample)
    picture = pixels(sample)
    if picture is not None:
        return image_preview(Image.fromarray(grey_levels(picture)))
    if sample.ndim <= 1:
        return text_preview(
            " ".join(f"{value:g}" for value in sample.reshape(-1)[:_MAX_TEXT_LENGTH].tolist())
        )
    return Preview("none")


def _is_signal(sample: npt.NDArray[Any]) -> bool:
    """Tell whether an array is a series over time that swings about zero, like sound."""
    if sample.ndim not in {1, 2} or sample.shape[-1] < _MIN_SIGNAL_LENGTH:
        return False
    if sample.ndim == 2 and len(sample) > 2:  # more than stereo
        return False
    if sample.dtype.kind != "f" and sample.dtype != np.int16:
        return False
    return bool((sample < 0).any() and (sample > 0).any())


def _signal_preview(sample: npt.NDArray[Any]) -> Preview:
    """Draw a signal over time: each column shows the range from smallest to largest value of its part."""
    width, height = _SIGNAL_SIZE
    values = np.nan_to_num(np.atleast_2d(sample).astype(np.float64))
    scaled = values / max(float(np.abs(values).max()), 1e-300)  # NaN and values near 0 only: no 0 / 0
    edges = np.linspace(0, scaled.shape[1], width, endpoint=False).astype(int)
    high = np.maximum.reduceat(scaled.max(0), edges)
    low = np.minimum.reduceat(scaled.min(0), edges)
    rows = np.arange(height)[:, None]
    top, bottom = ((1 - value) / 2 * (height - 1) for value in (high, low))
    inked = (rows >= np.floor(top)) & (rows <= np.ceil(bottom))
    # a palette of two colors makes the smallest PNG: a report holds hundreds of them
    drawing = Image.fromarray(inked.astype(np.uint8)).convert("P")
    drawing.putpalette([*_SIGNAL_COLOR, *_SIGNAL_COLOR])  # color 0 becomes transparent below
    content = _encoded(drawing, "PNG", optimize=True, bits=1, transparency=0)
    return Preview("wave", image="data:image/png;base64," + base64.b64encode(content).decode())


def pixels(sample: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return an array of an image's shape as [H, W] or [H, W, 3]; None for any other shape."""
    if sample.size == 0 or sample.ndim not in {2, 3}:
        return None
    if sample.ndim == 2:
        return sample
    if sample.shape[0] in CHANNEL_COUNTS:
        sample = np.moveaxis(sample, 0, -1)
    if sample.shape[-1] not in CHANNEL_COUNTS:
        return None
    return sample[..., 0] if sample.shape[-1] == 1 else sample[..., :3]


def grey_levels(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Map pixel values to 0..255."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8)
    values = np.nan_to_num(pixels.astype(np.float64))
    low = float(values.min())
    high = float(values.max())
    if low >= 0 and high <= 1:
        low = 0.0
        high = 1.0
    shades: npt.NDArray[np.float64] = (values - low) / max(high - low, 1e-12) * 255
    return shades.round().astype(np.uint8)
