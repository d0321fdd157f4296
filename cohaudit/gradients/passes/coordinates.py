"""Chosen coordinates of every sample's gradient: for figures that take all samples of a weight at once.

N × chosen coordinates are kept, never N × P; the gradients themselves are formed a few samples at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.gradients.checks.prepare import Source, prepare
from cohaudit.gradients.forms.per_sample import CACHE_BYTES, PerSample
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.measurement import Options
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.tracing.plan import Plan

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Coordinates:
    """Some coordinates of every sample's gradient; N samples.

    Attributes:
        rows: Name of a parameter → the chosen entries of the *unit* residual's gradients (see
            `Residuals.scale`), [N, chosen]; zero where a sample does not reach the parameter, or the
            parameter is not measured.
        scale: What the rows are to be multiplied by, [N]: apart, for float32 does not hold the product where
            samples are fitted.
    """

    rows: Mapping[str, NDArray[np.floating]]
    scale: NDArray[np.float64]

    def gradients(self, name: str, chosen: slice = slice(None)) -> NDArray[np.float64]:
        """Return a parameter's coordinates of the samples' loss gradients, float64 [N, chosen]."""
        found: NDArray[np.float64] = self.rows[name][:, chosen] * self.scale[:, None]
        return found


@full_precision()
def gradient_coordinates(
    model: nn.Module,
    source: Source,
    chosen: Mapping[str, Indices],
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> Coordinates:
    """Return chosen coordinates of every sample's gradient, in one pass over the samples.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        chosen: Name of a parameter → the places of its coordinates when flattened, int64.
        options: How gradients are measured: temperature, batch size, precision.
        device: Where.
        advance: Called with the number of samples done.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured.
    """
    with backward_in_eval_mode(model, device):
        plan = prepare(model, source, device)
        run = _Pass(model, plan, source, chosen, options, device)
        for start in range(0, len(source.labels), options.batch_size):
            stop = min(start + options.batch_size, len(source.labels))
            run.batch(slice(start, stop))
            advance(stop - start)
    return Coordinates(run.rows, run.scale)


class _Pass:
    """The arrays of the pass and how a batch fills them."""

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        source: Source,
        chosen: Mapping[str, Indices],
        options: Options,
        device: torch.device,
    ) -> None:
        self.parameters = plan.parameters
        self.batches = Batches(model, plan, source, options, device)
        self.places = {name: torch.from_numpy(own).to(device) for name, own in chosen.items()}
        count = len(source.labels)
        wide = torch.float64 in {p.dtype for p in plan.parameters.values()}
        kind = np.float64 if wide else np.float32
        self.rows = {name: np.zeros((count, len(own)), dtype=kind) for name, own in chosen.items()}
        self.scale = np.zeros(count)

    def batch(self, samples: slice) -> None:
        """Fill in one batch."""

        def consume(name: str, form: PerSample, outcome: Residuals) -> None:
            if name in self.places:
                self._pick(name, form, samples)

        found = self.batches.run(list(range(samples.start, samples.stop)), consume)
        self.scale[samples] = found.residuals.scale.numpy()

    def _pick(self, name: str, form: PerSample, samples: slice) -> None:
        """Form the gradients of a few samples at a time, and keep what is chosen of them."""
        parameter = self.parameters[name]
        count = samples.stop - samples.start
        step = max(1, CACHE_BYTES // max(1, parameter.numel() * parameter.element_size()))
        for start in range(0, count, step):
            stop = min(start + step, count)
            formed = form.rows(start, stop).dense().gradients.reshape(stop - start, -1)
            kept = formed[:, self.places[name]]
            own = slice(samples.start + start, samples.start + stop)
            # numpy has no bfloat16
            kept = kept if kept.dtype == torch.float64 else kept.float()
            self.rows[name][own] = kept.cpu().numpy()
