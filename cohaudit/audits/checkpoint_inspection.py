"""What a checkpoint tells without data or model code: its tensors, and its optimizer's memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cohaudit.audits.optimizer_state import (
    BUFFERS,
    Moments,
    groups_of,
    moments_by_name,
    number_of,
    temporal_coherence,
)
from cohaudit.loading.checkpoint import Checkpoint
from cohaudit.results import LayerSteadiness, Memory, Skipped, TrainedDecay

MAX_SVD_SIDE = 8192
"""Matrices with a shorter side beyond this are too large for exact singular values in seconds."""
NOISY_COHERENCE = 0.02
STEADY_COHERENCE = 0.2
"""Coherences over time below and above which something is said."""


@dataclass(frozen=True)
class TensorFacts:
    """One tensor of the state dict."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    norm: float | None
    """Euclidean norm; None where an entry is not finite."""
    not_finite: int
    """Entries that are NaN or infinite."""
    spectral_norm: float | None
    """Largest singular value, of a convolution as a matrix of output by input; None for vectors."""
    stable_rank: float | None
    """‖W‖² / spectral norm²: how many directions carry the weight."""
    dead_units: int
    """Rows (outputs) that are all zero; of vectors none are counted."""
    tied_to: str
    """Name of an earlier tensor with the same memory; empty for none."""
    coherence: float | None
    """Of its gradients over the last steps, 0 to 1; None without two moments in the optimizer's state."""
    never_stepped: bool
    """Whether the optimizer knows other tensors, and not this one: unused, or frozen."""


@dataclass(frozen=True)
class Inspection:
    """What was found in a checkpoint."""

    path: str
    format: str
    sha256: str
    optimizer: str
    """Which optimizer's memory it holds, in words; empty for none."""
    tensors: tuple[TensorFacts, ...]
    layers: tuple[LayerSteadiness, ...]
    """In the order of the state dict; those whose coherence can be told."""
    coherence: float | None
    """Of all parameters together."""
    findings: tuple[str, ...]
    """What to do about it, in sentences, each with its number."""


def inspect(checkpoint: Checkpoint) -> Inspection:
    """Inspect a checkpoint.

    Args:
        checkpoint: As read; only tensors and the optimizer's state are looked at.
    """
    tensors = checkpoint.tensors
    moments = moments_by_name(checkpoint.optimizer, tensors) if checkpoint.optimizer else {}
    first_names = _first_names(tensors)
    facts = tuple(
        _facts(name, tensor, moments.get(name), first_names[name], bool(moments))
        for name, tensor in tensors.items()
    )
    layers = tuple(_layers(moments))
    whole = temporal_coherence(list(moments.values()))
    kind = _kind(moments)
    return Inspection(
        path=checkpoint.path,
        format=checkpoint.format,
        sha256=checkpoint.sha256,
        optimizer=kind,
        tensors=facts,
        layers=layers,
        coherence=whole,
        findings=(*_about_tensors(facts), *_about_memory(kind, layers, whole)),
    )


def memory_of(checkpoint: Checkpoint) -> Memory | Skipped:
    """Return what the optimizer's state in a checkpoint tells of the gradients over time.

    Args:
        checkpoint: As read; its tensors are not looked at but for their names and shapes.
    """
    moments = moments_by_name(checkpoint.optimizer, checkpoint.tensors) if checkpoint.optimizer else {}
    kind = _kind(moments)
    layers = tuple(_layers(moments))
    whole = temporal_coherence(list(moments.values()))
    advice = " ".join(_about_memory(kind, layers, whole))
    if whole is None or not math.isfinite(whole):
        return Skipped("memory", advice)
    return Memory(kind, whole, layers, advice)


def decay_of(checkpoint: Checkpoint) -> TrainedDecay | Skipped:
    """Return the weight decay that an optimizer's state in a checkpoint tells.

    Args:
        checkpoint: As read; only the groups of its optimizer are looked at.
    """
    groups = groups_of(checkpoint.optimizer) if checkpoint.optimizer else []
    told = [decay for group in groups if (decay := number_of(group.get("weight_decay"))) >= 0]
    if not told:
        return Skipped("weight decay", "the checkpoint holds no optimizer's state that names it")
    apart = [group.get("decoupled_weight_decay") for group in groups]
    # older versions of Adam and AdamW write the same
    if max(told) and any("betas" in group for group in groups) and None in apart:
        reason = f"{max(told):g}, but whether by Adam or AdamW the optimizer's state does not say"
        return Skipped("weight decay", reason)
    return TrainedDecay(float(max(told)), len({*told}) == 1 and len(told) == len(groups), any(apart))


