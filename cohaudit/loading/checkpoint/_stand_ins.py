"""What training scripts store beside the weights, and what stands in for it when a file is opened.

A training checkpoint often holds an epoch that is a NumPy scalar, the arguments of the script, or the state
of random numbers. The true classes are never let near a file: numpy.dtype alone would let one describe Python
objects at addresses of its choice. The harmless ones below answer to their names instead: they read a plain
number from its bytes, and take anything else without keeping it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_NUMBERS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"})
"""NumPy's types of plain numbers, as files name them."""


class Forgotten:
    """Stands in for what no audit needs: takes whatever the file gives it and keeps nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class NumberType:
    """Stands in for numpy.dtype: a name and a byte order as the file gives them, and nothing else of it.

    Args:
        name: Such as f8.
    """

    def __init__(self, name: object, *_: object) -> None:
        self.name: object = name
        self.order: object = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def number(kind: object, content: object) -> bool | int | float | complex | Forgotten:
    """Stand in for numpy's function that makes scalars.

    Args:
        kind: The type, a `NumberType`; as a file can call this with anything, it is checked here.
        content: Its bytes.

    Returns:
        The number; of any other scalar, such as a text, a date or a Python object, nothing.
    """
    name = getattr(kind, "name", None)
    order = getattr(kind, "order", None)
    if type(name) is not str or type(order) is not str or type(content) is not bytes:
        return Forgotten()
    if name not in _NUMBERS or order not in {"<", ">", "|", "="}:
        return Forgotten()
    value: bool | int | float | complex = np.frombuffer(content, f"{order}{name}", count=1)[0].item()
    return value


STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (NumberType, "numpy.dtype"),
    (Forgotten, "numpy.ndarray"),
    (Forgotten, "argparse.Namespace"),
]
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    STAND_INS += [
        (number, f"{_core}.multiarray.scalar"),
        (Forgotten, f"{_core}.multiarray._reconstruct"),
    ]
