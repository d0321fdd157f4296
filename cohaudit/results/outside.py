"""What was predicted from the raw data, as data."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.results.ranges import Proportion


@dataclass(frozen=True)
class OutsidePrediction:
    """A prediction of the labels by a model that never saw the network."""

    name: str
    """The model and what it sees of a sample, in words."""
    accuracy: Proportion
    """Share of the given labels that it predicts for samples that it was not trained on, in [0, 1]."""
