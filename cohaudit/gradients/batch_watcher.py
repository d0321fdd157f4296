"""Watches one batch on its way through the model: stores inputs, and hooks the gradients at outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils import _pytree as pytree

from cohaudit.errors import EngineError
from cohaudit.gradients.forms import recurrent
from cohaudit.gradients.forms.per_sample import Lazy, PerSample
from cohaudit.gradients.gradient_collector import GradientCollector
from cohaudit.gradients.layer_inputs import LayerInputs
from cohaudit.gradients.precision import no_autocast
from cohaudit.gradients.sketch import full
from cohaudit.gradients.tracing.intercept import Call, Interceptor
from cohaudit.gradients.tracing.plan import Plan, Use
from cohaudit.gradients.vmap import VmapVjp, is_float, make_vjp


class UnplannedCallError(EngineError):
    """A call that the samples of the plan did not make, or not in this way: the path depends on the data.

    Args:
        key: Key of the call.
        parameters: Names of the parameters behind it.
    """

    def __init__(self, key: str, parameters: frozenset[str]) -> None:
        self.parameters = parameters
        super().__init__(key, "not made like this by the first samples", "measure its parameters by the loop")


class _IntoGraph(Function):
    """Puts a tensor into autograd's graph without a copy: the anchor requires grad, but receives none."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None


_into_graph: Callable[[Tensor, Tensor], Tensor] = _IntoGraph.apply


