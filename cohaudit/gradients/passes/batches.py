"""A batch on its way to the engine: loaded, measured by the plan or the loop, its failures explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from cohaudit.gradients.batch_watcher import UnplannedCallError
from cohaudit.gradients.checks.failures import attribute_batch_failure
from cohaudit.gradients.checks.probe import to_model
from cohaudit.gradients.engine import Consumer, Engine, LabelFree, Outcome
from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.pass_setup import PassSetup
from cohaudit.gradients.plain import PlainEngine, PlainOutcome
from cohaudit.gradients.precision import rounded_products
from cohaudit.gradients.tracing.plan import Plan


class Batches:
    """Measures the samples of a source, batch by batch.

    Args:
        setup: Model, samples, options and device.
        plan: How to measure the model.
        hasher: Shortens the representations that are stored of each sample; None stores none.

    Attributes:
        plan: The plan in use, which moves parameters to the loop where the model's path depends on the data.
    """

    def __init__(self, setup: PassSetup, plan: Plan, hasher: FeatureHasher | None = None) -> None:
        self.plan = plan
        self._setup = setup
        self._hasher = hasher

    def run(self, indices: list[int], consume: Consumer, label_free: LabelFree | None = None) -> Outcome:
        """Measure some samples.

        Args:
            indices: Indices of the samples.
            consume: See `Engine.run`.
            label_free: See `Engine.run`.

        Raises:
            ModelError: If the model itself fails on one of the samples.
            EngineError: If gradients cannot be measured, or memory does not suffice.
        """
        options = self._setup.options
        with self._attributed(indices):
            while True:
                engine = Engine(self._setup.model, self.plan, self._hasher, options.bf16)
                # loaded for each attempt: a model may change its inputs in place
                inputs, labels = self._loaded(indices)
                try:
                    return engine.run(inputs, labels, options.temperature, consume, label_free)
                except UnplannedCallError as unplanned:
                    self.loop(unplanned.parameters)

    def observe(self, indices: list[int], *, sums: bool) -> PlainOutcome:
        """Run some samples without measuring the gradient of each.

        Args:
            indices: Indices of the samples.
            sums: Whether to sum their gradients.

        Raises:
            ModelError: If the model itself fails on one of the samples.
            EngineError: If memory does not suffice.
        """
        assert self._hasher is not None
        options = self._setup.options
        with self._attributed(indices):
            engine = PlainEngine(self._setup.model, self.plan, self._hasher, options.bf16)
            inputs, labels = self._loaded(indices)
            return engine.run(inputs, labels, options.temperature, sums=sums)

    @contextmanager
    def _attributed(self, indices: list[int]) -> Iterator[None]:
        """Explain the failure of a batch within the block."""
        setup = self._setup
        bf16 = setup.options.bf16
        attributed = attribute_batch_failure(
            setup.model,
            setup.source,
            indices,
            setup.device,
            batch_size=setup.options.batch_size,
            bf16=bf16,
        )
        with attributed, rounded_products(bf16):
            yield

    def _loaded(self, indices: list[int]) -> tuple[Any, Tensor]:
        """Return the inputs of some samples, on the device, and their labels, on the CPU."""
        setup = self._setup
        inputs = to_model(setup.source.load(indices), setup.model, setup.device)
        return inputs, torch.from_numpy(setup.source.labels[indices])

    def loop(self, names: Iterable[str]) -> None:
        """Measure these parameters by the loop from now on."""
        self.plan = self.plan.with_loop(names)
