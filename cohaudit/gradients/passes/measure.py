"""The pass over the data that measures every sample's gradient, class by class, one batch in memory.

It records per sample and layer the squared norm, per class and layer the squared norm of the class's gradient
sum, the cosines between the classes' sums, and a short sketch per sample. Sums are accumulated in float64; a
class's sum leaves memory when its last sample has been measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit.gradients.checks.certificate import Recorded, certify, rounding_notice, samples_again
from cohaudit.gradients.checks.class_sums import SketchedSamples, class_sum_errors
from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.checks.probe import load_probe
from cohaudit.gradients.engine import LabelFree
from cohaudit.gradients.features import FeatureHasher, Views
from cohaudit.gradients.forms.per_sample import PerSample
from cohaudit.gradients.pass_setup import Options, PassSetup, Source
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.blocks import BlockClasses, BlockReader, PassOrder, pass_order
from cohaudit.gradients.passes.data_pass import DataPass, measured
from cohaudit.gradients.passes.layout import Layout, make_layout
from cohaudit.gradients.passes.measurement import Measurement
from cohaudit.gradients.passes.reading import ClassSlice, Reader, split_by_class
from cohaudit.gradients.passes.resume_protocol import CheckpointStore
from cohaudit.gradients.passes.sample_rows import (
    BYTES_PER_MIB,
    GradientRows,
    allocate_gradients,
    allocate_scores,
)
from cohaudit.gradients.passes.sums import make_class_sums
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision, widest_float
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.results import Certificate


@full_precision()
def measure(
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
    *,
    store: CheckpointStore | None = None,
    plan: Plan | None = None,
    blocks: BlockReader | None = None,
) -> Measurement:
    """Measure every sample's gradient.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        options: How to measure.
        device: Device to run on.
        advance: Called with the number of samples done.
        store: Saves the unfinished pass, and loads an earlier one; None for neither.
        plan: How to measure the model; made if left out.
        blocks: Returns what other processes measured, which takes the place of measuring.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured, a loss is not finite, or the certificate fails.
    """
    setup = PassSetup(model, source, options, device)
    with backward_in_eval_mode(model, device):
        plan = plan or prepare(model, source, device, options.layers)
        steps = pass_order(source.labels, options.batch_size, "gradients")
        run = measured(partial(begin_gradients, setup, plan, steps), "gradients", store, advance, blocks)
        return run.result(run.certificate())


@dataclass(kw_only=True, eq=False)
class _GradientPass(DataPass):
    """A pass that measures every sample's gradient.

    Attributes:
        layout: Layers and columns.
        hasher: Shortens activations.
        reader: Reads the gradients of a batch.
        rows: What is recorded of each sample's gradient.
    """

    layout: Layout
    hasher: FeatureHasher
    reader: Reader
    rows: GradientRows

    def measure_batch(self, indices: NDArray[np.int64]) -> None:
        """See `DataPass.measure_batch`; the samples' labels are sorted."""
        labels = torch.from_numpy(self.setup.source.labels[indices])
        device = self.setup.device
        norms = torch.zeros(len(indices), len(self.layout.layers), dtype=widest_float(device), device=device)
        slices: list[ClassSlice] = []

        def consume(name: str, form: PerSample, residuals: Residuals) -> None:
            parameter = self.plan.parameters[name]
            if not slices:  # the scales are known from the first parameter on
                slices.extend(split_by_class(labels, residuals.scale, _first(self.plan)))
            add = partial(self.class_sums.add, name)
            projection = self.layout.projections[name]
            squares, sketches = self.reader.read(form, parameter.shape, projection, slices, add)
            # weight and bias of a layer add up
            norms[:, self.layout.layer_index[name]] += squares
            self.rows.sketches[indices, self.layout.columns[name]] = sketches.float().cpu().numpy()

        outcome = self.batches.run(indices.tolist(), consume, self._label_free(indices))
        squares = norms.cpu().double()
        self.refuse_overflow(indices, outcome.residuals, squares.sum(1))
        self.scores.store(indices, outcome.residuals)
        self.rows.store(indices, squares, outcome.residuals.scale)
        for layer, views in outcome.features.items():
            self.features.store(indices, layer, views)
        for layer, average in outcome.activations.items():
            self.activations.store(indices, layer, (self.hasher(average),))

    def _label_free(self, indices: NDArray[np.int64]) -> LabelFree | None:
        """Return the second measurement of a batch, which fills `jacobian_sketches`."""
        rows = self.rows.jacobian_sketches
        if rows is None:
            return None
        rows[indices] = 0  # a parameter that this batch does not reach is not reported

        def consume(name: str, form: PerSample, residuals: Residuals) -> None:
            shape = self.plan.parameters[name].shape
            sketches = self.reader.sketch(form, shape, self.layout.projections[name], len(indices))
            rows[indices, self.layout.columns[name]] = sketches.float().cpu().numpy()

        return LabelFree(self.setup.options.seed, consume)

    def saved_rows_without_views(self) -> dict[str, NDArray[Any]]:
        """See `DataPass.saved_rows_without_views`."""
        return self.rows.arrays() | super().saved_rows_without_views()

    def certificate(self) -> Certificate:
        """Return the certificate of the pass, once its sums are finished.

        Raises:
            EngineError: If a check fails.
        """
        source = self.setup.source
        options = self.setup.options
        order = np.random.default_rng(options.seed).permutation(len(self.scores.scale))
        # sorted for data sets that are read faster in order
        chosen = np.sort(order[: samples_again(self.setup)])
        samples = SketchedSamples(
            labels=source.labels,
            scale=self.scores.scale,
            sketches=self.rows.sketches,
            unit_norms=self.rows.unit_norms,
            layer_columns=self.layout.layer_columns,
        )
        recorded = Recorded(
            layers=list(self.layout.layers),
            squared_norms=self.rows.squared_norms[chosen],
            sum_errors=class_sum_errors(samples, self.class_sums.sketches).max(0),
        )
        probe = load_probe(source, chosen.tolist(), self.setup.model, self.setup.device)
        return certify(self.setup, self.plan, probe, recorded)

    def result(self, certificate: Certificate) -> Measurement:
        """Return the finished measurement."""
        gram, error = self.class_sums.gram()
        samples = len(self.order)
        return Measurement(
            layers=self.layout.measured_layers(self.setup.model, self.plan),
            scale=self.scores.scale,
            bound=self.scores.bound,
            views=self.features.finished(),
            loss=self.scores.loss,
            margin=self.scores.margin,
            predicted=self.scores.predicted,
            probability=self.scores.probability,
            skipped=self.plan.skipped,
            drawn=np.arange(samples),
            weight=np.ones(samples),
            squared_norms=self.rows.squared_norms,
            sketches=self.rows.sketches,
            class_squares=self.class_sums.class_squares,
            class_sketches=self.class_sums.sketches,
            total_squares=self.class_sums.total_squares(),
            class_gram=gram,
            class_gram_error=error,
            certificate=certificate,
            notices=(rounding_notice(certificate),) if self.setup.options.bf16 else (),
            jacobian_sketches=self.rows.jacobian_sketches,
            activations={view.layer: view.rows for view in self.activations.finished()},
        )


