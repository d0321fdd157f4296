"""What the judgment works from: what the passes measured, and how alike samples are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.forward_gradients import ForwardGradients
from cohaudit.analysis.near_duplicates import SimilarityIndex
from cohaudit.analysis.neighbor_support import (
    Neighbors,
    NeighborSide,
    Support,
    named_neighbors,
    neighborhood_support,
    no_neighbors,
)
from cohaudit.analysis.outside_views import OutsideView
from cohaudit.config import Config
from cohaudit.gradients import ForwardResult, Measurement, Source
from cohaudit.pipeline.corrected_labels import CorrectedLabels
from cohaudit.pipeline.holdout_data import NO_HOLDOUT
from cohaudit.pipeline.reviewed_labels import LabelReview
from cohaudit.results import Flatness, Holdout, Skipped
from cohaudit.results.thresholds import ALL_PAIRS

FLATNESS_NOT_SELECTED = Skipped("flatness", "not selected: add --audits flatness")
"""Result where the flatness was not asked for."""
MOST_NAMED = 2000
"""Of more samples, supporters and opponents are named of as many as are shown, but of no more than these."""
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
        support: Agreement of samples' gradients with their neighbors'; None where not all pairs of gradients
            were compared.
        neighbors: The samples that support, or oppose, those that are shown.
        holdout: Measurement of the holdout, or why there is none.
    """

    measured: Measurement
    support: Support | None
    neighbors: Neighbors
    holdout: Holdout | Skipped = NO_HOLDOUT


def compare_gradients(measured: Measurement, config: Config, total: int) -> Support | None:
    """Compare all pairs of gradients of a few samples; None where there are more, or not all were measured.

    Args:
        measured: Measurement of the samples.
        config: Settings; they say how many neighbors count.
        total: Samples in the whole training data.
    """
    samples = len(measured.scale)
    if measured.complete and samples <= ALL_PAIRS:
        return neighborhood_support(measured.sketches, neighbors_counted(config, samples, total))
    return None


def name_neighbors(seen: Observations, shown: NDArray[np.int64], config: Config) -> Neighbors:
    """Return the supporters and opponents of all samples, if there are few; of more, of those that are shown.

    Args:
        seen: What the passes tell of every sample.
        shown: Indices of the samples that are shown, most important first.
        config: Settings; they say how many are named.
    """
    forward = seen.forward
    samples = len(forward.scale)
    queries = np.arange(samples) if samples <= ALL_PAIRS else np.sort(shown[:MOST_NAMED])
    # nothing is known if no layer gives a representation
    if not forward.views or samples < 2 or not len(queries):
        return no_neighbors(samples)
    gradients = ForwardGradients(
        [view.rows for view in forward.views], forward.probability, seen.source.labels
    )
    # the table names its neighbors even if the report is to show fewer, or none
    return named_neighbors(gradients, queries, max(NAMED_NEIGHBORS, config.evidence))


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
    neighbors: Neighbors, likeness: SimilarityIndex | None, sample: int, count: int
) -> tuple[NeighborPairs, NeighborPairs]:
    """Return at most `count` supporters and at most `count` opponents of a sample, strongest first.

    Args:
        neighbors: The samples' neighbors.
        likeness: Similarity of the samples as the layers see them; None if no layer gives a representation.
        sample: Index of the sample.
        count: Most supporters, and most opponents, to return.
    """

    def pairs(side: NeighborSide) -> NeighborPairs:
        strongest = side.of(sample, count)
        others = [j for j, _ in strongest]
        duplicates = likeness.nearly_same(sample, others) if likeness else [False] * len(others)
        return [(j, cosine, same) for (j, cosine), same in zip(strongest, duplicates, strict=True)]

    return pairs(neighbors.supporters), pairs(neighbors.opponents)
