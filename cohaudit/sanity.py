"""Do the model and the data belong together at all? Asked before any verdict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Sanity

Integers = NDArray[np.int64]

SMALLEST_SKILL = 0.1
"""Least share of the way from chance to perfect: by the luck of which class it favors, an untrained network
on ten classes comes 0.06 of that way, more than the chance of single samples explains."""
SHUFFLES = 200
"""Predictions have to beat every one of so many shuffles of themselves: by chance, one in 201 does."""


def check_sanity(predicted: Integers, labels: Integers, classes: int, mean_loss: float) -> Sanity:
    """Compare the training accuracy with chance.

    Balanced accuracy has to be well above its chance level, 1 / C whatever the class sizes, so that always
    predicting the largest class does not pass. And the predictions have to match more labels than when
    shuffled among the samples, so that few samples, or classes of one or two, do not pass by a lucky hit.

    Args:
        predicted: [N].
        labels: [N]; every class has at least one sample.
        classes: C.
        mean_loss: In nats, for the result.
    """
    correct = predicted == labels
    sizes = np.bincount(labels, minlength=classes)
    per_class = np.bincount(labels, weights=correct, minlength=classes) / sizes
    balanced, chance = float(per_class.mean()), 1 / classes
    skill = (balanced - chance) / (1 - chance)
    skilled = skill >= SMALLEST_SKILL
    auditable = skilled and _beats_shuffles(predicted, labels)
    found = f"Balanced accuracy on the training data is {balanced:.1%}"
    if auditable:
        reason = f"{found}, where chance is {chance:.1%}."
    elif skilled:
        reason = (
            f"{found}, where chance is {chance:.1%}, but luck alone can hit as many of the "
            f"{len(labels):,} labels. Audit more samples."
        )
    else:
        reason = (
            f"{found}, hardly better than chance ({chance:.1%}): these weights, this preprocessing or this "
            "order of classes are not those of the training. Check the checkpoint, the transform and "
            "class_names."
        )
    return Sanity(auditable, float(correct.mean()), balanced, chance, mean_loss, reason)


def _beats_shuffles(predicted: Integers, labels: Integers) -> bool:
    """Return whether the predictions match more labels than each of `SHUFFLES` shuffles of themselves."""
    generator = np.random.default_rng(0)
    matches = np.count_nonzero(predicted == labels)
    return all(
        np.count_nonzero(generator.permutation(predicted) == labels) < matches for _ in range(SHUFFLES)
    )
