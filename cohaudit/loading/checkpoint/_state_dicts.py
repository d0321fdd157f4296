"""Which of the dictionaries inside a torch file are the weights, and which of those to use."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor, nn

from cohaudit.errors import CheckpointError

TRAINED = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
"""Names under which training scripts keep the trained weights, the preferred first."""

_EMA = re.compile(r"(^|[._])(ema|swa|averaged|shadow)", re.IGNORECASE)
_DEEPEST = 4


def find_state_dicts(content: Any) -> dict[str, dict[str, Tensor]]:
    """Find every state dict in what torch.load returned.

    A state dict is a dictionary that has float tensors directly in it. One that also holds another state
    dict counts only if its tensors' names are those of layers (with a dot): {"model": …, "loss": tensor} is
    no state dict. What is not a tensor in a state dict is left out; optimizers and lists are not searched.

    Args:
        content: Any object.

    Returns:
        Dotted path of the state dict, '' for the outermost → its tensors, detached.
    """
    return {".".join(path): tensors for path, tensors in _walk(content, (), set())}


def _walk(
    content: Any, path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, dict) or _is_optimizer(content) or len(path) > _DEEPEST or id(content) in seen:
        return
    seen.add(id(content))  # a pickled dictionary can contain itself
    # dict.items, not content.items: a pickled OrderedDict can bring an attribute of that name
    entries = [(key, value) for key, value in dict.items(content) if isinstance(key, str)]
    tensors = {key: value.detach() for key, value in entries if isinstance(value, Tensor)}
    inner = [
        found for key, value in entries if key.isprintable() for found in _walk(value, (*path, key), seen)
    ]
    is_float = any(t.is_floating_point() or t.is_complex() or t.is_quantized for t in tensors.values())
    if is_float and (not inner or any("." in key for key in tensors)):
        yield path, tensors
    yield from inner


def find_optimizer(content: Any) -> dict[str, Any] | None:
    """Return the state of the optimizer in a training checkpoint.

    Args:
        content: What torch.load returned.

    Returns:
        The optimizer's state dict; None when there is none or, as in adversarial training, several.
    """
    if not isinstance(content, dict):
        return None
    values = [v for value in dict.values(content) for v in (value if isinstance(value, list) else [value])]
    found = [value for value in values if _is_optimizer(value)]
    return found[0] if len(found) == 1 else None


def find_epoch(content: Any) -> int | None:
    """Return the epoch that a training checkpoint says it is of; None when it says none.

    Args:
        content: What torch.load returned.
    """
    epoch = dict.get(content, "epoch") if isinstance(content, dict) else None
    return epoch if type(epoch) is int else None


def _is_optimizer(content: Any) -> bool:
    return isinstance(content, dict) and {"state", "param_groups"} <= dict.keys(content)


def choose(names: Collection[str], wanted: str, where: str) -> str:
    """Choose the state dict to audit.

    The one asked for; else the outermost, if that is one; else, averaged copies (EMA) aside, the one with the
    first name of `TRAINED`.

    Args:
        names: The state dicts found, at least one.
        wanted: Its dotted path, or the first parts of it; empty for the default.
        where: The checkpoint, for messages.

    Returns:
        One of `names`.

    Raises:
        CheckpointError: If `wanted` is not among them, or none is preferred to the others.
    """
    if wanted:
        found = [name for name in names if name == wanted] or [n for n in names if n.startswith(f"{wanted}.")]
        if len(found) != 1:
            raise CheckpointError(where, f"no state dict {wanted!r} in it", _weights_hint(names, wanted))
        return found[0]
    trained = [name for name in names if not _EMA.search(name)] or list(names)
    best = min(map(_rank, trained))
    candidates = [name for name in trained if _rank(name) == best]
    if len(candidates) > 1:
        raise CheckpointError(
            where,
            f"several state dicts, none of them named as the model's: {', '.join(candidates)}",
            f"choose one: --weights {candidates[0]}",
        )
    return candidates[0]


def _rank(name: str) -> int:
    first = name.partition(".")[0]
    if not name:
        return -1
    return TRAINED.index(first) if first in TRAINED else len(TRAINED)


def _weights_hint(names: Collection[str], wanted: str) -> str:
    named = [name for name in names if name]
    if not named:
        return "leave out --weights: it holds a single one, without a name"
    close = difflib.get_close_matches(wanted, named, n=len(named), cutoff=0.0)
    return f"choose one of those in it: --weights {', '.join(close)}"
