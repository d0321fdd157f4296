"""Confident learning: the ways in which cleanlab decides which labels are wrong.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021.
"""

from __future__ import annotations

import warnings

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray

from benchmarks.detection.scores import Array, Scores

FILTERS = {
    "prune_by_noise_rate": "find issues",
    "prune_by_class": "prune by class",
    "both": "prune by both",
    "confident_learning": "confident joint",
    "predicted_neq_given": "predicted is not given",
}
"""Values of cleanlab's `filter_by`, the default first, and how each is called here."""


def confident_learning(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Scores:
    """Return for each filter: the issues first, in [1, 2] above the others, by normalized margin within each.

    Args:
        probabilities: [N, C], each row above 0 and of sum 1.
        labels: [N].
    """
    margin: Array = 1 - get_label_quality_scores(labels, probabilities, method="normalized_margin")
    with warnings.catch_warnings():
        # cleanlab accuses nobody in a class of one sample, and warns of it; some data has such classes
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
        issues = {
            name: find_label_issues(labels, probabilities, filter_by=way, n_jobs=1)
            for way, name in FILTERS.items()
        }
    return {name: found * 2 + margin for name, found in issues.items()}
