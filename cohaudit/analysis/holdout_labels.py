"""How accurate is the model on a holdout, were the holdout's wrong labels corrected?

The labels of a holdout are as wrong as those who labeled it made them. The accuracy on them is that to labels
as given; what the audit predicts is the accuracy to right labels. So the holdout's labels are judged like
those of the training data, with one difference: the model never saw them, and its answers are as good a
prediction as one from the raw data.

Arrays: N samples, C classes. Nothing here knows a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.expected_score import JUDGED_ERROR, around, crossfit_answers, sampling_error
from cohaudit.analysis.label_verdict import CALIBRATION, judge_by
from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.analysis.quantiles import Z_80
from cohaudit.analysis.score_rows import stored
from cohaudit.analysis.weighed_predictions import gather_predictions, pool_labels
from cohaudit.results import Estimate, Skipped

Integers = NDArray[np.int64]

MIN_JUDGED = 100
"""Samples of a holdout from which on its labels are judged: fewer do not predict each other."""


def accuracy_on_right_labels(
    probability: NDArray[np.floating], views: Sequence[NDArray[np.float32]], labels: Integers
) -> Estimate | Skipped:
    """Return the accuracy on samples that the model was not trained on, if their labels were all right.

    The samples' labels are judged like those of training data. The model's answers are an outside prediction
    here: it never saw these labels.

    Args:
        probability: The model's class probabilities, [N, C].
        views: What layers see of the samples, input side first, [N, any] each; possibly none.
        labels: Given labels, [N].
    """
    count, classes = probability.shape
    if count < MIN_JUDGED or not views:
        reason = f"needs at least {MIN_JUDGED} samples that layers represent; there are {count:,}"
        return Skipped("accuracy on right labels of the holdout", reason)
    layers = [leave_one_out(view, labels, classes) for view in views]
    seen = gather_predictions(layers, [], [probability], labels)
    pool = pool_labels(seen, labels, labels)
    expected = stored(pool.probability, f"the expected labels of {count:,} samples of the holdout")
    noise = judge_by(pool.fit, expected, labels, CALIBRATION).noise
    value = crossfit_answers(probability, noise, labels).right
    half = Z_80 * math.hypot(sampling_error(value, count), JUDGED_ERROR)
    return around(value, half)
