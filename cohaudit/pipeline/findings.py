"""From measurements to findings: each figure of the audit, made by the pure functions beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohaudit.analysis.coherence import Gradients, Resampling, class_cosines, coherence, interval_deviations
from cohaudit.analysis.gap_drivers import DriverInputs, find_drivers
from cohaudit.analysis.generalization_gap import (
    CLASS_HALF_WIDTH,
    Prediction,
    estimate_risk,
    interval,
    predict_gap,
    preprocessing_warning,
)
from cohaudit.analysis.leave_one_out import Suspicion, confusion, doubt, just_below, suspect_labels
from cohaudit.analysis.near_duplicates import SimilarityIndex, likeness
from cohaudit.analysis.neighbor_support import Side, Support, neighborhood_support, sketched_cosine_error
from cohaudit.analysis.sanity import check_sanity
from cohaudit.config import Config
from cohaudit.gradients import Measurement, Source
from cohaudit.pipeline.sample_table import NAMED_NEIGHBORS, sample_table
from cohaudit.results import (
    ClassCosines,
    ClassResult,
    Coherence,
    Estimate,
    Holdout,
    Layer,
    Risk,
    Sanity,
    Skipped,
)
from cohaudit.results.gap import NO_VERDICT
from cohaudit.results.sample_table import order_by_suspicion

Array = NDArray[np.float64]
Pairs = list[tuple[int, float, bool]]
"""Index of another sample, the cosine with it, and whether it is a near-duplicate."""
NO_HOLDOUT = Skipped("holdout", "none was given: --holdout")
NO_REPRESENTATION = "no layer gives a representation of the samples to predict labels from"
SMALLEST_SQUARE = 1e-290
"""Squared norms below this have lost digits, even in float64."""


@dataclass(frozen=True)
class Scope:
    """What stands behind the arrays.

    Attributes:
        representation: What the layers' views are, in words; empty when there are none.
        total: Samples in the whole dataset, of which those measured may be a subsample.
    """

    representation: str
    total: int


@dataclass(frozen=True)
class Judgment:
    """The findings; fields as in `results.Audit`, and each suspect's supporters and opponents by index."""

    sanity: Sanity
    notices: tuple[str, ...]
    coherence: Coherence | Skipped
    layers: tuple[Layer, ...]
    classes: tuple[ClassResult, ...]
    class_cosines: ClassCosines | Skipped
    samples: pd.DataFrame
    cosine_error: float
    neighbors: dict[int, tuple[Pairs, Pairs]]
    risk: Risk | Skipped
    facts: DriverInputs | None
    """What the risk's drivers tell of; None without a verdict."""
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Comparison:
    """What all pairs of samples have in common.

    Attributes:
        support: What each sample's gradient neighbors say.
        likeness: How alike the layers see them; None when they see nothing.
    """

    support: Support
    likeness: SimilarityIndex | None


def compare(measured: Measurement, config: Config, scope: Scope) -> Comparison:
    """Compare all pairs of samples: their gradients, and what the layers see of them.

    Args:
        measured: What the gradient pass gave.
        config: How many neighbors to ask and to name.
        scope: What stands behind the arrays.
    """
    neighbors = _neighbors(config, len(measured.scale), scope)
    support = neighborhood_support(measured.sketches, neighbors, max(NAMED_NEIGHBORS, config.evidence))
    views = [view.rows for view in measured.views]
    return Comparison(support, likeness(views) if views else None)


def _neighbors(config: Config, samples: int, scope: Scope) -> int:
    """Return k: of fewer samples the k nearest are further away, and k as a share keeps the risk in place."""
    return max(1, round(config.neighbors * samples / scope.total))


