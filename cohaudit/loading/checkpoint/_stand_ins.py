"""Harmless stand-ins for the classes that training scripts store beside the weights.

A training checkpoint often holds a NumPy scalar as its epoch, the arguments of the script, or the state of a
random generator. A file must never reach the real classes: numpy.dtype alone would let it describe Python
objects at addresses of its choice. The stand-ins are loaded under the names of these classes instead. They
read a plain number from its bytes, and accept everything else without keeping it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_NUMBER_TYPES = frozenset(
    {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}
)
"""NumPy's types of plain numbers, by their names in files."""


class Ignored:
    """Stands in for content that no audit needs: accepts any arguments and keeps nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class NumberType:
    """Stands in for numpy.dtype: keeps the name and the byte order of the file, unchecked, and nothing else.

    Args:
        name: Name of the type, such as f8.
    """

    def __init__(self, name: object, *_: object) -> None:
        self.name: object = name
        self.order: object = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def number(number_type: object, content: object) -> bool | int | float | complex | Ignored:
    """Stand in for numpy's function that makes scalars.

    Args:
        number_type: Normally a `NumberType`. A file can call this with anything, so it is checked here.
        content: Bytes of the number.

    Returns:
        The number; an `Ignored` for any other scalar, such as a text, a date or a Python object.
    """
    name = getattr(number_type, "name", None)
    order = getattr(number_type, "order", None)
    # exact types: a subclass from the file could answer the comparisons below as it likes
    if type(name) is not str or type(order) is not str or type(content) is not bytes:
        return Ignored()
    if name not in _NUMBER_TYPES or order not in {"<", ">", "|", "="}:
        return Ignored()
    # frombuffer raises ValueError for too few bytes, and the file is refused as damaged
    value: bool | int | float | complex = np.frombuffer(content, f"{order}{name}", count=1)[0].item()
    return value


STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (NumberType, "numpy.dtype"),
    (Ignored, "numpy.ndarray"),
    (Ignored, "argparse.Namespace"),
]
"""Stand-ins, each with the name it is loaded under, as torch.serialization.safe_globals takes them."""
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    STAND_INS += [
        (number, f"{_core}.multiarray.scalar"),
        (Ignored, f"{_core}.multiarray._reconstruct"),
    ]
