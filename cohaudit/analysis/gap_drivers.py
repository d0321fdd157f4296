"""What causes the gap: samples, layers, classes and the training run, each with its number and a remedy.

Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.results import Driver, Estimate, Skipped
from cohaudit.results.kinds import is_memorized
from cohaudit.results.wording import number, percent

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_DISAGREEMENTS = 10
"""Labels that earlier layers do not support, below which the share that a layer fits is not reported."""

OVERFIT_LAYER = 0.5
"""A layer has overfit if it fits at least this share of the labels that earlier layers do not support."""

MAX_CLASS_DRIVERS = 3
"""Classes that are reported as drivers, those with the largest gap."""

MIN_REPORTED = 0.02
"""Shares and gaps below this are too small to act on."""

FITTED_LOSS = 0.05
"""Mean training loss, in nats, below which the model has fitted nearly every label."""

READABLE_REMEDY = (
    "Stop training earlier, or regularize the whole network (dropout, weight decay). Where labels become "
    "readable is not where to regularize alone."
)
"""Advice where a layer shows memorized labels. Retrained networks with one part regularized say that the
named part is no better a place than others (`python -m benchmarks.audits.localization`)."""

UNKNOWN_EFFECT = Skipped("effect on the gap", "it depends on the training run: retrain to measure it")
"""Stands for the effect of a driver whose removal changes the training run itself."""


@dataclass(frozen=True)
class DriverInputs:
    """What the drivers are found from; N samples, C classes.

    Attributes:
        labels: Given labels, [N].
        memorization: Estimated memorization of each sample, 0 to 1, [N].
        suspect: Which labels are likely wrong, [N].
        layers: Layer name of each view, input side first.
        overfit_share: Share of the labels not supported by the predictions before it that each prediction
            fits: each view, then the earlier checkpoints, then the model, [views + earlier + 1].
        disagreements: Number of those labels, likewise.
        names: Class names, [C].
        class_gaps: Predicted gap of each class, or why there is none, [C].
        class_accuracy: Training accuracy of each class, [C]; None for a class without samples.
        mean_loss: Mean training loss, in nats.
        gap: Predicted gap of the model.
    """

    labels: Integers
    memorization: Array
    suspect: NDArray[np.bool_]
    layers: Sequence[str]
    overfit_share: Array
    disagreements: Integers
    names: Sequence[str]
    class_gaps: Sequence[Estimate | Skipped]
    class_accuracy: Sequence[float | None]
    mean_loss: float
    gap: float


def find_drivers(inputs: DriverInputs) -> tuple[Driver, ...]:
    """Return what causes the gap, largest known share first; empty if the gap is negligible."""
    if inputs.gap < MIN_REPORTED:
        return ()
    drivers = (*_samples(inputs), *_layers(inputs), *_classes(inputs), *_training(inputs))
    return tuple(sorted(drivers, key=_known_share, reverse=True))


def _known_share(driver: Driver) -> float:
    """Return the driver's share of the gap; an unknown one sorts after all others."""
    return -1.0 if isinstance(driver.lowers, Skipped) else driver.lowers


def _samples(inputs: DriverInputs) -> Iterator[Driver]:
    """Yield the memorized samples as a driver, if there are enough."""
    memorized = is_memorized(inputs.memorization)
    share = float(memorized.mean())
    if share < MIN_REPORTED:
        return
    wrong = int((memorized & inputs.suspect).sum())
    suspects = f" {wrong:,} of them look{'s' * (wrong == 1)} mislabeled." if wrong else ""
    yield Driver(
        "samples",
        "samples",
        share,
        f"The model probably memorized {int(memorized.sum()):,} of {len(memorized):,} labels "
        f"({percent(share)}): similar samples do not support them.{suspects}",
        _samples_remedy(wrong, int(memorized.sum()) - wrong),
        _at_most(float(inputs.memorization[memorized].sum()) / len(memorized), inputs),
    )