def judge(
    measured: Measurement,
    compared: Comparison,
    source: Source,
    config: Config,
    resampling: Resampling,
    scope: Scope,
    earlier: Sequence[NDArray[np.float32]] = (),
    holdout: Holdout | Skipped = NO_HOLDOUT,
) -> Judgment:
    """Turn measurements into findings.

    Args:
        measured: What the gradient pass gave.
        compared: From `compare`.
        source: The samples measured; only labels, ids and class names are used.
        config: Thresholds and sizes.
        resampling: How intervals are made.
        scope: What stands behind the arrays.
        earlier: The class probabilities of earlier checkpoints, in the order of the training.
        holdout: What was measured on samples that the model was not trained on.
    """
    found = _suspicion(measured, source, earlier)
    sanity = check_sanity(
        measured.predicted,
        source.labels,
        source.class_names,
        float(measured.loss.mean()),
        found.accuracy if found else None,
    )
    suspect = None
    if sanity.auditable and found is not None:
        suspect = found.probability >= config.suspicion_threshold
    twins = compared.likeness.duplicate_of if compared.likeness else np.full(len(measured.scale), -1)
    samples = sample_table(measured, source, found, suspect, twins, compared.support)
    whole, layers = _layers(measured, resampling)
    wanted = _most_suspicious(found)[: int(samples["suspect"].sum())] if found else np.zeros(0, np.int64)
    risk: Risk | Skipped = Skipped("risk", NO_REPRESENTATION if sanity.auditable else NO_VERDICT)
    gap = None
    if sanity.auditable and found is not None:
        gap = predict_gap(
            source.labels, measured.predicted, found.cautious, found.expected, sanity.mean_loss, scope.total
        )
        risk = estimate_risk(gap, sanity.accuracy, scope.representation, holdout, config.risk_levels)
    classes = _classes(measured, source, samples["suspect"].to_numpy(), resampling, gap, risk)
    facts = None
    if found is not None and isinstance(risk, Risk):
        facts = _facts(measured, source, found, samples, classes, risk.gap.value, sanity)
        risk = replace(risk, drivers=find_drivers(facts))
    return Judgment(
        sanity=sanity,
        notices=_notices(
            sanity,
            found,
            scope,
            source.class_names,
            len(samples),
            _neighbors(config, len(samples), scope),
            config.suspicion_threshold,
        ),
        coherence=whole,
        layers=layers,
        classes=classes,
        class_cosines=class_cosines(measured.class_gram, measured.class_gram_error),
        samples=samples,
        cosine_error=_cosine_error(measured),
        neighbors={i: sides(compared, i, config.evidence) for i in wanted.tolist()},
        risk=risk,
        facts=facts,
        skipped=_skipped(found, whole, risk, *(p.coherence for p in layers), *(p.coherence for p in classes)),
    )


def sides(compared: Comparison, sample: int, count: int) -> tuple[Pairs, Pairs]:
    """Return at most `count` of a sample's supporters and opponents each, from `compare`."""

    def told(side: Side) -> Pairs:
        found = side.of(sample, count)
        others = [j for j, _ in found]
        alike = compared.likeness
        same = alike.nearly_same(sample, others) if alike else [False] * len(found)
        return [(j, cosine, twice) for (j, cosine), twice in zip(found, same, strict=True)]

    return told(compared.support.supporters), told(compared.support.opponents)


def _suspicion(
    measured: Measurement, source: Source, earlier: Sequence[NDArray[np.float32]]
) -> Suspicion | None:
    if not measured.views:
        return None
    views = [view.rows for view in measured.views]
    return suspect_labels(views, source.labels, measured.probability, earlier)


def _most_suspicious(found: Suspicion) -> NDArray[np.int64]:
    """Return all samples, most suspicious first; where probabilities are equal, the evidence tells."""
    return order_by_suspicion(found.probability, found.evidence)