def begin_gradients(
    setup: PassSetup, plan: Plan, steps: PassOrder, alone: BlockClasses | None = None
) -> _GradientPass:
    """Return a pass that has measured nothing yet.

    Args:
        setup: Model, samples, options and device.
        plan: How to measure the model.
        steps: The order of the samples, class by class.
        alone: The classes of the samples, if they are one block of a larger pass.

    Raises:
        EngineError: If the disk has no room for the sketches.
    """
    options = setup.options
    source = setup.source
    samples = len(source.labels)
    classes = len(source.class_names)
    layout = make_layout(plan, options.sketch_size, options.seed)
    hasher = FeatureHasher(options.feature_size, options.seed)
    return _GradientPass(
        setup=setup,
        batches=Batches(setup, plan, hasher),
        steps=steps,
        alone=alone,
        scores=allocate_scores(samples, classes),
        features=Views(samples),
        activations=Views(samples),
        sums=make_class_sums(plan.parameters, layout, classes, options.class_memory * BYTES_PER_MIB),
        layout=layout,
        hasher=hasher,
        reader=Reader.like(_first(plan)),
        rows=allocate_gradients(
            samples,
            len(layout.layers),
            columns=layout.width,
            sketch_memory=options.sketch_memory,
            label_free=options.label_free,
        ),
    )


def _first(plan: Plan) -> Tensor:
    """Return a parameter, for dtype and device."""
    return next(iter(plan.parameters.values())).detach()
