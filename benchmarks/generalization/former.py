"""The former formula of the expected accuracy, a peer of the present one: `cohaudit.analysis.expected_score`.

It asked only the layers that had hardly bent to the labels, by weights R² (1 − r)¹⁴, and added the loss and
the number of samples. Its constants were fitted on half of the zoo (`fit`), and carried the zoo's data with
them: on the left-out data sets of `expected` it expects too little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.combined_prediction import combine_predictions
from cohaudit.analysis.label_noise import as_probabilities

Array = NDArray[np.float64]

STRICT = 14
"""Power of the weights."""
INTERCEPT = -0.499
"""Constant term of the log-odds of the accuracy on new data."""
AGREEMENT = 0.872
"""Change of those log-odds per unit of the log-odds of agreement."""
LOSS = -0.233
"""Change of those log-odds per nat of the mean training loss."""
DECADES = 0.278
"""Change of those log-odds per tenfold number of samples."""
HALF_WIDTH = 0.086
"""Half of the interval, in accuracy."""
SAMPLES = (200, 3000)
"""Samples of the smallest and of the largest training set in the zoo; fewer and more count as many."""
MAX_AGREEMENT = 0.99
"""Agreement is clipped to this, and to 1 − this from below."""


def agreement(views: Sequence[Array], own: Array, labels: NDArray[np.int64]) -> float:
    """Return the mean probability that the least overfit layers give to the network's answers.

    Args:
        views: Leave-one-out scores of each layer's view, input side first, [N, C] each.
        own: The network's own probabilities, [N, C].
        labels: Given labels, [N].
    """
    scores = combine_predictions([*views, own], labels, STRICT).scores
    given = as_probabilities(scores, labels)
    return float(given[np.arange(len(labels)), own.argmax(1)].mean())


def expected_accuracy(agreement: float, mean_loss: float, samples: int, classes: int) -> float:
    """Return σ(a + b logit x + c ℓ + d log₁₀ N).

    Args:
        agreement: x.
        mean_loss: ℓ, the mean training loss in nats; at most that of a uniform guess, ln C.
        samples: N, the size of the training set.
        classes: C.
    """
    x = min(max(agreement, 1 - MAX_AGREEMENT), MAX_AGREEMENT)
    decades = math.log10(min(max(samples, SAMPLES[0]), SAMPLES[1]))
    loss = min(mean_loss, math.log(classes))
    odds = INTERCEPT + AGREEMENT * math.log(x / (1 - x)) + LOSS * loss + DECADES * decades
    return 1 / (1 + math.exp(-odds))
