"""Do the model and the data belong together at all? Checked before any verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Sanity
from cohaudit.results.wording import percent

Integers = NDArray[np.int64]

MIN_SKILL = 0.1
"""Least share of the way from chance to perfect balanced accuracy. An untrained network on ten classes comes
0.06 of that way, by the luck of which class it favors: more than the chance of single samples explains."""

SHUFFLES = 200
"""Predictions must match more labels than each of this many shuffles of themselves: by chance, one in 201
does."""

MISFED_RATIO = 0.5
"""A model whose training accuracy is below this fraction of what its layers let similar samples predict does
not get its inputs as in training, if it is also below by `MISFED_GAP`: even one stopped early does better."""

MISFED_GAP = 0.3
"""Accuracy by which it must also be below, so that weak but honest models pass."""

MIN_SAMPLES_TO_JUDGE_ORDER = 5
"""Samples of a class below which it does not show whether the order of classes is wrong."""

MAX_NAMED_EXCHANGES = 4
"""Classes out of order that are named."""


def check_sanity(
    predicted: Integers,
    labels: Integers,
    names: Sequence[str],
    mean_loss: float,
    by_neighbors: float | None = None,
) -> Sanity:
    """Compare the training accuracy with chance, with other orders of the classes, and with the neighbors'.

    Balanced accuracy must be well above its chance level, 1 / C whatever the class sizes, so that always
    predicting the largest class does not pass. The predictions must also match more labels than when shuffled
    among the samples, so that a lucky hit does not pass if there are few samples, or classes of one or two.

    Args:
        predicted: The model's predictions, [N].
        labels: Given labels, [N]; a class may have no sample.
        names: Class names, [C].
        mean_loss: Mean training loss in nats, passed on to the result.
        by_neighbors: Share of the labels that similar samples predict, compared by the model's layers; None
            if unknown.
    """
    classes = len(names)
    balanced = _balanced_accuracy(predicted, labels, classes)
    accuracy = float((predicted == labels).mean())
    swapped = _swapped_classes(predicted, labels, classes)
    summary = f"Balanced training accuracy: {percent(balanced)} (chance: {percent(1 / classes)})"
    # in order of how specific the remedy is: a swapped order also lowers the accuracy
    if swapped:
        problem = f"{summary}. {_swapped_reason(swapped, names)}"
    elif not is_skilled(predicted, labels, classes):
        problem = (
            f"{summary}, hardly better than chance. The checkpoint, the preprocessing or the order of "
            "classes differs from training: check the checkpoint, the transform and class_names."
        )
    elif by_neighbors is not None and _is_misfed(accuracy, by_neighbors):
        problem = (
            f"The training accuracy is {percent(accuracy)}, but similar samples, compared by the model's own "
            f"layers, predict {percent(by_neighbors)} of the labels. The inputs are not prepared as in "
            "training, or the order of classes differs: check the transform and class_names."
        )
    elif not _beats_shuffles(predicted, labels):
        problem = f"{summary}, but on {len(labels):,} labels this could be chance. Audit more samples."
    else:
        problem = ""
    return Sanity(not problem, accuracy, balanced, 1 / classes, mean_loss, problem or f"{summary}.")


def is_skilled(predicted: Integers, labels: Integers, classes: int) -> bool:
    """Return whether the model is far enough above chance to be judged at all.

    Args:
        predicted: The model's predictions, [N].
        labels: Given labels, [N]; a class may have no sample.
        classes: C.
    """
    chance = 1 / classes
    return (_balanced_accuracy(predicted, labels, classes) - chance) / (1 - chance) >= MIN_SKILL


def _is_misfed(accuracy: float, by_neighbors: float) -> bool:
    """Return whether the accuracy is so far below the neighbors' that the inputs must differ."""
    return accuracy < MISFED_RATIO * by_neighbors and accuracy < by_neighbors - MISFED_GAP


def _balanced_accuracy(predicted: Integers, labels: Integers, classes: int) -> float:
    """Return the mean over the classes of the share of their samples predicted as labeled."""
    # every class counts the same, however many samples it has; one without samples does not count
    sizes = np.bincount(labels, minlength=classes)
    right = np.bincount(labels, weights=predicted == labels, minlength=classes)
    return float((right[sizes > 0] / sizes[sizes > 0]).mean())


def _swapped_classes(predicted: Integers, labels: Integers, classes: int) -> dict[int, int]:
    """Return labeled class → predicted class, where the model merely has its classes in another order.

    The most frequent prediction must be a different class for each class, and of the swapped classes, more
    than half of the samples must be predicted as that class.
    """
    counts = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    to = counts.argmax(1)
    present = np.flatnonzero(counts.sum(1))
    moved = present[to[present] != present]
    # a model that knows nothing maps several classes to one; a mere swap is a permutation
    one_to_one = len(np.unique(to[present])) == len(present)
    sizes = counts[moved].sum(1)
    surely = ((sizes >= MIN_SAMPLES_TO_JUDGE_ORDER) & (2 * counts[moved, to[moved]] > sizes)).all()
    return {int(c): int(to[c]) for c in moved} if one_to_one and surely else {}


def _swapped_reason(swapped: dict[int, int], names: Sequence[str]) -> str:
    """Return in words which classes are swapped, and what to do."""
    pairs = [f"{names[k]} for samples labeled {names[c]}" for c, k in swapped.items()]
    more = f", and so on for {len(pairs)} classes" if pairs[MAX_NAMED_EXCHANGES:] else ""
    return (
        f"The model mostly predicts {', '.join(pairs[:MAX_NAMED_EXCHANGES])}{more}: the order of classes "
        "differs from training. Give the model's order with --class-names."
    )


def _beats_shuffles(predicted: Integers, labels: Integers) -> bool:
    """Return whether the predictions match more labels than each of `SHUFFLES` shuffles of themselves."""
    # a fixed seed: whether a model can be audited must not depend on the user's
    generator = np.random.default_rng(0)
    matches = np.count_nonzero(predicted == labels)
    return all(
        np.count_nonzero(generator.permutation(predicted) == labels) < matches for _ in range(SHUFFLES)
    )
