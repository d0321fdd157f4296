"""Do the model and the data belong together at all? Asked before any verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Sanity

Integers = NDArray[np.int64]

SMALLEST_SKILL = 0.1
"""Least share of the way from chance to perfect: by the luck of which class it favors, an untrained network
on ten classes comes 0.06 of that way, more than the chance of single samples explains."""
SHUFFLES = 200
"""Predictions have to beat every one of so many shuffles of themselves: by chance, one in 201 does."""
FAR_BELOW = 0.5, 0.3
"""A model that gives less than so large a part of the labels that its layers predict, and fewer by so large a
share of all, is not fed what it was trained on: even one stopped early gives more."""

FEWEST = 5
NAMED = 4
"""Samples of a class below which it tells nothing of the order of classes; classes out of order that are
named."""


def check_sanity(
    predicted: Integers,
    labels: Integers,
    names: Sequence[str],
    mean_loss: float,
    by_neighbors: float | None = None,
) -> Sanity:
    """Compare the training accuracy with chance, with other orders of the classes, and with the neighbors'.

    Balanced accuracy has to be well above its chance level, 1 / C whatever the class sizes, so that always
    predicting the largest class does not pass. And the predictions have to match more labels than when
    shuffled among the samples, so that few samples, or classes of one or two, do not pass by a lucky hit.

    Args:
        predicted: [N].
        labels: [N]; every class has at least one sample.
        names: Of the classes, [C].
        mean_loss: In nats, for the result.
        by_neighbors: Share of the labels that the samples' neighbors predict, by what the layers see; None
            where that is not known.
    """
    correct = predicted == labels
    classes = len(names)
    balanced = _balanced_accuracy(predicted, labels, classes)
    chance = 1 / classes
    skilled = is_skilled(predicted, labels, classes)
    exchanged = _exchanged(predicted, labels, classes)
    accuracy = float(correct.mean())
    misfed = by_neighbors is not None and (
        accuracy < FAR_BELOW[0] * by_neighbors and accuracy < by_neighbors - FAR_BELOW[1]
    )
    lucky = skilled and not _beats_shuffles(predicted, labels)
    auditable = skilled and not (exchanged or misfed or lucky)
    found = f"Balanced accuracy on the training data is {balanced:.1%}"
    if exchanged:
        reason = f"{found}, where chance is {chance:.1%}. {_told_order(exchanged, names)}"
    elif not skilled:
        reason = (
            f"{found}, hardly better than chance ({chance:.1%}): these weights, this preprocessing or this "
            "order of classes are not those of the training. Check the checkpoint, the transform and "
            "class_names."
        )
    elif misfed:
        reason = (
            f"The model gives {accuracy:.1%} of the labels, where its own layers let the samples' neighbors "
            f"predict {by_neighbors:.1%}: the inputs are not prepared as in training, or the order of "
            "classes is another. Check the transform and class_names."
        )
    elif lucky:
        reason = (
            f"{found}, where chance is {chance:.1%}, but luck alone can hit as many of the "
            f"{len(labels):,} labels. Audit more samples."
        )
    else:
        reason = f"{found}, where chance is {chance:.1%}."
    return Sanity(auditable, accuracy, balanced, chance, mean_loss, reason)


def is_skilled(predicted: Integers, labels: Integers, classes: int) -> bool:
    """Return whether the model is far enough from chance to be judged at all.

    Args:
        predicted: [N].
        labels: [N]; every class has at least one sample.
        classes: C.
    """
    chance = 1 / classes
    return (_balanced_accuracy(predicted, labels, classes) - chance) / (1 - chance) >= SMALLEST_SKILL


def _balanced_accuracy(predicted: Integers, labels: Integers, classes: int) -> float:
    sizes = np.bincount(labels, minlength=classes)
    return float((np.bincount(labels, weights=predicted == labels, minlength=classes) / sizes).mean())


def _exchanged(predicted: Integers, labels: Integers, classes: int) -> dict[int, int]:
    """Return which classes the model takes for which, where it merely has them in another order.

    Every class has to be one of its own to the model, and of those that have moved more than half of the
    samples have to be found there.
    """
    counts = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    to = counts.argmax(1)
    moved = np.flatnonzero(to != np.arange(classes))
    one_to_one = len(np.unique(to)) == classes
    sizes = counts[moved].sum(1)
    surely = ((sizes >= FEWEST) & (2 * counts[moved, to[moved]] > sizes)).all()
    return {int(c): int(to[c]) for c in moved} if one_to_one and surely else {}


def _told_order(exchanged: dict[int, int], names: Sequence[str]) -> str:
    pairs = [f"of the samples labeled {names[c]} most are {names[k]}" for c, k in exchanged.items()]
    more = f", and so on for {len(pairs)} classes" if pairs[NAMED:] else ""
    return (
        f"To the model, {', '.join(pairs[:NAMED])}{more}: the order of classes is not that of the training. "
        "Give its own order, with --class-names."
    )


def _beats_shuffles(predicted: Integers, labels: Integers) -> bool:
    """Return whether the predictions match more labels than each of `SHUFFLES` shuffles of themselves."""
    generator = np.random.default_rng(0)
    matches = np.count_nonzero(predicted == labels)
    return all(
        np.count_nonzero(generator.permutation(predicted) == labels) < matches for _ in range(SHUFFLES)
    )
