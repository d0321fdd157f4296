"""From measurements to findings: each figure of the audit, computed by the pure functions of `analysis`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from cohaudit.analysis.coherence import Resampling
from cohaudit.analysis.expected_score import crossfit_answers, expect_score, review_shift
from cohaudit.analysis.gap_drivers import DriverInputs, find_drivers
from cohaudit.analysis.generalization_gap import (
    GapPrediction,
    class_gap,
    estimate_risk,
    predict_gap,
    preprocessing_warning,
)
from cohaudit.analysis.label_notices import empty_classes_notice, near_threshold_notice, undetermined_notice
from cohaudit.analysis.leave_one_out import Suspicion
from cohaudit.analysis.near_duplicates import search_notice
from cohaudit.analysis.neighbor_support import expected_cosine_error, sketched_cosine_error
from cohaudit.config import Config
from cohaudit.gradients import ForwardResult, Measurement
from cohaudit.pipeline.coherences import class_coherences, cosines_of_classes, layer_coherences
from cohaudit.pipeline.corrected_labels import corrections_notice
from cohaudit.pipeline.judgment import Judgment
from cohaudit.pipeline.label_findings import LabelFindings
from cohaudit.pipeline.observations import (
    GradientObservations,
    Observations,
    neighbors_counted,
    neighbors_of,
)
from cohaudit.pipeline.reviewed_labels import (
    calibration_notice,
    choose_questions,
    is_calibrated,
    unmatched_answers_notice,
)
from cohaudit.pipeline.sample_table import sample_table
from cohaudit.pipeline.todays_labels import given_labels
from cohaudit.results import (
    ClassResult,
    Coherence,
    Estimate,
    Holdout,
    Risk,
    Skipped,
    WrongLabels,
)
from cohaudit.results.gap import NO_VERDICT
from cohaudit.results.labels import label_level

NO_REPRESENTATION = "no layer gives a representation of the samples to predict labels from"
"""Why labels cannot be judged for a model whose layers take no numbers, such as a bag of embeddings."""
SMALLEST_SQUARE = 1e-290
"""Smallest squared norm that counts: below it, float64 numbers are subnormal and have lost digits."""


def judge(
    seen: Observations, found: GradientObservations, verdict: LabelFindings, config: Config
) -> Judgment:
    """Turn measurements into findings.

    Args:
        seen: What the passes tell of every sample.
        found: What is known of their gradients.
        verdict: The verdict on the labels.
        config: Settings; they give thresholds and sizes.
    """
    measured = found.measured
    resampling = Resampling(config.bootstrap, config.confidence, config.seed)
    samples = sample_table(seen, found, verdict)
    whole, layers = layer_coherences(measured, resampling)
    gap = _predict_gap(seen, verdict)
    risk = _risk(seen, found.holdout, config, gap)
    results = zip(seen.source.class_names, class_coherences(measured, seen.source, resampling), strict=True)
    classes = tuple(_classes(seen, verdict, gap, risk, results))
    # last: the drivers name classes by their gaps, which the holdout corrects by way of the risk
    inputs = _driver_inputs(seen, verdict, classes, risk)
    if inputs is not None and isinstance(risk, Risk):
        risk = replace(risk, drivers=find_drivers(inputs))
    parts = (whole, risk, *(one.coherence for one in layers), *(one.coherence for one in classes))
    return Judgment(
        sanity=verdict.sanity,
        notices=tuple(filter(None, _notices(seen, config, verdict))),
        coherence=whole,
        layers=layers,
        classes=classes,
        class_cosines=cosines_of_classes(measured, seen.source),
        samples=samples,
        cosine_error=_cosine_error(measured),
        representation=representation_of(measured),
        neighbors={
            i: neighbors_of(found.neighbors, seen.likeness, i, config.evidence)
            for i in verdict.shown.tolist()
        },
        risk=risk,
        driver_inputs=inputs,
        wrong_labels=_wrong_labels(verdict.suspicion, config),
        calibration=verdict.today.calibration,
        corrections=verdict.today.corrections,
        questions=_questions(seen, config, verdict),
        skipped=(*(part for part in parts if isinstance(part, Skipped)), *_no_suspicion(verdict)),
    )


def representation_of(forward: ForwardResult) -> str:
    """Return in words what labels are predicted from; empty if no layer gives a representation."""
    # a layer with two views, its input whole and averaged over positions, is named once
    layers = list(dict.fromkeys(view.layer for view in forward.views))
    if len(layers) < 2:
        return f"the input of layer {layers[0]}" if layers else ""
    return f"the inputs of {len(layers)} layers, {layers[0]} to {layers[-1]}"


def _questions(seen: Observations, config: Config, verdict: LabelFindings) -> tuple[int, ...]:
    if verdict.valid is None:
        return ()
    chosen = choose_questions(verdict.valid, seen.review, seen.contents, seen.source.labels, config.seed)
    return tuple(chosen)


def _wrong_labels(suspicion: Suspicion | None, config: Config) -> WrongLabels | Skipped:
    if suspicion is None:
        return Skipped("wrong labels", NO_REPRESENTATION)
    share = suspicion.share
    bounds = Estimate(share.estimate, share.lower, share.upper)
    return WrongLabels(
        share=bounds,
        disputed=float(np.mean(suspicion.margin < 0)),
        determined=suspicion.determined,
        told=share.determined,
        level=label_level(bounds, share.determined, config.label_levels),
    )


def _predict_gap(seen: Observations, verdict: LabelFindings) -> GapPrediction | Skipped:
    suspicion = verdict.valid
    given = verdict.today.given
    if suspicion is None or given is None:
        return Skipped("risk", NO_REPRESENTATION if verdict.sanity.auditable else NO_VERDICT)
    labels = seen.source.labels
    copies = seen.crossfit
    score = expect_score(
        seen.forward.predicted,
        suspicion.noise_without_crossfit,
        outside=bool(seen.outside),
        crossfit=None if copies is None else crossfit_answers(copies, suspicion.noise, labels),
        reviewed=(
            review_shift(given.noise, given_labels(seen), given.probability)
            if is_calibrated(verdict.today.calibration)
            else None
        ),
        flatness=None if isinstance(seen.flatness, Skipped) else seen.flatness,
    )
    if isinstance(score, Skipped):
        return Skipped("risk", score.reason)
    return predict_gap(labels, seen.forward.predicted, score, suspicion.expected_by_layers)


def _risk(
    seen: Observations, holdout: Holdout | Skipped, config: Config, gap: GapPrediction | Skipped
) -> Risk | Skipped:
    if isinstance(gap, Skipped):
        return gap
    return estimate_risk(gap, representation_of(seen.forward), holdout, config.risk_levels)


def _classes(
    seen: Observations,
    verdict: LabelFindings,
    gap: GapPrediction | Skipped,
    risk: Risk | Skipped,
    coherences: Iterable[tuple[str, Coherence | Skipped]],
) -> Iterator[ClassResult]:
    measured = seen.forward
    for c, (name, coherence) in enumerate(coherences):
        members = np.flatnonzero(seen.source.labels == c)
        # of a class without samples nothing is known
        accuracy = float(np.mean(measured.predicted[members] == c)) if len(members) else None
        yield ClassResult(
            name=name,
            samples=len(members),
            accuracy=accuracy,
            mean_loss=float(measured.loss[members].mean()) if len(members) else None,
            suspects=int(verdict.suspect[members].sum()),
            predicted_gap=Skipped(f"predicted gap of class {name}", "no sample has this class")
            if accuracy is None
            else _class_gap(name, c, accuracy, gap, risk),
            coherence=coherence,
        )


def _class_gap(
    name: str, index: int, accuracy: float, gap: GapPrediction | Skipped, risk: Risk | Skipped
) -> Estimate | Skipped:
    """Return a class's predicted gap, or the reason why there is none."""
    if isinstance(risk, Skipped):
        return Skipped(f"predicted gap of class {name}", risk.reason)
    # only a skipped risk comes without a predicted gap
    assert isinstance(gap, GapPrediction)
    # a holdout has too few samples per class to correct each class by its own: all move by the same amount
    value = float(gap.classes[index]) + risk.gap.value - gap.gap.value
    return class_gap(value, accuracy)


