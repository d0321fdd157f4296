"""What a network learned when, and at which checkpoint it should have stopped, without a holdout.

What many samples share is learned first, what a single one owns last (Chatterjee, ICLR 2020): early stopping
takes the checkpoint before memorized samples take over. Training accuracy cannot tell it, since it rises by
memorizing. So labels that are more likely wrong than right are exchanged for those that the other samples
give, as judged at the checkpoint with the best accuracy to be expected on new data, which has not memorized
them yet; the advised checkpoint is the one that gives the most labels so corrected. While a network learns,
that share rises; memorizing a wrong label lowers it.

Memorizing the right label of a hard sample raises it too. How much of that there is, is told by the share of
the corrected labels that the other samples would not give themselves: with d the share that the best
checkpoint gives and a the mean probability that the others give to its answers, 1 − a / d. By so much the
advice goes by a in place of d: the rating of a checkpoint k is (a / d) d_k + (1 − a / d) a_k.

Arrays: K checkpoints, N samples. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Point, Series, Skipped, Trajectory
from cohaudit.results.trajectory import STRATA

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MEMORIZED = 0.5
"""A label that is more likely given because the network saw it than because of the others is memorized."""
MIN_RATING_GAIN = 0.005
"""Difference of ratings below which one checkpoint is as good as another."""


class TrainingHistory:
    """The checkpoints of a training, as arrays.

    Args:
        names: Of the checkpoints, in the order of the training, [K]; at least two.
        predicted: The model's answers, [K, N].
        corrected: Labels as corrected by each checkpoint, [K, N].
        memorization: How far each label is memorized, 0 to 1, by each checkpoint, [K, N].
        share: Of the mean gradient that each sample owns, [K, N]; each row sums to 1.
        expected: Accuracy to be expected on new data, [K].
        agreement: Mean probability that the other samples give to the model's answers, [K].
        loss: Mean training loss, [K].
        m_coherence: Of the whole gradient, [K].
    """

    def __init__(
        self,
        names: Sequence[str],
        predicted: Integers,
        corrected: Integers,
        memorization: Array,
        share: Array,
        expected: Sequence[float],
        agreement: Sequence[float],
        loss: Sequence[float],
        m_coherence: Sequence[float],
    ) -> None:
        self.names = names
        self.predicted = predicted
        self.share = share
        self.loss = loss
        self.expected = expected
        self.m_coherence = m_coherence
        self.judge = int(np.argmax(expected))
        self.corrected: Array = np.mean(predicted == corrected[self.judge], axis=1)
        self.agreement = np.asarray(agreement)
        self.rating = rating(self.corrected, self.agreement)
        self.advised = int(np.argmax(self.rating))
        self.changed = corrected[self.judge]
        self.kind = kinds(memorization[self.judge])


def rating(corrected: Array, agreement: Array) -> Array:
    """Return what the advice goes by, [K].

    Args:
        corrected: Share of the corrected labels that each checkpoint gives, [K].
        agreement: Mean probability that the other samples give to its answers, [K].
    """
    best = int(np.argmax(corrected))
    weight = min(1.0, float(agreement[best] / corrected[best])) if corrected[best] else 0.0
    return weight * corrected + (1 - weight) * agreement


def kinds(memorization: Array) -> Integers:
    """Return each sample's kind, an index into `STRATA`, [N].

    Args:
        memorization: How far each label is memorized, 0 to 1, [N].
    """
    memorized = memorization > MEMORIZED
    rank = np.empty(len(memorization), dtype=np.int64)
    rest = np.flatnonzero(~memorized)
    order = rest[np.argsort(memorization[rest], kind="stable")]
    rank[order] = np.arange(len(order)) * 3 // max(1, len(order))
    rank[memorized] = 3
    return rank


def learned_at(right: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Return from which checkpoint on each sample is right to the end, and how often it was forgotten.

    Forgetting events are those of Toneva et al. (ICLR 2019, arXiv 1812.05159), between checkpoints.

    Args:
        right: Whether a sample is predicted as labeled, [K, N].

    Returns:
        The first checkpoint of the last unbroken run that reaches the end, −1 for none, [N]; and the number
        of times that a sample was right at one checkpoint and wrong at the next, [N].
    """
    last_wrong = len(right) - 1 - np.argmax(~right[::-1], axis=0)
    start = np.where((~right).any(0), last_wrong + 1, 0)
    return np.where(right[-1], start, -1), (right[:-1] & ~right[1:]).sum(0)


