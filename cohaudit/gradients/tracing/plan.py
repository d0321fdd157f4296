"""Which calls of the forward pass use which parameters, and how: found out by running the model.

Two batches of different size go through the model, every call that takes weights is noted, and where the
two differ stands the batch. A call of a function with a closed form uses it; any other goes through a vmap of
its own vjp; what neither can express is left to a loop of single samples. Nothing is left out without a
`Skipped`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cohaudit.errors import EngineError, describe_error
from cohaudit.gradients.forms import recurrent
from cohaudit.gradients.forms.functions import CLOSED_FORMS, ClosedForm
from cohaudit.gradients.residuals import logits_of
from cohaudit.gradients.tracing.trace import Note, call, every_module_called, trace_both
from cohaudit.results import Skipped

Path = Literal["closed form", "vmap", "loop"]
ROOT = "(model)"
REPRESENTATIONS = 6
"""Layers whose inputs are kept of every sample: more measured no better, and each takes memory."""


@dataclass(frozen=True)
class Batch:
    """Where the samples stand in a tensor.

    Attributes:
        dim: Dimension.
        fold: Entries per sample there: 1, or more where other positions are folded into the batch.
        inner: Whether the samples of a fold follow one another, rather than the positions of a sample.
    """

    dim: int
    fold: int
    inner: bool = False

    def split(self, tensor: Tensor, samples: int) -> Tensor:
        """Return the tensor as [samples, ...], each sample as in a batch of its own."""
        # how much is folded in may differ from batch to batch, as the length of padded sequences does
        sizes = (-1, samples)
        place = self.dim + 1
        if not self.inner:
            sizes = (samples, -1)
            place = self.dim
        split: Tensor = tensor.unflatten(self.dim, sizes)
        return split.movedim(place, 0)

    def samples_first(self, tensor: Tensor, samples: int) -> Tensor:
        """Return the tensor as [samples, ...]; only a fold stays where the batch was."""
        return self.split(tensor, samples) if self.fold > 1 else tensor.movedim(self.dim, 0)


@dataclass(frozen=True)
class Use:
    """How one call's weights get their per-sample gradients.

    Attributes:
        layer: Name of the layer that owns the first of its parameters.
        form: The closed form; None for the vmap path and for recurrent layers.
        recurrent: Whether it is a recurrent layer that is unrolled.
        weights: Label → names of the parameters behind it.
        inputs: Where the samples stand in each leaf of the arguments, None for what all share.
        outputs: Likewise for the output.
        numbers: Positions of the integers among the arguments that follow the batch size.
    """

    layer: str
    form: ClosedForm | None
    recurrent: bool
    weights: Mapping[str, tuple[str, ...]]
    inputs: tuple[Batch | None, ...]
    outputs: tuple[Batch | None, ...]
    numbers: frozenset[int]

    def fits(self, leaves: Sequence[Any], samples: int) -> bool:
        """Return whether the arguments of another batch hold its samples where the plan expects them."""
        for leaf, batch in zip(leaves, self.inputs, strict=False):
            if batch is None:
                continue
            size = leaf.shape[batch.dim]
            if size % samples or (batch.fold == 1 and size != samples):
                return False
        return len(leaves) == len(self.inputs)


@dataclass(frozen=True)
class Plan:
    """Everything the engine needs to know about a model.

    Attributes:
        parameters: Name → parameter, for each one measured; layer by layer, input side first.
        layer_of: Parameter name → name of the layer that owns it.
        uses: Key of a call → how it is measured.
        derived: Keys of calls whose output follows from parameters alone.
        behind: Label of a weight → names of the parameters that it follows from.
        looped: Names of the parameters measured by a loop over samples.
        features: Keys of the uses whose inputs represent a sample, input side first, of one layer each: at
            most `REPRESENTATIONS`, evenly spaced, the first and the last among them.
        skipped: Parameters that are not measured, and why.
        coverage: Share of the trainable parameters that is measured.
    """

    parameters: Mapping[str, nn.Parameter]
    layer_of: Mapping[str, str]
    uses: Mapping[str, Use]
    derived: frozenset[str]
    behind: Mapping[str, tuple[str, ...]]
    looped: frozenset[str]
    features: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    coverage: float

    def with_loop(self, names: Iterable[str]) -> Plan:
        """Return the plan with these parameters measured by the loop."""
        return replace(self, looped=self.looped | frozenset(names))

    def with_inner(self, names: Iterable[str]) -> Plan:
        """Return the plan with the folds of these parameters' uses read the other way around."""

        def turned(batch: Batch | None) -> Batch | None:
            return batch if batch is None or batch.fold == 1 else replace(batch, inner=True)

        wanted = set(names)
        uses = dict(self.uses)
        for key, use in self.uses.items():
            if wanted & {name for behind in use.weights.values() for name in behind}:
                inputs = map(turned, use.inputs)
                outputs = map(turned, use.outputs)
                uses[key] = replace(use, inputs=tuple(inputs), outputs=tuple(outputs))
        return replace(self, uses=uses)

    def path(self, layer: str) -> Path:
        """Return the slowest path among a layer's parameters."""
        names = {name for name, owner in self.layer_of.items() if owner == layer}
        if names & self.looped:
            return "loop"
        for use in self.uses.values():
            generic = use.form is None and not use.recurrent
            for label, behind in use.weights.items():
                if names & set(behind) and (generic or label not in self.parameters):
                    return "vmap"
        return "closed form"

    @property
    def all_looped(self) -> bool:
        """Whether the loop measures everything."""
        return self.looped.issuperset(self.parameters)


