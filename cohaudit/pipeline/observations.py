"""What the judgment works from: the measurement, and the comparison of all pairs of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.near_duplicates import SimilarityIndex, compare_views
from cohaudit.analysis.neighbor_support import NeighborSide, Support, neighborhood_support
from cohaudit.analysis.outside_views import OutsideView
from cohaudit.config import Config
from cohaudit.gradients import Measurement, Source
from cohaudit.pipeline.corrected_labels import CorrectedLabels
from cohaudit.pipeline.holdout_data import NO_HOLDOUT
from cohaudit.pipeline.reviewed_labels import LabelReview
from cohaudit.results import Flatness, Holdout, Skipped

FLATNESS_NOT_SELECTED = Skipped("flatness", "not selected: add --audits flatness")
"""Result where the flatness was not asked for."""
NAMED_NEIGHBORS = 3
"""Supporters and opponents named for every sample: enough to look at, few enough for a table."""
NeighborPairs = list[tuple[int, float, bool]]
"""Index of another sample, its cosine, and whether it is a near-duplicate."""


@dataclass(frozen=True)
class Comparison:
    """How similar all pairs of samples are.

    Attributes:
        support: Agreement of each sample's gradient with its nearest neighbors.
        likeness: Similarity of the samples as the layers see them; None if no layer gives a representation.
    """

    support: Support
    likeness: SimilarityIndex | None

    def duplicate_of(self, samples: int) -> NDArray[np.int64]:
        """Return the index of each sample's near-duplicate, −1 if it has none, int64 [N].

        Args:
            samples: N.
        """
        return np.full(samples, -1) if self.likeness is None else self.likeness.duplicate_of


@dataclass(frozen=True)
class Observations:
    """What the judgment works from: arrays and names, neither a model nor a threshold.

    Attributes:
        measured: Measurement of the samples.
        compared: Comparison of all pairs of them.
        source: The samples; only their labels, ids and class names are used.
        total: Samples in the whole training data, of which those measured may be a part.
        contents: Short hash of each sample's input, [N].
        earlier: Class probabilities of earlier checkpoints, oldest first, float32 [N, C] each.
        holdout: Measurement of the holdout, or why there is none.
        outside: Predictions of the labels by models that never saw the network.
        crossfit: Class probabilities by copies of the network that were not trained on the sample, float32
            [N, C]; None if none were trained.
        review: What a person said about labels; None without a review.
        corrected: What is known of an earlier correction of the labels; None if nothing is.
        flatness: How many answers stay with noise in the weights.
    """

    measured: Measurement
    compared: Comparison
    source: Source
    total: int
    contents: Sequence[str]
    earlier: Sequence[NDArray[np.float32]] = ()
    holdout: Holdout | Skipped = NO_HOLDOUT
    outside: Sequence[OutsideView] = ()
    crossfit: NDArray[np.float32] | None = None
    review: LabelReview | None = None
    corrected: CorrectedLabels | None = None
    flatness: Flatness | Skipped = FLATNESS_NOT_SELECTED


def compare(measured: Measurement, config: Config, total: int) -> Comparison:
    """Compare all pairs of samples: by their gradients, and by what the layers see of them.

    Args:
        measured: Measurement of the samples.
        config: Settings; they say how many neighbors count and how many are named.
        total: Samples in the whole training data.
    """
    neighbors = neighbors_counted(config, len(measured.scale), total)
    # the table names its neighbors even if the report is to show fewer, or none
    support = neighborhood_support(measured.sketches, neighbors, max(NAMED_NEIGHBORS, config.evidence))
    views = [view.rows for view in measured.views]
    return Comparison(support, compare_views(views) if views else None)


def neighbors_counted(config: Config, samples: int, total: int) -> int:
    """Return k, the number of gradient neighbors whose agreement counts, at least 1.

    In a subsample the k nearest samples are further away, and predict less. With k in proportion to the
    subsample they are about as near as in the whole data, so that the support stays comparable.

    Args:
        config: Settings.
        samples: Samples measured.
        total: Samples in the whole training data.
    """
    return max(1, round(config.neighbors * samples / total))


def neighbors_of(compared: Comparison, sample: int, count: int) -> tuple[NeighborPairs, NeighborPairs]:
    """Return at most `count` supporters and at most `count` opponents of a sample, strongest first.

    Args:
        compared: Comparison of all pairs of samples.
        sample: Index of the sample.
        count: Most supporters, and most opponents, to return.
    """

    def pairs(side: NeighborSide) -> NeighborPairs:
        strongest = side.of(sample, count)
        others = [j for j, _ in strongest]
        index = compared.likeness
        duplicates = index.nearly_same(sample, others) if index else [False] * len(others)
        return [(j, cosine, same) for (j, cosine), same in zip(strongest, duplicates, strict=True)]

    return pairs(compared.support.supporters), pairs(compared.support.opponents)
