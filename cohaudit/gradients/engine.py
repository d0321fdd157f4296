"""One forward and one backward pass give every parameter's per-sample gradients.

The weights are taken out of autograd: their gradients are formed here instead, once per sample. Each call
that takes weights keeps its input, and when the gradient at its output arrives both become a `PerSample`.
The model is never changed: what it computes with its weights is watched from outside (see `intercept`).
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from cohaudit.errors import EngineError
from cohaudit.gradients import recurrent
from cohaudit.gradients.dense import Dense
from cohaudit.gradients.intercept import Call, Interceptor
from cohaudit.gradients.per_sample import Lazy, PerSample, add
from cohaudit.gradients.plan import Batch, Plan, Use
from cohaudit.gradients.residuals import Residuals, logits_of, residuals
from cohaudit.gradients.trace import call, every_module_called, is_closed
from cohaudit.gradients.views import through_view

Consumer: TypeAlias = Callable[[str, PerSample, Residuals], None]
"""Receives a parameter's name, the batch's gradients of the *unit* residual (see `Residuals.scale`), and the
batch's residuals."""


class UnsupportedCallError(EngineError):
    """A call that the vmap path cannot express.

    Args:
        key: The call.
        parameters: Names of the parameters behind it.
        error: What torch said.
    """

    def __init__(self, key: str, parameters: frozenset[str], error: Exception) -> None:
        self.parameters = parameters
        first_line = str(error).strip().partition("\n")[0]
        super().__init__(key, f"torch cannot vmap it: {first_line}", "measure its parameters by the loop")


class UnplannedCallError(EngineError):
    """A call that the samples of the plan did not make, or not in this way: the path depends on the data.

    Args:
        key: The call.
        parameters: Names of the parameters behind it.
    """

    def __init__(self, key: str, parameters: frozenset[str]) -> None:
        self.parameters = parameters
        super().__init__(key, "not made like this by the first samples", "measure its parameters by the loop")


class Engine:
    """Per-sample gradients of a model, batch by batch.

    Args:
        model: In eval mode; it is not changed.
        plan: How to measure it.
    """

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self._expected: dict[str, int] = defaultdict(int)
        for use in plan.uses.values():
            for names in use.weights.values():
                for name in names:
                    self._expected[name] += 1

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
            The residuals, and the features [batch, any] (None where the plan has none).

        Raises:
            UnplannedCallError: If the model's forward pass differs from the plan's; nothing was consumed.
        """
        batch = _Batch(self.plan, self._expected, len(labels), consume)
        with torch.enable_grad(), every_module_called():
            with Interceptor(self.plan.parameters, batch.visit, is_closed) as interceptor:
                logits = logits_of(call(self.model, inputs))
            batch.outcome = outcome = residuals(logits, labels, temperature)
            batch.sources = interceptor.sources
            if logits.requires_grad and not self.plan.all_looped:
                torch.autograd.grad(logits, batch.anchor, outcome.direction, allow_unused=True)
            batch.finish()
        self._loop(inputs, outcome, consume)
        return outcome, batch.features

    def _loop(self, inputs: Any, outcome: Residuals, consume: Consumer) -> None:
        """Measure what no call serves: one sample at a time, by autograd through the whole model."""
        # in the plan's order: sums must not depend on how a set happens to be sorted
        wanted = {name: p for name, p in self.plan.parameters.items() if name in self.plan.looped}
        if not wanted:
            return
        rows = [
            single_gradients(self.model, wanted, sample(inputs, i), outcome.direction[i : i + 1])
            for i in range(len(outcome.direction))
        ]
        for name in wanted:
            consume(name, Dense(torch.stack([row[name] for row in rows])), outcome)


class _Watched(Function):
    """Puts a tensor into autograd's graph, without a copy: the anchor requires grad, and gets none."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None


_watched: Callable[[Tensor, Tensor], Tensor] = _Watched.apply


