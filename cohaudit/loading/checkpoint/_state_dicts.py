"""Finds the state dicts inside a torch file and chooses the one to audit."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor, nn

from cohaudit.errors import CheckpointError

TRAINED_NAMES = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
"""Names under which training scripts store the trained weights, in order of preference."""

_AVERAGED_NAME = re.compile(r"(^|[._])(ema|swa|averaged|shadow)", re.IGNORECASE)
"""Name of an averaged copy of the weights."""
_MAX_EPOCH = 10**9
"""Largest number that is believed to be an epoch; a file can hold one of any length."""
_MAX_DEPTH = 4
"""Dictionaries inside dictionaries to search; real checkpoints nest two or three."""


def find_state_dicts(content: Any) -> dict[str, dict[str, Tensor]]:
    """Find every state dict in the content of a torch file.

    A state dict is a dictionary with float tensors as values. A dictionary that also contains another state
    dict counts only if a tensor's name is that of a layer, with a dot: {"model": …, "loss": tensor} is not a
    state dict. Values that are not tensors are left out. Optimizers and lists are not searched.

    Args:
        content: Return value of torch.load, of any type.

    Returns:
        Dotted path of each state dict, '' for the outermost → its tensors, detached.
    """
    return {".".join(path): tensors for path, tensors in _walk(content, (), set())}


def _walk(
    content: Any, path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield the state dicts below one object, each with its path; `seen` holds the ids of searched dicts."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, dict) or _is_optimizer(content):
        return
    if len(path) > _MAX_DEPTH or id(content) in seen:
        return
    seen.add(id(content))  # a pickled dictionary can contain itself
    # dict.items, not content.items: a pickled OrderedDict can bring an attribute of that name
    entries = [(key, value) for key, value in dict.items(content) if isinstance(key, str)]
    tensors = {key: value.detach() for key, value in entries if isinstance(value, Tensor)}
    inner = [
        nested for key, value in entries if key.isprintable() for nested in _walk(value, (*path, key), seen)
    ]
    # a dictionary of integers only, such as counters, is not a set of weights
    is_float = any(t.is_floating_point() or t.is_complex() or t.is_quantized for t in tensors.values())
    if is_float and (not inner or any("." in key for key in tensors)):
        yield path, tensors
    yield from inner


def find_optimizer(content: Any) -> dict[str, Any] | None:
    """Return the state dict of the optimizer in a training checkpoint.

    Args:
        content: Return value of torch.load.

    Returns:
        The optimizer's state dict; None if there is none, or several, as in adversarial training.
    """
    if not isinstance(content, dict):
        return None
    # PyTorch Lightning stores a list of optimizers, others store the state dict itself
    values = [v for value in dict.values(content) for v in (value if isinstance(value, list) else [value])]
    optimizers = [value for value in values if _is_optimizer(value)]
    return optimizers[0] if len(optimizers) == 1 else None


def find_epoch(content: Any) -> int | None:
    """Return the epoch that a training checkpoint records; None if it records none.

    Args:
        content: Return value of torch.load.
    """
    epoch = dict.get(content, "epoch") if isinstance(content, dict) else None
    # exactly int: True is an int as well; and a number that can be printed
    return epoch if type(epoch) is int and 0 <= epoch <= _MAX_EPOCH else None


def _is_optimizer(content: Any) -> bool:
    """Tell whether a value is the state dict of a torch optimizer, by its two keys."""
    return isinstance(content, dict) and {"state", "param_groups"} <= dict.keys(content)


def choose(names: Collection[str], wanted: str, where: str) -> str:
    """Choose the state dict to audit.

    By default this is the outermost dictionary, if it is a state dict; else the state dict whose name comes
    first in `TRAINED_NAMES`. Averaged copies of the weights (EMA) are chosen only if there is nothing else.

    Args:
        names: Dotted paths of the state dicts, at least one.
        wanted: Dotted path to choose, or the first parts of it; empty for the default.
        where: The checkpoint, for messages.

    Returns:
        One of `names`.

    Raises:
        CheckpointError: If `wanted` is not one of the names, or the default is ambiguous.
    """
    if wanted:
        matches = [name for name in names if name == wanted]
        matches = matches or [name for name in names if name.startswith(f"{wanted}.")]
        if len(matches) != 1:
            raise CheckpointError(where, f"has no state dict {wanted!r}", _weights_hint(names, wanted))
        return matches[0]
    trained = [name for name in names if not _AVERAGED_NAME.search(name)] or list(names)
    # several of the best rank are an error: guessing could audit the discriminator of a GAN
    best = min(map(_rank, trained))
    candidates = [name for name in trained if _rank(name) == best]
    if len(candidates) > 1:
        raise CheckpointError(
            where,
            f"has several state dicts, and no name shows which is the model: {', '.join(candidates)}",
            f"choose one, such as --weights {candidates[0]}",
        )
    return candidates[0]


def _rank(name: str) -> int:
    """Return how likely a state dict holds the trained weights: the lower, the likelier."""
    first = name.partition(".")[0]
    if not name:
        return -1
    return TRAINED_NAMES.index(first) if first in TRAINED_NAMES else len(TRAINED_NAMES)


def _weights_hint(names: Collection[str], wanted: str) -> str:
    """Return what to do about a name that does not exist: the existing names, nearest first."""
    named = [name for name in names if name]
    if not named:
        return "leave out --weights: the file holds one state dict, without a name"
    close = difflib.get_close_matches(wanted, named, n=len(named), cutoff=0.0)
    return f"use --weights with one of its state dicts: {', '.join(close)}"
