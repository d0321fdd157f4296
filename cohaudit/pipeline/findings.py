"""From measurements to findings: each figure of the audit, computed by the pure functions of `analysis`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
from cohaudit.analysis.leave_one_out import Suspicion, suspect_labels
from cohaudit.analysis.neighbor_support import expected_cosine_error, sketched_cosine_error
from cohaudit.analysis.sanity import check_sanity
from cohaudit.config import Config
from cohaudit.gradients import Measurement
from cohaudit.pipeline.coherences import class_coherences, cosines_of_classes, layer_coherences
from cohaudit.pipeline.corrected_labels import concluded, corrections_notice
from cohaudit.pipeline.judgment import Judgment
from cohaudit.pipeline.observations import (
    NeighborPairs,
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
from cohaudit.pipeline.todays_labels import TodaysLabels, given_labels, todays_labels
from cohaudit.results import (
    ClassResult,
    Estimate,
    Risk,
    Sanity,
    Skipped,
    WrongLabels,
)
from cohaudit.results.gap import NO_VERDICT
from cohaudit.results.labels import label_level
from cohaudit.results.sample_table import order_by_suspicion

NO_REPRESENTATION = "no layer gives a representation of the samples to predict labels from"
"""Why labels cannot be judged for a model whose layers take no numbers, such as a bag of embeddings."""
SMALLEST_SQUARE = 1e-290
"""Smallest squared norm that counts: below it, float64 numbers are subnormal and have lost digits."""


@dataclass(frozen=True)
class _LabelVerdict:
    """The verdict on the labels, and whether it may be given.

    Attributes:
        today: The verdict on the labels of today.
        sanity: Whether model and data belong together.
    """

    today: TodaysLabels
    sanity: Sanity

    @property
    def suspicion(self) -> Suspicion | None:
        """How suspect each label is; None if no layer gives a representation."""
        return self.today.suspicion

    @property
    def valid(self) -> Suspicion | None:
        """The suspicion, unless model and data do not belong together."""
        return self.suspicion if self.sanity.auditable else None


def judge(seen: Observations, config: Config) -> Judgment:
    """Turn measurements into findings.

    Args:
        seen: Measurement and comparison of the samples.
        config: Settings; they give thresholds and sizes.
    """
    measured = seen.measured
    resampling = Resampling(config.bootstrap, config.confidence, config.seed)
    verdict = _judge_labels(seen, config)
    # suspicions stay in the table even without a verdict; only nobody is a suspect then
    samples = sample_table(seen, verdict.suspicion, _suspects(verdict, config))
    whole, layers = layer_coherences(measured, resampling)
    gap = _predict_gap(seen, verdict)
    risk = _risk(seen, config, gap)
    classes = tuple(_classes(seen, samples, gap, risk, resampling))
    # last: the drivers name classes by their gaps, which the holdout corrects by way of the risk
    inputs = _driver_inputs(seen, verdict, samples, classes, risk)
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
        neighbors=_suspects_neighbors(seen, config, verdict, samples),
        risk=risk,
        driver_inputs=inputs,
        wrong_labels=_wrong_labels(verdict.suspicion, config),
        calibration=verdict.today.calibration,
        corrections=verdict.today.corrections,
        questions=_questions(seen, config, verdict),
        skipped=(*(part for part in parts if isinstance(part, Skipped)), *_no_suspicion(verdict)),
    )


def representation_of(measured: Measurement) -> str:
    """Return in words what labels are predicted from; empty if no layer gives a representation."""
    # a layer with two views, its input whole and averaged over positions, is named once
    layers = list(dict.fromkeys(view.layer for view in measured.views))
    if len(layers) < 2:
        return f"the input of layer {layers[0]}" if layers else ""
    return f"the inputs of {len(layers)} layers, {layers[0]} to {layers[-1]}"


def _judge_labels(seen: Observations, config: Config) -> _LabelVerdict:
    measured = seen.measured
    today = TodaysLabels()
    if measured.views:
        found = suspect_labels(
            [view.rows for view in measured.views],
            given_labels(seen),
            measured.probability,
            seen.earlier,
            [view.probability for view in seen.outside],
            # copies that were trained on what an audit concluded repeat it
            crossfit=None if concluded(seen.corrected) else seen.crossfit,
            trained=seen.source.labels,
        )
        today = todays_labels(found, seen, config)
    sanity = check_sanity(
        measured.predicted,
        seen.source.labels,
        seen.source.class_names,
        float(measured.loss.mean()),
        today.suspicion.accuracy if today.suspicion else None,
    )
    return _LabelVerdict(today, sanity)


def _questions(seen: Observations, config: Config, verdict: _LabelVerdict) -> tuple[int, ...]:
    if verdict.valid is None:
        return ()
    chosen = choose_questions(verdict.valid, seen.review, seen.contents, seen.source.labels, config.seed)
    return tuple(chosen)


def _suspects(verdict: _LabelVerdict, config: Config) -> NDArray[np.bool_] | None:
    suspicion = verdict.valid
    if suspicion is None:
        return None
    # where wrong labels and hard samples cannot be told apart, no label is singled out, except by a person:
    # only an answer makes a label wrong with probability 1
    told = suspicion.share.determined | (suspicion.probability == 1)
    suspect: NDArray[np.bool_] = (suspicion.probability >= config.suspicion_threshold) & told
    return suspect


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


def _suspects_neighbors(
    seen: Observations, config: Config, verdict: _LabelVerdict, samples: pd.DataFrame
) -> dict[int, tuple[NeighborPairs, NeighborPairs]]:
    """Return the neighbors of the suspects, most suspicious first."""
    if verdict.suspicion is None:
        return {}
    # the threshold is on the probability, which the order goes by: suspects are its first entries
    order = _most_suspicious(verdict.suspicion)[: int(samples["suspect"].sum())]
    return {i: neighbors_of(seen.compared, i, config.evidence) for i in order.tolist()}


def _most_suspicious(suspicion: Suspicion) -> NDArray[np.int64]:
    """Return the indices of all samples, most suspicious first; the evidence breaks ties.

    Ties occur where probabilities reach their largest or smallest value.
    """
    return order_by_suspicion(suspicion.probability, suspicion.evidence)


def _predict_gap(seen: Observations, verdict: _LabelVerdict) -> GapPrediction | Skipped:
    suspicion = verdict.valid
    given = verdict.today.given
    if suspicion is None or given is None:
        return Skipped("risk", NO_REPRESENTATION if verdict.sanity.auditable else NO_VERDICT)
    labels = seen.source.labels
    copies = seen.crossfit
    score = expect_score(
        seen.measured.predicted,
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
    return predict_gap(labels, seen.measured.predicted, score, suspicion.expected_by_layers)


def _risk(seen: Observations, config: Config, gap: GapPrediction | Skipped) -> Risk | Skipped:
    if isinstance(gap, Skipped):
        return gap
    return estimate_risk(gap, representation_of(seen.measured), seen.holdout, config.risk_levels)


def _classes(
    seen: Observations,
    samples: pd.DataFrame,
    gap: GapPrediction | Skipped,
    risk: Risk | Skipped,
    resampling: Resampling,
) -> Iterator[ClassResult]:
    measured = seen.measured
    suspect = samples["suspect"].to_numpy()
    coherences = class_coherences(measured, seen.source, resampling)
    for c, (name, coherence) in enumerate(zip(seen.source.class_names, coherences, strict=True)):
        members = np.flatnonzero(seen.source.labels == c)
        # of a class without samples nothing is known
        accuracy = float(np.mean(measured.predicted[members] == c)) if len(members) else None
        yield ClassResult(
            name=name,
            samples=len(members),
            accuracy=accuracy,
            mean_loss=float(measured.loss[members].mean()) if len(members) else None,
            suspects=int(suspect[members].sum()),
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
    verdict: _LabelVerdict,
    samples: pd.DataFrame,
    classes: tuple[ClassResult, ...],
    risk: Risk | Skipped,
) -> DriverInputs | None:
    suspicion = verdict.suspicion
    if suspicion is None or isinstance(risk, Skipped):
        return None
    return DriverInputs(
        labels=seen.source.labels,
        memorization=suspicion.memorization,
        suspect=samples["suspect"].to_numpy(),
        layers=[view.layer for view in seen.measured.views],
        overfit_share=suspicion.overfit_share,
        disagreements=suspicion.disagreements,
        names=seen.source.class_names,
        class_gaps=[one.predicted_gap for one in classes],
        class_accuracy=[one.accuracy for one in classes],
        mean_loss=verdict.sanity.mean_loss,
        gap=risk.gap.value,
    )


def _notices(seen: Observations, config: Config, verdict: _LabelVerdict) -> Iterator[str]:
    """Yield notices for the reader; a notice is empty if there is nothing to say."""
    samples = len(seen.measured.scale)
    if samples < seen.total:
        neighbors = neighbors_counted(config, samples, seen.total)
        yield (
            f"Measured on {samples:,} of {seen.total:,} samples, drawn at random by class. Support uses "
            f"{neighbors} neighbors, the same share of the samples. The predicted gap is probably too large: "
            "fewer samples predict each other less well."
        )
    yield empty_classes_notice(seen.source.labels, seen.source.class_names)
    if suspicion := verdict.valid:
        yield preprocessing_warning(verdict.sanity.accuracy, suspicion.accuracy)
        calibrated = is_calibrated(verdict.today.calibration)
        # a person's answers settle what these two are unsure of
        yield "" if calibrated else undetermined_notice(suspicion)
        yield "" if calibrated else near_threshold_notice(suspicion, config.suspicion_threshold)
        yield calibration_notice(verdict.today.calibration)
        yield corrections_notice(verdict.today.corrections)
    yield unmatched_answers_notice(seen.review)


def _no_suspicion(verdict: _LabelVerdict) -> tuple[Skipped, ...]:
    return () if verdict.suspicion else (Skipped("suspicion", NO_REPRESENTATION),)


def _cosine_error(measured: Measurement) -> float:
    squares = measured.squared_norms.sum(1)
    usable = squares > SMALLEST_SQUARE
    # divided before it is squared again: the square of a tiny scale is 0
    unit = np.square(np.sqrt(squares[usable]) / measured.scale[usable])
    sketched = sketched_cosine_error(measured.sketches, np.flatnonzero(usable), unit)
    lengths = [layer.columns.stop - layer.columns.start for layer in measured.layers]
    numbers = [
        length if length < layer.parameters else np.inf
        for layer, length in zip(measured.layers, lengths, strict=True)
    ]
    # the larger: norms of sparse gradients come out exact, and would tell of no error at all
    return max(sketched, expected_cosine_error(measured.squared_norms[usable], np.array(numbers)))