def _batch(first: Any, second: Any, sizes: tuple[int, int]) -> Batch | None:
    """Return where the batch stands, from a tensor's shapes at both batch sizes.

    Raises:
        ValueError: If the shapes differ in another way than by samples.
    """
    if first == second:
        return None
    moved = [d for d in range(len(first)) if len(first) == len(second) and first[d] != second[d]]
    if len(moved) != 1:
        raise ValueError("shapes differ in more than the batch")
    large = first[moved[0]]
    small = second[moved[0]]
    if large % sizes[0] or large * sizes[1] != small * sizes[0]:
        raise ValueError("a size does not follow the batch")
    return Batch(moved[0], large // sizes[0])


def _batches(
    first: Sequence[Any], second: Sequence[Any], sizes: tuple[int, int]
) -> tuple[tuple[Batch | None, ...], frozenset[int]]:
    """Return where the samples stand in each tensor, and the integers that follow the batch size."""
    dims: list[Batch | None] = []
    numbers = set()
    for position, (a, b) in enumerate(zip(first, second, strict=True)):
        if isinstance(a, torch.Size) and isinstance(b, torch.Size):
            dims.append(_batch(a, b, sizes))
            continue
        dims.append(None)
        if type(a) is int and a != b:
            _batch((a,), (b,), sizes)
            numbers.add(position)
    return tuple(dims), frozenset(numbers)


def _use(a: Note, b: Note, behind: Mapping[str, tuple[str, ...]], sizes: tuple[int, int]) -> Use:
    """Return how a call is measured.

    Raises:
        ValueError: If only the loop can.
    """
    if a.changes_in_place or len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs):
        raise ValueError("no output to watch")
    inputs, numbers = _batches(a.inputs, b.inputs, sizes)
    outputs, _ = _batches(a.outputs, b.outputs, sizes)
    if not any(outputs):
        raise ValueError("the output does not follow the batch")
    weights = {label: behind[label] for label in a.call.weights.values()}
    first = next(name for names in weights.values() for name in names)
    form = CLOSED_FORMS.get(a.call.function)
    unrolled = False
    args, kwargs = a.call.arguments()
    batched = [i for i, batch in enumerate(inputs) if batch is not None]
    if form is not None:
        batch = inputs[form.input]
        placed = batch is not None and (form.position_wise or (batch.dim, batch.fold) == (0, 1))
        if not placed or batched != [form.input] or not form.usable(*args, **kwargs):
            form = None
    elif a.call.function in recurrent.CELLS and not kwargs and recurrent.usable(a.call.function, args):
        unrolled = inputs[0] == Batch(0 if args[-1] else 1, 1)
    return Use(owner_name(first), form, unrolled, weights, inputs, outputs, numbers)


def owner_name(parameter: str) -> str:
    """Return which layer owns a parameter; a parametrization belongs to the module that it serves."""
    module = parameter.rpartition(".")[0]
    head, found, _ = f".{module}".partition(".parametrizations.")
    return (head[1:] if found else module) or ROOT


