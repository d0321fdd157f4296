"""What the inputs of a model are, by their type and shape: rows of a table, texts, or images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from torch import Tensor

MAX_COLUMNS = 2000
"""Numbers in a row that counts as a table's: longer ones are signals or flattened images."""
MAX_CHANNELS = 16
"""Channels of an image at most, before its height and width."""
LAST_CHANNELS = (1, 3, 4)
"""Numbers of channels that may come after height and width: gray, RGB, RGBA."""
SMALLEST_SIDE = 4
"""Pixels of an image's sides at least."""
LARGEST_RATIO = 3
"""Longer side of a picture over the shorter one, at most; spectrograms and sequences are longer."""
TOKEN_KEY = "input_ids"
"""Name of the token ids among the inputs of a language model, as in the library transformers."""


class InputKind(Enum):
    """What inputs are."""

    COLUMNS = auto()
    """Rows of a table: numbers [N, D]."""
    TOKENS = auto()
    """Texts: integers [N, L]."""
    IMAGES = auto()
    """Images: numbers [N, C, H, W], [N, H, W] or [N, H, W, C]."""


@dataclass(frozen=True)
class KnownInputs:
    """Inputs of a known kind.

    Attributes:
        kind: What they are.
        values: The tensor to look at; images as [N, C, H, W].
    """

    kind: InputKind
    values: Tensor


def kind_of(inputs: Any) -> KnownInputs | str:
    """Return what a batch of inputs is, or in words why nothing is predicted from such inputs.

    Args:
        inputs: Arguments of the model for some samples: a tensor, or a tuple or mapping of tensors.
    """
    if isinstance(inputs, Mapping):
        tokens = inputs.get(TOKEN_KEY)
        if tokens is None:
            return f"the model takes several inputs, and none is called {TOKEN_KEY}"
        inputs = tokens
    if not isinstance(inputs, Tensor):
        return "the model takes several inputs"
    if inputs.is_complex():
        return "the inputs are complex numbers"
    numbers = inputs.is_floating_point() or str(inputs.dtype) == "torch.bool"
    shape = list(inputs.shape[1:])
    if len(shape) == 1:
        if not numbers:
            return KnownInputs(InputKind.TOKENS, inputs)
        if shape[0] <= MAX_COLUMNS:
            return KnownInputs(InputKind.COLUMNS, inputs)
        return f"rows of {shape[0]:,} numbers are neither a table nor an image"
    images = _as_images(inputs) if numbers else None
    if images is None:
        return f"inputs of shape {shape} are neither a table's row, nor a text, nor an image"
    return KnownInputs(InputKind.IMAGES, images)


def _as_images(inputs: Tensor) -> Tensor | None:
    """Return inputs as images, channels first; None if they are none."""
    shape = inputs.shape[1:]
    if len(shape) == 2:
        images = inputs[:, None]
    elif len(shape) == 3 and shape[0] <= MAX_CHANNELS:
        images = inputs
    elif len(shape) == 3 and shape[2] in LAST_CHANNELS:
        images = inputs.movedim(3, 1)
    else:
        return None
    sides = images.shape[2:]
    if min(sides) < SMALLEST_SIDE or max(sides) > LARGEST_RATIO * min(sides):
        return None
    return images
