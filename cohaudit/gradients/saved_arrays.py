"""Writing saved arrays over those of a pass, after a check of their shape and type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def overwrite(target: NDArray[Any], saved: NDArray[Any]) -> None:
    """Write a saved array over one of the same shape and type.

    Args:
        target: Array to write to.
        saved: Array to write.

    Raises:
        ValueError: If shape or type differ: numpy would broadcast or convert silently.
    """
    _require_alike(target.shape, saved, target.dtype)
    target[...] = saved


def overwrite_rows(target: NDArray[Any], indices: NDArray[np.int64], saved: NDArray[Any]) -> None:
    """Write saved rows over those of an array.

    Args:
        target: Array to write to, [rows, ...].
        indices: Rows to write.
        saved: Their values, [indices, ...].

    Raises:
        ValueError: If shape or type differ.
    """
    _require_alike((len(indices), *target.shape[1:]), saved, target.dtype)
    target[indices] = saved


def _require_alike(shape: tuple[int, ...], saved: NDArray[Any], dtype: np.dtype[Any]) -> None:
    if saved.shape != shape or saved.dtype != dtype:
        raise ValueError(f"{saved.dtype} {list(saved.shape)}, not {dtype} {list(shape)}")
