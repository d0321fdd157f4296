"""The verdict on new data, as data: the gap between training and expected accuracy, and its causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cohaudit.results.estimate import Estimate, Skipped
from cohaudit.results.ranges import Count, Proportion, Range, SignedProportion
from cohaudit.results.wording import percent, points

Level = Literal["low", "moderate", "high", "severe"]
"""Level of risk."""

LEVELS: tuple[Level, ...] = ("low", "moderate", "high", "severe")
"""Levels of risk, in rising order."""

NO_VERDICT = "the model is not auditable, see the sanity check"
"""Why a number that needs a trained model is skipped."""


@dataclass(frozen=True)
class RiskTerm:
    """One term of the predicted gap; the terms add up to it."""

    name: str
    """Short name."""
    measured: float
    """The measurement behind the term, in its own unit."""
    adds: SignedProportion
    """What the term adds to the gap, in accuracy, in [-1, 1]; below 0 when it lowers the gap."""
    reason: str
    """One sentence in plain words, with the number in it."""


@dataclass(frozen=True)
class Driver:
    """A cause of the gap, and what would lower it."""

    kind: Literal["samples", "layer", "class", "training"]
    """Where the cause lies; of a layer, where memorized labels become readable, which need not be where they
    are stored."""
    name: str
    """Name of the layer or class; for another kind, the kind."""
    measured: float
    """The measurement behind the cause, as a share."""
    reason: str
    """One sentence in plain words, with the number in it."""
    remedy: str
    """What would lower the gap."""
    lowers: float | Skipped
    """Estimated share of the gap, in accuracy: removing the cause lowers the gap by at most this much. Shares
    of several causes overlap."""


@dataclass(frozen=True)
class Holdout:
    """Results of the model on samples that it was not trained on."""

    data: str
    """Path or factory as given."""
    data_fingerprint: str
    """Hash of the dataset; equal for equal data."""
    samples: Annotated[int, Range(1)]
    """Number of samples measured."""
    repeated: Count
    """Number of samples whose input is also in the training data; they are left out of the measurements."""
    accuracy: Proportion
    """Share of the samples that the model predicts as labeled, in [0, 1]."""
    gap: Estimate
    """Training accuracy minus holdout accuracy, in [-1, 1], to the holdout's labels as given; the interval
    covers the sampling of the holdout."""
    right_accuracy: Estimate | Skipped
    """Accuracy if the holdout's wrong labels were corrected, in [0, 1], by judging its labels like those of
    the training data; the interval covers the sampling and that judgment."""
    right_gap: Estimate | Skipped
    """Training accuracy minus `right_accuracy`, in [-1, 1]: the gap to right labels."""
    cosine: float
    """Cosine between the mean gradients of training and holdout samples, in [-1, 1], estimated from
    sketches."""
    within: float
    """Pairwise coherence α_u of the training samples, in [-1, 1]."""
    across: float
    """Pairwise coherence of training with holdout samples, ⟨μ, μ'⟩ / √(mean‖g‖² · mean‖g'‖²), in [-1, 1],
    estimated from sketches."""


@dataclass(frozen=True)
class Crossfit:
    """Results of copies of the network, each trained on the other folds, on samples that they never saw."""

    folds: Annotated[int, Range(2)]
    """Number of folds, and of copies."""
    recipe: str
    """How the copies were trained, and where the settings come from, in words."""
    epochs: tuple[Annotated[int, Range(1)], ...]
    """Epochs that each copy was trained for; empty when a function of the user's trained them."""
    accuracy: Estimate
    """Share of the samples whose given label the copy that never saw them predicts, in [0, 1]: an estimate of
    the accuracy on new data with labels like these, for a network trained on one fold less. The 90% interval
    covers the sampling of the data, not the luck of the training runs."""
    unseen: Count
    """Number of samples whose class is in no other fold, so that no copy could predict their label."""


@dataclass(frozen=True)
class Risk:
    """How accurate the model is expected to be on new data, and how much lower that is than in training."""

    expected: Estimate
    """Expected accuracy on new data with right labels, in [0, 1], from the training data and, where they were
    given, copies of the network (a cross-fit) and the holdout."""
    expected_given: Estimate
    """The same on new data with labels as given in the training data, wrong ones among them; without the
    holdout, whose labels may be of another kind."""
    gap: Estimate
    """Training accuracy minus `expected`, in [-1, 1]."""
    predicted: Estimate
    """The same without the holdout."""
    coverage: Proportion
    """Share of networks whose gap lies in such an interval, in [0, 1]."""
    level: Level
    """The gap in words; see the setting `risk_levels`."""
    terms: tuple[RiskTerm, ...]
    """The terms of `predicted`; they add up to it."""
    drivers: tuple[Driver, ...]
    """Causes of the gap, the largest share first, then those whose share is not known."""
    holdout: Holdout | Skipped
    """Results on samples that the model was not trained on; skipped when none were given."""


def format_accuracy(score: Estimate) -> str:
    """Return an accuracy in percent, with its interval."""
    return f"{percent(score.value)} ({percent(score.low)} to {percent(score.high)})"


def format_points(gap: Estimate) -> str:
    """Return a difference of accuracies in percentage points, with its interval."""
    return f"{points(gap.value)} points ({points(gap.low)} to {points(gap.high)})"


def format_crossfit(crossfit: Crossfit) -> str:
    """Return how many copies of the network were trained, how, and for how long."""
    epochs = sorted(crossfit.epochs)
    # a recipe with a fixed number of epochs says it itself
    stopped = epochs and epochs[0] != epochs[-1]
    took = f"; they stopped after {epochs[0]} to {epochs[-1]} epochs" if stopped else ""
    return f"{crossfit.folds} copies trained by {crossfit.recipe}{took}"


def risk_level(gap: float, levels: Sequence[float]) -> Level:
    """Return the level of a gap.

    Args:
        gap: Training accuracy minus expected accuracy on new data.
        levels: The gaps at which moderate, high, and severe begin, in rising order.
    """
    # the number of levels whose beginning the gap has reached
    return LEVELS[sum(gap >= bound for bound in levels)]