def _first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return for each tensor the first name under which its memory occurs."""
    seen: dict[tuple[int, ...], str] = {}
    found = {}
    for name, tensor in tensors.items():
        key = (tensor.untyped_storage().data_ptr(), int(tensor.storage_offset()), *tensor.shape)
        found[name] = seen.setdefault(key, name) if tensor.numel() else name
    return found


def _facts(
    name: str, tensor: Tensor, moments: Moments | None, first_name: str, knows_others: bool
) -> TensorFacts:
    values = tensor.detach().double() if tensor.is_floating_point() else None
    bad = int((~torch.isfinite(values)).sum()) if values is not None else 0
    norm = spectral = rank = None
    dead = 0
    if values is not None and not bad:
        norm = float(values.norm())
        if values.ndim > 1 and values.numel() and min(values.flatten(1).shape) <= MAX_SVD_SIDE:
            spectral = float(torch.linalg.matrix_norm(values.flatten(1), 2))
            rank = norm**2 / spectral**2 if spectral else 0.0
        if values.ndim > 1:
            dead = int((values.flatten(1) == 0).all(1).sum())
    last = name.rpartition(".")[2]
    trained = tensor.is_floating_point() and last not in BUFFERS
    return TensorFacts(
        name=name,
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        norm=norm,
        not_finite=bad,
        spectral_norm=spectral,
        stable_rank=rank,
        dead_units=dead,
        tied_to=first_name if first_name != name else "",
        coherence=_finite(temporal_coherence([moments])) if moments else None,
        never_stepped=knows_others and trained and moments is None and first_name == name,
    )


def _layers(moments: Mapping[str, Moments]) -> Iterator[LayerSteadiness]:
    parts: dict[str, list[Moments]] = {}
    for name, one in moments.items():
        parts.setdefault(name.rpartition(".")[0] or name, []).append(one)
    for layer, own in parts.items():
        coherence = _finite(temporal_coherence(own))
        if coherence is not None:
            yield LayerSteadiness(layer, coherence, max(one.steps for one in own))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _kind(moments: Mapping[str, Moments]) -> str:
    if not moments:
        return ""
    some = list(moments.values())
    if all(one.second is not None for one in some):
        return "two moments (Adam, AdamW)"
    return (
        "one moment (SGD with momentum, Lion)"
        if any(one.first is not None for one in some)
        else "no momentum"
    )


def _about_tensors(facts: Sequence[TensorFacts]) -> Iterator[str]:
    broken = [one for one in facts if one.not_finite]
    if broken:
        count = sum(one.not_finite for one in broken)
        yield (
            f"{count:,} weights are NaN or infinite, first in {broken[0].name}: "
            "the training diverged; go back to an earlier checkpoint."
        )
    dead = [one for one in facts if one.dead_units]
    if dead:
        count = sum(one.dead_units for one in dead)
        most = max(dead, key=lambda one: one.dead_units).name
        yield f"{count:,} units have only zero weights, most in {most}: they can be cut."
    unused = [one for one in facts if one.never_stepped]
    if unused:
        yield (
            f"{len(unused):,} tensors were never stepped by the optimizer, first {unused[0].name}: "
            "frozen on purpose, or not part of the loss."
        )


def _about_memory(kind: str, layers: Sequence[LayerSteadiness], whole: float | None) -> Iterator[str]:
    if not kind:
        yield (
            "It holds no optimizer's state: how steady the gradients were is told by a training checkpoint "
            "of Adam."
        )
        return
    if whole is None or not math.isfinite(whole):
        yield (
            f"The optimizer keeps {kind}: how steady the gradients were takes two moments, as Adam's, "
            "and two steps."
        )
        return
    share = f"{max(0.0, whole):.1%} of the gradients' energy over the last steps was one steady direction"
    if whole < NOISY_COHERENCE:
        yield f"{share}: the steps mostly undo each other."
    elif whole > STEADY_COHERENCE:
        yield f"{share}: the weights are still being moved along it, and training on will change the model."
    else:
        yield f"{share}, the rest noise of the batches: nothing to do."
    if len(layers) > 1 and max(one.coherence for one in layers) > NOISY_COHERENCE:
        low, high = (choose(layers, key=lambda one: one.coherence) for choose in (min, max))
        yield (
            f"It is steadiest in {high.name} ({high.coherence:.1%}), "
            f"least in {low.name} ({low.coherence:.1%})."
        )
