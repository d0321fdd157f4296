"""The only code with hooks: one forward and one backward pass give every parameter's per-sample gradients.

The weights are taken out of autograd (their gradients are formed here instead, once per sample), each
watched module's input is kept, and when the gradient at its output arrives both become a `PerSample`.
The model is left as it was found, also after an error.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from cohaudit.errors import EngineError
from cohaudit.gradients.per_sample import Dense, PerSample, add
from cohaudit.gradients.plan import Capture, Plan, call, every_module_called
from cohaudit.gradients.residuals import Residuals, logits_of, residuals

Consumer: TypeAlias = Callable[[str, PerSample], None]
"""Receives a parameter's name and the batch's gradients of the *unit* residual; see `Residuals.scale`."""


class UnsupportedModuleError(EngineError):
    """A module that the vmap path cannot express.

    Args:
        capture: The module and its parameters.
        error: What torch said.
    """

    def __init__(self, capture: Capture, error: Exception) -> None:
        self.parameters = frozenset(capture.parameters.values())
        first_line = str(error).strip().partition("\n")[0]
        super().__init__(
            f"layer {capture.name}", f"torch cannot vmap it: {first_line}", "measure it by the loop"
        )


class _GenericCall:
    """One call of a module on the vmap path: its arguments, and the gradients that reach its outputs."""

    def __init__(self, capture: Capture, arguments: Any, outputs: list[Any]) -> None:
        self.capture, self.arguments = capture, arguments
        self.gradients: list[Any] = [torch.zeros_like(o) if _is_float(o) else None for o in outputs]

    def receive(self, position: int, gradient: Tensor) -> None:
        self.gradients[position] = gradient


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


class Engine:
    """Per-sample gradients of a model, batch by batch.

    Args:
        model: In eval mode; its state is restored after each batch.
        plan: How to measure it.
    """

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self._uses: dict[str, int] = defaultdict(int)
        for capture in plan.captures:
            for full in capture.parameters.values():
                self._uses[full] += capture.calls
        self._watching = False
        self._leaves: list[Tensor] = []
        self._generic: list[_GenericCall] = []
        self._pending: dict[str, list[PerSample]] = {}
        self._consume: Consumer = lambda name, form: None

    def run(
        self, inputs: Any, labels: Tensor, temperature: float, consume: Consumer
    ) -> tuple[Residuals, Tensor | None]:
        """Measure one batch.

        Args:
            inputs: On the model's device.
            labels: int64 [batch], on the CPU.
            temperature: See `residuals`.
            consume: Called once for each parameter with the gradients of ⟨residual direction, output⟩; a
                sample's loss gradient is that times its `scale`. A parameter that the batch does not reach
                is not reported: its gradients are zero.

        Returns:
            The residuals, and the features [batch, any] (None without a feature module).
        """
        features: list[Tensor] = []
        self._consume = consume
        with self._installed(features), every_module_called(), torch.enable_grad():
            logits = logits_of(call(self.model, inputs))
            outcome = residuals(logits, labels, temperature)
            self._watching = False  # recomputation and vjps run the same modules again
            if self._leaves:
                torch.autograd.grad(logits, self._leaves, outcome.direction, allow_unused=True)
            for generic in self._generic:
                self._finish_generic(generic)
            for name in list(self._pending):
                self._release(name)
        self._loop(inputs, outcome.direction, consume)
        return outcome, features[0] if features else None

    @contextmanager
    def _installed(self, features: list[Tensor]) -> Iterator[None]:
        """Hook the model and take its parameters out of autograd; undo both in the end."""
        handles: list[RemovableHandle] = []
        required = [(p, p.requires_grad) for p in self.model.parameters()]
        self._leaves, self._generic, self._pending = [], [], {}
        with ExitStack() as stack:
            stack.callback(self._reset, handles, required)
            for parameter, _ in required:
                parameter.requires_grad_(False)
            for capture in self.plan.captures:
                # a capture whose parameters all went to the loop may still be the features' source
                if not capture.parameters and capture is not self.plan.features:
                    continue
                hook = partial(self._on_forward, capture, features)
                handles.append(capture.module.register_forward_hook(hook, with_kwargs=True))
            self._watching = True
            yield

    def _reset(self, handles: list[RemovableHandle], required: list[tuple[nn.Parameter, bool]]) -> None:
        self._watching = False
        self._leaves, self._generic, self._pending = [], [], {}
        for handle in handles:
            handle.remove()
        for parameter, flag in required:
            parameter.requires_grad_(flag)

    def _tap(self, output: Tensor, receive: Callable[[Tensor], None]) -> Tensor:
        """Return the output, in autograd's graph, with `receive` called on the gradient that reaches it."""
        if not output.requires_grad:
            leaf = output.detach().requires_grad_()
            self._leaves.append(leaf)
            output = leaf.clone()  # a leaf may not be modified in place, and an in-place ReLU may follow
        output.register_hook(receive)
        return output

    def _on_forward(
        self, capture: Capture, features: list[Tensor], module: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> Any:
        if not self._watching or not torch.is_grad_enabled():
            return None
        if capture is self.plan.features and not features:
            features.extend(_features(capture, pytree.tree_leaves((args, kwargs))))
        if capture.form is not None:
            x = pytree.tree_leaves((args, kwargs))[0].detach()
            return self._tap(output, partial(self._finish_closed, capture, x, x._version))
        leaves, spec = pytree.tree_flatten(output)
        kept = pytree.tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, (args, kwargs))
        generic = _GenericCall(capture, kept, leaves)
        self._generic.append(generic)
        tapped = [
            self._tap(leaf, partial(generic.receive, i)) if _is_float(leaf) else leaf
            for i, leaf in enumerate(leaves)
        ]
        return pytree.tree_unflatten(tapped, spec)

    def _finish_closed(self, capture: Capture, x: Tensor, version: int, g: Tensor) -> None:
        if x._version != version:
            raise EngineError(
                f"layer {capture.name}",
                "its input is modified in place after use",
                "use the out-of-place operation",
            )
        assert capture.form is not None
        x = x.movedim(capture.input_dims[0] or 0, 0)
        forms = capture.form(capture.module, x, g.movedim(capture.output_dims[0] or 0, 0))
        for local, full in capture.parameters.items():
            self._add(full, forms[local])

    def _finish_generic(self, generic: _GenericCall) -> None:
        try:
            forms = per_sample_vjp(generic.capture, generic.arguments, generic.gradients)
        except (RuntimeError, ValueError) as error:
            raise UnsupportedModuleError(generic.capture, error) from error
        for full, form in forms:
            self._add(full, form)

    def _add(self, name: str, form: PerSample) -> None:
        forms = self._pending.setdefault(name, [])
        forms.append(form)
        if len(forms) == self._uses[name]:
            self._release(name)

    def _release(self, name: str) -> None:
        with torch.no_grad():
            self._consume(name, add(self._pending.pop(name)))

    def _loop(self, inputs: Any, direction: Tensor, consume: Consumer) -> None:
        """Measure what no capture serves: one sample at a time, by autograd through the whole model."""
        if not self.plan.looped:
            return
        wanted = {name: self.plan.parameters[name] for name in self.plan.looped}
        rows = [
            single_gradients(self.model, wanted, sample(inputs, i), direction[i : i + 1])
            for i in range(len(direction))
        ]
        for name in wanted:
            consume(name, Dense(torch.stack([row[name] for row in rows])))