def trajectory(
    course: TrainingHistory,
    labels: Integers,
    layers: Sequence[Series],
    classes: Sequence[Series],
    holdout: Sequence[float | Skipped],
) -> Trajectory:
    """Put the course of a training into figures and advice.

    Args:
        course: The checkpoints.
        labels: As given, [N].
        layers: Coherence of each layer over the checkpoints.
        classes: The same of each class.
        holdout: Accuracy on the holdout at each checkpoint, [K].
    """
    right = course.predicted == labels
    when, forgotten = learned_at(right)
    shares = np.stack([course.share[:, course.kind == k].sum(1) for k in range(len(STRATA))], 1)
    points = tuple(
        Point(
            checkpoint=name,
            accuracy=float(right[k].mean()),
            corrected=float(course.corrected[k]),
            expected=float(course.expected[k]),
            agreement=float(course.agreement[k]),
            rating=float(course.rating[k]),
            holdout=holdout[k],
            loss=float(course.loss[k]),
            m_coherence=float(course.m_coherence[k]),
            **dict(zip(STRATA, shares[k].tolist(), strict=True)),
            learned=int((right[k] & ~right[k - 1]).sum()) if k else int(right[0].sum()),
            forgotten=int((right[k - 1] & ~right[k]).sum()) if k else 0,
        )
        for k, name in enumerate(course.names)
    )
    takeover = _takeover(shares)
    return Trajectory(
        points=points,
        layers=tuple(layers),
        classes=tuple(classes),
        judge=course.judge,
        advised=course.advised,
        takeover=takeover,
        sizes=tuple(np.bincount(course.kind, minlength=len(STRATA)).tolist()),
        learned_at=tuple(when.tolist()),
        forgotten=tuple(forgotten.tolist()),
        advice=_advice(course, points, labels, takeover),
    )


def _takeover(shares: Array) -> int:
    """Return from which checkpoint on memorized samples own most, to the end; −1 if not in the end."""
    most = shares.argmax(1) == len(STRATA) - 1
    (places,) = np.nonzero(~most)
    start = int(places[-1]) + 1 if len(places) else 0
    return start if start < len(most) else -1


def _advice(course: TrainingHistory, points: Sequence[Point], labels: Integers, takeover: int) -> str:
    best = points[course.advised]
    last = points[-1]
    wrong = int((course.changed != labels).sum())
    labels_told = "1 label that looks" if wrong == 1 else f"{wrong:,} labels that look"
    judged = f"with {labels_told} wrong at {course.names[course.judge]} corrected, less what is memorized"
    if takeover >= 0:
        owned = f" Memorized samples own most of the mean gradient from {course.names[takeover]} on."
    else:
        owned = " Memorized samples do not own most of the mean gradient at the last checkpoint."
    if best is last:
        return f"Keep the last checkpoint: it is rated best, {best.rating:.1%}, {judged}.{owned}"
    if last.rating > best.rating - MIN_RATING_GAIN:
        return (
            f"Keep the last checkpoint, or take {best.checkpoint}: they are rated {last.rating:.1%} and "
            f"{best.rating:.1%}, {judged}, which is as good.{owned}"
        )
    return (
        f"Take {best.checkpoint}: it is rated {best.rating:.1%}, {judged}; the last one "
        f"{last.rating:.1%}.{owned}"
    )
