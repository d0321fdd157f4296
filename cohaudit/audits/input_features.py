"""Which input columns carry signal, and which only noise: the coherence of the gradients behind each column.

Wide networks learn better, except at the input: a column that is unrelated to the label gives each sample a
gradient of its own, by which it can be memorized, and no gradient that it shares with others (Chatterjee,
ICLR 2020, arXiv 2002.10657). A column's coherence is that of its weights' gradients over the samples. The
null distribution comes from the same network and columns with shuffled labels. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients.passes.input_sums import InputSums
from cohaudit.results import Estimate, InputColumn, Inputs, Skipped

Array = NDArray[np.float64]

NULL_DEVIATIONS = 3.0
"""Half-width of the null interval in standard deviations. The null distribution is skewed and its deviation
is estimated from few shuffles: 1 to 4 % of pure noise columns lie above it."""

MIN_SAMPLES_PER_COLUMN = 100
"""A column with gradients from fewer samples than this is too rare to be called noise."""

NEGLIGIBLE_SHARE = 0.02
"""A column whose coherence is at most this share of the strongest one's is noise too: a network that
memorized through a column makes it a little coherent, which shuffled labels do not show."""

MAX_LISTED_COLUMNS = 300
"""Columns in the result, the weakest ones."""

MAX_NAMED_COLUMNS = 5
"""Noise columns named in the advice."""


def mean_pair_cosine(squared_sum: Array, squares: Array, norms: Array) -> Array:
    """Return the mean cosine between two samples' gradients, each pair weighted by both norms.

    (‖Σ g_i‖² − Σ ‖g_i‖²) / ((Σ ‖g_i‖)² − Σ ‖g_i‖²), in [-1, 1]; 0 if at most one sample has a gradient. It
    differs from α_u in the weights: α_u counts a pair as orthogonal if one of the samples has no gradient, so
    that a column that few samples have could not be coherent.

    Args:
        squared_sum: ‖Σ g_i‖² of each column, [any].
        squares: Σ ‖g_i‖², [any].
        norms: Σ ‖g_i‖, [any].
    """
    pairs = norms**2 - squares
    # with a single nonzero gradient both are equal, up to rounding
    some = pairs > 1e-9 * squares
    return np.where(some, (squared_sum - squares) / np.where(some, pairs, 1), 0.0)


def features_of(names: Sequence[str], sums: InputSums) -> Inputs | Skipped:
    """Return `input_features` of what a pass over the data measured.

    Args:
        names: Names of the columns of `sums`.
        sums: Sums over the samples' gradients.
    """
    return input_features(
        names,
        sums.layer,
        squared_sum=sums.squared_sum,
        squares=sums.squares,
        norms=sums.norms,
        constant=sums.constant,
    )


def input_features(
    names: Sequence[str],
    layer: str,
    *,
    squared_sum: Array,
    squares: Array,
    norms: Array,
    constant: NDArray[np.bool_],
) -> Inputs | Skipped:
    """Return which input columns carry signal.

    Args:
        names: Names of the columns, [columns].
        layer: Name of the layer that sees them.
        squared_sum: ‖Σ g_i‖² of each column's gradients, [1 + shuffles, columns]: first for the given labels,
            then for shuffled ones.
        squares: Σ ‖g_i‖², [1 + shuffles, columns].
        norms: Σ ‖g_i‖, [1 + shuffles, columns].
        constant: Whether a column is the same for all samples, [columns].
    """
    # without a gradient for one order of the labels, the null distribution would lack a value
    varying = np.flatnonzero(~constant & (squares > 0).all(0)).tolist()
    if not varying:
        return Skipped("inputs", "every input column is constant")
    coherence = mean_pair_cosine(squared_sum, squares, norms)[:, varying]
    # (Σ‖g‖)² / Σ‖g‖² counts the samples that have a gradient here, if all are of one length
    samples = (norms[0] ** 2 / np.where(squares[0] > 0, squares[0], 1))[varying]
    columns = _columns([names[j] for j in varying], coherence, samples)
    verdicts = [column.verdict for column in columns]
    still = [names[j] for j in np.flatnonzero(constant).tolist()]
    return Inputs(
        layer=layer,
        total=len(names),
        signal=verdicts.count("signal"),
        noise=verdicts.count("noise"),
        rare=verdicts.count("rare"),
        constant=len(still),
        columns=tuple(columns[:MAX_LISTED_COLUMNS]),
        constants=tuple(still[:MAX_LISTED_COLUMNS]),
        advice=_advice(columns, len(still)),
    )


def _columns(names: Sequence[str], coherence: Array, samples: Array) -> list[InputColumn]:
    """Return the columns that vary, weakest first.

    Args:
        names: Names of the columns, [columns].
        coherence: Coherence for the given labels, then for shuffled ones, [1 + shuffles, columns].
        samples: Samples with a gradient, [columns].
    """
    observed = coherence[0]
    mean = coherence[1:].mean(0)
    # ddof=1: the mean is estimated from the same few shuffles
    deviation = coherence[1:].std(0, ddof=1)
    above = observed - mean
    # without any spread of the null there is no score
    score = np.divide(above, deviation, out=np.zeros_like(above), where=deviation > 0)
    most = np.maximum(above, 0) + NULL_DEVIATIONS * deviation
    # only columns that enough samples have can be the strongest: rare ones have wide nulls
    limit = NEGLIGIBLE_SHARE * most[samples >= MIN_SAMPLES_PER_COLUMN].max(initial=0)
    quiet = (score <= NULL_DEVIATIONS) | (most <= limit)
    return [
        InputColumn(
            name=names[k],
            coherence=float(observed[k]),
            shuffled=Estimate(
                value=float(mean[k]),
                low=float(mean[k] - NULL_DEVIATIONS * deviation[k]),
                high=float(mean[k] + NULL_DEVIATIONS * deviation[k]),
            ),
            score=float(score[k]),
            most=float(most[k]),
            samples=float(samples[k]),
            verdict="signal" if not quiet[k] else "rare" if samples[k] < MIN_SAMPLES_PER_COLUMN else "noise",
        )
        for k in np.argsort(most, kind="stable").tolist()
    ]


def _advice(columns: Sequence[InputColumn], still: int) -> str:
    """Return which columns to drop; `still` of them are constant."""
    noise = [column.name for column in columns if column.verdict == "noise"]
    constant = f" {still} more {'are' if still > 1 else 'is'} constant: drop at once." if still else ""
    if not noise:
        return (
            f"Each of the {len(columns)} varying columns that enough samples have carries more than shuffled "
            f"labels give it, and more than a fiftieth of the strongest column: nothing to drop.{constant}"
        )
    more = f" and {len(noise) - MAX_NAMED_COLUMNS} more" if len(noise) > MAX_NAMED_COLUMNS else ""
    named = ", ".join(noise[:MAX_NAMED_COLUMNS]) + more
    return (
        f"{len(noise)} of {len(columns)} varying columns carry no more than shuffled labels give them, or "
        f"less than a fiftieth of the strongest column: {named}. Retrain without them, and keep the network "
        "that does better on a holdout. Measured on two tables, this gained 1.4 to 1.7 points of accuracy on "
        f"networks that fitted all labels, and nothing on some others.{constant}"
    )
