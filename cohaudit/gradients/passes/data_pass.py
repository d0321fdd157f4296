"""A pass over the data that can be interrupted between two batches and resumed, to the same bits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.errors import EngineError
from cohaudit.gradients.features import Views
from cohaudit.gradients.pass_setup import PassSetup
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.blocks import (
    BlockClasses,
    BlockReader,
    BlockRequest,
    BlockState,
    PassKind,
    PassOrder,
)
from cohaudit.gradients.passes.resume_protocol import (
    Arrays,
    CheckpointStore,
    DamagedError,
    NullStore,
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
        steps: The order of the samples, and the batches and blocks that it is cut into.
        scores: What the forward pass tells of each sample.
        features: Inputs of the plan's feature layers.
        activations: Inputs of all layers; empty unless label-free.
        sums: Sums per class; None if gradients are not summed.
        done: Samples measured, the first ones in `order`.
        in_batch: Whether a batch has been begun and not finished.
        looped: Parameters that had to be measured by the loop in the blocks before.
        alone: The classes of the block, if the samples are one block of a larger pass; else None.
    """

    setup: PassSetup
    batches: Batches
    steps: PassOrder
    scores: ScoreRows
    features: Views
    activations: Views
    sums: ClassSums | None
    done: int = 0
    in_batch: bool = False
    looped: frozenset[str] = frozenset()
    alone: BlockClasses | None = None

    def __post_init__(self) -> None:
        self._planned = self.batches.plan
        if self.alone is not None and self.sums is not None:
            self.sums.begin_alone(self.alone.continued)

    @property
    def order(self) -> NDArray[np.int64]:
        """Indices of all samples, in the order of the pass."""
        return self.steps.order

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
            bounds, blocks = self.steps.bounds, self.steps.blocks
            while self.done < len(self.order):
                stop = int(bounds[np.searchsorted(bounds, self.done, side="right")])
                indices = self.order[self.done : stop]
                self.in_batch = True
                self.measure_batch(indices)
                block = int(np.searchsorted(blocks, stop)) - 1
                if stop == blocks[block + 1]:
                    self._end_block(block)
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
        self.batches.loop(self.looped)

    def _end_block(self, block: int) -> None:
        """End a block: the next one begins as it would if it were measured alone."""
        self.looped |= self.plan.looped - self._planned.looped
        self.batches.plan = self._planned
        if self.sums is not None:
            classes = self.alone or self.steps.classes(block)
            self.sums.end_block(classes.unfinished)

    def block_state(self) -> BlockState:
        """Return what was measured of the block, for `fold` of the whole pass."""
        assert self.alone is not None
        sums = {} if self.sums is None else self.sums.part(self.alone.finished)
        return BlockState(self.saved_rows(), sums, self._metadata().to_json())

    def fold(self, block: int, state: BlockState) -> None:
        """Take the next block, which was measured alone.

        Args:
            block: Its number.
            state: What was measured.

        Raises:
            KeyError: If something is missing.
            ValueError: If it belongs to another pass.
        """
        start, stop = self.steps.span(block)
        metadata = PassMetadata.from_json(state.metadata)
        indices = self.order[start:stop]
        self.looped |= frozenset(metadata.looped)
        self.batches.loop(self.looped)
        for name, array in self.saved_rows_without_views().items():
            overwrite_rows(array, indices, state.rows[name])
        for views, shapes, prefix in (
            (self.features, metadata.features, FEATURES),
            (self.activations, metadata.activations, ACTIVATIONS),
        ):
            views.fold(indices, shapes, [state.rows.get(f"{prefix}-{k}") for k in range(len(shapes))])
        if self.sums is not None:
            self.sums.fold(state.sums, self.steps.classes(block))
        self.done = stop

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

    def saved_rows_without_views(self) -> dict[str, NDArray[Any]]:
        """Return the arrays with a row per sample that every pass of this kind has, by name."""
        return self.scores.arrays()

    def saved_rows(self) -> dict[str, NDArray[Any]]:
        """Return every array with a row per sample, by the names that they are saved under."""
        views = self.features.arrays(FEATURES) | self.activations.arrays(ACTIVATIONS)
        return self.saved_rows_without_views() | views

    def _metadata(self) -> PassMetadata:
        # sorted, so that the file does not depend on the order of a set
        return PassMetadata(
            looped=tuple(sorted(self.looped)),
            looped_in_block=tuple(sorted(self.plan.looped)),
            features=self.features.shapes(),
            activations=self.activations.shapes(),
        )

    def state(self) -> PassState:
        """Return all that is needed to resume from here, between two batches."""
        metadata = self._metadata()
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
        self.looped = frozenset(metadata.looped)
        self.batches.loop(metadata.looped_in_block)
        self.features.allocate(metadata.features)
        self.activations.allocate(metadata.activations)
        if self.sums is not None:
            self.sums.restore(saved.sums)
        if saved.done not in self.steps.bounds:
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


Pass = TypeVar("Pass", bound=DataPass)


def measured(
    begin: Callable[[], Pass],
    kind: PassKind,
    store: CheckpointStore | None,
    advance: Callable[[int], None],
    blocks: BlockReader | None,
) -> Pass:
    """Return a finished pass over the data.

    Args:
        begin: Returns a pass that has measured nothing yet.
        kind: What it measures.
        store: Saves the unfinished pass, and loads an earlier one; None for neither.
        advance: Called with the number of samples done.
        blocks: Returns what other processes measured, which takes the place of measuring.

    Raises:
        CohauditError: If a sample cannot be measured, or a block cannot be used.
    """
    run = begin()
    if blocks is not None:
        request = BlockRequest(kind, run.setup, run.plan, run.steps, advance)
        for block, state in enumerate(blocks(request)):
            run.fold(block, state)
        return run
    store = store or NullStore()
    try:
        store.load(run.restore)
    except DamagedError:
        run = begin()  # some of the damaged state may have been restored
    if run.done:
        advance(run.done)
    with store.watching():
        run.run(store, advance)
    return run
