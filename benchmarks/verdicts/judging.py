"""Rows of the verdicts benchmark: what each method says, by constants that were chosen without its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.shared.results import Row
from benchmarks.verdicts.cells import Cell
from benchmarks.verdicts.fit import Chooser, Constants
from benchmarks.verdicts.opinions import OURS, VARIANTS, Opinions, log_odds, opinions_of, ranking
from benchmarks.verdicts.runs import Run, fold_scores
from benchmarks.verdicts.second_split import second_split_scores
from cohaudit.analysis.label_verdict import LabelVerdict, judge_labels
from cohaudit.analysis.review_calibration import Reviews, calibrate_by_reviews
from cohaudit.analysis.review_design import design_review

KEYS = ("dataset", "noise", "stage", "model", "seed", "method")
"""Figures of a row that tell what it is about."""
FILTER = "find issues"
"""End of the name of cleanlab's default filter: its issues are a list."""
REVIEWS = 50
"""Labels that are reviewed."""
THRESHOLD = 0.5
"""Suspicion from which a label is a suspect."""
ERROR_BINS = 10
"""Bins of equal size for the calibration error."""


def rows_of(runs: Sequence[Run]) -> Iterator[Row]:
    """Yield every row, ours by constants that the other families chose, then the peers'.

    Args:
        runs: Finished runs.
    """
    judged = [opinions_of(run, name, stage) for run in runs for name, stage in run.stages.items()]
    for variant in VARIANTS:
        chooser = Chooser(judged, variant)
        chosen: Mapping[str, Constants] = {
            family: chooser.choose(family) for family in sorted({one.family for one in judged})
        }
        for one in judged:
            yield _ours(one, variant, chosen[one.family])
    for run in runs:
        yield from _peers(run)


def _about(cell: Cell, stage: str, wrong: NDArray[np.bool_]) -> Row:
    kind = "synthetic" if cell.synthetic else "real" if cell.human else "planted"
    return {
        "dataset": cell.data,
        "noise": cell.noise,
        "stage": stage,
        "model": cell.model,
        "seed": cell.seed,
        "kind": kind,
        "samples": len(wrong),
        "share_true": float(wrong.mean()),
    }


def _ours(one: Opinions, variant: str, constants: Constants) -> Row:
    scores = one.pool(variant, constants.weight, constants.power)
    verdict = judge_labels(scores, one.labels, constants.calibration)
    row = _about(one.cell, one.stage, one.wrong) | {"method": variant, "left_out": one.family}
    row |= ranking(log_odds(scores, one.labels), one.wrong) | _listed(verdict, one.wrong)
    if variant == OURS:
        row |= _reviewed(verdict, one.wrong, one.cell.seed)
    return row | {
        "told": verdict.share.determined,
        "determined": verdict.determined,
        "share_lower": verdict.share.lower,
        "share": verdict.share.estimate,
        "share_upper": verdict.share.upper,
        "calibration_error": calibration_error(verdict.probability, one.wrong),
    }


def _listed(verdict: LabelVerdict, wrong: NDArray[np.bool_]) -> Row:
    listed = (verdict.probability >= THRESHOLD) & verdict.share.determined
    return {
        "suspects": int(listed.sum()),
        "claimed": float(verdict.probability[listed].mean()) if listed.any() else None,
        "precision": float(wrong[listed].mean()) if listed.any() else None,
        "recall": float(listed[wrong].mean()) if wrong.any() else None,
    }


def _reviewed(verdict: LabelVerdict, wrong: NDArray[np.bool_], seed: int) -> Row:
    """Return how true the verdict is after a review of some labels, whose answers are the truth."""
    asked = design_review(verdict.probability, verdict.evidence, REVIEWS, seed).samples
    reviews = Reviews(asked, wrong[asked])
    found = calibrate_by_reviews(verdict.probability, verdict.evidence, reviews, THRESHOLD, seed)
    listed = found.probability >= THRESHOLD
    return {
        "reviewed_error": calibration_error(found.probability, wrong),
        "reviewed_lower": found.share.low,
        "reviewed_share": found.share.value,
        "reviewed_upper": found.share.high,
        "reviewed_suspects": int(listed.sum()),
        "reviewed_claimed": float(found.probability[listed].mean()) if listed.any() else None,
        "reviewed_precision": float(wrong[listed].mean()) if listed.any() else None,
        "reviewed_recall": float(listed[wrong].mean()) if wrong.any() else None,
    }


def calibration_error(probability: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, in bins of equal size."""
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, ERROR_BINS)
    gaps = [abs(probability[own].mean() - wrong[own].mean()) * len(own) for own in bins if len(own)]
    return float(sum(gaps) / len(wrong))


def _peers(run: Run) -> Iterator[Row]:
    for stage, shown in run.stages.items():
        about = _about(run.cell, stage, run.wrong) | {"left_out": None}
        for name, score in (shown.peers | fold_scores(run) | second_split_scores(run.cell)).items():
            row = about | {"method": name} | ranking(score, run.wrong)
            if name.endswith(FILTER):
                # issues have two added to their score, see `confident_learning`
                listed = score >= 2
                row["suspects"] = int(listed.sum())
                row["precision"] = float(run.wrong[listed].mean()) if listed.any() else None
                row["recall"] = float(listed[run.wrong].mean()) if run.wrong.any() else None
            yield row