class _Batch:
    """One batch on its way through the model and back."""

    outcome: Residuals
    sources: Mapping[str, Tensor]

    def __init__(self, plan: Plan, expected: Mapping[str, int], samples: int, consume: Consumer) -> None:
        self._plan, self._expected, self._samples, self._consume = plan, expected, samples, consume
        self._generic: list[_Pull] = []
        self._pending: dict[str, list[PerSample]] = {}
        self.anchor = torch.zeros((), requires_grad=True)
        self.features: Tensor | None = None

    def visit(self, interceptor: Interceptor, made: Call) -> Any:
        """Return what a call of the model gives, and watch the gradient that will reach it."""
        if made.key in self._plan.derived:
            return interceptor.derive(made)
        use = self._plan.uses.get(made.key)
        if use is None or not use.fits(made.leaves, self._samples):
            return self._unplanned(interceptor, made)
        if made.key == self._plan.features:
            batch = use.inputs[0]
            assert batch is not None
            self.features = _features(batch.samples_first(made.leaves[0].detach(), self._samples), made)
        if all(name in self._plan.looped for names in use.weights.values() for name in names):
            return self._unwatched(interceptor, made).run()
        plain = interceptor.plain(made)
        labels = {id(plain.leaves[i]): label for i, label in made.weights.items()}
        if use.recurrent:
            report = partial(self._arrive_at, labels)
            return recurrent.unroll(made.function, plain.arguments()[0], self.anchor, report)
        inputs = [i for i, t in enumerate(plain.leaves) if _is_float(t) and i not in made.weights]
        kept = plain.with_leaves({i: plain.leaves[i].detach() for i in inputs})
        if use.form is not None:
            output: Tensor = plain.run()
            versions = kept.leaves[use.form.input]._version
            if output._is_view() and _is_fresh(output, plain):
                output = torch.ops.aten._unsafe_view(output, output.shape)  # as good as a clone, for nothing
            return self._tap(output, partial(self._finish_closed, use, kept, labels, versions))
        if _changes_its_input(made.function):
            kept = kept.with_leaves({i: kept.leaves[i].clone() for i in inputs})
        leaves, spec = pytree.tree_flatten(plain.run())
        pull = _Pull(use, kept, made.weights, leaves, self._samples)
        self._generic.append(pull)
        tapped = [
            self._tap(leaf, partial(pull.receive, i)) if _is_float(leaf) else leaf
            for i, leaf in enumerate(leaves)
        ]
        return pytree.tree_unflatten(tapped, spec)

    def _unwatched(self, interceptor: Interceptor, made: Call) -> Call:
        """Return a call that is not measured: on weights outside autograd, unless the loop does everything.

        Then nothing is changed at all: a checkpointed block must find the same graph when it runs again.
        """
        return made if self._plan.all_looped else interceptor.plain(made)

    def _unplanned(self, interceptor: Interceptor, made: Call) -> Any:
        """Return the output of a call without weights to measure.

        Raises:
            UnplannedCallError: If the plan does not know how to measure them.
        """
        output = self._unwatched(interceptor, made).run()
        names = {n for label in made.weights.values() for n in self._plan.behind.get(label, (label,))}
        watched = any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(output)) or output is None
        if watched and not names <= self._plan.looped:
            raise UnplannedCallError(made.key, frozenset(names))
        return output

    def _tap(self, output: Tensor, receive: Callable[[Tensor], None]) -> Tensor:
        """Return the output, in autograd's graph, with `receive` called on the gradient that reaches it."""
        if output._is_view():
            output = output.clone()  # its hook would not be called rightly if it is modified in place
        if not output.requires_grad:
            output = _watched(self.anchor, output)
        output.register_hook(receive)
        return output

    def _finish_closed(
        self, use: Use, kept: Call, labels: Mapping[int, str], version: int, g: Tensor
    ) -> None:
        assert use.form is not None
        where, out = use.inputs[use.form.input], use.outputs[0]
        assert where is not None
        assert out is not None
        x = kept.leaves[use.form.input]
        if x._version != version:
            raise EngineError(
                f"layer {use.layer}",
                "its input is modified in place after use",
                "use the out-of-place operation",
            )
        first = kept.with_leaves({use.form.input: where.samples_first(x, self._samples)})
        args, kwargs = first.arguments()
        with torch.no_grad():
            found = use.form.gradients(out.samples_first(g, self._samples), *args, **kwargs)
        for weight, form in found:
            self._arrive_at(labels, weight, form)

    def finish(self) -> None:
        """Form what is left after the backward pass."""
        for pull in self._generic:
            for position, label in pull.weights.items():
                self._arrive(label, Lazy(partial(pull, position), 0, self._samples))
        for name in list(self._pending):
            self._release(name)

    def _arrive_at(self, labels: Mapping[int, str], weight: Tensor | None, form: PerSample) -> None:
        """Take in the gradients of a weight argument, unless it is frozen or was left out."""
        if id(weight) in labels:
            self._arrive(labels[id(weight)], form)

    def _arrive(self, label: str, form: PerSample) -> None:
        """Take in the gradients of a weight from one use, and pass them on to the parameters behind it."""
        for name in self._plan.behind[label]:
            if name in self._plan.looped:
                continue
            forms = self._pending.setdefault(name, [])
            forms.append(form if label == name else self._through(label, name, form))
            if len(forms) == self._expected[name]:
                self._release(name)

    def _through(self, label: str, name: str, form: PerSample) -> PerSample:
        """Return a parameter's gradients from those of a weight derived from it."""
        weight, parameter = self.sources[label], self.sources[name]
        as_view = through_view(form, weight, parameter)
        if as_view is not None:
            return as_view

        def pull(start: int, stop: int) -> Tensor:
            given = form.rows(start, stop).dense().gradients.to(weight)
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop")
                (found,) = torch.autograd.grad(
                    weight, parameter, given, retain_graph=True, allow_unused=True, is_grads_batched=True
                )
            return found if found is not None else parameter.new_zeros(len(given), *parameter.shape)

        return Lazy(pull, 0, self._samples)

    def _release(self, name: str) -> None:
        with torch.no_grad():
            self._consume(name, add(self._pending.pop(name)), self.outcome)


