"""What a network learned when, and at which checkpoint training should have stopped, without a holdout.

What many samples share is learned first, what a single sample owns last (Chatterjee, ICLR 2020). Early
stopping takes the checkpoint before memorized samples take over. Training accuracy cannot show it, since
memorizing raises it too. So a checkpoint's answers are rated by models of the raw data, which were never
trained with the network (`rating`), on its training samples and on crossings of two (`crossing`). The advised
checkpoint is the latest one that cannot be told from the best.

Arrays: K checkpoints, N samples. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohaudit.audits.training.rating import CrossedAccuracy, LabelBelief, latest_as_good, rate
from cohaudit.results import Point, Series, Skipped, Trajectory
from cohaudit.results.kinds import is_memorized
from cohaudit.results.trajectory import STRATA
from cohaudit.results.wording import percent

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


# compared by identity: arrays have no single truth value
@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingHistory:
    """The checkpoints of a training run, as arrays.

    Attributes:
        names: Names of the checkpoints, oldest first, [K]; at least two.
        predicted: The model's predictions, [K, N].
        corrected_labels: Labels as corrected by each checkpoint, [K, N].
        memorization: Memorization of each sample by each checkpoint, 0 to 1, [K, N].
        share: Share of the mean gradient that each sample owns, [K, N]; each row sums to 1.
        expected: Expected accuracy on new data, [K].
        belief: What models of the raw data believe of the labels; None if there are none.
        crossed: How the checkpoints classify crossed samples; skipped if samples cannot be crossed.
        loss: Mean training loss in nats, [K].
        m_coherence: m-coherence of the whole gradient, [K].
    """

    names: Sequence[str]
    predicted: Integers
    corrected_labels: Integers
    memorization: Array
    share: Array
    expected: Sequence[float]
    belief: LabelBelief | None
    crossed: CrossedAccuracy | Skipped
    loss: Sequence[float]
    m_coherence: Sequence[float]

    @property
    def judge(self) -> int:
        """The checkpoint that judges the labels: the one with the best expected accuracy on new data."""
        return int(np.argmax(self.expected))

    @property
    def judged_labels(self) -> Integers:
        """Labels as corrected by the judge, [N]."""
        labels: Integers = self.corrected_labels[self.judge]
        return labels

    @cached_property
    def corrected(self) -> Array:
        """Mean probability that each checkpoint's predictions are the true labels, [K].

        Without models of the raw data, the share of the judged labels that it predicts.
        """
        if self.belief is None:
            share: Array = np.mean(self.predicted == self.judged_labels, axis=1)
            return share
        return self._mean(self.belief.true_label)

    @cached_property
    def agreement(self) -> Array:
        """Mean probability that the other samples give to each checkpoint's predictions, [K].

        Without models of the raw data, the same as `corrected`.
        """
        return self.corrected if self.belief is None else self._mean(self.belief.expected)

    @cached_property
    def ratings(self) -> Array | None:
        """Rating of each checkpoint at each sample, [K, any]; None without models of the raw data."""
        if self.belief is None:
            return None
        return rate(self.belief, self.predicted, None if isinstance(self.crossed, Skipped) else self.crossed)

    @cached_property
    def rating(self) -> Array:
        """Rating of each checkpoint, [K]; without models of the raw data, the same as `corrected`."""
        return self.corrected if self.ratings is None else self.ratings.mean(1)

    @cached_property
    def advised(self) -> int:
        """The checkpoint to keep: the last one, unless an earlier one is clearly better."""
        return len(self.names) - 1 if self.ratings is None else latest_as_good(self.ratings)

    @cached_property
    def strata(self) -> Integers:
        """Stratum of each sample by its memorization at the judge, an index into `STRATA`, [N]."""
        return strata(self.memorization[self.judge])

    def _mean(self, probability: Array) -> Array:
        mean: Array = probability[np.arange(self.predicted.shape[1]), self.predicted].mean(1)
        return mean


def strata(memorization: Array) -> Integers:
    """Return the stratum of each sample, an index into `STRATA`, [N].

    Memorized samples, and thirds of the others by their memorization.

    Args:
        memorization: Memorization of each sample, 0 to 1, [N].
    """
    memorized = is_memorized(memorization)
    rank = np.empty(len(memorization), dtype=np.int64)
    rest = np.flatnonzero(~memorized)
    order = rest[np.argsort(memorization[rest], kind="stable")]
    # thirds by rank, not by value: most samples have a memorization near 0
    rank[order] = np.arange(len(order)) * 3 // max(1, len(order))
    rank[memorized] = 3
    return rank


def learned_at(right: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Return when each sample was learned for good, and how often it was forgotten.

    Forgetting events are those of Toneva et al. (ICLR 2019, arXiv 1812.05159), but between checkpoints, not
    between steps.

    Args:
        right: Whether each sample is predicted as labeled, [K, N].

    Returns:
        First checkpoint of the last unbroken run that reaches the end, −1 if there is none, [N]; and how
        often a sample was right at one checkpoint and wrong at the next, [N].
    """
    # the last wrong one is the first wrong one from the end
    last_wrong = len(right) - 1 - np.argmax(~right[::-1], axis=0)
    start = np.where((~right).any(0), last_wrong + 1, 0)
    return np.where(right[-1], start, -1), (right[:-1] & ~right[1:]).sum(0)


