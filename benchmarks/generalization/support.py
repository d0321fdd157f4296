"""What every estimate of the accuracy on new data starts from, for each checkpoint of the verdicts benchmark.

Runs are read from the cache of `benchmarks.verdicts`; nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.generalization.former import agreement
from benchmarks.shared.results import Row
from benchmarks.verdicts.cells import cells
from benchmarks.verdicts.judging import REVIEWS, THRESHOLD
from benchmarks.verdicts.runs import Run, Stage, load_run
from benchmarks.verdicts.samples import DATA_SETS
from cohaudit.analysis.class_conditional_noise import ClassNoise
from cohaudit.analysis.combined_prediction import combine_predictions, explained
from cohaudit.analysis.expected_score import crossfit_answers, review_shift
from cohaudit.analysis.label_noise import as_probabilities
from cohaudit.analysis.label_verdict import LabelVerdict, judge_labels
from cohaudit.analysis.pooled_prediction import calibrated, pool_predictions
from cohaudit.analysis.review_calibration import Reviews, calibrate_by_reviews
from cohaudit.analysis.review_design import design_review
from cohaudit.analysis.score_rows import at

Array = NDArray[np.float64]


def measured() -> Iterator[Row]:
    """Yield what each checkpoint of the finished runs shows, see `figures`."""
    for cell in cells():
        if cell.file.exists():
            run = load_run(cell)
            for name, stage in run.stages.items():
                yield figures(run, name, stage)


def figures(run: Run, name: str, stage: Stage) -> Row:
    """Return the figures of a checkpoint.

    Args:
        run: Its training run.
        name: Name of the stage.
        stage: The checkpoint.
    """
    labels = run.labels
    own = stage.own.astype(np.float64)
    answers = own.argmax(1)
    views = [view.astype(np.float64) for view in stage.views]
    layers = [calibrated(view, labels) for view in views]
    outside = run.outside.astype(np.float64)
    folds = run.folds.astype(np.float64)
    pooled = _judged([outside], [*layers, own], labels)
    alone = _judged([], [*layers, own], labels).noise
    with_folds = _judged([outside, folds], [*layers, own], labels).noise
    # as a holdout is judged: the copies' answers are those of a model that never saw the labels
    held_out = crossfit_answers(folds, _judged([folds], layers, labels).noise, labels)
    copies = crossfit_answers(folds, with_folds, labels)
    row = about(run, name) | {
        "train_accuracy": float(np.mean(answers == labels)),
        "loss": float(-np.log(np.maximum(own[np.arange(len(labels)), labels], 1e-12)).mean()),
        "accuracy": stage.test_accuracy,
        "accuracy_given": given_accuracy(run, stage.test_accuracy),
        "told": pooled.share.determined,
        "support": supported(pooled.noise, answers, given=False),
        "support_given": supported(pooled.noise, answers, given=True),
        "support_alone": supported(alone, answers, given=False),
        "review_shift": _reviewed(pooled, run),
        "crossfit_right": copies.right,
        "crossfit_given": copies.given,
        "folds_true": float(np.mean(folds.argmax(1) == run.truth)),
        "folds_judged": held_out.right,
    }
    row |= _peers(views, layers, own, labels)
    row["outside predictions"] = float(np.mean(outside.argmax(1) == labels))
    if name == "interpolated" and "early" in run.stages:
        earlier = run.stages["early"].own.astype(np.float64)
        more = _judged([outside], [*layers, earlier, own], labels).noise
        row["support_earlier"] = supported(more, answers, given=False)
    return row


def about(run: Run, stage: str) -> Row:
    """Return what a row is about."""
    cell = run.cell
    noise = "none" if not run.wrong.any() else "real" if cell.human else "planted"
    return {
        "dataset": cell.data,
        "family": "clouds" if cell.synthetic else DATA_SETS[cell.data].family,
        # clouds of few and many classes have little in common: each kind counts like a family when fitting
        "group": " ".join(cell.data.split()[:2]) if cell.synthetic else DATA_SETS[cell.data].family,
        "kind": "synthetic" if cell.synthetic else DATA_SETS[cell.data].kind,
        "noise": cell.noise,
        "wrong labels": noise,
        "model": cell.model,
        "stage": stage,
        "seed": cell.seed,
        "samples": len(run.labels),
        "classes": int(run.folds.shape[1]),
    }


def given_accuracy(run: Run, accuracy: float) -> float | None:
    """Return the accuracy on test labels that are as wrong as the training labels; None where unknown.

    It follows from the accuracy where wrong labels are drawn uniformly from the other classes. Test labels
    are right, and which of the others a network answers is not saved.

    Args:
        run: Training run.
        accuracy: Accuracy on right test labels.
    """
    wrong = float(run.wrong.mean())
    if wrong and not run.cell.noise.endswith("uniform"):
        return None
    return accuracy * (1 - wrong) + (1 - accuracy) * wrong / (int(run.folds.shape[1]) - 1)


def supported(noise: ClassNoise, answers: NDArray[np.int64], *, given: bool) -> float:
    """Return the mean probability of the answers, as right labels or as labels that would be given."""
    return float((noise.given_at(answers) if given else at(noise.expected, answers)).mean())


def _reviewed(verdict: LabelVerdict, run: Run) -> float:
    """Return what a review of some labels, whose answers are the truth, adds to the log-odds of the score."""
    seed = run.cell.seed
    asked = design_review(verdict.probability, verdict.evidence, REVIEWS, seed).samples
    reviews = Reviews(asked, run.wrong[asked])
    found = calibrate_by_reviews(verdict.probability, verdict.evidence, reviews, THRESHOLD, seed)
    return review_shift(verdict.noise, run.labels, found.probability)


def _judged(outside: list[Array], layers: list[Array], labels: NDArray[np.int64]) -> LabelVerdict:
    return judge_labels(pool_predictions(outside, layers, labels).scores, labels)


def _peers(views: list[Array], layers: list[Array], own: Array, labels: NDArray[np.int64]) -> Row:
    """Return what other measures expect the accuracy to be, and the agreement of the former formula."""
    rows = np.arange(len(labels))
    answers = own.argmax(1)
    found = [float(np.mean(view.argmax(1) == labels)) for view in views]
    best = int(np.argmax([explained(layer, labels) for layer in layers]))
    mild = as_probabilities(combine_predictions([*views, own], labels, 1).scores, labels)
    return {
        "leave-one-out, first layer": found[0],
        "leave-one-out, last layer": found[-1],
        "leave-one-out, best layer": found[best],
        "mean confidence": float(own.max(1).mean()),
        "support by all layers": float(mild[rows, answers].mean()),
        "agreement": agreement(views, own, labels),
    }
