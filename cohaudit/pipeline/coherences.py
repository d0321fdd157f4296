"""Coherence of the whole gradient, of each layer and of each class, with intervals; cosines of classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.class_cosines import class_cosines, sampling_error, too_many_classes
from cohaudit.analysis.coherence import (
    Gradients,
    Resampling,
    coherence,
    interval_deviations,
    with_energy_error,
)
from cohaudit.gradients import Measurement, Source
from cohaudit.results import ClassCosines, Coherence, Layer, Skipped


def layer_coherences(
    measured: Measurement, resampling: Resampling
) -> tuple[Coherence | Skipped, tuple[Layer, ...]]:
    """Return the coherence of the whole gradient, and each layer with its own.

    Args:
        measured: Measurement of the samples.
        resampling: How intervals are made.
    """
    count = len(measured.scale)
    gradients = _gradients(measured, np.arange(len(measured.drawn)), count, measured.class_sketches.sum(0))
    # all layers and the whole share the resamples, so that their intervals can be compared
    deviations = interval_deviations(gradients, [layer.columns for layer in measured.layers], resampling)
    energy = measured.energy()
    errors = _energy_errors(measured, slice(None), resampling)
    # zero if the squares of a well fitted network's gradients underflow
    total = float(energy.sum())
    layers = tuple(
        Layer(
            name=layer.name,
            kind=layer.kind,
            parameters=layer.parameters,
            path=layer.path,
            energy=float(energy[k]) / total if total > 0 else 0.0,
            gradient_norm=float(np.sqrt(energy[k] / count)),
            coherence=_coherence(
                f"layer {layer.name}",
                Sums(float(measured.total_squares[k]), float(energy[k]), count),
                deviations[k],
                errors[k],
            ),
        )
        for k, layer in enumerate(measured.layers)
    )
    sums = Sums(float(measured.total_squares.sum()), total, count)
    return _coherence("the model", sums, deviations[-1], errors[-1]), layers


def class_coherences(
    measured: Measurement, source: Source, resampling: Resampling
) -> Iterator[Coherence | Skipped]:
    """Yield the coherence of each class, in the order of the model's outputs.

    Args:
        measured: Measurement of the samples.
        source: The samples; only labels and class names are used.
        resampling: How intervals are made.
    """
    sizes = np.bincount(source.labels, minlength=len(source.class_names))
    for c, (name, members) in enumerate(zip(source.class_names, _members(measured, source), strict=True)):
        # scaled within the class: beside a badly fitted one, a well fitted one would vanish in float32
        gradients = _gradients(measured, members, int(sizes[c]), measured.class_sketches[c])
        deviations = interval_deviations(gradients, [slice(None)], resampling)[-1]
        energy = float(measured.energy(members).sum())
        sums = Sums(float(measured.class_squares[c].sum()), energy, int(sizes[c]))
        yield _coherence(f"class {name}", sums, deviations, _energy_errors(measured, members, resampling)[-1])


def cosines_of_classes(measured: Measurement, source: Source) -> ClassCosines | Skipped:
    """Return the cosines between the classes' mean gradients, with their errors.

    Args:
        measured: Measurement of the samples.
        source: The samples; only labels and class names are used.
    """
    if skipped := too_many_classes(len(source.class_names)):
        return skipped
    if not measured.exact_sums:
        # a mean of few gradients is long by chance: its cosines would be of noise
        return Skipped("class × class cosines", "they need the sums of all gradients: --coherence sums")
    members = _members(measured, source)
    sizes = np.bincount(source.labels, minlength=len(source.class_names)).tolist()
    own = np.array([measured.energy(part).sum() for part in members])
    squares = measured.class_squares.sum(1)
    # a class without a gradient has nothing in common
    pair_shares = np.divide(squares - own, squares, out=np.zeros_like(squares), where=squares > 0)
    gradients = [
        _gradients(measured, part, size, total)
        for part, size, total in zip(members, sizes, measured.class_sketches, strict=True)
    ]
    sampling = sampling_error(measured.class_gram, gradients, pair_shares)
    return class_cosines(measured.class_gram, measured.class_gram_error, sampling)


def _members(measured: Measurement, source: Source) -> list[NDArray[np.int64]]:
    """Return the rows of each class's samples among those measured one by one."""
    labels = source.labels[measured.drawn]
    sizes = np.bincount(labels, minlength=len(source.class_names))
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])


def _gradients(
    measured: Measurement, members: NDArray[np.int64], size: int, total: NDArray[np.float64]
) -> Gradients:
    """Return a set of samples as its coherence is computed from.

    Args:
        measured: Measurement of the samples.
        members: Rows of those measured one by one.
        size: Samples in the set.
        total: Sketch of the sum over the set.
    """
    scale = measured.scale[measured.drawn]
    if measured.complete:
        return Gradients(measured.sketches, scale, members)
    return Gradients(
        measured.sketches,
        scale,
        members,
        weight=measured.weight[members],
        size=size,
        total=total if measured.exact_sums else None,
    )


def _energy_errors(
    measured: Measurement, rows: NDArray[np.int64] | slice, resampling: Resampling
) -> NDArray[np.float64]:
    """Return the relative error of each layer's energy and of their sum, at the confidence, [L + 1].

    It is 0 where the resamples vary the samples that were drawn, and so hold it already.
    """
    if measured.complete or not measured.exact_sums:
        return np.zeros(len(measured.layers) + 1)
    return NormalDist().inv_cdf((1 + resampling.confidence) / 2) * measured.energy_error(rows)


@dataclass(frozen=True)
class Sums:
    """What a coherence is computed from.

    Attributes:
        square_of_sum: ‖Σ g_i‖².
        sum_of_squares: Σ ‖g_i‖².
        samples: m.
    """

    square_of_sum: float
    sum_of_squares: float
    samples: int


def _coherence(
    name: str, sums: Sums, deviations: NDArray[np.float64], energy_error: float
) -> Coherence | Skipped:
    if energy_error > 0 and sums.samples > 1 and sums.sum_of_squares > 0:
        level = sums.square_of_sum / sums.sum_of_squares / (sums.samples - 1)
        deviations = with_energy_error(deviations, level, energy_error)
    return coherence(name, sums.square_of_sum, sums.sum_of_squares, sums.samples, deviations)
