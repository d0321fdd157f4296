"""The sum of a batch's gradients by plain autograd, and what the layers see of the batch.

No gradient of a single sample is formed, so that a batch costs what it costs in training. Calls that take
weights are intercepted all the same, to store the inputs of the layers that represent the samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.forms import recurrent
from cohaudit.gradients.layer_inputs import LayerInputs
from cohaudit.gradients.norm_bounds import NormBounds
from cohaudit.gradients.precision import SMALLEST_FLOAT64, autocast, no_autocast
from cohaudit.gradients.residuals import Residuals, along, logits_of, residuals
from cohaudit.gradients.sketch import full
from cohaudit.gradients.tracing.intercept import Call, Interceptor
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.gradients.tracing.trace import call, every_module_called, is_closed
from cohaudit.gradients.vmap import is_float


@dataclass(frozen=True)
class PlainOutcome:
    """What a batch gives.

    Attributes:
        residuals: Residuals of the loss.
        features: See `LayerInputs`.
        peak: The largest scale among the samples; see `Residuals.scale`.
        totals: Parameter → Σ_i g_i / peak, shaped like it; a parameter that the batch does not reach is
            missing. Empty if no sums were wanted.
        bound: A bound of the norm of each sample's gradient, float64 [batch], on the CPU; see `NormBounds`.
            Zeros if no sums were wanted.
    """

    residuals: Residuals
    features: Mapping[str, tuple[Tensor, ...]]
    peak: float
    totals: Mapping[str, Tensor]
    bound: Tensor


class PlainEngine:
    """Sums of gradients, batch by batch.

    Args:
        model: In eval mode; it is not changed.
        plan: Which parameters are measured, and which layers represent the samples.
        hasher: Shortens the representations that are stored of each sample.
        bf16: See `Engine`.
    """

    def __init__(self, model: nn.Module, plan: Plan, hasher: FeatureHasher, bf16: bool = False) -> None:
        self.model = model
        self.plan = plan
        self.bf16 = bf16
        self._hasher = hasher

    def run(self, inputs: Any, labels: Tensor, temperature: float, *, sums: bool) -> PlainOutcome:
        """Run one batch.

        Args:
            inputs: Batch on the model's device.
            labels: int64 [batch], on the CPU.
            temperature: See `residuals`.
            sums: Whether to sum the gradients.
        """
        seen = LayerInputs(self.plan, len(labels), keep_all=False, hasher=self._hasher)
        with torch.enable_grad(), every_module_called():
            device = next(iter(self.plan.parameters.values())).device
            bounds = NormBounds(len(labels), device)
            logits, sources = self._forward(inputs, seen, len(labels), bounds if sums else None)
            # for the loss alone, as in `Engine.run`
            with torch.no_grad():
                exact = logits_of(call(self.model, inputs)) if self.bf16 else logits
            loss = residuals(exact, labels, temperature)
            peak = max(loss.scale.max().item(), SMALLEST_FLOAT64)
            totals = self._sums(logits, loss, peak, sources) if sums else {}
        bound = bounds.squares.double().cpu().sqrt() * peak
        return PlainOutcome(loss, seen.features, peak, totals, bound)

    def _forward(
        self, inputs: Any, seen: LayerInputs, samples: int, bounds: NormBounds | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the logits, in float32 at least, and the parameters in autograd's graph, by name."""
        parameters = self.plan.watched
        device = next(iter(parameters.values())).device
        if not self.plan.uses:
            with autocast(device, self.bf16):
                return self._widened(logits_of(call(self.model, inputs))), parameters
        # a checkpointed block must find the same graph when it runs again in the backward pass
        unchanged = self.plan.all_looped

        def visit(interceptor: Interceptor, made: Call) -> Any:
            if made.key in self.plan.derived and not unchanged:
                return interceptor.derive(made)
            use = self.plan.uses.get(made.key)
            known = use is not None and use.fits(made.leaves, samples)
            if use is not None and known:
                seen.store(made, use)
            output = self._run(made if unchanged else self._in_graph(interceptor, made))
            if use is not None and known and bounds is not None and not unchanged:
                bounds.watch(made, use, output)
            return output

        with autocast(device, self.bf16), Interceptor.watching(parameters, visit, is_closed) as interceptor:
            logits = self._widened(logits_of(call(self.model, inputs)))
        return logits, parameters if unchanged else interceptor.sources

    def _in_graph(self, interceptor: Interceptor, made: Call) -> Call:
        """Return the call on weights in autograd's graph, but for those that are not measured.

        Then autograd neither forms their gradients nor keeps the inputs that these take.
        """
        behind = self.plan.behind
        apart = {
            i: interceptor.sources[label].detach()
            for i, label in made.weights.items()
            if self.plan.left_out.keys() >= set(behind.get(label, ()))
        }
        return interceptor.in_graph(made).with_leaves(apart)

    def _widened(self, logits: Tensor) -> Tensor:
        """Return the logits in float32 if autocast may have rounded them."""
        return full(logits) if self.bf16 else logits

    def _run(self, made: Call) -> Any:
        if not self.bf16 or made.function not in recurrent.CELLS:
            return made.run()
        # errors of 8 bits would build up over the steps of a recurrent layer
        wide = {i: full(leaf) for i, leaf in enumerate(made.leaves) if is_float(leaf)}
        with no_autocast(made.leaves[0].device):
            return made.with_leaves(wide).run()

    def _sums(
        self, logits: Tensor, loss: Residuals, peak: float, sources: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """Return Σ_i g_i / peak of each parameter that the batch reaches."""
        if not logits.requires_grad:
            return {}
        # float32 can hold gradients of fitted samples relative to each other
        relative = (loss.scale / peak).to(logits).reshape(-1, *[1] * (logits.ndim - 1))
        names = list(self.plan.parameters)
        found = torch.autograd.grad(
            along(logits, loss.direction * relative), [sources[name] for name in names], allow_unused=True
        )
        # embeddings can be built to give sparse gradients
        return {name: g.to_dense() for name, g in zip(names, found, strict=True) if g is not None}
