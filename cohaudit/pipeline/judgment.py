"""What an audit finds, before it is put together with its subject and its timings."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cohaudit.analysis.gap_drivers import DriverInputs
from cohaudit.pipeline.observations import NeighborPairs
from cohaudit.results import (
    ClassCosines,
    ClassResult,
    Coherence,
    Corrections,
    Layer,
    ReviewCalibration,
    Risk,
    Sanity,
    Skipped,
    WrongLabels,
)


@dataclass(frozen=True)
class Judgment:
    """The findings; most attributes are as in `results.Audit`.

    Attributes:
        sanity: Whether model and data belong together.
        notices: What the reader must know, in sentences.
        coherence: Coherence of the whole gradient.
        layers: Coherence of each layer, input side first.
        classes: Results of each class.
        class_cosines: Cosines between the classes' gradient sums.
        samples: The table of samples.
        cosine_error: Standard error of a sketched cosine.
        representation: What labels are predicted from, in words; empty if no layer gives a representation.
        neighbors: Index of each sample that is shown → its supporters and opponents: suspects, most
            suspicious first, then others.
        risk: The generalization gap and its level.
        driver_inputs: What the drivers of the risk are computed from; None without a verdict.
        wrong_labels: How many labels are wrong.
        calibration: What a person's review says about the suspicions.
        corrections: What an earlier correction of the labels says.
        questions: Indices of the samples to review, in the order to ask.
        skipped: What could not be computed, and why.
    """

    sanity: Sanity
    notices: tuple[str, ...]
    coherence: Coherence | Skipped
    layers: tuple[Layer, ...]
    classes: tuple[ClassResult, ...]
    class_cosines: ClassCosines | Skipped
    samples: pd.DataFrame
    cosine_error: float
    representation: str
    neighbors: dict[int, tuple[NeighborPairs, NeighborPairs]]
    risk: Risk | Skipped
    driver_inputs: DriverInputs | None
    wrong_labels: WrongLabels | Skipped
    calibration: ReviewCalibration | Skipped
    corrections: Corrections | Skipped
    questions: tuple[int, ...]
    skipped: tuple[Skipped, ...]
