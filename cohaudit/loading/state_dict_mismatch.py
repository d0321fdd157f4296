"""A checkpoint and a model that do not fit each other, in words that tell what to change."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from cohaudit.errors import printable

_SHOWN = 3
_LONGEST_NAME = 100
_COMPARED = 100


@dataclass(frozen=True)
class Mismatch:
    """What does not fit."""

    missing: Sequence[str]
    """Names of the model that the checkpoint lacks."""
    unexpected: Sequence[str]
    """Names of the checkpoint that the model lacks."""
    wrong: Mapping[str, tuple[Tensor, Tensor]]
    """Name → the checkpoint's tensor and the model's, where they differ in shape or in kind of number."""
    own: Sequence[str]
    """All names of the model, in its order."""
    given: Sequence[str]
    """All names of the checkpoint."""


def describe(mismatch: Mismatch, model: str) -> tuple[str, str]:
    """Put a mismatch into words.

    Args:
        mismatch: What does not fit; at least one thing.
        model: Class name of the model.

    Returns:
        What was found, one line each, names with a near match on the other side first; and what to do.
    """
    nearest = _nearest(mismatch.missing, mismatch.unexpected)
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
    """List the first names after a title, those with a note before the others; nothing when there is none."""
    if not names:
        return []
    ordered = sorted(names, key=lambda name: name not in notes)[:_SHOWN]
    shown = [_short(name) + (f" ({_short(notes[name])})" if name in notes else "") for name in ordered]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"  {len(names)} {title}: {', '.join(shown)}{more}"]


def _short(text: str) -> str:
    return printable(text, _LONGEST_NAME)


def _nearest(missing: Sequence[str], unexpected: Sequence[str]) -> dict[str, str]:
    """Pair names of the two sides, the most alike first; each name is used once."""
    pairs = []
    for ours in missing[:_COMPARED]:
        close = difflib.get_close_matches(ours, unexpected[:_COMPARED], n=3, cutoff=0.6)
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
    """Return what most likely has to change."""
    if wrapper := _prefix(mismatch.given, mismatch.own):
        return f"return the inner model from the factory: its names alone begin with {wrapper!r}"
    if wrapper := _prefix(mismatch.own, mismatch.given):
        return f"save the inner model's state_dict(): the checkpoint's names alone begin with {wrapper!r}"
    if not set(mismatch.own) & set(mismatch.given):
        return "check that --model is the model that was trained: no name is the same"
    if mismatch.unexpected and not mismatch.missing and not mismatch.wrong:
        return "check model_args, or save model.state_dict() alone: the checkpoint has more than the model"
    if mismatch.missing or mismatch.unexpected:
        return "build the model as it was trained: check the factory and model_args"
    if not any(_differ_in_shape(*pair) for pair in mismatch.wrong.values()):
        return "save the weights as the model has them: not quantized, nor converted to another type"
    if outputs := _outputs(mismatch):
        return f"set the number of classes in model_args: only the last layer differs, {outputs}"
    return "check model_args: the layers are the same but their sizes are not"


def _prefix(inner: Sequence[str], outer: Sequence[str]) -> str:
    """Return what the names of `outer` have before those of `inner`, if that is all the difference."""
    first = min(inner, key=len)
    prefixes = (name.removesuffix(first) for name in outer if name.endswith(f".{first}"))
    return next((p for p in prefixes if {p + name for name in inner} == set(outer)), "")


def _outputs(mismatch: Mismatch) -> str:
    """Return the outputs of both sides when the last layer alone differs, in nothing but these."""
    last = mismatch.own[-1].rpartition(".")[0]
    for name, (given, own) in mismatch.wrong.items():
        if name.rpartition(".")[0] != last or given.shape[1:] != own.shape[1:] or given.shape == own.shape:
            return ""
    given, own = next(iter(mismatch.wrong.values()))
    return f"{len(given)} outputs in the checkpoint, {len(own)} in the model"
