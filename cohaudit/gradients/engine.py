"""One forward and one backward pass give every parameter's per-sample gradients.

The weights are taken out of autograd's graph: their gradients are formed here, once per sample, instead of
summed over the batch. Each call that takes weights stores its input; when the gradient at its output arrives,
both become a `PerSample`. The model is never changed: its calls are intercepted from outside (see
`tracing.intercept`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from cohaudit.gradients.batch_watcher import BatchWatcher
from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import PerSample
from cohaudit.gradients.gradient_collector import GradientCollector
from cohaudit.gradients.layer_inputs import LayerInputs
from cohaudit.gradients.precision import autocast
from cohaudit.gradients.residuals import Residuals, along, logits_of, random_combination, residuals
from cohaudit.gradients.single_sample import sample, single_gradients
from cohaudit.gradients.tracing.intercept import Interceptor
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.gradients.tracing.trace import call, every_module_called, is_closed

Consumer: TypeAlias = Callable[[str, PerSample, Residuals], None]
"""Receives a parameter's name, the batch's gradients of the *unit* residual (see `Residuals.scale`), and the
batch's residuals."""


@dataclass(frozen=True)
class LabelFree:
    """A second measurement of the same batch that does not use the labels.

    Attributes:
        seed: Seed of the combination of logits; see `random_combination`.
        consume: Called like the consumer of the loss gradients, with those of the combination.
    """

    seed: int
    consume: Consumer


@dataclass(frozen=True)
class Outcome:
    """What a batch gives beside its gradients.

    Attributes:
        residuals: Residuals of the loss.
        features: See `LayerInputs`.
        activations: See `LayerInputs`; empty unless label-free.
    """

    residuals: Residuals
    features: Mapping[str, tuple[Tensor, ...]]
    activations: Mapping[str, Tensor]


class Engine:
    """Per-sample gradients of a model, batch by batch.

    Args:
        model: In eval mode; it is not changed.
        plan: How to measure it.
        hasher: Shortens the representations that are stored of each sample; None stores none.
        bf16: Whether the network runs under autocast to bfloat16, forward and backward. Per-sample gradients
            are formed in float32, and the loop and recurrent layers run in it. So does one more forward pass
            for the loss: a logit of 10 rounded to 8 bits would change a small p − y by 3 %.
    """

    def __init__(
        self, model: nn.Module, plan: Plan, hasher: FeatureHasher | None = None, bf16: bool = False
    ) -> None:
        self.model = model
        self.plan = plan
        self.bf16 = bf16
        self._hasher = hasher
        # those that no sample of the plan reaches: where a later one does, the graph hangs from them too
        planned = {id(p) for p in plan.watched.values()}
        self._unplanned = [p for p in model.parameters() if p.requires_grad and id(p) not in planned]

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
            inputs: Batch on the model's device.
            labels: int64 [batch], on the CPU.
            temperature: See `residuals`.
            consume: Called once for each parameter with the gradients of ⟨residual direction, output⟩; a
                sample's loss gradient is that times its `scale`. A parameter that the batch does not reach
                is not reported: its gradients are zero.
            label_free: Second measurement, with one more backward pass.

        Raises:
            UnplannedCallError: If the model's forward pass differs from the plan's; nothing was consumed.
        """
        collector = GradientCollector(self.plan, len(labels))
        seen = LayerInputs(self.plan, len(labels), keep_all=label_free is not None, hasher=self._hasher)
        watcher = BatchWatcher(self.plan, len(labels), collector, inputs=seen, bf16=self.bf16)
        with torch.enable_grad(), every_module_called():
            logits, sources = self._forward(inputs, watcher)
            # for the loss alone: the backward pass goes through the rounded forward pass, as it must
            with torch.no_grad():
                exact = logits_of(call(self.model, inputs)) if self.bf16 else logits
            loss = residuals(exact, labels, temperature)
            # one forward pass serves both backward passes
            passes = [(loss.direction, consume)]
            if label_free is not None:
                passes.append((random_combination(logits, label_free.seed), label_free.consume))
            for number, (direction, receiver) in enumerate(passes, 1):
                collector.begin(receiver, loss, sources)
                watcher.begin_backward()
                # the last backward pass frees the graph on its way, which lowers the peak of memory
                self._backward(logits, direction, watcher, retain=number < len(passes))
                collector.finish()
        # after them, when the graph is gone: the loop runs the whole model again
        for direction, receiver in passes:
            self._loop(inputs, direction, loss, receiver)
        return Outcome(loss, seen.features, seen.activations)

    def _forward(self, inputs: Any, watcher: BatchWatcher) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the logits, in float32 at least, and the weights in autograd's graph, by label."""
        parameters = self.plan.watched
        if not self.plan.uses:
            return logits_of(call(self.model, inputs)), {}
        device = next(iter(parameters.values())).device
        with (
            autocast(device, self.bf16),
            Interceptor.watching(parameters, watcher.visit, is_closed) as interceptor,
        ):
            return watcher.widened(logits_of(call(self.model, inputs))), interceptor.sources

    def _backward(self, logits: Tensor, direction: Tensor, watcher: BatchWatcher, *, retain: bool) -> None:
        """Send a direction at the logits back through the graph, to the hooks of the watcher."""
        # where the loop measures everything, nothing is in the graph to receive gradients
        if logits.requires_grad and not self.plan.all_looped:
            ends = [watcher.anchor, *self._unplanned]
            torch.autograd.grad(along(logits, direction), ends, allow_unused=True, retain_graph=retain)
        watcher.finish_backward()

    def _loop(self, inputs: Any, direction: Tensor, loss: Residuals, consume: Consumer) -> None:
        """Measure the looped parameters: one sample at a time, by autograd through the whole model."""
        # in the plan's order: sums must not depend on the order in which a set is iterated
        looped = {name: p for name, p in self.plan.parameters.items() if name in self.plan.looped}
        if not looped:
            return
        rows = [
            single_gradients(self.model, looped, sample(inputs, i), direction[i : i + 1])
            for i in range(len(direction))
        ]
        for name in looped:
            consume(name, Dense(torch.stack([row[name] for row in rows])), loss)