def _notices(
    sanity: Sanity,
    found: Suspicion | None,
    scope: Scope,
    names: Sequence[str],
    samples: int,
    neighbors: int,
    threshold: float,
) -> tuple[str, ...]:
    notices = []
    if samples < scope.total:
        notices.append(
            f"Measured on {samples:,} of {scope.total:,} samples, drawn at random, each class keeping its "
            f"share. Support asks {neighbors} neighbors, as large a share; "
            "the predicted gap is rather too large: fewer samples predict less of each other."
        )
    if sanity.auditable and found is not None:
        notices.append(preprocessing_warning(sanity.accuracy, found.accuracy))
        notices += [doubt(found), confusion(found, names), just_below(found, threshold)]
    return tuple(filter(None, notices))


def _cosine_error(measured: Measurement) -> float:
    squares = measured.squared_norms.sum(1)
    told = squares > SMALLEST_SQUARE
    # divided before it is squared again: the square of a tiny scale is 0
    unit = np.square(np.sqrt(squares[told]) / measured.scale[told])
    return sketched_cosine_error(measured.sketches, np.flatnonzero(told), unit)


def _layers(measured: Measurement, resampling: Resampling) -> tuple[Coherence | Skipped, tuple[Layer, ...]]:
    """Return the coherence of the whole gradient and of each layer's part."""
    count = len(measured.scale)
    gradients = Gradients(measured.sketches, measured.scale, np.arange(count))
    deviations = interval_deviations(gradients, [layer.columns for layer in measured.layers], resampling)
    energy = measured.squared_norms.sum(0)
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


def _classes(
    measured: Measurement,
    source: Source,
    suspect: NDArray[np.bool_],
    resampling: Resampling,
    gap: Prediction | None,
    risk: Risk | Skipped,
) -> tuple[ClassResult, ...]:
    results = []
    for c, name in enumerate(source.class_names):
        members = np.flatnonzero(source.labels == c)
        accuracy = float(np.mean(measured.predicted[members] == c))
        # scaled within the class: beside a badly fitted one, a well fitted one would vanish in float32
        gradients = Gradients(measured.sketches, measured.scale, members)
        deviations = interval_deviations(gradients, [slice(None)], resampling)[-1]
        energy = float(measured.squared_norms[members].sum())
        results.append(
            ClassResult(
                name=name,
                samples=len(members),
                accuracy=accuracy,
                mean_loss=float(measured.loss[members].mean()),
                suspects=int(suspect[members].sum()),
                predicted_gap=_class_gap(name, c, accuracy, gap, risk),
                coherence=coherence(
                    f"class {name}", float(measured.class_squares[c].sum()), energy, len(members), deviations
                ),
            )
        )
    return tuple(results)


def _class_gap(
    name: str, place: int, accuracy: float, gap: Prediction | None, risk: Risk | Skipped
) -> Estimate | Skipped:
    """Return a class's predicted gap, or the reason why there is none."""
    if isinstance(risk, Skipped):
        return Skipped(f"predicted gap of class {name}", risk.reason)
    assert gap is not None
    # what a holdout says of the model holds for its classes
    value = float(gap.classes[place]) + risk.gap.value - gap.gap
    return interval(value, accuracy, CLASS_HALF_WIDTH)


def _facts(
    measured: Measurement,
    source: Source,
    found: Suspicion,
    samples: pd.DataFrame,
    classes: Sequence[ClassResult],
    gap: float,
    sanity: Sanity,
) -> DriverInputs:
    return DriverInputs(
        labels=source.labels,
        memorization=found.memorization,
        suspect=samples["suspect"].to_numpy(),
        layers=[view.layer for view in measured.views],
        bent=found.bent,
        disputed=found.disputed,
        names=source.class_names,
        class_gaps=[one.predicted_gap for one in classes],
        class_accuracy=[one.accuracy for one in classes],
        mean_loss=sanity.mean_loss,
        gap=gap,
    )


def _skipped(found: Suspicion | None, *parts: object) -> tuple[Skipped, ...]:
    missing = [part for part in parts if isinstance(part, Skipped)]
    if found is None:
        missing.append(Skipped("suspicion", NO_REPRESENTATION))
    return tuple(missing)
