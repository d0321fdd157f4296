"""Forward passes that note every call that takes weights, and settle which outputs are weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cohaudit.gradients.forms.functions import CLOSED_FORMS
from cohaudit.gradients.residuals import logits_of
from cohaudit.gradients.tracing.intercept import Call, Interceptor

MOST_TRACES = 20
"""Each trace settles what the calls before it return; a network needs two or three."""


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model on a batch: a tensor as it is, a tuple as arguments, a dict as keyword arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


@contextmanager
def every_module_called() -> Iterator[None]:
    """Keep torch from fusing a transformer layer into one operation that shows none of its parts."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def is_closed(function: Any) -> bool:
    """Return whether calls of a function are taken as a whole."""
    return function in CLOSED_FORMS


@dataclass
class Note:
    """What a trace notes of one call: sizes of its leaves, integers as they are, and of its outputs."""

    call: Call
    inputs: list[Any]
    outputs: list[Any]
    changes_in_place: bool


@dataclass
class Trace:
    """One forward pass; `decided` says which calls give derived weights, where that is known."""

    decided: Mapping[str, bool]
    notes: dict[str, Note] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)
    behind: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def run(self, model: nn.Module, parameters: Mapping[str, nn.Parameter], inputs: Any) -> None:
        """Call the model, and note."""
        self.behind = {name: (name,) for name in parameters}
        with torch.enable_grad(), every_module_called(), Interceptor(parameters, self._visit, is_closed):
            logits_of(call(model, inputs))

    def _visit(self, interceptor: Interceptor, call: Call) -> Any:
        tensors = [i for i, leaf in enumerate(call.leaves) if isinstance(leaf, Tensor)]
        alone = self.decided.get(call.key, set(tensors) == set(call.weights))
        sizes = [leaf.shape if isinstance(leaf, Tensor) else leaf for leaf in call.leaves]
        output = interceptor.derive(call) if alone else interceptor.plain(call).run()
        leaves = pytree.tree_leaves(output)
        changes = output is None and call.function is Tensor.__setitem__
        if not changes and not any(isinstance(leaf, Tensor) for leaf in leaves):
            return output  # a question about the weight, as for its shape
        shapes = [leaf.shape if isinstance(leaf, Tensor) else None for leaf in leaves]
        self.notes[call.key] = Note(call, sizes, shapes, changes)
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
    """Trace both probes, again and again until it is settled which outputs follow from weights alone.

    At first a call of nothing but weights is taken to give a weight, any other not. A "weight" whose shape
    follows the batch (a class token, expanded) is none; a call that no batch touches (a weight times a
    constant mask) does give one.
    """
    decided: dict[str, bool] = {}
    for _ in range(MOST_TRACES):
        first = Trace(decided)
        second = Trace(decided)
        first.run(model, parameters, probes[0])
        second.run(model, parameters, probes[1])
        changed = {}
        for key in first.notes.keys() & second.notes.keys():
            a = first.notes[key]
            b = second.notes[key]
            if key in first.derived and a.outputs != b.outputs:
                changed[key] = False
            elif key not in first.derived and (a.inputs, a.outputs) == (b.inputs, b.outputs):
                changed[key] = not a.changes_in_place
        if all(decided.get(key) == value for key, value in changed.items()):
            break
        decided |= changed
    return first, second
