"""What a checkpoint shows without data or model code: its tensors, and its optimizer's state."""

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
from cohaudit.results.wording import compact, percent

MAX_SVD_SIDE = 8192
"""Largest shorter side of a matrix whose exact singular values are computed: a larger one takes minutes."""

NOISY_COHERENCE = 0.02
"""Coherence over time below which the steps mostly cancel."""

STEADY_COHERENCE = 0.2
"""Coherence over time above which the weights still move in one direction."""


@dataclass(frozen=True)
class TensorSummary:
    """One tensor of the state dict."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    norm: float | None
    """Euclidean norm; None if an entry is not finite, or the norm is beyond the range of a float."""
    not_finite: int
    """Number of entries that are NaN or infinite."""
    spectral_norm: float | None
    """Largest singular value, for a convolution of its output-by-input matrix; None for vectors."""
    stable_rank: float | None
    """‖W‖² / spectral norm²: the effective number of directions of the weight."""
    dead_units: int
    """Number of rows (outputs) that are all zero; 0 for vectors."""
    tied_to: str
    """Name of an earlier tensor that shares its memory; empty if none does."""
    coherence: float | None
    """Coherence of its gradients over the last steps, 0 to 1; None without two moments in the optimizer's
    state."""
    never_stepped: bool
    """Whether the optimizer's state has other tensors, but not this one: unused, or frozen."""


@dataclass(frozen=True)
class Inspection:
    """Contents of a checkpoint, with findings."""

    path: str
    """Path of the file."""
    format: str
    """Format of the file."""
    sha256: str
    """SHA-256 of the file's content."""
    optimizer: str
    """Kind of optimizer whose state it holds, in words; empty if none."""
    tensors: tuple[TensorSummary, ...]
    """Tensors in the order of the state dict."""
    layers: tuple[LayerSteadiness, ...]
    """Layers whose coherence over time is known, in the order of the state dict."""
    coherence: float | None
    """Coherence over time of all parameters together; None if unknown."""
    findings: tuple[str, ...]
    """Findings, each one sentence with its number and what to do."""


def inspect(checkpoint: Checkpoint) -> Inspection:
    """Inspect a checkpoint.

    Args:
        checkpoint: Checkpoint as read; only its tensors and its optimizer's state are used.
    """
    tensors = checkpoint.tensors
    moments = moments_by_name(checkpoint.optimizer, tensors) if checkpoint.optimizer else {}
    # tied tensors are reported once, under their first name
    first_names = _first_names(tensors)
    summaries = tuple(
        _summary(name, tensor, moments.get(name), first_names[name], bool(moments))
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
        tensors=summaries,
        layers=layers,
        coherence=whole,
        findings=(*_about_tensors(summaries), *_about_memory(kind, layers, whole)),
    )


def memory_of(checkpoint: Checkpoint) -> Memory | Skipped:
    """Return the coherence of the gradients over time, from the optimizer's state in a checkpoint.

    Args:
        checkpoint: Checkpoint as read; of its tensors only names and shapes are used.
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
    """Return the weight decay of the training run, from the optimizer's state in a checkpoint.

    Args:
        checkpoint: Checkpoint as read; only its optimizer's parameter groups are used.
    """
    groups = groups_of(checkpoint.optimizer) if checkpoint.optimizer else []
    # NaN, for a group without such a number, fails the comparison
    decays = [decay for group in groups if (decay := number_of(group.get("weight_decay"))) >= 0]
    if not decays:
        return Skipped("weight decay", "the checkpoint holds no optimizer state with a weight decay")
    decoupled = [group.get("decoupled_weight_decay") for group in groups]
    # older versions of torch write the same state for Adam and AdamW
    if max(decays) and any("betas" in group for group in groups) and None in decoupled:
        reason = (
            f"it is {compact(max(decays))}, but the optimizer's state does not say whether of Adam or AdamW"
        )
        return Skipped("weight decay", reason)
    same = len({*decays}) == 1 and len(decays) == len(groups)
    return TrainedDecay(float(max(decays)), same, any(decoupled))


def _first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return tensor name → the first name of a tensor with the same memory."""
    seen: dict[tuple[int, ...], str] = {}
    first_names = {}
    for name, tensor in tensors.items():
        # parts of one storage, such as packed weights, are one tensor only if they are the same part
        key = (tensor.untyped_storage().data_ptr(), int(tensor.storage_offset()), *tensor.shape)
        # all empty tensors have the same address
        first_names[name] = seen.setdefault(key, name) if tensor.numel() else name
    return first_names