def _driver_inputs(
    seen: Observations,
    verdict: LabelFindings,
    classes: tuple[ClassResult, ...],
    risk: Risk | Skipped,
) -> DriverInputs | None:
    suspicion = verdict.suspicion
    if suspicion is None or isinstance(risk, Skipped):
        return None
    return DriverInputs(
        labels=seen.source.labels,
        memorization=suspicion.memorization,
        suspect=verdict.suspect,
        layers=[view.layer for view in seen.forward.views],
        overfit_share=suspicion.overfit_share,
        disagreements=suspicion.disagreements,
        names=seen.source.class_names,
        class_gaps=[one.predicted_gap for one in classes],
        class_accuracy=[one.accuracy for one in classes],
        mean_loss=verdict.sanity.mean_loss,
        gap=risk.gap.value,
    )


def _notices(seen: Observations, config: Config, verdict: LabelFindings) -> Iterator[str]:
    """Yield notices for the reader; a notice is empty if there is nothing to say."""
    samples = len(seen.forward.scale)
    if samples < seen.total:
        neighbors = neighbors_counted(config, samples, seen.total)
        yield (
            f"Measured on {samples:,} of {seen.total:,} samples, drawn at random by class. Support uses "
            f"{neighbors} neighbors, the same share of the samples. The predicted gap is probably too large: "
            "fewer samples predict each other less well."
        )
    yield empty_classes_notice(seen.source.labels, seen.source.class_names)
    yield search_notice(seen.likeness) if seen.likeness else ""
    if suspicion := verdict.valid:
        yield preprocessing_warning(verdict.sanity.accuracy, suspicion.accuracy)
        calibrated = is_calibrated(verdict.today.calibration)
        # a person's answers settle what these two are unsure of
        yield "" if calibrated else undetermined_notice(suspicion)
        yield "" if calibrated else near_threshold_notice(suspicion, config.suspicion_threshold)
        yield calibration_notice(verdict.today.calibration)
        yield corrections_notice(verdict.today.corrections)
    yield unmatched_answers_notice(seen.review)


def _no_suspicion(verdict: LabelFindings) -> tuple[Skipped, ...]:
    return () if verdict.suspicion else (Skipped("suspicion", NO_REPRESENTATION),)


def _cosine_error(measured: Measurement) -> float:
    squares = measured.squared_norms.sum(1)
    usable = squares > SMALLEST_SQUARE
    # divided before it is squared again: the square of a tiny scale is 0
    unit = np.square(np.sqrt(squares[usable]) / measured.scale[measured.drawn][usable])
    sketched = sketched_cosine_error(measured.sketches, np.flatnonzero(usable), unit)
    lengths = [layer.columns.stop - layer.columns.start for layer in measured.layers]
    numbers = [
        length if length < layer.parameters else np.inf
        for layer, length in zip(measured.layers, lengths, strict=True)
    ]
    # the larger: norms of sparse gradients come out exact, and would tell of no error at all
    return max(sketched, expected_cosine_error(measured.squared_norms[usable], np.array(numbers)))