class BatchWatcher:
    """Decides what each call of the model returns, and turns the gradients at outputs into those of weights.

    Args:
        plan: How each call is measured.
        samples: Samples in the batch.
        collector: Receives the gradients of weights.
        inputs: Stores what layers see of the batch.
        bf16: Whether the model runs under autocast.

    Attributes:
        anchor: Tensor that requires grad, from which all watched outputs hang in autograd's graph.
    """

    def __init__(
        self,
        plan: Plan,
        samples: int,
        collector: GradientCollector,
        *,
        inputs: LayerInputs,
        bf16: bool,
    ) -> None:
        self._plan = plan
        self._samples = samples
        self._collector = collector
        self._inputs = inputs
        self._bf16 = bf16
        self._vjps: list[VmapVjp] = []
        self.anchor = torch.zeros((), requires_grad=True)

    def begin_backward(self) -> None:
        """Forget the gradients of an earlier backward pass."""
        for vjp in self._vjps:
            vjp.reset()

    def finish_backward(self) -> None:
        """Hand on the gradients on the vmap path, for which all outputs of a call must have been reached."""
        for vjp in self._vjps:
            for position, label in vjp.weights.items():
                self._collector.collect(label, Lazy(partial(vjp, position), 0, self._samples))

    def widened(self, value: Any) -> Any:
        """Return a tensor in float32 if autocast may have rounded it; anything else unchanged."""
        return full(value) if self._bf16 and is_float(value) else value

    def visit(self, interceptor: Interceptor, made: Call) -> Any:
        """Return the output of a call of the model, and watch the gradient that will reach it."""
        if not self._bf16 or made.function not in recurrent.CELLS:
            return self._visit(interceptor, made)
        # errors of 8 bits would build up over the steps of a recurrent layer
        wide = {i: self.widened(leaf) for i, leaf in enumerate(made.leaves) if i not in made.weights}
        with no_autocast(made.leaves[0].device):
            return self._visit(interceptor, made.with_leaves(wide))

    def _visit(self, interceptor: Interceptor, made: Call) -> Any:
        if made.key in self._plan.derived:
            return interceptor.derive(made)
        use = self._plan.uses.get(made.key)
        if use is None or not use.fits(made.leaves, self._samples):
            return self._run_unplanned(interceptor, made)
        self._inputs.store(made, use)
        apart = self._plan.unwatched_gradients
        if all(name in apart for names in use.weights.values() for name in names):
            return self._unmeasured(interceptor, made).run()
        plain = interceptor.plain(made)
        # a closed form returns the weight arguments themselves, so identity tells their labels
        labels = {id(plain.leaves[i]): label for i, label in made.weights.items()}
        if use.recurrent:
            report = partial(self._collect, labels)
            return recurrent.unroll(made.function, plain.arguments()[0], self.anchor, report)
        inputs = [i for i, t in enumerate(plain.leaves) if is_float(t) and i not in made.weights]
        # detached, so that a stored input does not keep alive the graph before it
        stored = plain.with_leaves({i: plain.leaves[i].detach() for i in inputs})
        if use.form is not None:
            return self._watch_closed_form(use, plain, stored, labels)
        if _changes_its_input(made.function):
            # the call is repeated in the backward pass, and needs its inputs as they were
            stored = stored.with_leaves({i: stored.leaves[i].clone() for i in inputs})
        return self._watch_vmap(use, plain, stored, made.weights)

    def _watch_closed_form(self, use: Use, plain: Call, stored: Call, labels: Mapping[int, str]) -> Tensor:
        assert use.form is not None
        output: Tensor = plain.run()
        # compared later: after a change in place the stored input would be another one, unnoticed
        version = stored.leaves[use.form.input]._version
        if output._is_view() and _is_fresh(output, plain):
            # matmul returns a view of a result that nobody else holds; this drops the view's bookkeeping,
            # which has the effect of a clone and costs no copy
            output = torch.ops.aten._unsafe_view(output, output.shape)
        return self._tap(output, partial(self._finish_closed_form, use, stored, labels, version))

    def _watch_vmap(self, use: Use, plain: Call, stored: Call, weights: Mapping[int, str]) -> Any:
        stored = stored.with_leaves({i: self.widened(leaf) for i, leaf in enumerate(stored.leaves)})
        leaves, spec = pytree.tree_flatten(plain.run())
        vjp = make_vjp(use, stored, weights, leaves, self._samples)
        self._vjps.append(vjp)
        # an output may be an integer tensor or no tensor, as the indices of a maximum
        tapped = [
            self._tap(leaf, partial(vjp.receive, i)) if is_float(leaf) else leaf
            for i, leaf in enumerate(leaves)
        ]
        return pytree.tree_unflatten(tapped, spec)

    def _unmeasured(self, interceptor: Interceptor, made: Call) -> Call:
        """Return a call that is not measured: on weights outside autograd's graph, or unchanged.

        It is unchanged if the loop measures everything: a checkpointed block must find the same graph when it
        runs again in the backward pass.
        """
        return made if self._plan.all_looped else interceptor.plain(made)

    def _run_unplanned(self, interceptor: Interceptor, made: Call) -> Any:
        """Return the output of a call that has no weights to measure.

        Raises:
            UnplannedCallError: If it has some, and the plan does not say how to measure them.
        """
        output = self._unmeasured(interceptor, made).run()
        names = {n for label in made.weights.values() for n in self._plan.behind.get(label, (label,))}
        # a call that returns no tensor (a weight's shape, say) uses no weight; one that returns None may
        # write
        uses_weights = output is None or any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(output))
        if uses_weights and not names <= self._plan.unwatched_gradients:
            raise UnplannedCallError(made.key, frozenset(names))
        return output

    def _tap(self, output: Tensor, receive: Callable[[Tensor], None]) -> Tensor:
        """Return the output, in autograd's graph, with `receive` called on the gradient that reaches it."""
        if output._is_view():
            output = output.clone()  # torch calls the hook of a view wrongly after a change in place
        # up to the first watched call nothing requires grad, because the weights are outside the graph
        if not output.requires_grad:
            output = _into_graph(self.anchor, output)
        output.register_hook(receive)
        return output

    def _finish_closed_form(
        self, use: Use, stored: Call, labels: Mapping[int, str], version: int, g: Tensor
    ) -> None:
        """Form the gradients of a call's weights from its stored input and the gradient g at its output."""
        assert use.form is not None
        input_batch = use.inputs[use.form.input]
        output_batch = use.outputs[0]
        assert input_batch is not None
        assert output_batch is not None
        x = stored.leaves[use.form.input]
        if x._version != version:
            raise EngineError(
                f"layer {use.layer}",
                "its input is modified in place after use",
                "use the out-of-place operation",
            )
        x, g = (self.widened(t) for t in (x, g))
        first = stored.with_leaves({use.form.input: input_batch.samples_first(x, self._samples)})
        args, kwargs = first.arguments()
        # closed forms are plain arithmetic on detached tensors
        with torch.no_grad():
            gradients = use.form.gradients(output_batch.samples_first(g, self._samples), args, kwargs)
        for weight, form in gradients:
            self._collect(labels, weight, form)

    def _collect(self, labels: Mapping[int, str], weight: Tensor | None, form: PerSample) -> None:
        """Hand on the gradients of a weight argument, unless it is frozen or was left out."""
        if id(weight) in labels:
            self._collector.collect(labels[id(weight)], form)


def _is_fresh(output: Tensor, made: Call) -> bool:
    """Return whether an output shares no memory with the arguments, even if it is a view of something."""
    given = {leaf.untyped_storage().data_ptr() for leaf in made.leaves if isinstance(leaf, Tensor)}
    return output.untyped_storage().data_ptr() not in given


def _changes_its_input(function: Any) -> bool:
    """Return whether a function works in place: add_, __iadd__."""
    name = getattr(function, "__name__", "")
    return name.startswith("__i") if name.endswith("__") else name.endswith("_")
