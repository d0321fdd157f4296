"""Which module gives which parameter's per-sample gradients, and how: found out by running the model.

Two small batches of different size go through the model. A module that owns parameters and has a closed
form uses it; any other goes through a vmap of its own vjp; what neither can express is left to a loop of
single samples. A parameter whose module is never called itself (an attention's output projection) is taken
by the nearest module around it that is. Nothing is left out without a `Skipped`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from cohaudit.errors import EngineError
from cohaudit.gradients.closed_forms import POSITION_WISE, ClosedForm, closed_form
from cohaudit.gradients.residuals import logits_of
from cohaudit.results import Skipped

Path = Literal["closed form", "vmap", "loop"]
ROOT = "(model)"


@dataclass(frozen=True)
class Call:
    """The shapes of one call of a module, in a probe.

    Attributes:
        inputs: Shape of each leaf of the arguments, None for what is not a tensor.
        outputs: Shape of each leaf of the output, likewise.
    """

    inputs: tuple[torch.Size | None, ...]
    outputs: tuple[torch.Size | None, ...]


@dataclass(frozen=True)
class Capture:
    """How one module's calls are turned into per-sample gradients.

    Attributes:
        name: The module's name; ROOT for the model itself.
        module: The module.
        form: Its closed form; None for the vmap path.
        parameters: Name within the module → name in the model, of the parameters taken from it.
        input_dims: Batch dimension of each leaf of its arguments, None for what all samples share.
        output_dims: Batch dimension of each leaf of its output.
        calls: Calls per forward pass.
    """

    name: str
    module: nn.Module
    form: ClosedForm | None
    parameters: Mapping[str, str]
    input_dims: tuple[int | None, ...]
    output_dims: tuple[int | None, ...]
    calls: int


@dataclass(frozen=True)
class Plan:
    """Everything the engine needs to know about a model.

    Attributes:
        parameters: Name → parameter, for each one measured; layer by layer, input side first.
        layer_of: Parameter name → name of the layer that owns it.
        captures: One per module that is watched.
        looped: Names of the parameters measured by a loop over samples.
        features: The capture whose input represents a sample: the first dense layer, else the last module
            with a float input; None when there is none.
        skipped: Parameters that are not measured, and why.
        coverage: Share of the trainable parameters that is measured.
    """

    parameters: Mapping[str, nn.Parameter]
    layer_of: Mapping[str, str]
    captures: tuple[Capture, ...]
    looped: frozenset[str]
    features: Capture | None
    skipped: tuple[Skipped, ...]
    coverage: float

    def with_loop(self, names: Iterable[str]) -> Plan:
        """Return the plan with these parameters measured by the loop."""
        looped = self.looped | frozenset(names)
        kept = [
            replace(c, parameters={local: full for local, full in c.parameters.items() if full not in looped})
            for c in self.captures
        ]
        return replace(self, captures=tuple(kept), looped=looped)

    def path(self, layer: str) -> Path:
        """Return the slowest path among a layer's parameters."""
        names = {name for name, owner in self.layer_of.items() if owner == layer}
        if names & self.looped:
            return "loop"
        generic = {full for c in self.captures if c.form is None for full in c.parameters.values()}
        return "vmap" if names & generic else "closed form"


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model on a batch: a tensor as it is, a tuple as arguments, a dict as keyword arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


@contextmanager
def every_module_called() -> Iterator[None]:
    """Keep torch from fusing a transformer layer into one operation that calls none of its modules."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _shapes(tree: Any) -> tuple[torch.Size | None, ...]:
    return tuple(leaf.shape if isinstance(leaf, Tensor) else None for leaf in pytree.tree_leaves(tree))


def _trace(model: nn.Module, inputs: Any) -> dict[nn.Module, list[Call]]:
    """Run the model once; return each module's calls, the modules in the order in which they were entered."""
    calls: dict[nn.Module, list[Call]] = {}

    def enter(module: nn.Module, args: Any) -> None:
        calls.setdefault(module, [])

    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls[module].append(Call(_shapes((args, kwargs)), _shapes(output)))

    handles = []
    try:
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, with_kwargs=True))
        with torch.no_grad(), every_module_called():
            logits_of(call(model, inputs))
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _batch_dims(
    small: Sequence[torch.Size | None], large: Sequence[torch.Size | None], sizes: tuple[int, int]
) -> tuple[int | None, ...] | None:
    """Return which dimension of each leaf follows the batch size; None if some shape follows it otherwise."""
    if len(small) != len(large):
        return None
    dims: list[int | None] = []
    for first, second in zip(small, large, strict=True):
        if first is None or second is None or first == second:
            dims.append(None)
            continue
        moved = [d for d in range(len(first)) if len(first) == len(second) and first[d] != second[d]]
        if len(moved) != 1 or (first[moved[0]], second[moved[0]]) != sizes:
            return None
        dims.append(moved[0])
    return tuple(dims)