def _samples_remedy(wrong: int, right: int) -> str:
    """Return what to do about memorized samples, of which some look mislabeled."""
    sentences = []
    if wrong == 1:
        sentences.append(
            "Look at the memorized sample that looks mislabeled, and correct or drop it if its label is "
            "wrong (cohaudit correct)."
        )
    elif wrong:
        sentences.append(
            f"Look at the {wrong:,} memorized samples that look mislabeled, and correct or drop those with a "
            "wrong label (cohaudit correct)."
        )
    if right:
        rest = f"The other {right:,}" if wrong else f"The {right:,} memorized samples"
        sentences.append(f"{rest} are rare or hard: collect more samples like them.")
    return " ".join(sentences)


def _layers(inputs: DriverInputs) -> Iterator[Driver]:
    """Yield the first layer whose input fits most of the labels that earlier layers do not support."""
    overfit = (inputs.overfit_share >= OVERFIT_LAYER) & (inputs.disagreements >= MIN_DISAGREEMENTS)
    views = inputs.overfit_share[: len(inputs.layers)]
    places = np.flatnonzero(overfit[: len(views)])
    if len(places):
        first = int(places[0])
        name = inputs.layers[first]
        yield Driver(
            "layer",
            name,
            float(views[first]),
            f"Memorized labels become readable at the input of layer {name}: it fits {views[first]:.0%} "
            f"{_unsupported(inputs, first)}.",
            READABLE_REMEDY,
            UNKNOWN_EFFECT,
        )
    elif overfit[-1]:
        yield Driver(
            "layer",
            "output",
            float(inputs.overfit_share[-1]),
            f"The output fits {inputs.overfit_share[-1]:.0%} {_unsupported(inputs, -1)}. No layer's input "
            "fits most of them.",
            READABLE_REMEDY,
            UNKNOWN_EFFECT,
        )


def _unsupported(inputs: DriverInputs, place: int) -> str:
    """Return in words of how many labels a share was fitted, by the place of the prediction."""
    return f"of the {int(inputs.disagreements[place]):,} labels that the layers before it do not support"


def _classes(inputs: DriverInputs) -> Iterator[Driver]:
    """Yield the classes whose gap is above the model's, largest first."""
    # sorted by gap, then by class: equal input gives equal output
    known = [
        (gap.value, c, accuracy)
        for c, (gap, accuracy) in enumerate(zip(inputs.class_gaps, inputs.class_accuracy, strict=True))
        if isinstance(gap, Estimate) and accuracy is not None
    ]
    for gap, c, accuracy in sorted(known, reverse=True)[:MAX_CLASS_DRIVERS]:
        if gap < max(MIN_REPORTED, inputs.gap):
            continue
        # the gap of a class counts by its share of the samples
        own = inputs.labels == c
        suspects = int((own & inputs.suspect).sum())
        expected = max(0.0, min(1.0, accuracy - gap))
        look = f" Look at its {suspects:,} suspect{'s' * (suspects > 1)} first." if suspects else ""
        yield Driver(
            "class",
            inputs.names[c],
            gap,
            f"Class {inputs.names[c]}: {percent(accuracy)} training accuracy, about "
            f"{percent(expected)} expected on new data.",
            f"Collect more samples of class {inputs.names[c]} ({int(own.sum()):,} so far).{look}",
            _at_most(gap * float(own.mean()), inputs),
        )


def _training(inputs: DriverInputs) -> Iterator[Driver]:
    """Yield the training run as a driver, if it fitted nearly every label."""
    if inputs.mean_loss < FITTED_LOSS:
        yield Driver(
            "training",
            "training",
            inputs.mean_loss,
            f"The mean training loss is {number(inputs.mean_loss)} nats: the model fitted nearly every "
            "label.",
            "Save checkpoints during training, and let cohaudit trajectory choose one. Weight decay and data "
            "augmentation make single labels harder to fit.",
            UNKNOWN_EFFECT,
        )


def _at_most(part: float, inputs: DriverInputs) -> float:
    """Return a share of the gap, at most the whole gap.

    A share can exceed it: the predicted gap is corrected by how other networks did on new data.
    """
    return min(part, inputs.gap)
