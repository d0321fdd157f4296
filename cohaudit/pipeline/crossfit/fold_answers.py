"""The predictions of the folds that are done, and how they are stored between two folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients import PassState, ResumeState


class FoldAnswers:
    """The predictions of the folds that are done, in the form that a store keeps.

    Args:
        folds: Fold of each sample, int64 [N].
        count: Number of folds.
        classes: C.

    Attributes:
        probability: Class probabilities, float32 [N, C]; 0 for the folds that are not done.
        epochs: Epochs that the copy of each fold done was trained for; 0 if unknown.
    """

    def __init__(self, folds: NDArray[np.int64], count: int, classes: int) -> None:
        self.probability = np.zeros((len(folds), classes), dtype=np.float32)
        self.epochs: list[int] = []
        # a store keeps samples in the order in which they are done: fold by fold
        self._order = np.argsort(folds, kind="stable")
        self._ends = np.cumsum(np.bincount(folds, minlength=count))

    def positions(self, fold: int) -> NDArray[np.int64]:
        """Return the positions of a fold's samples, rising."""
        return self._order[self._ends[fold - 1] if fold else 0 : self._ends[fold]]

    def add(self, probability: NDArray[np.float32], epochs: int) -> None:
        """Add the next fold.

        Args:
            probability: Class probabilities of its samples, in rising order of their positions.
            epochs: Epochs that its copy was trained for; 0 if unknown.
        """
        self.probability[self.positions(len(self.epochs))] = probability
        self.epochs.append(epochs)

    def state(self) -> PassState:
        """Return what a store keeps."""
        return PassState(
            done=int(self._ends[len(self.epochs) - 1]),
            sums={},
            metadata={"epochs": self.epochs},
            rows=lambda start, stop: {"probability": self.probability[self._order[start:stop]]},
            row_bytes=self.probability.shape[1] * self.probability.itemsize,
        )

    def restore(self, saved: ResumeState) -> None:
        """Take what a store has kept.

        Raises:
            ValueError: If it is not of whole folds.
        """
        epochs = [int(number) for number in saved.metadata["epochs"]]
        if not 0 < len(epochs) <= len(self._ends) or saved.done != self._ends[len(epochs) - 1]:
            raise ValueError("not of whole folds")
        for start, stop, rows in saved.shards:
            self.probability[self._order[start:stop]] = rows["probability"]
        self.epochs = epochs