def _usable_form(
    module: nn.Module, own: Sequence[str], dims: Sequence[int | None], rank: int
) -> ClosedForm | None:
    """Return the module's closed form if it applies to how the module is built and called."""
    form = closed_form(module)
    if form is None or parametrize.is_parametrized(module) or not set(own) <= {"weight", "bias"}:
        return None
    batch_first = dims[0] == 0
    position_wise = isinstance(module, POSITION_WISE) and dims[0] is not None and dims[0] < rank - 1
    return form if batch_first or position_wise else None


def _owner_name(parameter: str) -> str:
    """Return which module owns a parameter; a parametrization belongs to the module that it serves."""
    module = parameter.rpartition(".")[0]
    head, found, _ = f".{module}".partition(".parametrizations.")
    return head[1:] if found else module


def _holder(name: str, modules: Mapping[str, nn.Module], called: Mapping[nn.Module, Any]) -> str:
    """Return the name of the nearest module, from `name` outwards, that the forward pass calls."""
    while modules.get(name) not in called:
        name = name.rpartition(".")[0]
    return name


def _captures(
    model: nn.Module,
    names: Mapping[int, str],
    traces: tuple[dict[nn.Module, list[Call]], ...],
    sizes: tuple[int, int],
) -> tuple[list[Capture], set[str]]:
    """Return the captures, and the names of the parameters that no capture can serve."""
    small, large = traces
    modules = dict(model.named_modules())
    wanted: dict[str, dict[str, str]] = {}
    for local, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in names:
            holder = _holder(_owner_name(local), modules, small)
            wanted.setdefault(holder, {})[local.removeprefix(f"{holder}." if holder else "")] = names[
                id(parameter)
            ]
    captures, left = [], set()
    for holder, own in wanted.items():
        module, first, second = modules[holder], small[modules[holder]], large.get(modules[holder], [])
        dims = {
            (_batch_dims(a.inputs, b.inputs, sizes), _batch_dims(a.outputs, b.outputs, sizes))
            for a, b in zip(first, second, strict=False)
        }
        inputs, outputs = dims.pop() if len(dims) == 1 else (None, None)
        if not inputs or not outputs or len(first) != len(second) or set(inputs) == {None}:
            left |= set(own.values())
            continue
        rank = len(first[0].inputs[0] or ())
        form = _usable_form(module, list(own), inputs, rank)
        captures.append(Capture(holder or ROOT, module, form, own, inputs, outputs, len(first)))
    return captures, left


def _features(captures: Sequence[Capture], calls: Mapping[nn.Module, list[Call]]) -> Capture | None:
    """Return the capture that represents a sample by its input."""
    order = list(calls)
    entered = sorted(captures, key=lambda capture: order.index(capture.module))
    dense = [c for c in entered if isinstance(c.module, nn.Linear)]
    other = [c for c in entered if not isinstance(c.module, nn.Embedding)]
    return dense[0] if dense else (other[-1] if other else None)


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
    traces = (_trace(model, probes[0]), _trace(model, probes[1]))
    with torch.enable_grad():
        total = logits_of(call(model, probes[0])).sum()
        grads = (
            torch.autograd.grad(total, list(trainable.values()), allow_unused=True)
            if total.requires_grad
            else ()
        )
    used = {name: p for (name, p), g in zip(trainable.items(), grads, strict=False) if g is not None}
    if not used:
        raise EngineError(
            "model",
            "its output depends on none of its parameters",
            "check the forward pass for no_grad or detach",
        )
    captures, left = _captures(model, {id(p): name for name, p in used.items()}, traces, sizes)
    modules = dict(model.named_modules())
    entered = {module: position for position, module in enumerate(traces[0])}
    order = sorted(used, key=lambda name: entered[modules[_holder(_owner_name(name), modules, entered)]])
    return Plan(
        parameters={name: used[name] for name in order},
        layer_of={name: _owner_name(name) or ROOT for name in order},
        captures=tuple(captures),
        looped=frozenset(left),
        features=_features(captures, traces[0]),
        skipped=_skipped(model, used),
        coverage=sum(p.numel() for p in used.values()) / sum(p.numel() for p in trainable.values()),
    )


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
