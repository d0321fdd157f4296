"""Describes how a checkpoint and a model differ, and suggests what to change."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from cohaudit.errors import printable

_MAX_NAMES_SHOWN = 3
"""Names to list in each line of the message."""
_MAX_NAME_LENGTH = 100
"""Longest name to show, in characters."""
_MAX_NAMES_COMPARED = 100
"""Names of each side to search for near matches: the time grows with the product of both sides."""
_NEAR = 0.6
"""Smallest similarity of two names, of 1, to call one like the other: difflib's own default."""


@dataclass(frozen=True)
class Mismatch:
    """Differences between the tensors of a checkpoint and those of a model."""

    missing: Sequence[str]
    """Names of the model that are not in the checkpoint."""
    unexpected: Sequence[str]
    """Names of the checkpoint that are not in the model."""
    wrong: Mapping[str, tuple[Tensor, Tensor]]
    """Name → (checkpoint's tensor, model's tensor), if they differ in shape or in kind of number."""
    own: Sequence[str]
    """All names of the model, in its order."""
    given: Sequence[str]
    """All names of the checkpoint."""


def describe(mismatch: Mismatch, model: str) -> tuple[str, str]:
    """Describe a mismatch in words.

    Args:
        mismatch: The differences, at least one.
        model: Class name of the model.

    Returns:
        What was found, one line for each kind of difference, names with a near match on the other side first;
        and what to do.
    """
    nearest = _nearest(mismatch.missing, mismatch.unexpected)
    # in both directions, so that either line can point to the other
    likes = {name: f"like {near}" for pair in nearest.items() for name, near in (pair, pair[::-1])}
    shapes = {name: _shapes(*pair) for name, pair in mismatch.wrong.items() if _differ_in_shape(*pair)}
    types = {name: _types(*pair) for name, pair in mismatch.wrong.items() if name not in shapes}
    found = [
        f"does not fit the model ({model})",
        *_line("missing, only in the model", mismatch.missing, likes),
        *_line("unexpected, only in the checkpoint", mismatch.unexpected, likes),
        *_line("of another shape", list(shapes), shapes),
        *_line("of another type", list(types), types),
    ]
    return "\n".join(found), _remedy(mismatch)


def _line(title: str, names: Sequence[str], notes: Mapping[str, str]) -> list[str]:
    """Return a line that lists the first names, those with a note first; no line without names."""
    if not names:
        return []
    # a name with a near match on the other side is probably a renamed layer: the most useful hint
    ordered = sorted(names, key=lambda name: name not in notes)[:_MAX_NAMES_SHOWN]
    shown = [_short(name) + (f" ({_short(notes[name])})" if name in notes else "") for name in ordered]
    rest = len(names) - _MAX_NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return [f"  {len(names)} {title}: {', '.join(shown)}{more}"]


def _short(text: str) -> str:
    return printable(text, _MAX_NAME_LENGTH)


def _nearest(missing: Sequence[str], unexpected: Sequence[str]) -> dict[str, str]:
    """Pair similar names of the two sides; the most similar pairs win, and each name is used once."""
    pairs = []
    for ours in missing[:_MAX_NAMES_COMPARED]:
        close = difflib.get_close_matches(ours, unexpected[:_MAX_NAMES_COMPARED], n=3, cutoff=_NEAR)
        pairs += [(difflib.SequenceMatcher(None, ours, theirs).ratio(), ours, theirs) for theirs in close]
    nearest: dict[str, str] = {}
    for _, ours, theirs in sorted(pairs, reverse=True):
        if ours not in nearest and theirs not in nearest.values():
            nearest[ours] = theirs
    return nearest


def _differ_in_shape(given: Tensor, own: Tensor) -> bool:
    return given.shape != own.shape


def _shapes(given: Tensor, own: Tensor) -> str:
    return f"checkpoint {list(given.shape)}, model {list(own.shape)}"


def _types(given: Tensor, own: Tensor) -> str:
    return f"checkpoint {given.dtype}, model {own.dtype}".replace("torch.", "")


def _remedy(mismatch: Mismatch) -> str:
    """Return what to do, for the likeliest cause; the special causes come before the general ones."""
    if wrapper := _prefix(mismatch.given, mismatch.own):
        return f"return the inner model from the factory: only the model's names begin with {wrapper!r}"
    if wrapper := _prefix(mismatch.own, mismatch.given):
        return f"pass --prefix {wrapper}: only the checkpoint's names begin with it"
    if not set(mismatch.own) & set(mismatch.given):
        return "check that --model is the trained model: the two have no name in common"
    if mismatch.unexpected and not mismatch.missing and not mismatch.wrong:
        first = printable(mismatch.unexpected[0].partition(".")[0], _MAX_NAME_LENGTH)
        return (
            f"if {first} is no part of the network, pass --ignore-keys '{first}*'; else check model_args, or"
            " save only model.state_dict(): the checkpoint has more than the model"
        )
    if mismatch.missing or mismatch.unexpected:
        return "build the model as it was trained: check the factory and model_args"
    if not any(_differ_in_shape(*pair) for pair in mismatch.wrong.values()):
        return "save the weights in the model's own type: neither quantized nor converted"
    if outputs := _outputs(mismatch):
        return f"set the number of classes in model_args: only the last layer differs, {outputs}"
    return "check model_args: the layers are the same, but their sizes differ"


def _prefix(inner: Sequence[str], outer: Sequence[str]) -> str:
    """Return the prefix of the names of `outer`, if they are otherwise the names of `inner`; else ''."""
    # the shortest name has the fewest possible ends of other names in it, and so the fewest false prefixes
    first = min(inner, key=len)
    prefixes = (name.removesuffix(first) for name in outer if name.endswith(f".{first}"))
    return next((p for p in prefixes if {p + name for name in inner} == set(outer)), "")


def _outputs(mismatch: Mismatch) -> str:
    """Describe the number of outputs of both sides, if only the last layer's outputs differ; else ''."""
    # modules are listed in the order of definition, so the last one is usually the output layer
    last = mismatch.own[-1].rpartition(".")[0]
    for name, (given, own) in mismatch.wrong.items():
        if name.rpartition(".")[0] != last or given.shape[1:] != own.shape[1:] or given.shape == own.shape:
            return ""
    given, own = next(iter(mismatch.wrong.values()))
    return f"{len(given)} outputs in the checkpoint, {len(own)} in the model"
