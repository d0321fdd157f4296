"""From a pass that summed the gradients to a measurement, with the gradients of some samples one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.gradients.checks.certificate import BF16_MEDIAN_ERROR, worst_check
from cohaudit.gradients.checks.class_sums import (
    DrawnSamples,
    SketchedSamples,
    class_sum_errors,
    drawn_sum_errors,
    sketched_norms,
)
from cohaudit.gradients.drawing import Draw
from cohaudit.gradients.pass_setup import Options, Source
from cohaudit.gradients.passes.blocks import BlockReader
from cohaudit.gradients.passes.measure import measure
from cohaudit.gradients.passes.measurement import ForwardResult, GradientSums, Measurement
from cohaudit.gradients.passes.observe import Observation, observe
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.results import Certificate

Array = NDArray[np.float64]

PLAIN_SUMS_CHECK = "class sums of some drawn samples, by the pass that sums"
"""Name of the check of the pass that sums, on samples of which the sums are known from single gradients."""

SUMMED_AGAIN = 64
"""Drawn samples that are summed again: every class of ten has some, and it takes a batch."""

DRAWN_SUMS_CHECK = "class sums, by the drawn samples"
"""Name of the check of the sums against the samples that were measured one by one."""


def measure_drawn(
    model: nn.Module,
    source: Source,
    seen: Observation,
    draw: Draw,
    *,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
    blocks: BlockReader | None = None,
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
        blocks: Returns what other processes measured of the drawn samples, instead of measuring them.

    Raises:
        ModelError: If the model itself fails on one of the samples.
        EngineError: If gradients cannot be measured, or the certificate fails.
    """
    own = measure(model, source.subset(draw.indices), options, device, advance, plan=seen.plan, blocks=blocks)
    sums = seen.sums or estimated_sums(own, source.labels[draw.indices], draw.weight)
    certificate = own.certificate
    if seen.sums is not None:
        again = _Again(model, source, seen.plan, options, device)
        certificate = again.checked(certificate, own, draw)
        certificate = _with_sums_checked(certificate, own, source.labels[draw.indices], draw, sums)
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
    squares = _layer_squares(sketches, own)
    own_pairs = np.zeros_like(squares)
    np.add.at(own_pairs, labels, np.square(weight)[:, None] * own.squared_norms)
    energy = np.zeros_like(squares)
    np.add.at(energy, labels, weight[:, None] * own.squared_norms)
    class_squares = np.maximum(squares - own_pairs + energy, 0)
    between = _layer_squares(sketches.sum(0, keepdims=True), own)[0] - squares.sum(0)
    gram = sketches @ sketches.T
    np.fill_diagonal(gram, class_squares.sum(1))
    return GradientSums(
        class_squares=class_squares,
        class_sketches=sketches,
        total_squares=np.maximum(between + class_squares.sum(0), 0),
        class_gram=gram,
        class_gram_error=own.class_gram_error or columns**-0.5,
    )


def _layer_squares(sketches: Array, own: Measurement) -> Array:
    """Return the squared norm of each layer's part of some sketches, [any, L]."""
    return np.stack([np.square(sketches[:, layer.columns]).sum(1) for layer in own.layers], 1)


def _with_sums_checked(
    certificate: Certificate, own: Measurement, labels: NDArray[np.int64], draw: Draw, sums: GradientSums
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
        layer_columns=[layer.columns for layer in own.layers],
    )
    errors = drawn_sum_errors(drawn, sums.class_sketches)
    # the bound of the sums of the drawn samples themselves: the same rounding
    return _with_check(certificate, own, DRAWN_SUMS_CHECK, errors, own.certificate.checks[-1].tolerance)


def _with_check(
    certificate: Certificate, own: Measurement, name: str, errors: Array, bound: float
) -> Certificate:
    """Return the certificate with one more check, from its error per layer.

    Raises:
        EngineError: If an error is above the bound, or not a number.
    """
    remedy = "please report this model as a bug, and use --coherence exact"
    check = worst_check(name, errors, bound, [layer.name for layer in own.layers], remedy)
    return replace(certificate, checks=(*certificate.checks, check))


@dataclass(frozen=True)
class _Again:
    """Sums some drawn samples again, by the pass that summed all.

    Attributes:
        model: On `device`, in eval mode.
        source: All samples.
        plan: How the model is measured.
        options: How to measure.
        device: Device to run on.
    """

    model: nn.Module
    source: Source
    plan: Plan
    options: Options
    device: torch.device

    def checked(self, certificate: Certificate, own: Measurement, draw: Draw) -> Certificate:
        """Return the certificate with the sums of some samples compared to their single gradients.

        The median over the classes has to be within the tolerance: the input of a ReLU that is zero but for
        rounding may pass in one batch and not in another, which moves the sum of its class.

        Args:
            certificate: Certificate of the drawn samples.
            own: Their measurement.
            draw: The drawn samples.

        Raises:
            EngineError: If they differ.
        """
        order = np.random.default_rng(self.options.seed).permutation(len(draw.indices))
        rows = np.sort(order[:SUMMED_AGAIN])
        some = self.source.subset(draw.indices[rows])
        # their directions are not looked at
        options = replace(self.options, class_memory=1)
        seen = observe(self.model, some, options, self.device, lambda count: None, sums=True, plan=self.plan)
        assert seen.sums is not None
        columns = [layer.columns for layer in own.layers]
        sketches = np.asarray(own.sketches[rows])
        samples = SketchedSamples(
            labels=some.labels,
            scale=own.scale[rows],
            sketches=sketches,
            # not from the squares, which are zero for fitted samples
            unit_norms=sketched_norms(sketches, columns),
            layer_columns=columns,
        )
        errors = class_sum_errors(samples, seen.sums.class_sketches)[np.unique(some.labels)]
        bound = own.certificate.checks[-1].tolerance
        if self.options.bf16:
            # autograd rounds the sums' products, which single gradients form in float32
            bound = max(bound, BF16_MEDIAN_ERROR)
        return _with_check(certificate, own, PLAIN_SUMS_CHECK, np.median(errors, axis=0), bound)