def _features(uses: Mapping[str, Use], notes: Mapping[str, Note]) -> tuple[str, ...]:
    """Return the keys of the uses whose inputs represent a sample, input side first."""
    first: dict[str, str] = {}
    for key, use in uses.items():
        leaf = notes[key].call.leaves[0]
        lookup = notes[key].call.function is torch.nn.functional.embedding
        if use.inputs[0] is not None and leaf.is_floating_point() and not lookup:
            first.setdefault(use.layer, key)
    # norms see what the map before them gives, and a map sees it again behind the norm
    maps = [key for key in first.values() if not _is_norm(notes[key].call.function)] or list(first.values())
    if len(maps) <= REPRESENTATIONS:
        return tuple(maps)
    last = len(maps) - 1
    return tuple(maps[round(k * last / (REPRESENTATIONS - 1))] for k in range(REPRESENTATIONS))


def _is_norm(function: Any) -> bool:
    return getattr(function, "__name__", "").endswith("_norm")


def make_plan(model: nn.Module, probes: tuple[Any, Any], sizes: tuple[int, int]) -> Plan:
    """Find out how to measure a model.

    Args:
        model: In eval mode.
        probes: Two batches of inputs on the model's device.
        sizes: Their numbers of samples, which differ.

    Raises:
        EngineError: If nothing is trainable, or nothing trainable reaches the output.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise EngineError(
            "model", "none of its parameters is trainable", "leave requires_grad on in the factory"
        )
    used = _reaching(model, trainable, probes[0])
    first, second = trace_both(model, used, probes)
    uses: dict[str, Use] = {}
    seen: set[str] = set()
    failed: set[str] = set()
    for key in dict.fromkeys([*first.notes, *second.notes]):  # in the order of the calls
        trace = first if key in first.notes else second
        if key in trace.derived:
            continue
        names = trace.parameters_of(trace.notes[key].call)
        seen.update(names)
        try:
            uses[key] = _use(first.notes[key], second.notes[key], first.behind, sizes)
        except (KeyError, ValueError):  # KeyError: the call is made at one of the batch sizes only
            failed.update(names)
    entered = [name for use in uses.values() for names in use.weights.values() for name in names]
    layers = list(dict.fromkeys(owner_name(name) for name in [*entered, *used]))
    order = sorted(used, key=lambda name: layers.index(owner_name(name)))
    return Plan(
        parameters={name: used[name] for name in order},
        layer_of={name: owner_name(name) for name in order},
        uses=uses,
        derived=frozenset(first.derived),
        behind=first.behind,
        looped=frozenset((used.keys() - seen) | failed),
        features=_features(uses, first.notes),
        skipped=_skipped(model, used),
        coverage=sum(p.numel() for p in used.values()) / sum(p.numel() for p in trainable.values()),
    )


def _reaching(
    model: nn.Module, trainable: Mapping[str, nn.Parameter], inputs: Any
) -> dict[str, nn.Parameter]:
    """Return the parameters that take part in the output.

    Raises:
        EngineError: If none does, or autograd cannot tell.
    """
    with torch.enable_grad(), every_module_called():
        total = logits_of(call(model, inputs)).sum()
    grads: tuple[Tensor | None, ...] = ()
    if total.requires_grad:
        try:
            grads = torch.autograd.grad(total, list(trainable.values()), allow_unused=True)
        except RuntimeError as error:
            raise EngineError(
                "model",
                f"its gradients cannot be formed: {describe_error(error)}",
                "check the forward pass; checkpointed activations need use_reentrant=False",
            ) from error
    used = {name: p for (name, p), g in zip(trainable.items(), grads, strict=False) if g is not None}
    if not used:
        raise EngineError(
            "model",
            "its output depends on none of its parameters",
            "check the forward pass for no_grad or detach",
        )
    return used


def _skipped(model: nn.Module, used: Mapping[str, nn.Parameter]) -> tuple[Skipped, ...]:
    """Return one entry per parameter that is not measured."""
    reasons = {
        name: "takes no part in the model's output"
        if p.requires_grad
        else "is frozen (requires_grad is False)"
        for name, p in model.named_parameters()
        if name not in used
    }
    return tuple(Skipped(f"parameter {name}", reason) for name, reason in reasons.items())
