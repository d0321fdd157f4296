"""Reduces the content of a torch file to plain containers and plain tensors.

The restricted unpickler runs no code, but it sets attributes: a file can put a number in the place of a
tensor's `detach`, or of a dictionary's `get`. Nothing of that survives here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cohaudit.errors import CheckpointError
from cohaudit.untrusted import current_limits
from cohaudit.untrusted.limits import RAISE_MEMORY

_MAX_DEPTH = 12
"""Containers inside containers to follow: a training checkpoint nests its optimizer's tensors six deep."""
_VIEWS_PER_BYTE = 4
"""Numbers that each number in a file may stand for: tied weights stand in two state dicts twice."""


def as_plain(content: Any, path: Path) -> Any:
    """Return the content with plain dictionaries, lists, tuples and tensors only.

    Anything nested too deeply for a checkpoint becomes None. What is neither a container nor a tensor stays.

    Args:
        content: Return value of torch.load.
        path: The file, for messages.

    Raises:
        CheckpointError: If its tensors repeat the numbers in the file so often that no work on them ends.
    """
    copier = _Copier()
    plain = copier.copied(content, 0)
    most = current_limits().memory + _VIEWS_PER_BYTE * path.stat().st_size
    if copier.bytes > most:
        raise CheckpointError(
            str(path),
            f"its tensors are views that repeat a few numbers, {copier.bytes / 1e6:,.0f} MB if written out",
            f"save contiguous tensors: tensor.contiguous(); {RAISE_MEMORY}",
        )
    return plain


class _Copier:
    """Copies containers; what is shared in the content is shared in the copy.

    Attributes:
        bytes: Bytes of all tensors, as if each were written out.
    """

    def __init__(self) -> None:
        self.bytes = 0
        # the originals are kept too: else the identity of a freed one could be that of the next
        self._copies: dict[int, tuple[Any, Any]] = {}

    def copied(self, value: Any, depth: int) -> Any:
        known = self._copies.get(id(value))
        if known is not None:
            return known[1]
        if isinstance(value, Tensor):
            return self._remember(value, self._tensor(value))
        if isinstance(value, nn.Module) or not isinstance(value, dict | list | tuple):
            return value
        if depth > _MAX_DEPTH:
            return None
        if isinstance(value, dict):
            # known before its entries are followed: a dictionary can contain itself
            entries = self._remember(value, {})
            for key, entry in dict.items(value):
                entries[key] = self.copied(entry, depth + 1)
            return entries
        if isinstance(value, list):
            items = self._remember(value, [])
            items.extend(self.copied(item, depth + 1) for item in list.__iter__(value))
            return items
        return self._remember(value, tuple(self.copied(item, depth + 1) for item in tuple.__iter__(value)))

    def _remember(self, value: Any, copy: Any) -> Any:
        self._copies[id(value)] = (value, copy)
        return copy

    def _tensor(self, value: Tensor) -> Tensor:
        # by way of the class, because the object may have an attribute of that name
        with torch.no_grad():
            plain = Tensor.detach(value)
        self.bytes += _bytes_of(plain)
        return plain


def _bytes_of(tensor: Tensor) -> int:
    """Return the bytes of a dense tensor, as if it were written out; 0 for one without numbers of its own."""
    if tensor.is_meta or tensor.layout != torch.strided:
        return 0
    return tensor.numel() * tensor.element_size()
