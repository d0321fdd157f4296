"""One forward and one backward pass give every parameter's per-sample gradients.

The weights are taken out of autograd: their gradients are formed here instead, once per sample. Each call
that takes weights keeps its input, and when the gradient at its output arrives both become a `PerSample`.
The model is never changed: what it computes with its weights is watched from outside (see `intercept`).
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils import _pytree as pytree

from cohaudit.errors import EngineError
from cohaudit.gradients.features import FeatureHasher, averaged
from cohaudit.gradients.forms import recurrent
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Lazy, PerSample, add
from cohaudit.gradients.forms.views import through_view
from cohaudit.gradients.precision import autocast, no_autocast
from cohaudit.gradients.residuals import Residuals, logits_of, random_combination, residuals
from cohaudit.gradients.sketch import full
from cohaudit.gradients.tracing.intercept import Call, Interceptor
from cohaudit.gradients.tracing.plan import Plan, Use
from cohaudit.gradients.tracing.trace import call, every_module_called, is_closed
from cohaudit.gradients.vmap import VmapVjp, is_float

Consumer: TypeAlias = Callable[[str, PerSample, Residuals], None]
"""Receives a parameter's name, the batch's gradients of the *unit* residual (see `Residuals.scale`), and the
batch's residuals."""


@dataclass(frozen=True)
class LabelFree:
    """What to measure beside the loss gradients, without a look at the labels.

    Attributes:
        seed: Of the combination of logits; see `random_combination`.
        consume: Called like the consumer of the loss gradients, with those of the combination.
    """

    seed: int
    consume: Consumer