def _features(capture: Capture, leaves: list[Any]) -> list[Tensor]:
    """Return the module's first float input as one vector per sample, [batch, any]; nothing if it has none.

    Positions are averaged: they trail in a convolution's input and stand in the middle of any other.
    """
    for leaf, dim in zip(leaves, capture.input_dims, strict=True):
        if _is_float(leaf) and dim is not None:
            x = leaf.detach().movedim(dim, 0)
            if isinstance(capture.module, nn.modules.conv._ConvNd):
                return [x.flatten(2).mean(2)]
            return [x.reshape(len(x), -1, x.shape[-1]).mean(1)]
    return []


def sample(inputs: Any, index: int) -> Any:
    """Return one sample of a batch of inputs as a batch of one."""
    return pytree.tree_map(lambda t: t[index : index + 1], inputs)


def single_gradients(
    model: nn.Module, parameters: dict[str, nn.Parameter], inputs: Any, direction: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of ⟨direction, output⟩ for a batch of one, by plain autograd."""
    with torch.enable_grad():
        output = logits_of(call(model, inputs))
        grads = torch.autograd.grad(output, list(parameters.values()), direction, allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(parameters.items(), grads, strict=True)
    }


def per_sample_vjp(capture: Capture, arguments: Any, gradients: list[Any]) -> list[tuple[str, PerSample]]:
    """Return the per-sample gradients of a module's own parameters, by a vmap of its vjp over the samples.

    Args:
        capture: The module, its parameters and where the batch stands in each argument and output.
        arguments: (args, kwargs) of the call.
        gradients: Gradient at each leaf of its output, None for a leaf that is not a float tensor.
    """
    leaves, spec = pytree.tree_flatten(arguments)
    own = {local: capture.module.get_parameter(local).detach() for local in capture.parameters}
    batched = [i for i, dim in enumerate(capture.input_dims) if dim is not None]
    outputs = [k for k, g in enumerate(gradients) if g is not None and capture.output_dims[k] is not None]

    def one_sample(tensors: list[Tensor], cotangents: list[Tensor]) -> dict[str, Tensor]:
        filled = list(leaves)
        for i, tensor in zip(batched, tensors, strict=True):
            filled[i] = tensor.unsqueeze(capture.input_dims[i] or 0)
        args, kwargs = pytree.tree_unflatten(filled, spec)

        def forward(parameters: dict[str, Tensor]) -> list[Tensor]:
            out = pytree.tree_leaves(functional_call(capture.module, parameters, args, kwargs))
            return [out[k] for k in outputs]

        pull = vjp(forward, own)[1]
        given = [c.unsqueeze(capture.output_dims[k] or 0) for k, c in zip(outputs, cotangents, strict=True)]
        pulled: dict[str, Tensor] = pull(given)[0]
        return pulled

    tensors, cotangents = [leaves[i] for i in batched], [gradients[k] for k in outputs]
    dims = ([capture.input_dims[i] for i in batched], [capture.output_dims[k] for k in outputs])
    # fused attention has no vmap rule; its plain form has. Where others lack one, torch loops, and says so
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        result = vmap(one_sample, in_dims=dims, randomness="error")(tensors, cotangents)
    return [(full, Dense(result[local])) for local, full in capture.parameters.items()]
