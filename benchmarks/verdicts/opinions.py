"""What a checkpoint's views, answers and outside predictions say, ready to be pooled with any constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.verdicts.cells import Cell
from benchmarks.verdicts.runs import Run, Stage
from benchmarks.verdicts.samples import DATA_SETS
from cohaudit.analysis.pooled_prediction import calibrated, pool_predictions

Array = NDArray[np.float64]

LARGEST = 1e300
"""Largest score that is compared."""
OURS = "cohaudit"
"""Method: a scan with its default settings."""
ALONE = "cohaudit, no outside predictions"
"""Method: the network's own layers and answers alone."""
CROSSFIT = "cohaudit, cross-fit"
"""Method: with the answers of five networks trained out of fold."""
VARIANTS = (OURS, ALONE, CROSSFIT)
"""What the pool is made from."""


@dataclass(frozen=True)
class Opinions:
    """Calibrated predictions of a checkpoint's labels.

    Attributes:
        cell: What was trained.
        stage: Stage of the run.
        labels: Given labels, [N].
        wrong: Which are wrong, [N].
        layers: Class probabilities by the layers and the network, [N, C] each.
        outside: The same from the raw data, [N, C].
        folds: The same by networks trained out of fold, [N, C].
    """

    cell: Cell
    stage: str
    labels: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    layers: Sequence[Array]
    outside: Array
    folds: Array

    @property
    def family(self) -> str:
        """Data sets of one family are left out together."""
        return "clouds" if self.cell.synthetic else DATA_SETS[self.cell.data].family

    def pool(self, variant: str, weight: float, power: float) -> Array:
        """Return the pooled log-probabilities, [N, C].

        Args:
            variant: One of VARIANTS.
            weight: Weight of outside predictions.
            power: Power of 1 − r.
        """
        outside = {OURS: [self.outside], ALONE: [], CROSSFIT: [self.outside, self.folds]}[variant]
        pooled = pool_predictions(outside, self.layers, self.labels, outside_weight=weight, power=power)
        return pooled.scores


def opinions_of(run: Run, name: str, stage: Stage) -> Opinions:
    """Return what a stage of a run says."""
    layers = [calibrated(view.astype(np.float64), run.labels) for view in stage.views]
    return Opinions(
        run.cell,
        name,
        run.labels,
        run.wrong,
        [*layers, stage.own.astype(np.float64)],
        run.outside.astype(np.float64),
        run.folds.astype(np.float64),
    )


def log_odds(scores: Array, labels: NDArray[np.int64]) -> Array:
    """Return the log-odds of every label but the given one by pooled scores, [N]."""
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    largest = others.max(1)
    rest = largest + np.log(np.exp(others - largest[:, None]).sum(1))
    odds: Array = rest - scores[rows, labels]
    return odds


def ranking(score: Array, wrong: NDArray[np.bool_]) -> dict[str, float | None]:
    """Return the area under the ROC curve and the average precision; None where no label is wrong."""
    if not wrong.any():
        return {"auroc": None, "ap": None}
    # some peers' scores overflow float32, in which they are saved
    score = np.clip(score, -LARGEST, LARGEST)
    return {
        "auroc": float(roc_auc_score(wrong, score)),
        "ap": float(average_precision_score(wrong, score)),
    }
