"""Chosen coordinates of every sample's gradient, for statistics that need all samples of a weight at once.

N × chosen numbers are stored, never N × P; the gradients themselves are formed a few samples at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.forms.per_sample import CACHE_BYTES, PerSample
from cohaudit.gradients.pass_setup import Options, PassSetup, Source
from cohaudit.gradients.passes.batches import Batches
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
        scale: Factor of each row, [N]; separate because float32 cannot hold the product for fitted samples.
    """

    rows: Mapping[str, NDArray[np.floating]]
    scale: NDArray[np.float64]

    def gradients(self, name: str, chosen: slice = slice(None)) -> NDArray[np.float64]:
        """Return a parameter's coordinates of the samples' loss gradients, float64 [N, chosen]."""
        gradients: NDArray[np.float64] = self.rows[name][:, chosen] * self.scale[:, None]
        return gradients


@full_precision()
def gradient_coordinates(
    model: nn.Module,
    source: Source,
    chosen: Mapping[str, Indices],
    options: Options,
    device: torch.device,
    *,
    advance: Callable[[int], None],
) -> Coordinates:
    """Return chosen coordinates of every sample's gradient, in one pass over the samples.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        chosen: Name of a parameter → positions of the coordinates in the flattened parameter, int64.
        options: How gradients are measured: temperature, batch size, precision.
        device: Device to run on.
        advance: Called with the number of samples done.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured.
    """
    with backward_in_eval_mode(model, device):
        plan = prepare(model, source, device, options.layers)
        run = _begin(PassSetup(model, source, options, device), plan, chosen)
        for start in range(0, len(source.labels), options.batch_size):
            stop = min(start + options.batch_size, len(source.labels))
            run.batch(slice(start, stop))
            advance(stop - start)
    return Coordinates(run.rows, run.scale)


@dataclass(frozen=True)
class _CoordinatePass:
    """The arrays of the pass and how a batch fills them.

    Attributes:
        parameters: Name → parameter.
        batches: Measures a batch.
        positions: Name of a parameter → positions of its chosen coordinates, on the model's device.
        rows: See `Coordinates`.
        scale: See `Coordinates`.
    """

    parameters: Mapping[str, nn.Parameter]
    batches: Batches
    positions: Mapping[str, Tensor]
    rows: Mapping[str, NDArray[np.floating]]
    scale: NDArray[np.float64]

    def batch(self, samples: slice) -> None:
        """Fill in one batch."""

        def consume(name: str, form: PerSample, residuals: Residuals) -> None:
            if name in self.positions:
                self._pick(name, form, samples)

        outcome = self.batches.run(list(range(samples.start, samples.stop)), consume)
        self.scale[samples] = outcome.residuals.scale.numpy()

    def _pick(self, name: str, form: PerSample, samples: slice) -> None:
        """Form the gradients of a few samples at a time, and store the chosen coordinates."""
        parameter = self.parameters[name]
        count = samples.stop - samples.start
        # as many samples as fit a CPU's cache, at least one
        step = max(1, CACHE_BYTES // max(1, parameter.numel() * parameter.element_size()))
        for start in range(0, count, step):
            stop = min(start + step, count)
            formed = form.rows(start, stop).dense().gradients.reshape(stop - start, -1)
            coordinates = formed[:, self.positions[name]]
            if coordinates.dtype != torch.float64:
                coordinates = coordinates.float()  # numpy has no bfloat16
            own = slice(samples.start + start, samples.start + stop)
            self.rows[name][own] = coordinates.cpu().numpy()


def _begin(setup: PassSetup, plan: Plan, chosen: Mapping[str, Indices]) -> _CoordinatePass:
    """Return a pass whose arrays are zero."""
    count = len(setup.source.labels)
    # float64 parameters keep their digits; numpy has no bfloat16, so that all others become float32
    wide = torch.float64 in {p.dtype for p in plan.parameters.values()}
    dtype = np.float64 if wide else np.float32
    return _CoordinatePass(
        parameters=plan.parameters,
        batches=Batches(setup, plan),
        positions={name: torch.from_numpy(own).to(setup.device) for name, own in chosen.items()},
        rows={name: np.zeros((count, len(own)), dtype=dtype) for name, own in chosen.items()},
        scale=np.zeros(count),
    )