class _Pull:
    """One call on the vmap path: its arguments, the gradients that reach its outputs, and the way back."""

    def __init__(
        self, use: Use, kept: Call, weights: Mapping[int, str], outputs: list[Any], samples: int
    ) -> None:
        self.weights = weights
        self._use, self._kept, self._samples = use, kept, samples
        self._outputs = [k for k, leaf in enumerate(outputs) if _is_float(leaf) and use.outputs[k]]
        self._gradients = {k: torch.zeros_like(outputs[k]) for k in self._outputs}
        self._formed: tuple[int, int, dict[int, Tensor]] | None = None

    def receive(self, position: int, gradient: Tensor) -> None:
        """Take in the gradient at one output."""
        if position in self._gradients:
            self._gradients[position] = gradient

    def __call__(self, position: int, start: int, stop: int) -> Tensor:
        """Return the gradients of the weight at this position, for the samples start..stop-1.

        Raises:
            UnsupportedCallError: If torch cannot form them.
        """
        if self._formed is None or self._formed[:2] != (start, stop):
            try:
                self._formed = (start, stop, self._form(start, stop))
            except (RuntimeError, ValueError, TypeError) as error:
                behind = frozenset(name for names in self._use.weights.values() for name in names)
                raise UnsupportedCallError(self._kept.key, behind, error) from error
        return self._formed[2][position]

    def _rows(self, tensor: Tensor, batch: Batch, start: int, stop: int) -> Tensor:
        """Return the samples start..stop-1 of a tensor, [samples, as the call sees it for one sample]."""
        return batch.split(tensor.detach(), self._samples)[start:stop]

    def _form(self, start: int, stop: int) -> dict[int, Tensor]:
        use, leaves = self._use, self._kept.leaves
        batched = [i for i, batch in enumerate(use.inputs) if batch is not None]
        own = {i: leaves[i] for i in self.weights}
        numbers = {i: leaves[i] // self._samples for i in use.numbers}

        def one_sample(tensors: list[Tensor], cotangents: list[Tensor]) -> dict[int, Tensor]:
            def forward(weights: dict[int, Tensor]) -> list[Tensor]:
                changed = dict(zip(batched, (t.clone() for t in tensors), strict=True))
                made = self._kept.with_leaves(numbers | changed | weights)
                out = pytree.tree_leaves(made.run())
                return [out[k] for k in self._outputs]

            pulled: dict[int, Tensor] = vjp(forward, own)[1](cotangents)[0]
            return pulled

        tensors = [self._rows(leaves[i], _known(use.inputs[i]), start, stop) for i in batched]
        gradients = self._gradients.items()
        cotangents = [self._rows(g, _known(use.outputs[k]), start, stop) for k, g in gradients]
        # fused attention has no vmap rule, its plain form has; where others lack one, torch loops and says so
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings(), torch.enable_grad():
            warnings.filterwarnings("ignore", "There is a performance drop")
            formed: dict[int, Tensor] = vmap(one_sample, randomness="error")(tensors, cotangents)
        return {i: t.detach() for i, t in formed.items()}


def _known(batch: Batch | None) -> Batch:
    assert batch is not None
    return batch


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_fresh(output: Tensor, made: Call) -> bool:
    """Return whether an output is in memory of its own, even if it is a view of it."""
    given = {leaf.untyped_storage().data_ptr() for leaf in made.leaves if isinstance(leaf, Tensor)}
    return output.untyped_storage().data_ptr() not in given


def _changes_its_input(function: Any) -> bool:
    """Return whether a function works in place: add_, __iadd__."""
    name = getattr(function, "__name__", "")
    return name.startswith("__i") if name.endswith("__") else name.endswith("_")


def _features(x: Tensor, made: Call) -> Tensor:
    """Return the input of a call, [samples, ...], as one vector per sample.

    Positions are averaged: they trail in a convolution's input and stand in the middle of any other.
    """
    if "conv" in getattr(made.function, "__name__", ""):
        return x.flatten(2).mean(2)
    return x.reshape(len(x), -1, x.shape[-1]).mean(1)


def sample(inputs: Any, index: int) -> Any:
    """Return one sample of a batch of inputs as a batch of one."""
    return pytree.tree_map(lambda t: t[index : index + 1], inputs)


def single_gradients(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], inputs: Any, direction: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of ⟨direction, output⟩ for a batch of one, by plain autograd."""
    with torch.enable_grad():
        output = logits_of(call(model, inputs))
        grads = torch.autograd.grad(output, list(parameters.values()), direction, allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(parameters.items(), grads, strict=True)
    }