def trajectory(
    history: TrainingHistory,
    labels: Integers,
    layers: Sequence[Series],
    classes: Sequence[Series],
    holdout: Sequence[float | Skipped],
) -> Trajectory:
    """Return the figures and the advice of the trajectory audit.

    Args:
        history: The checkpoints.
        labels: Given labels, [N].
        layers: Coherence of each layer over the checkpoints.
        classes: Coherence of each class over the checkpoints.
        holdout: Accuracy on the holdout at each checkpoint, [K].
    """
    right = history.predicted == labels
    when, forgotten = learned_at(right)
    shares = np.stack([history.share[:, history.strata == k].sum(1) for k in range(len(STRATA))], 1)
    points = tuple(_point(history, k, right, shares[k], holdout[k]) for k in range(len(history.names)))
    takeover = _takeover(shares)
    return Trajectory(
        points=points,
        layers=tuple(layers),
        classes=tuple(classes),
        judge=history.judge,
        advised=history.advised,
        takeover=takeover,
        sizes=tuple(np.bincount(history.strata, minlength=len(STRATA)).tolist()),
        learned_at=tuple(when.tolist()),
        forgotten=tuple(forgotten.tolist()),
        advice=_advice(history, points, labels, takeover),
    )


def _point(
    history: TrainingHistory, k: int, right: NDArray[np.bool_], shares: Array, holdout: float | Skipped
) -> Point:
    """Return the figures of checkpoint k; `right` is [K, N], `shares` the share of each stratum, [4]."""
    easy, typical, hard, memorized = shares.tolist()
    # before the first checkpoint nothing was learned
    before = right[k - 1] if k else np.zeros_like(right[0])
    return Point(
        checkpoint=history.names[k],
        accuracy=float(right[k].mean()),
        corrected=float(history.corrected[k]),
        expected=float(history.expected[k]),
        agreement=float(history.agreement[k]),
        rating=float(history.rating[k]),
        holdout=holdout,
        loss=float(history.loss[k]),
        m_coherence=float(history.m_coherence[k]),
        easy=easy,
        typical=typical,
        hard=hard,
        memorized=memorized,
        learned=int((right[k] & ~before).sum()),
        forgotten=int((before & ~right[k]).sum()),
    )


def _takeover(shares: Array) -> int:
    """Return from which checkpoint on memorized samples own the largest share, to the end; −1 if never."""
    # to the end: a passing peak while the network still learns does not count
    most = shares.argmax(1) == len(STRATA) - 1
    (places,) = np.nonzero(~most)
    start = int(places[-1]) + 1 if len(places) else 0
    return start if start < len(most) else -1


def _advice(history: TrainingHistory, points: Sequence[Point], labels: Integers, takeover: int) -> str:
    """Return which checkpoint to take."""
    if takeover >= 0:
        start = f"From {history.names[takeover]} on, memorized samples contribute"
    else:
        start = "At the last checkpoint, memorized samples do not contribute"
    return f"{_choice(history, points, labels)} {start} the largest part of the mean gradient."


def _choice(history: TrainingHistory, points: Sequence[Point], labels: Integers) -> str:
    if history.belief is None:
        return (
            "Keep the last checkpoint: nothing predicts these labels without the network, so the checkpoints "
            "cannot be compared."
        )
    taken, last = points[history.advised], points[-1]
    best = points[int(np.argmax(history.rating))]
    wrong = int((history.judged_labels != labels).sum())
    disputed = "1 label is" if wrong == 1 else f"{wrong:,} labels are"
    crossed = history.crossed
    asked = (
        f" ({crossed.name}: {crossed.reason})"
        if isinstance(crossed, Skipped)
        else ", also to crossed samples"
    )
    how = (
        f"The rating is how probable models of the raw data find the checkpoint's answers{asked}; "
        f"{disputed} likely wrong, as judged at {history.names[history.judge]}."
    )
    ratings = f"rating {percent(taken.rating)}, the best one {percent(best.rating)} at {best.checkpoint}"
    if taken is last:
        reason = "it has the best rating" if best is last else "no earlier one is clearly better"
        figures = percent(last.rating) if best is last else f"({ratings})"
        return f"Keep the last checkpoint: {reason}, {figures}. {how}"
    # the latest of those that are as good as the best
    other = "" if taken is best else f" It is as good as {best.checkpoint} ({percent(best.rating)})."
    return (
        f"Take {taken.checkpoint}: its rating is {percent(taken.rating)}, that of the last one "
        f"{percent(last.rating)}, and chance does not explain the difference.{other} {how}"
    )
