"""What a person is shown of a sample: a small PNG, a drawing of a signal, or a text."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cohaudit.results import Preview

_SIDE = 64
"""Longest side of a thumbnail, in pixels; smaller images keep their own."""
_LENGTH = 300
"""Longest text, in characters."""
_CHANNELS = (1, 3, 4)
_SIGNAL = 1000
"""Values from which on a series that swings about zero, as sound does, is drawn over time."""
_DRAWING = (192, 48)
"""Width and height of such a drawing, in pixels."""
_PEN = (0x3D, 0x8F, 0xC4)
"""Its color: readable on white and on black."""


def text_preview(text: str) -> Preview:
    """Show a text, cut to a readable length."""
    return Preview("text", text=text if len(text) <= _LENGTH else text[:_LENGTH].rstrip() + "…")


def image_preview(image: Image.Image) -> Preview:
    """Show an image as a PNG of at most 64 pixels a side."""
    if image.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"}:
        return array_preview(np.asarray(image))
    small = image.convert("L" if image.mode in {"1", "L"} else "RGB")
    small.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return Preview("image", image="data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())


def array_preview(sample: npt.NDArray[Any]) -> Preview:
    """Show an array as what its shape suggests: an image, a list of numbers, a text, or nothing.

    [H, W], [C, H, W] and [H, W, C] with 1, 3 or 4 channels are images: uint8 as it is, [0, 1] as grey levels,
    any other range (a normalized image) stretched from its smallest to its largest value. [T] and [C, T] with
    at most 2 channels, at least 1,000 values and both signs, of floating point or int16, are signals.
    """
    if sample.dtype.kind in "US" and sample.ndim == 0:
        return text_preview(str(sample))
    if sample.dtype.kind not in "biuf":
        return Preview("none")
    if _is_signal(sample):
        return _signal_preview(sample)
    pixels = _pixels(sample)
    if pixels is not None:
        return image_preview(Image.fromarray(_grey_levels(pixels)))
    if sample.ndim <= 1:
        return text_preview(" ".join(f"{value:g}" for value in sample.reshape(-1)[:_LENGTH].tolist()))
    return Preview("none")


def _is_signal(sample: npt.NDArray[Any]) -> bool:
    if sample.ndim not in {1, 2} or sample.shape[-1] < _SIGNAL or (sample.ndim == 2 and len(sample) > 2):
        return False
    if sample.dtype.kind != "f" and sample.dtype != np.int16:
        return False
    return bool((sample < 0).any() and (sample > 0).any())


def _signal_preview(sample: npt.NDArray[Any]) -> Preview:
    """Draw a signal over time: each column from the smallest to the largest value of its part."""
    width, height = _DRAWING
    values = np.nan_to_num(np.atleast_2d(sample).astype(np.float64))
    scaled = values / max(float(np.abs(values).max()), 1e-300)
    edges = np.linspace(0, scaled.shape[1], width, endpoint=False).astype(int)
    high = np.maximum.reduceat(scaled.max(0), edges)
    low = np.minimum.reduceat(scaled.min(0), edges)
    rows = np.arange(height)[:, None]
    top, bottom = ((1 - value) / 2 * (height - 1) for value in (high, low))
    inked = (rows >= np.floor(top)) & (rows <= np.ceil(bottom))
    drawing = Image.fromarray(inked.astype(np.uint8)).convert("P")
    drawing.putpalette([*_PEN, *_PEN])
    buffer = io.BytesIO()
    drawing.save(buffer, "PNG", optimize=True, bits=1, transparency=0)
    return Preview("wave", image="data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())


def _pixels(sample: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return an image-shaped array as [H, W] or [H, W, 3], else None."""
    if sample.size == 0 or sample.ndim not in {2, 3}:
        return None
    if sample.ndim == 2:
        return sample
    if sample.shape[0] in _CHANNELS:
        sample = np.moveaxis(sample, 0, -1)
    if sample.shape[-1] not in _CHANNELS:
        return None
    return sample[..., 0] if sample.shape[-1] == 1 else sample[..., :3]


def _grey_levels(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
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
