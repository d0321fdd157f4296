"""A pass over the data that can be interrupted between two batches and resumed, to the same bits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.errors import EngineError
from cohaudit.gradients.features import Views
from cohaudit.gradients.pass_setup import PassSetup
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.resume_protocol import (
    Arrays,
    CheckpointStore,
    PassMetadata,
    PassState,
    ResumeState,
)
from cohaudit.gradients.passes.sample_rows import ScoreRows
from cohaudit.gradients.passes.sums import ClassSums
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.saved_arrays import overwrite_rows
from cohaudit.gradients.tracing.plan import Plan

FEATURES = "feature"
"""Names of saved layer inputs begin like this."""

ACTIVATIONS = "activation"
"""Names of saved activations begin like this."""


@dataclass(kw_only=True, eq=False)
class DataPass(ABC):
    """What a pass has measured so far.

    Attributes:
        setup: Model, samples, options and device.
        batches: Measures a batch; its plan may change on the way.
        order: Indices of all samples, in the order of the pass.
        bounds: Positions in `order` between which the batches lie, from 0 to the number of samples.
        scores: What the forward pass tells of each sample.
        features: Inputs of the plan's feature layers.
        activations: Inputs of all layers; empty unless label-free.
        sums: Sums per class; None if gradients are not summed.
        done: Samples measured, the first ones in `order`.
        in_batch: Whether a batch has been begun and not finished.
    """

    setup: PassSetup
    batches: Batches
    order: NDArray[np.int64]
    bounds: NDArray[np.int64]
    scores: ScoreRows
    features: Views
    activations: Views
    sums: ClassSums | None
    done: int = 0
    in_batch: bool = False

    @property
    def plan(self) -> Plan:
        """How the model is measured by now."""
        return self.batches.plan

    @property
    def class_sums(self) -> ClassSums:
        """Sums per class, of a pass that sums gradients."""
        assert self.sums is not None
        return self.sums

    @abstractmethod
    def measure_batch(self, indices: NDArray[np.int64]) -> None:
        """Measure and store the samples with these indices.

        Raises:
            ModelError: If the model itself fails on one of the samples.
            EngineError: If a loss or gradient is not finite, or memory does not suffice.
        """

    def run(self, store: CheckpointStore, advance: Callable[[int], None]) -> None:
        """Measure what is left, batch by batch; save the pass if it is interrupted between two of them.

        Args:
            store: Saves the unfinished pass.
            advance: Called with the number of samples done.

        Raises:
            KeyboardInterrupt: If it is interrupted.
        """
        try:
            while self.done < len(self.order):
                stop = int(self.bounds[np.searchsorted(self.bounds, self.done, side="right")])
                indices = self.order[self.done : stop]
                self.in_batch = True
                self.measure_batch(indices)
                # last, so that an interrupted batch does not count
                self.done = stop
                self.in_batch = False
                advance(len(indices))
                store.maybe_save(self.state)
        except KeyboardInterrupt:
            # a batch that is cut short leaves sums that nobody can resume from
            if not self.in_batch:
                store.keep(self.state())
            raise
        if self.sums is not None:
            self.sums.finish()

    def refuse_overflow(
        self, indices: NDArray[np.int64], residuals: Residuals, norms: Tensor | None = None
    ) -> None:
        """Refuse a sample whose loss or gradient is not finite: it would spread into every average.

        Args:
            indices: Indices of the batch's samples.
            residuals: Their residuals.
            norms: Their squared norms, [batch]; None if they are not measured.

        Raises:
            EngineError: If there is one; names it.
        """
        finite = torch.isfinite(residuals.loss) & torch.isfinite(residuals.scale)
        if norms is not None:
            finite &= torch.isfinite(norms)
        bad = (~finite).nonzero().flatten().tolist()
        if bad:
            gradient = "" if norms is None else f", squared norm of the gradient {norms[bad[0]].item()}"
            raise EngineError(
                f"sample {self.setup.source.ids[indices[bad[0]]]}",
                f"loss {residuals.loss[bad[0]].item()}{gradient}",
                "check the weights and this sample's input for overflow, or build the model in float32",
            )

    def saved_rows(self) -> dict[str, NDArray[Any]]:
        """Return every array with a row per sample, by the names that they are saved under."""
        return self.scores.arrays() | self.features.arrays(FEATURES) | self.activations.arrays(ACTIVATIONS)

    def state(self) -> PassState:
        """Return all that is needed to resume from here, between two batches."""
        # sorted, so that the file does not depend on the order of a set
        metadata = PassMetadata(
            looped=tuple(sorted(self.plan.looped)),
            features=self.features.shapes(),
            activations=self.activations.shapes(),
        )
        arrays = self.saved_rows()

        def rows(start: int, stop: int) -> Arrays:
            indices = self.order[start:stop]
            return {name: np.asarray(array[indices]) for name, array in arrays.items()}

        return PassState(
            done=self.done,
            sums={} if self.sums is None else self.sums.state().arrays(),
            metadata=metadata.to_json(),
            rows=rows,
            row_bytes=sum(array[0].nbytes for array in arrays.values()),
        )

    def restore(self, saved: ResumeState) -> None:
        """Continue from an earlier pass over the same samples, with the same model and options.

        Raises:
            KeyError: If something is missing.
            ValueError: If it belongs to another pass.
        """
        metadata = PassMetadata.from_json(saved.metadata)
        self.batches.loop(metadata.looped)
        self.features.allocate(metadata.features)
        self.activations.allocate(metadata.activations)
        if self.sums is not None:
            self.sums.restore(saved.sums)
        if saved.done not in self.bounds:
            raise ValueError(f"no batch ends after {saved.done} samples")
        views = {*self.features.arrays(FEATURES), *self.activations.arrays(ACTIVATIONS)}
        # shard by shard: together they may be larger than memory
        for start, stop, rows in saved.shards:
            indices = self.order[start:stop]
            for name, array in self.saved_rows().items():
                # a view may be missing among them: its layer was first reached by a later batch
                if name in rows or name not in views:
                    overwrite_rows(array, indices, rows[name])
        self.done = saved.done


def batch_bounds(labels: NDArray[np.int64], size: int, *, by_class: bool) -> NDArray[np.int64]:
    """Return the positions between which batches lie, rising from 0 to the number of samples.

    Args:
        labels: Labels in the order of the pass, [N]; sorted, if batches are to be of one class.
        size: Largest number of samples in a batch.
        by_class: Whether a batch may hold one class only. Then batches of a class are of even size: the last
            one of a few samples would take as long as the others.
    """
    total = len(labels)
    if not by_class:
        return np.append(np.arange(0, total, size), total)
    counts = np.bincount(labels)
    bounds = [0]
    for count in counts[counts > 0].tolist():
        parts = -(-count // size)
        bounds.extend(bounds[-1] + np.arange(1, parts + 1) * count // parts)
    return np.asarray(bounds, dtype=np.int64)
