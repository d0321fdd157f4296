"""Intercepts every call of a torch function that takes one of the model's parameters.

The result of a computation on parameters alone (a slice, a normalized weight) is a *derived weight*, and
calls that take it are intercepted too. A function of `torch.nn.functional` that is written in Python is
entered, so that an attention layer shows its linear maps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

_OVERRIDE_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")

SIZES_FROM_DATA = frozenset(
    {
        torch.masked_select,
        torch.nonzero,
        torch.argwhere,
        torch._VF._pack_padded_sequence,
        Tensor.masked_select,
        Tensor.nonzero,
        Tensor.argwhere,
        Tensor.item,
        Tensor.tolist,
        Tensor.__int__,
        Tensor.__index__,
    }
)
"""Functions whose results, numbers or sizes of tensors, depend on the values of tensors."""


@dataclass(frozen=True)
class Call:
    """A call that takes parameters or derived weights.

    Attributes:
        key: The function, the weights it takes and how often it took them before, as text. It is the same in
            every forward pass that takes the same path.
        function: Function that is called.
        leaves: Its arguments, flattened.
        spec: Their structure, as (args, kwargs).
        weights: Position among the leaves → label of the weight there.
    """

    key: str
    function: Callable[..., Any]
    leaves: list[Any]
    spec: pytree.TreeSpec
    weights: Mapping[int, str]

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return (args, kwargs)."""
        args, kwargs = pytree.tree_unflatten(self.leaves, self.spec)
        return args, kwargs

    def run(self) -> Any:
        """Call the function."""
        args, kwargs = self.arguments()
        return self.function(*args, **kwargs)

    def with_leaves(self, changed: Mapping[int, Any]) -> Call:
        """Return the call with other arguments at these positions."""
        return replace(self, leaves=[changed.get(i, leaf) for i, leaf in enumerate(self.leaves)])


class Interceptor(TorchFunctionMode):
    """While it is active, `visit` decides what a call that takes weights returns.

    Args:
        visit: Takes the interceptor and a call, whose weights are the objects that the model holds; returns
            the output.
        closed: Whether a function is not entered although it is written in Python.
    """

    def __init__(self, visit: Callable[[Interceptor, Call], Any], closed: Callable[[Any], bool]) -> None:
        super().__init__()
        self._visit = visit
        self._closed = closed
        self._counts: Counter[str] = Counter()
        self._labels: dict[int, str] = {}
        self._seen: list[Tensor] = []  # kept alive, so that no other object takes over an id
        self.sources: dict[str, Tensor] = {}
        """Label → the weight in autograd's graph: a leaf for a parameter, a result for a derived weight."""
        self.sizes_from_data = False
        """Whether sizes of tensors may depend on the values of others, as with sequences without padding."""

    @classmethod
    def watching(
        cls,
        parameters: Mapping[str, Tensor],
        visit: Callable[[Interceptor, Call], Any],
        closed: Callable[[Any], bool],
    ) -> Interceptor:
        """Return an interceptor of the calls that take these parameters; their names are the labels."""
        interceptor = cls(visit, closed)
        for name, parameter in parameters.items():
            interceptor._name(parameter, name, parameter.detach().requires_grad_())
        return interceptor

    def _name(self, seen: Tensor, label: str, source: Tensor) -> None:
        self._labels[id(seen)] = label
        self._seen.append(seen)
        self.sources[label] = source

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        self.sizes_from_data = self.sizes_from_data or _takes_sizes_from_data(func, args)
        # a result computed without grad takes no part in the gradient
        if not torch.is_grad_enabled() or not self._may_take_weights((*args, *kwargs.values())):
            return func(*args, **kwargs)
        # pytree takes a torch.Size for one leaf; planning needs its entries, some of which follow the batch
        args = tuple(tuple(a) if isinstance(a, torch.Size) else a for a in args)
        leaves, spec = pytree.tree_flatten((args, kwargs))
        weights = {i: self._labels[id(leaf)] for i, leaf in enumerate(leaves) if id(leaf) in self._labels}
        if not weights:
            return func(*args, **kwargs)
        if not self._closed(func) and (entered := _without_checks(func)) is not None:
            # entered again: torch turns a mode off while it handles a call
            with self:
                return entered(*args, **kwargs)
        about = f"{getattr(func, '__name__', func)}({', '.join(weights.values())})"
        self._counts[about] += 1
        return self._visit(self, Call(f"{about} #{self._counts[about]}", func, leaves, spec, weights))

    def _may_take_weights(self, given: tuple[Any, ...]) -> bool:
        """Return whether a weight is among the arguments, or may be inside one.

        Most calls take none, and flattening the arguments of each would cost more than the rest of the
        interception.
        """
        return any(id(one) in self._labels or isinstance(one, list | tuple | dict) for one in given)

    def plain(self, call: Call) -> Call:
        """Return the call on weights outside autograd's graph."""
        return call.with_leaves({i: self.sources[label].detach() for i, label in call.weights.items()})

    def in_graph(self, call: Call) -> Call:
        """Return the call on weights in autograd's graph, those of `sources`."""
        return call.with_leaves({i: self.sources[label] for i, label in call.weights.items()})

    def derive(self, call: Call) -> Any:
        """Run a call of weights alone; calls that take its result are intercepted from now on."""
        output = self.in_graph(call).run()
        leaves, spec = pytree.tree_flatten(output)
        for position, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                seen = leaves[position] = leaf.detach()
                self._name(seen, f"{call.key}[{position}]", leaf)
        return pytree.tree_unflatten(leaves, spec)


def _takes_sizes_from_data(function: Any, args: Sequence[Any]) -> bool:
    """Return whether the size of a call's result, or a number that it returns, depends on tensors' values."""
    if function is Tensor.__getitem__:
        index = args[1] if isinstance(args[1], tuple) else args[1:]
        return any(isinstance(one, Tensor) and one.dtype in {torch.bool, torch.uint8} for one in index)
    return function in SIZES_FROM_DATA


@cache
def _without_checks(function: Any) -> Callable[..., Any] | None:
    """Return a copy of a torch function written in Python, whose inner calls are intercepted.

    Such a function first checks whether a mode overrides it as a whole, and would call this one again without
    end. The copy has the same code, and globals in which these checks return False. For other functions the
    result is None.
    """
    if not isinstance(function, FunctionType) or not any(
        name in function.__globals__ for name in _OVERRIDE_CHECKS
    ):
        return None
    unchecked = function.__globals__ | dict.fromkeys(_OVERRIDE_CHECKS, lambda *arguments: False)
    copy = FunctionType(
        function.__code__, unchecked, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
