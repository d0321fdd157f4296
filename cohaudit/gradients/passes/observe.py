"""The pass over the data without gradients of single samples: what layers and output say, and the sums.

With sums, a batch costs what it costs in training, and holds samples of one class, so that its gradient is
part of that class's sum. Without, it is a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.errors import EngineError
from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.features import FeatureHasher, Views
from cohaudit.gradients.pass_setup import Options, PassSetup, Source
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.blocks import BlockClasses, BlockReader, PassKind, PassOrder, pass_order
from cohaudit.gradients.passes.data_pass import DataPass, measured
from cohaudit.gradients.passes.layout import Layout, make_layout
from cohaudit.gradients.passes.measurement import ForwardResult, GradientSums
from cohaudit.gradients.passes.reading import ClassSlice
from cohaudit.gradients.passes.resume_protocol import CheckpointStore
from cohaudit.gradients.passes.sample_rows import BYTES_PER_MIB, allocate_scores
from cohaudit.gradients.passes.sums import make_class_sums
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision
from cohaudit.gradients.tracing.plan import Plan


@dataclass(frozen=True)
class Observation:
    """What the pass gives.

    Attributes:
        forward: What it tells of every sample.
        sums: The classes' gradient sums; None if they were not wanted.
        plan: How the model is measured.
    """

    forward: ForwardResult
    sums: GradientSums | None
    plan: Plan


@full_precision()
def observe(
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
    *,
    sums: bool,
    store: CheckpointStore | None = None,
    blocks: BlockReader | None = None,
    plan: Plan | None = None,
) -> Observation:
    """Run every sample once.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        options: How to measure.
        device: Device to run on.
        advance: Called with the number of samples done.
        sums: Whether to sum the gradients of each class too.
        store: Saves the unfinished pass, and loads an earlier one; None for neither.
        blocks: Returns what other processes measured, which takes the place of measuring.
        plan: How to measure the model; made if left out.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If a loss or a gradient is not finite, or memory does not suffice.
    """
    setup = PassSetup(model, source, options, device)
    kind: PassKind = "sums" if sums else "forward"
    with backward_in_eval_mode(model, device):
        plan = plan or prepare(model, source, device, options.layers)
        steps = pass_order(source.labels, options.batch_size, kind)
        run = measured(partial(begin_observing, setup, plan, steps, sums=sums), kind, store, advance, blocks)
    return run.result()


@dataclass(kw_only=True, eq=False)
class _ObservingPass(DataPass):
    """A pass without gradients of single samples.

    Attributes:
        layout: Layers and columns.
    """

    layout: Layout

    def measure_batch(self, indices: NDArray[np.int64]) -> None:
        """See `DataPass.measure_batch`; with sums, all samples are of one class."""
        outcome = self.batches.observe(indices.tolist(), sums=self.sums is not None)
        # before anything is added: a NaN would spread into every average
        self.refuse_overflow(indices, outcome.residuals)
        if self.sums is not None:
            label = int(self.setup.source.labels[indices[0]])
            # the totals are weighted already
            part = ClassSlice(label, 0, len(indices), outcome.peak, torch.ones(len(indices)))
            for name, total in outcome.totals.items():
                self.sums.add(name, part, total)
        self.scores.store(indices, outcome.residuals)
        self.scores.bound[indices] = outcome.bound.numpy()
        for layer, views in outcome.features.items():
            self.features.store(indices, layer, views)

    def result(self) -> Observation:
        """Return what the finished pass gives.

        Raises:
            EngineError: If a class's sum is not finite.
        """
        scores = self.scores
        forward = ForwardResult(
            layers=self.layout.measured_layers(self.setup.model, self.plan),
            scale=scores.scale,
            bound=scores.bound,
            views=self.features.finished(),
            loss=scores.loss,
            margin=scores.margin,
            predicted=scores.predicted,
            probability=scores.probability,
            skipped=self.plan.skipped,
        )
        return Observation(forward, self._finished_sums(), self.plan)

    def _finished_sums(self) -> GradientSums | None:
        if self.sums is None:
            return None
        bad = np.argwhere(~np.isfinite(self.sums.class_squares))
        if len(bad):
            label, layer = bad[0].tolist()
            raise EngineError(
                f"class {self.setup.source.class_names[label]}",
                f"the sum of its gradients in layer {list(self.layout.layers)[layer]} is not finite",
                "check the weights and the inputs for overflow, or build the model in float32; --coherence "
                "exact names the sample",
            )
        gram, error = self.sums.gram()
        return GradientSums(
            class_squares=self.sums.class_squares,
            class_sketches=self.sums.sketches,
            total_squares=self.sums.total_squares(),
            class_gram=gram,
            class_gram_error=error,
        )


def begin_observing(
    setup: PassSetup, plan: Plan, steps: PassOrder, alone: BlockClasses | None = None, *, sums: bool
) -> _ObservingPass:
    """Return a pass that has run nothing yet.

    Args:
        setup: Model, samples, options and device.
        plan: How the model is measured.
        steps: The order of the samples.
        alone: The classes of the samples, if they are one block of a larger pass.
        sums: Whether to sum the gradients of each class too.
    """
    options = setup.options
    samples = len(setup.source.labels)
    classes = len(setup.source.class_names)
    layout = make_layout(plan, options.sketch_size, options.seed)
    memory = options.class_memory * BYTES_PER_MIB
    return _ObservingPass(
        setup=setup,
        batches=Batches(setup, plan, FeatureHasher(options.feature_size, options.seed)),
        steps=steps,
        alone=alone,
        scores=allocate_scores(samples, classes),
        features=Views(samples),
        activations=Views(samples),
        sums=make_class_sums(plan.parameters, layout, classes, memory) if sums else None,
        layout=layout,
    )
