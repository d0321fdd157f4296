"""From a pass that summed the gradients to a measurement, with the gradients of some samples one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.errors import EngineError
from cohaudit.gradients.checks.class_sums import DrawnSamples, drawn_sum_errors
from cohaudit.gradients.drawing import Draw
from cohaudit.gradients.pass_setup import Options, Source
from cohaudit.gradients.passes.measure import measure
from cohaudit.gradients.passes.measurement import ForwardResult, GradientSums, Measurement
from cohaudit.gradients.passes.observe import Observation
from cohaudit.results import Certificate, Check
from cohaudit.results.wording import compact, number

Array = NDArray[np.float64]

DRAWN_SUMS_CHECK = "class sums, by the drawn samples"
"""Name of the check of the sums against the samples that were measured one by one."""


def subset(source: Source, indices: NDArray[np.int64]) -> Source:
    """Return some of the samples as a source.

    Args:
        source: All samples.
        indices: Indices of those wanted.
    """

    def load(wanted: Sequence[int]) -> Any:
        return source.load(indices[list(wanted)].tolist())

    return Source(load, source.labels[indices], [source.ids[i] for i in indices], source.class_names)


def measure_drawn(
    model: nn.Module,
    source: Source,
    seen: Observation,
    draw: Draw,
    *,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> Measurement:
    """Measure the gradients of the drawn samples one by one, and put them together with what a pass gave.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: All samples.
        seen: What the pass over all of them gave.
        draw: The samples to measure.
        options: How to measure.
        device: Device to run on.
        advance: Called with the number of samples done.

    Raises:
        ModelError: If the model itself fails on one of the samples.
        EngineError: If gradients cannot be measured, or the certificate fails.
    """
    own = measure(model, subset(source, draw.indices), options, device, advance, plan=seen.plan)
    sums = seen.sums or estimated_sums(own, source.labels[draw.indices], draw.weight)
    certificate = own.certificate
    if seen.sums is not None:
        certificate = _with_sums_checked(own, source.labels[draw.indices], draw, sums, options)
    forward = {name: getattr(seen.forward, name) for name in ForwardResult.__dataclass_fields__}
    # the paths as they were measured: a sample may have needed the loop
    forward["layers"] = own.layers
    return replace(
        own,
        **forward,
        **vars(sums),
        drawn=draw.indices,
        weight=draw.weight,
        exact_sums=seen.sums is not None,
        certificate=certificate,
    )


def estimated_sums(own: Measurement, labels: NDArray[np.int64], weight: Array) -> GradientSums:
    """Return the classes' sums as the drawn samples tell them.

    A square of a sum counts each pair of samples i ≠ j with w_i w_j, but a sample's own square with w_i:
    ‖Σ w_i g_i‖² − Σ w_i (w_i − 1) ‖g_i‖² is unbiased where samples are drawn independently.

    Args:
        own: Measurement of the drawn samples, n of them.
        labels: Their classes, [n].
        weight: How many samples each stands for, w, [n].
    """
    classes = len(own.class_squares)
    columns = own.sketches.shape[1]
    sketches: Array = np.zeros((classes, columns))
    factors = weight * own.scale
    for c in np.unique(labels).tolist():
        members = np.flatnonzero(labels == c)
        sketches[c] = factors[members] @ np.asarray(own.sketches[members], dtype=np.float64)
    repeated = (weight * (weight - 1))[:, None] * own.squared_norms
    beyond = np.zeros((classes, len(own.layers)))
    np.add.at(beyond, labels, repeated)
    total = sketches.sum(0)
    class_squares = np.maximum(_layer_squares(sketches, own) - beyond, 0)
    gram = sketches @ sketches.T
    np.fill_diagonal(gram, class_squares.sum(1))
    return GradientSums(
        class_squares=class_squares,
        class_sketches=sketches,
        total_squares=np.maximum(_layer_squares(total[None], own)[0] - beyond.sum(0), 0),
        class_gram=gram,
        class_gram_error=own.class_gram_error or columns**-0.5,
    )


def _layer_squares(sketches: Array, own: Measurement) -> Array:
    """Return the squared norm of each layer's part of some sketches, [any, L]."""
    return np.stack([np.square(sketches[:, layer.columns]).sum(1) for layer in own.layers], 1)


def _with_sums_checked(
    own: Measurement, labels: NDArray[np.int64], draw: Draw, sums: GradientSums, options: Options
) -> Certificate:
    """Return the certificate with the sums compared to the drawn samples.

    Raises:
        EngineError: If they differ by more than the draw explains.
    """
    drawn = DrawnSamples(
        labels=labels,
        weight=draw.weight,
        scale=own.scale,
        sketches=own.sketches,
        squared_norms=own.squared_norms,
        layer_columns=[layer.columns for layer in own.layers],
    )
    errors = drawn_sum_errors(drawn, sums.class_sketches)
    worst = int(np.argmax(errors))
    # the bound of the sums of the drawn samples themselves: the same rounding
    bound = max(options.certificate_tolerance, *(check.tolerance for check in own.certificate.checks[-1:]))
    if not errors[worst] <= bound:  # written so that NaN fails
        raise EngineError(
            f"layer {own.layers[worst].name}",
            f"certificate failed: {DRAWN_SUMS_CHECK}: relative error {number(float(errors[worst]))} is above "
            f"{compact(bound)}",
            "please report this model as a bug, and use --coherence exact",
        )
    check = Check(DRAWN_SUMS_CHECK, own.layers[worst].name, float(errors[worst]), bound)
    return replace(own.certificate, checks=(*own.certificate.checks, check))