def _summary(
    name: str, tensor: Tensor, moments: Moments | None, first_name: str, knows_others: bool
) -> TensorSummary:
    """Return the summary of one tensor.

    Args:
        name: Its name in the state dict.
        tensor: The tensor.
        moments: Moments of its gradients, if the optimizer's state has them.
        first_name: First name of a tensor with the same memory.
        knows_others: Whether the optimizer's state has any tensors.
    """
    # integer tensors are counters and indices: no norm, no singular values
    values = tensor.detach().double() if tensor.is_floating_point() else None
    bad = int((~torch.isfinite(values)).sum()) if values is not None else 0
    norm = spectral = rank = None
    dead = 0
    if values is not None and not bad:
        # scaled: the squares of numbers near the end of the range are beyond it
        scale = float(values.abs().max()) if values.numel() else 0.0
        scaled = values / (scale or 1.0)
        length = float(scaled.norm())
        norm = _finite(scale * length)
        if values.ndim > 1 and values.numel() and min(values.flatten(1).shape) <= MAX_SVD_SIDE:
            widest = _spectral_norm(scaled.flatten(1))
            spectral = _finite(scale * widest)
            rank = _finite(length**2 / widest**2) if widest else 0.0
        if values.ndim > 1:
            dead = int((values.flatten(1) == 0).all(1).sum())
    last = name.rpartition(".")[2]
    trained = tensor.is_floating_point() and last not in BUFFERS
    return TensorSummary(
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


def _spectral_norm(matrix: Tensor) -> float:
    """Return the largest singular value of a matrix; NaN if the algorithm does not converge."""
    try:
        return float(torch.linalg.matrix_norm(matrix, 2))
    except RuntimeError:
        return math.nan


def _layers(moments: Mapping[str, Moments]) -> Iterator[LayerSteadiness]:
    """Yield the layers whose coherence over time is known, by what precedes the last dot of a name."""
    parts: dict[str, list[Moments]] = {}
    for name, one in moments.items():
        parts.setdefault(name.rpartition(".")[0] or name, []).append(one)
    for layer, own in parts.items():
        coherence = _finite(temporal_coherence(own))
        if coherence is not None:
            yield LayerSteadiness(layer, coherence, max(one.steps for one in own))


def _finite(value: float | None) -> float | None:
    """Return a number; None if it is unknown or not finite."""
    return value if value is not None and math.isfinite(value) else None


def _kind(moments: Mapping[str, Moments]) -> str:
    """Return the kind of optimizer in words; empty without a state."""
    if not moments:
        return ""
    if all(one.second is not None for one in moments.values()):
        return "two moments (Adam, AdamW)"
    if any(one.first is not None for one in moments.values()):
        return "one moment (SGD with momentum, Lion)"
    return "no momentum"


def _about_tensors(summaries: Sequence[TensorSummary]) -> Iterator[str]:
    """Yield findings about the tensors."""
    broken = [one for one in summaries if one.not_finite]
    if broken:
        count = sum(one.not_finite for one in broken)
        yield (
            f"{count:,} weights are NaN or infinite, first in {broken[0].name}: the training run diverged. "
            "Go back to an earlier checkpoint."
        )
    dead = [one for one in summaries if one.dead_units]
    if dead:
        count = sum(one.dead_units for one in dead)
        most = max(dead, key=lambda one: one.dead_units).name
        yield f"{count:,} units have only zero weights, most in {most}. They can be removed."
    unused = [one for one in summaries if one.never_stepped]
    if unused:
        yield (
            f"The optimizer never updated {len(unused):,} tensors, first {unused[0].name}: they are frozen, "
            "or not part of the loss."
        )


def _about_memory(kind: str, layers: Sequence[LayerSteadiness], whole: float | None) -> Iterator[str]:
    """Yield findings about the optimizer's state."""
    if not kind:
        yield (
            "The checkpoint holds no optimizer state. To see how steady the gradients were, use a training "
            "checkpoint of Adam."
        )
        return
    if whole is None or not math.isfinite(whole):
        yield (
            f"The optimizer state has {kind}. How steady the gradients were can only be seen from two "
            "moments, as Adam stores, after at least two steps."
        )
        return
    # an estimate, which chance can take a little below 0
    share = (
        f"{percent(max(0.0, whole))} of the gradients' energy over the last steps was in one steady direction"
    )
    if whole < NOISY_COHERENCE:
        yield f"{share}: the steps mostly cancel each other."
    elif whole > STEADY_COHERENCE:
        yield f"{share}: the weights still move along it, and further training will change the model."
    else:
        yield f"{share}, the rest is noise of the batches. Nothing to do."
    if len(layers) > 1 and max(one.coherence for one in layers) > NOISY_COHERENCE:
        low, high = (choose(layers, key=lambda one: one.coherence) for choose in (min, max))
        yield (
            f"Steadiest layer: {high.name} ({percent(high.coherence)}); least steady: {low.name} "
            f"({percent(low.coherence)})."
        )
