"""A batch on its way to the engine: loaded, measured as planned or else by the loop, its failures told."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from cohaudit.gradients.checks.prepare import Source, failures_attributed, to_model
from cohaudit.gradients.engine import Consumer, Engine, LabelFree, Outcome, UnplannedCallError
from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.passes.measurement import Options
from cohaudit.gradients.precision import rounded_products
from cohaudit.gradients.tracing.plan import Plan


class Batches:
    """Measures the samples of a source, batch by batch.

    Args:
        model: On `device`, in eval mode.
        plan: How to measure it; `plan` is the one in use, which turns to the loop where the model's path
            depends on the data.
        source: The samples.
        options: How.
        device: Where.
        shorten: What is kept of a representation of the samples; None keeps none.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        source: Source,
        options: Options,
        device: torch.device,
        shorten: FeatureHasher | None = None,
    ) -> None:
        self.model = model
        self.plan = plan
        self._source = source
        self._options = options
        self._device = device
        self._shorten = shorten
        self._engine = Engine(model, plan, shorten, options.bf16)

    def run(self, indices: list[int], consume: Consumer, label_free: LabelFree | None = None) -> Outcome:
        """Measure some samples; see `Engine.run` for the consumer.

        Raises:
            ModelError: If the model itself fails on one of the samples.
            EngineError: If gradients cannot be measured, or memory does not suffice.
        """
        size = self._options.batch_size
        bf16 = self._options.bf16
        told = failures_attributed(self.model, self._source, indices, size, self._device, bf16)
        with told, rounded_products(bf16):
            while True:
                # loaded for each try: a model may change its inputs in place
                inputs = to_model(self._source.load(indices), self.model, self._device)
                labels = torch.from_numpy(self._source.labels[indices])
                try:
                    return self._engine.run(inputs, labels, self._options.temperature, consume, label_free)
                except UnplannedCallError as unplanned:
                    self.loop(unplanned.parameters)

    def loop(self, names: Iterable[str]) -> None:
        """Measure these parameters by the loop from now on."""
        self.plan = self.plan.with_loop(names)
        self._engine = Engine(self.model, self.plan, self._shorten, self._options.bf16)
