"""Coherence of the whole gradient, of each layer and of each class, with intervals; cosines of classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cohaudit.analysis.class_cosines import class_cosines, sampling_error
from cohaudit.analysis.coherence import Gradients, Resampling, coherence, interval_deviations
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
    gradients = Gradients(measured.sketches, measured.scale, np.arange(count))
    # all layers and the whole share the resamples, so that their intervals can be compared
    deviations = interval_deviations(gradients, [layer.columns for layer in measured.layers], resampling)
    energy = measured.squared_norms.sum(0)
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
            coherence=coherence(
                f"layer {layer.name}",
                float(measured.total_squares[k]),
                float(energy[k]),
                count,
                deviations[k],
            ),
        )
        for k, layer in enumerate(measured.layers)
    )
    whole = coherence("the model", float(measured.total_squares.sum()), total, count, deviations[-1])
    return whole, layers


def class_coherences(
    measured: Measurement, source: Source, resampling: Resampling
) -> Iterator[Coherence | Skipped]:
    """Yield the coherence of each class, in the order of the model's outputs.

    Args:
        measured: Measurement of the samples.
        source: The samples; only labels and class names are used.
        resampling: How intervals are made.
    """
    for c, name in enumerate(source.class_names):
        members = np.flatnonzero(source.labels == c)
        # scaled within the class: beside a badly fitted one, a well fitted one would vanish in float32
        gradients = Gradients(measured.sketches, measured.scale, members)
        deviations = interval_deviations(gradients, [slice(None)], resampling)[-1]
        energy = float(measured.squared_norms[members].sum())
        squares = float(measured.class_squares[c].sum())
        yield coherence(f"class {name}", squares, energy, len(members), deviations)


def cosines_of_classes(measured: Measurement, source: Source) -> ClassCosines | Skipped:
    """Return the cosines between the classes' mean gradients, with their errors.

    Args:
        measured: Measurement of the samples.
        source: The samples; only labels and class names are used.
    """
    members = [np.flatnonzero(source.labels == c) for c in range(len(source.class_names))]
    own = np.array([measured.squared_norms[part].sum() for part in members])
    squares = measured.class_squares.sum(1)
    # a class without a gradient has nothing in common
    pair_shares = np.divide(squares - own, squares, out=np.zeros_like(squares), where=squares > 0)
    gradients = [Gradients(measured.sketches, measured.scale, part) for part in members]
    sampling = sampling_error(measured.class_gram, gradients, pair_shares)
    return class_cosines(measured.class_gram, measured.class_gram_error, sampling)
