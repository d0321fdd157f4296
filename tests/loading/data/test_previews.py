"""What a person is shown of an array: which are signals, and that they are drawn as they are."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cohaudit.loading.data._preview import array_preview

TIME = np.linspace(0, 1, 4000)
TONE = np.sin(40 * TIME) * np.exp(-3 * TIME)


def drawn(sample: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which pixels of the drawing have ink, [rows, columns]."""
    preview = array_preview(sample)
    assert preview.kind == "wave"
    picture = Image.open(io.BytesIO(base64.b64decode(preview.image.partition(",")[2])))
    assert np.asarray(picture.convert("RGBA"))[..., :3].reshape(-1, 3).std(0).max() == 0, (
        "one color, on nothing"
    )
    return np.asarray(picture.convert("RGBA"))[..., 3] > 0


@pytest.mark.parametrize(
    "sample",
    [
        TONE.astype(np.float32),
        TONE[None],
        np.stack([TONE, -TONE]),
        (3e4 * TONE).astype(np.int16),
        TONE * 1e300,
    ],
    ids=["one channel", "a channel of its own", "stereo", "int16", "huge"],
)
def test_a_series_about_zero_is_drawn_over_time(sample: np.ndarray[Any, Any]) -> None:
    ink = drawn(sample)
    assert ink.any(axis=0).all(), "every moment has its stroke"
    height = ink.sum(axis=0)
    assert height[: ink.shape[1] // 4].max() > 2 * height[-ink.shape[1] // 4 :].max(), "it dies away"


def test_the_loudest_moment_reaches_the_edge_and_silence_stays_in_the_middle() -> None:
    signal = np.zeros(2000)
    signal[1000], signal[1500] = 1.0, -1.0
    ink = drawn(signal)
    middle = ink.shape[0] // 2
    assert ink[0].any()
    assert ink[-1].any()
    assert ink[:, 10].sum() <= 2
    assert ink[middle - 1 : middle + 1, 10].any()


def test_missing_values_are_silence() -> None:
    signal = TONE.copy()
    signal[:2000] = np.nan
    assert drawn(signal)[:, 10].sum() <= 2


@pytest.mark.parametrize(
    "sample",
    [TONE[:999], np.abs(TONE), np.zeros(4000), np.arange(-2000, 2000), np.stack([TONE] * 3)],
    ids=["short", "one sign", "silence", "whole numbers", "three channels"],
)
def test_what_is_no_signal_is_not_drawn_as_one(sample: np.ndarray[Any, Any]) -> None:
    assert array_preview(sample).kind != "wave"
