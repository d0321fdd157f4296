"""Finds out how to measure a model, by running it on two batches of different size.

Every call that takes weights is recorded. A dimension that differs between the two batches is that of the
samples. A call of a function with a closed form uses it; any other goes through a vmap of its own
vector-Jacobian product; what neither can express is left to a loop over single samples. Nothing is left out
without a `Skipped`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cohaudit.errors import EngineError, describe_error
from cohaudit.gradients.forms import recurrent
from cohaudit.gradients.forms.functions import CLOSED_FORMS
from cohaudit.gradients.residuals import logits_of
from cohaudit.gradients.tracing.plan import MAX_FEATURE_LAYERS, Batch, Plan, Use, owner_name
from cohaudit.gradients.tracing.trace import Trace, TracedCall, call, every_module_called, trace_both
from cohaudit.results import Skipped


def _batch(first: Any, second: Any, sizes: tuple[int, int]) -> Batch | None:
    """Return where the samples stand in a tensor, from its shapes at both batch sizes.

    Raises:
        ValueError: If the shapes differ by more than the number of samples.
    """
    if first == second:
        return None
    changed = [d for d in range(len(first)) if len(first) == len(second) and first[d] != second[d]]
    if len(changed) != 1:
        raise ValueError("shapes differ in more than the batch")
    large = first[changed[0]]
    small = second[changed[0]]
    if large % sizes[0] or large * sizes[1] != small * sizes[0]:
        raise ValueError("a size does not follow the batch")
    return Batch(changed[0], large // sizes[0])


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
        if type(a) is int and a != b:  # as in x.view(len(x) * positions, -1)
            _batch((a,), (b,), sizes)
            numbers.add(position)
    return tuple(dims), frozenset(numbers)


def _use(a: TracedCall, b: TracedCall, trace: Trace, sizes: tuple[int, int]) -> Use:
    """Return how a call is measured, from its records at both batch sizes, and the trace of the first.

    Raises:
        ValueError: If only the loop can.
    """
    if a.changes_in_place or len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs):
        raise ValueError("no output to watch")
    inputs, numbers = _batches(a.inputs, b.inputs, sizes)
    outputs, _ = _batches(a.outputs, b.outputs, sizes)
    if not any(outputs):
        raise ValueError("the output does not follow the batch")
    if trace.sizes_from_data and any(batch is not None and batch.fold > 1 for batch in (*inputs, *outputs)):
        # sequences without padding may have one length in the probes and others later, where equal parts of
        # all rows would not be the samples'
        raise ValueError("sizes depend on the data")
    weights = {label: trace.behind[label] for label in a.call.weights.values()}
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


def _features(uses: Mapping[str, Use], calls: Mapping[str, TracedCall]) -> tuple[str, ...]:
    """Return the keys of the uses whose inputs represent a sample, input side first; see `Plan.features`."""
    first: dict[str, str] = {}
    for key, use in uses.items():
        leaf = calls[key].call.leaves[0]
        # the numbers of tokens do not represent a sample
        lookup = calls[key].call.function is torch.nn.functional.embedding
        if use.inputs[0] is not None and leaf.is_floating_point() and not lookup:
            first.setdefault(use.layer, key)
    # a norm only rescales the output of the map before it, and the next map receives the result anyway
    maps = [key for key in first.values() if not _is_norm(calls[key].call.function)] or list(first.values())
    if len(maps) <= MAX_FEATURE_LAYERS:
        return tuple(maps)
    last = len(maps) - 1
    return tuple(maps[round(k * last / (MAX_FEATURE_LAYERS - 1))] for k in range(MAX_FEATURE_LAYERS))


def _is_norm(function: Any) -> bool:
    return getattr(function, "__name__", "").endswith("_norm")


def make_plan(model: nn.Module, probes: tuple[Any, Any], sizes: tuple[int, int]) -> Plan:
    """Plan how to measure a model.

    Args:
        model: In eval mode.
        probes: Two batches of inputs on the model's device.
        sizes: Their numbers of samples, which must differ.

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
    for key in dict.fromkeys([*first.calls, *second.calls]):  # a dict keeps the order of the calls
        trace = first if key in first.calls else second
        if key in trace.derived:
            continue
        names = trace.parameters_of(trace.calls[key].call)
        seen.update(names)
        try:
            uses[key] = _use(first.calls[key], second.calls[key], first, sizes)
        except (KeyError, ValueError):  # KeyError: the call is made at one of the batch sizes only
            failed.update(names)
    # in the order of the forward pass, not of registration: input side first
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
        features=_features(uses, first.calls),
        skipped=_skipped(model, used),
        coverage=sum(p.numel() for p in used.values()) / sum(p.numel() for p in trainable.values()),
    )


def make_looped_plan(model: nn.Module, inputs: Any) -> Plan:
    """Plan to measure a model sample by sample, without watching its calls.

    That is the way for a model whose calls cannot be watched, such as one that takes gradients in its own
    forward pass. No layer's inputs are stored then.

    Args:
        model: In eval mode.
        inputs: A batch on the model's device.

    Raises:
        EngineError: If nothing is trainable, or nothing trainable reaches the output.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    used = _reaching(model, trainable, inputs)
    return Plan(
        parameters=used,
        layer_of={name: owner_name(name) for name in used},
        uses={},
        derived=frozenset(),
        behind={},
        looped=frozenset(used),
        features=(),
        skipped=_skipped(model, used),
        coverage=sum(p.numel() for p in used.values()) / sum(p.numel() for p in trainable.values()),
    )


def _reaching(
    model: nn.Module, trainable: Mapping[str, nn.Parameter], inputs: Any
) -> dict[str, nn.Parameter]:
    """Return the parameters that the output depends on.

    Raises:
        EngineError: If it depends on none, or its gradients cannot be formed.
    """
    with torch.enable_grad(), every_module_called():
        # autograd returns None, not zero, for a parameter that the output does not depend on
        total = logits_of(call(model, inputs)).sum()
    grads: tuple[Tensor | None, ...] = ()
    if total.requires_grad:
        try:
            grads = torch.autograd.grad(total, list(trainable.values()), allow_unused=True)
        except RuntimeError as error:
            raise EngineError(
                "model",
                f"its gradients cannot be formed: {describe_error(error)}",
                "check the forward pass for custom functions without a backward pass",
            ) from error
    # not strict: without a graph there are no gradients to pair, and nothing is used
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
