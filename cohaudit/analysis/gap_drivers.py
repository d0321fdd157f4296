"""What the gap comes from: which samples, layers and classes, each with its number, and what would lower it.

Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Driver, Estimate, Skipped
from cohaudit.results.thresholds import MEMORIZATION_THRESHOLD

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST_DISPUTED = 10
"""Of fewer disputed labels no share is told."""
BENT = 0.5
"""A layer that gives so large a part of the labels disputed before it has bent to them."""
MOST_CLASSES = 3
WORTH_TELLING = 0.02
"""Shares and gaps below this are nothing to act on."""
SMALL_LOSS = 0.05
"""Mean training loss, in nats, below which labels are fitted to the last one."""
UNKNOWN = Skipped("effect on the gap", "it depends on the training: measure it by training again")


@dataclass(frozen=True)
class DriverInputs:
    """What is told of.

    Attributes:
        labels: As given, [N].
        memorization: How far a label can only be given by a network that saw the sample, [N].
        suspect: Which labels are likely wrong, [N].
        layers: Name of the layer of each view, input side first.
        bent: Share of the labels disputed by those before it that each view gives, then that of the earlier
            answers and of the network's own, [views + earlier + 1].
        disputed: How many labels those are, likewise.
        names: Of the classes, [C].
        class_gaps: Predicted, or why not, [C].
        class_accuracy: In training, [C].
        mean_loss: Of the training data, in nats.
        gap: Predicted, of the model.
    """

    labels: Integers
    memorization: Array
    suspect: NDArray[np.bool_]
    layers: Sequence[str]
    bent: Array
    disputed: Integers
    names: Sequence[str]
    class_gaps: Sequence[Estimate | Skipped]
    class_accuracy: Sequence[float]
    mean_loss: float
    gap: float


def find_drivers(facts: DriverInputs) -> tuple[Driver, ...]:
    """Return what the gap comes from, the largest part first; nothing where there is none to speak of."""
    if facts.gap < WORTH_TELLING:
        return ()
    found = (*_samples(facts), *_layers(facts), *_classes(facts), *_training(facts))
    return tuple(sorted(found, key=_part, reverse=True))


def _part(driver: Driver) -> float:
    """Return how much of the gap it is; what is not known comes after all else."""
    return -1.0 if isinstance(driver.lowers, Skipped) else driver.lowers


def _samples(facts: DriverInputs) -> Iterator[Driver]:
    own = facts.memorization >= MEMORIZATION_THRESHOLD
    share = float(own.mean())
    if share < WORTH_TELLING:
        return
    wrong = int((own & facts.suspect).sum())
    right = int(own.sum()) - wrong
    each = (
        "the one memorized sample that looks" if wrong == 1 else f"the {wrong:,} memorized samples that look"
    )
    look = (
        f"Look at {each} mislabeled, and correct or drop what is wrong (cohaudit correct)." if wrong else ""
    )
    rest = f"The other {right:,}" if wrong else f"The {right:,} memorized samples"
    common = f"{rest} are rare or hard: more samples like them would make them common." if right else ""
    told = f"; {wrong:,} of them look{'s' * (wrong == 1)} mislabeled" if wrong else ""
    yield Driver(
        "samples",
        "samples",
        share,
        f"{int(own.sum()):,} of {len(own):,} labels ({share:.1%}) are more likely given because the model "
        f"saw them than because the rest of the data would give them{told}.",
        f"{look} {common}".strip(),
        _at_most(float(facts.memorization[own].sum()) / len(own), facts),
    )


def _layers(facts: DriverInputs) -> Iterator[Driver]:
    """Tell the first layer whose input gives most of the labels that were disputed before it."""
    all_bent = (facts.bent >= BENT) & (facts.disputed >= FEWEST_DISPUTED)
    views = facts.bent[: len(facts.layers)]
    bent = np.flatnonzero(all_bent[: len(views)])
    if len(bent):
        first = int(bent[0])
        where = f"The input of layer {facts.layers[first]} already gives {views[first]:.0%}"
        remedy = (
            f"What stands before layer {facts.layers[first]} has learned single samples: "
            "regularize there (weight decay, dropout), make it narrower, or stop earlier."
        )
        reason = f"{where} {_disputed(facts, first)}"
        yield Driver("layer", facts.layers[first], float(views[first]), reason, remedy, UNKNOWN)
    elif all_bent[-1]:
        reason = f"The output gives {facts.bent[-1]:.0%} {_disputed(facts, -1)} No layer's input does."
        remedy = "Regularize the last layers (weight decay, dropout, label smoothing) or stop earlier."
        yield Driver("layer", "output", float(facts.bent[-1]), reason, remedy, UNKNOWN)


def _disputed(facts: DriverInputs, place: int) -> str:
    return f"of the {int(facts.disputed[place]):,} labels that the layers before it dispute."


def _classes(facts: DriverInputs) -> Iterator[Driver]:
    told = [(gap.value, c) for c, gap in enumerate(facts.class_gaps) if isinstance(gap, Estimate)]
    for gap, c in sorted(told, reverse=True)[:MOST_CLASSES]:
        if gap < max(WORTH_TELLING, facts.gap):
            continue
        own = facts.labels == c
        suspects = int((own & facts.suspect).sum())
        expected = facts.class_accuracy[c] - gap
        yield Driver(
            "class",
            facts.names[c],
            gap,
            f"Of class {facts.names[c]} the model finds {facts.class_accuracy[c]:.1%} in training, and about "
            f"{max(0.0, min(1.0, expected)):.0%} are to be expected on new data.",
            f"Collect more samples of class {facts.names[c]}, which has {int(own.sum()):,}"
            + (f", and look at its {suspects:,} suspect{'s' * (suspects > 1)} first." if suspects else "."),
            _at_most(gap * float(own.mean()), facts),
        )


def _training(facts: DriverInputs) -> Iterator[Driver]:
    if facts.mean_loss < SMALL_LOSS:
        yield Driver(
            "training",
            "training",
            facts.mean_loss,
            f"The mean training loss is {facts.mean_loss:.2g}: nearly every label was fitted.",
            "Keep checkpoints of the training, and let cohaudit trajectory say which of them to take. Weight "
            "decay and augmentation keep labels from being fitted singly.",
            UNKNOWN,
        )


def _at_most(part: float, facts: DriverInputs) -> float:
    """Return a part of the gap, which is no more than the whole: other networks' habits are in it as well."""
    return min(part, facts.gap)