@dataclass(frozen=True)
class Outcome:
    """What a batch gives beside its gradients.

    Attributes:
        residuals: Of the loss.
        features: Layer of the plan's `features` → its input, shortened, [batch, any]: whole, and, where it
            has positions and several channels, averaged over positions. Empty unless asked for.
        activations: Layer → its input, averaged over positions, [batch, any]; empty unless asked for.
    """

    residuals: Residuals
    features: Mapping[str, tuple[Tensor, ...]]
    activations: Mapping[str, Tensor]


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
        shorten: What is kept of a representation of the samples; None keeps none.
        bf16: Whether the network runs under autocast to bfloat16, forward and backward. Per-sample gradients
            are formed in float32, the loop and recurrent layers run in it, and so does one more forward pass
            for the loss: a logit of 10 rounded to 8 bits would put p − y off by 3 % where that is small.
    """

    def __init__(
        self, model: nn.Module, plan: Plan, shorten: FeatureHasher | None = None, bf16: bool = False
    ) -> None:
        self.model = model
        self.plan = plan
        self._shorten = shorten
        self._bf16 = bf16
        self._device = next(iter(plan.parameters.values())).device
        self._expected: dict[str, int] = defaultdict(int)
        for use in plan.uses.values():
            for names in use.weights.values():
                for name in names:
                    self._expected[name] += 1

    def run(
        self,
        inputs: Any,
        labels: Tensor,
        temperature: float,
        consume: Consumer,
        label_free: LabelFree | None = None,
    ) -> Outcome:
        """Measure one batch.

        Args:
            inputs: On the model's device.
            labels: int64 [batch], on the CPU.
            temperature: See `residuals`.
            consume: Called once for each parameter with the gradients of ⟨residual direction, output⟩; a
                sample's loss gradient is that times its `scale`. A parameter that the batch does not reach
                is not reported: its gradients are zero.
            label_free: What to measure beside it, with one more backward pass.

        Raises:
            UnplannedCallError: If the model's forward pass differs from the plan's; nothing was consumed.
        """
        keep_inputs = label_free is not None
        batch = _Batch(self.plan, self._expected, len(labels), keep_inputs, self._shorten, self._bf16)
        with torch.enable_grad(), every_module_called():
            with (
                autocast(self._device, self._bf16),
                Interceptor(self.plan.parameters, batch.visit, is_closed) as interceptor,
            ):
                logits = batch.wide(logits_of(call(self.model, inputs)))
            with torch.no_grad():
                exact = logits_of(call(self.model, inputs)) if self._bf16 else logits
            batch.outcome = outcome = residuals(exact, labels, temperature)
            batch.sources = interceptor.sources
            passes = [(outcome.direction, consume)]
            if label_free is not None:
                passes.append((random_combination(logits, label_free.seed), label_free.consume))
            for k, (direction, receiver) in enumerate(passes, 1):
                batch.begin(receiver)
                if logits.requires_grad and not self.plan.all_looped:
                    more = k < len(passes)
                    torch.autograd.grad(logits, batch.anchor, direction, allow_unused=True, retain_graph=more)
                batch.finish()
        for direction, receiver in passes:
            self._loop(inputs, direction, outcome, receiver)
        return Outcome(outcome, batch.features, batch.activations)

    def _loop(self, inputs: Any, direction: Tensor, outcome: Residuals, consume: Consumer) -> None:
        """Measure what no call serves: one sample at a time, by autograd through the whole model."""
        # in the plan's order: sums must not depend on how a set happens to be sorted
        wanted = {name: p for name, p in self.plan.parameters.items() if name in self.plan.looped}
        if not wanted:
            return
        rows = [
            single_gradients(self.model, wanted, sample(inputs, i), direction[i : i + 1])
            for i in range(len(direction))
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
    consume: Consumer

    def __init__(
        self,
        plan: Plan,
        expected: Mapping[str, int],
        samples: int,
        keep_inputs: bool,
        shorten: FeatureHasher | None,
        bf16: bool,
    ) -> None:
        self._bf16 = bf16
        self._plan = plan
        self._expected = expected
        self._samples = samples
        self._keep_inputs = keep_inputs
        self._shorten = shorten
        self._generic: list[VmapVjp] = []
        self._pending: dict[str, list[PerSample]] = {}
        self.anchor = torch.zeros((), requires_grad=True)
        self.features: dict[str, tuple[Tensor, ...]] = {}
        self.activations: dict[str, Tensor] = {}

    def begin(self, consume: Consumer) -> None:
        """Begin a backward pass, whose gradients go to `consume`."""
        self.consume = consume
        for pull in self._generic:
            pull.reset()

    def wide(self, value: Any) -> Any:
        """Return a tensor in float32 where autocast may have rounded it; anything else as it is."""
        return full(value) if self._bf16 and is_float(value) else value

    def visit(self, interceptor: Interceptor, made: Call) -> Any:
        """Return what a call of the model gives, and watch the gradient that will reach it."""
        if not self._bf16 or made.function not in recurrent.CELLS:
            return self._visit(interceptor, made)
        given = {i: self.wide(leaf) for i, leaf in enumerate(made.leaves) if i not in made.weights}
        with no_autocast(made.leaves[0].device):
            return self._visit(interceptor, made.with_leaves(given))

    def _visit(self, interceptor: Interceptor, made: Call) -> Any:
        if made.key in self._plan.derived:
            return interceptor.derive(made)
        use = self._plan.uses.get(made.key)
        if use is None or not use.fits(made.leaves, self._samples):
            return self._unplanned(interceptor, made)
        self._keep_input(made, use)
        if all(name in self._plan.looped for names in use.weights.values() for name in names):
            return self._unwatched(interceptor, made).run()
        plain = interceptor.plain(made)
        labels = {id(plain.leaves[i]): label for i, label in made.weights.items()}
        if use.recurrent:
            report = partial(self._arrive_at, labels)
            return recurrent.unroll(made.function, plain.arguments()[0], self.anchor, report)
        inputs = [i for i, t in enumerate(plain.leaves) if is_float(t) and i not in made.weights]
        kept = plain.with_leaves({i: plain.leaves[i].detach() for i in inputs})
        if use.form is not None:
            output: Tensor = plain.run()
            versions = kept.leaves[use.form.input]._version
            if output._is_view() and _is_fresh(output, plain):
                output = torch.ops.aten._unsafe_view(output, output.shape)  # as good as a clone, for nothing
            return self._tap(output, partial(self._finish_closed, use, kept, labels, versions))
        if _changes_its_input(made.function):
            kept = kept.with_leaves({i: kept.leaves[i].clone() for i in inputs})
        kept = kept.with_leaves({i: self.wide(leaf) for i, leaf in enumerate(kept.leaves)})
        leaves, spec = pytree.tree_flatten(plain.run())
        pull = VmapVjp(use, kept, made.weights, leaves, self._samples)
        self._generic.append(pull)
        tapped = [
            self._tap(leaf, partial(pull.receive, i)) if is_float(leaf) else leaf
            for i, leaf in enumerate(leaves)
        ]
        return pytree.tree_unflatten(tapped, spec)

    def _keep_input(self, made: Call, use: Use) -> None:
        """Keep the first input of a call, where it represents the samples or all inputs are wanted."""
        shorten = self._shorten if made.key in self._plan.features else None
        wanted = self._keep_inputs and use.layer not in self.activations
        batch = use.inputs[0] if use.inputs else None
        if batch is None or not (shorten or wanted) or not is_float(made.leaves[0]):
            return
        x = batch.samples_first(made.leaves[0].detach(), self._samples)
        average = averaged(x, made)
        if shorten:  # at once: the model may change its tensors in place
            whole = x.flatten(1) if x.ndim > 1 else x[:, None]
            views = (whole, average) if 1 < average.shape[1] < whole.shape[1] else (whole,)
            self.features[use.layer] = tuple(map(shorten, views))
        if wanted:
            self.activations[use.layer] = average.clone()

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
        where = use.inputs[use.form.input]
        out = use.outputs[0]
        assert where is not None
        assert out is not None
        x = kept.leaves[use.form.input]
        if x._version != version:
            raise EngineError(
                f"layer {use.layer}",
                "its input is modified in place after use",
                "use the out-of-place operation",
            )
        x, g = (self.wide(t) for t in (x, g))
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
        weight = self.sources[label]
        parameter = self.sources[name]
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
            self.consume(name, add(self._pending.pop(name)), self.outcome)


def _is_fresh(output: Tensor, made: Call) -> bool:
    """Return whether an output is in memory of its own, even if it is a view of it."""
    given = {leaf.untyped_storage().data_ptr() for leaf in made.leaves if isinstance(leaf, Tensor)}
    return output.untyped_storage().data_ptr() not in given


def _changes_its_input(function: Any) -> bool:
    """Return whether a function works in place: add_, __iadd__."""
    name = getattr(function, "__name__", "")
    return name.startswith("__i") if name.endswith("__") else name.endswith("_")


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
