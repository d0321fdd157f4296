"""Forward passes that record every call that takes weights, and decide which outputs are derived weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils import checkpoint

from cohaudit.gradients.forms.functions import CLOSED_FORMS
from cohaudit.gradients.residuals import logits_of
from cohaudit.gradients.tracing.intercept import Call, Interceptor

MAX_TRACES = 20
"""Largest number of traces. Each decides about the calls that depend on those decided before; networks need
two or three."""


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model on a batch: a tensor, a tuple of arguments, or a dict of keyword arguments."""
    with _checkpoints_in_graph():
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


class _CheckpointInGraph:
    """Stands in for the function behind re-entrant checkpoints, with its signature."""

    @staticmethod
    def apply(function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        return checkpoint.checkpoint(
            function, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state
        )


@contextmanager
def _checkpoints_in_graph() -> Iterator[None]:
    """Let checkpoints with use_reentrant=True compute as those with use_reentrant=False do: the same numbers.

    A re-entrant one starts a backward pass of its own inside the backward pass, which adds to the `.grad` of
    parameters and cannot return gradients.
    """
    reentrant = checkpoint.CheckpointFunction
    checkpoint.CheckpointFunction = _CheckpointInGraph  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = reentrant  # type: ignore[misc]


@contextmanager
def every_module_called() -> Iterator[None]:
    """Keep torch from fusing a transformer layer into one operation, whose parts cannot be intercepted."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def is_closed(function: Any) -> bool:
    """Return whether a function has a closed form, so that the calls within it need not be intercepted."""
    return function in CLOSED_FORMS


@dataclass
class TracedCall:
    """What a trace records of one call.

    Attributes:
        call: The call.
        inputs: Shape of each leaf of its arguments; the leaf itself if it is not a tensor.
        outputs: Shape of each leaf of its output; None if it is not a tensor.
        changes_in_place: Whether it writes to one of its arguments and returns nothing.
    """

    call: Call
    inputs: list[Any]
    outputs: list[Any]
    changes_in_place: bool


@dataclass
class Trace:
    """One forward pass.

    Attributes:
        decided: Key of a call → whether it gives derived weights, where that is known.
        calls: Key → record of each call that takes weights.
        derived: Keys of the calls that give derived weights.
        behind: Label of a weight → names of the parameters that it is computed from.
        sizes_from_data: Whether sizes of tensors may depend on the values of others.
    """

    decided: Mapping[str, bool]
    calls: dict[str, TracedCall] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)
    behind: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sizes_from_data: bool = False

    def run(self, model: nn.Module, parameters: Mapping[str, nn.Parameter], inputs: Any) -> None:
        """Call the model, and record its calls."""
        self.behind = {name: (name,) for name in parameters}
        with (
            torch.enable_grad(),
            every_module_called(),
            Interceptor.watching(parameters, self._visit, is_closed) as interceptor,
        ):
            logits_of(call(model, inputs))
        self.sizes_from_data = interceptor.sizes_from_data

    def _visit(self, interceptor: Interceptor, call: Call) -> Any:
        tensors = [i for i, leaf in enumerate(call.leaves) if isinstance(leaf, Tensor)]
        alone = self.decided.get(call.key, set(tensors) == set(call.weights))
        sizes = [leaf.shape if isinstance(leaf, Tensor) else leaf for leaf in call.leaves]
        output = interceptor.derive(call) if alone else interceptor.plain(call).run()
        leaves = pytree.tree_leaves(output)
        changes = output is None and call.function is Tensor.__setitem__
        if not changes and not any(isinstance(leaf, Tensor) for leaf in leaves):
            return output  # an attribute of the weight, such as its shape
        shapes = [leaf.shape if isinstance(leaf, Tensor) else None for leaf in leaves]
        self.calls[call.key] = TracedCall(call, sizes, shapes, changes)
        if alone:
            self.derived.add(call.key)
            names = self.parameters_of(call)
            self.behind |= {f"{call.key}[{i}]": names for i in range(len(leaves))}
        return output

    def parameters_of(self, call: Call) -> tuple[str, ...]:
        """Return the names of the parameters behind a call's weights."""
        return tuple(dict.fromkeys(n for label in call.weights.values() for n in self.behind[label]))


def trace_both(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], probes: tuple[Any, Any]
) -> tuple[Trace, Trace]:
    """Trace both probes, repeatedly, until it is decided which outputs are computed from weights alone.

    At first a call on weights alone is assumed to give a derived weight, and any other is not. Then two kinds
    are corrected: a "weight" whose shape changes with the batch (an expanded class token) is not one; the
    output of a call whose arguments do not change with the batch (a weight times a constant mask) is one.
    """
    decided: dict[str, bool] = {}
    for _ in range(MAX_TRACES):
        first = Trace(decided)
        second = Trace(decided)
        first.run(model, parameters, probes[0])
        second.run(model, parameters, probes[1])
        changed = {}
        for key in first.calls.keys() & second.calls.keys():
            a = first.calls[key]
            b = second.calls[key]
            if key in first.derived and a.outputs != b.outputs:
                changed[key] = False
            elif key not in first.derived and (a.inputs, a.outputs) == (b.inputs, b.outputs):
                changed[key] = not a.changes_in_place
        # decisions change which calls take weights, and so which calls the next trace records
        if all(decided.get(key) == value for key, value in changed.items()):
            break
        decided |= changed
    return first, second
