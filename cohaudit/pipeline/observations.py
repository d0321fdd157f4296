"""What the judgment works from: what the passes measured, and how alike samples are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.near_duplicates import SimilarityIndex
from cohaudit.analysis.neighbor_support import (
    NeighborSide,
    Support,
    neighborhood_support,
    shown_support,
)
from cohaudit.analysis.outside_views import OutsideView
from cohaudit.config import Config
from cohaudit.gradients import ForwardResult, Measurement, Source
from cohaudit.pipeline.corrected_labels import CorrectedLabels
from cohaudit.pipeline.holdout_data import NO_HOLDOUT
from cohaudit.pipeline.reviewed_labels import LabelReview
from cohaudit.results import Flatness, Holdout, Skipped

FLATNESS_NOT_SELECTED = Skipped("flatness", "not selected: add --audits flatness")
"""Result where the flatness was not asked for."""
ALL_PAIRS = 4096
"""Samples up to which all pairs of gradients are compared: about a second."""
NAMED_NEIGHBORS = 3
"""Supporters and opponents named for every sample: enough to look at, few enough for a table."""
NeighborPairs = list[tuple[int, float, bool]]
"""Index of another sample, its cosine, and whether it is a near-duplicate."""


@dataclass(frozen=True)
class Observations:
    """What the judgment works from: arrays and names, neither a model nor a threshold.

    Attributes:
        forward: What a pass tells of every sample without its gradient.
        likeness: Similarity of the samples as the layers see them; None if no layer gives a representation.
        source: The samples; only their labels, ids and class names are used.
        total: Samples in the whole training data, of which those measured may be a part.
        contents: Short hash of each sample's input, [N].
        earlier: Class probabilities of earlier checkpoints, oldest first, float32 [N, C] each.
        outside: Predictions of the labels by models that never saw the network.
        crossfit: Class probabilities by copies of the network that were not trained on the sample, float32
            [N, C]; None if none were trained.
        review: What a person said about labels; None without a review.
        corrected: What is known of an earlier correction of the labels; None if nothing is.
        flatness: How many answers stay with noise in the weights.
    """

    forward: ForwardResult
    likeness: SimilarityIndex | None
    source: Source
    total: int
    contents: Sequence[str]
    earlier: Sequence[NDArray[np.float32]] = ()
    outside: Sequence[OutsideView] = ()
    crossfit: NDArray[np.float32] | None = None
    review: LabelReview | None = None
    corrected: CorrectedLabels | None = None
    flatness: Flatness | Skipped = FLATNESS_NOT_SELECTED

    @property
    def duplicate_of(self) -> NDArray[np.int64]:
        """Index of each sample's near-duplicate, −1 if it has none, int64 [N]."""
        none = np.full(len(self.source.labels), -1)
        return none if self.likeness is None else self.likeness.duplicate_of


@dataclass(frozen=True)
class GradientObservations:
    """What is known of the samples' gradients, once the labels are judged.

    Attributes:
        measured: Measurement of the samples.
        support: Agreement of samples' gradients with their neighbors'.
        holdout: Measurement of the holdout, or why there is none.
    """

    measured: Measurement
    support: Support
    holdout: Holdout | Skipped = NO_HOLDOUT


def compare_gradients(measured: Measurement, shown: NDArray[np.int64], config: Config, total: int) -> Support:
    """Compare the gradients of samples.

    All pairs, if there are few samples. Of more, those that are shown are compared with all that were
    measured; the support of a sample is not known if some were not.

    Args:
        measured: Measurement of the samples.
        shown: Indices of the samples that are shown.
        config: Settings; they say how many neighbors count and how many are named.
        total: Samples in the whole training data.
    """
    # the table names its neighbors even if the report is to show fewer, or none
    strongest = max(NAMED_NEIGHBORS, config.evidence)
    samples = len(measured.scale)
    if measured.complete and samples <= ALL_PAIRS:
        return neighborhood_support(measured.sketches, neighbors_counted(config, samples, total), strongest)
    queries = np.searchsorted(measured.drawn, np.intersect1d(shown, measured.drawn))
    weight = None if measured.complete else measured.weight
    return shown_support(
        measured.sketches, measured.drawn, queries, samples, strongest=strongest, weight=weight
    )


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


def neighbors_of(
    support: Support, likeness: SimilarityIndex | None, sample: int, count: int
) -> tuple[NeighborPairs, NeighborPairs]:
    """Return at most `count` supporters and at most `count` opponents of a sample, strongest first.

    Args:
        support: The samples' neighbors.
        likeness: Similarity of the samples as the layers see them; None if no layer gives a representation.
        sample: Index of the sample.
        count: Most supporters, and most opponents, to return.
    """

    def pairs(side: NeighborSide) -> NeighborPairs:
        strongest = side.of(sample, count)
        others = [j for j, _ in strongest]
        duplicates = likeness.nearly_same(sample, others) if likeness else [False] * len(others)
        return [(j, cosine, same) for (j, cosine), same in zip(strongest, duplicates, strict=True)]

    return pairs(support.supporters), pairs(support.opponents)
