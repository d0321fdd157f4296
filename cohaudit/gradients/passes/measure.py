"""The pass over the data: every sample once, class by class, with one batch of gradients in memory.

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

from cohaudit.errors import EngineError
from cohaudit.gradients.checks.certificate import Recorded, certify, rounding_notice, samples_again
from cohaudit.gradients.checks.class_sums import SketchedSamples, class_sum_errors
from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.checks.probe import load_probe
from cohaudit.gradients.engine import LabelFree
from cohaudit.gradients.features import FeatureHasher, Views
from cohaudit.gradients.forms.per_sample import PerSample
from cohaudit.gradients.pass_setup import Options, PassSetup, Source
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.layout import Layout, make_layout
from cohaudit.gradients.passes.measurement import Measurement
from cohaudit.gradients.passes.reading import ClassSlice, Reader, split_by_class
from cohaudit.gradients.passes.resume_protocol import (
    Arrays,
    CheckpointStore,
    DamagedError,
    NullStore,
    PassMetadata,
    PassState,
    ResumeState,
)
from cohaudit.gradients.passes.sample_rows import BYTES_PER_MIB, SampleRows, allocate_rows
from cohaudit.gradients.passes.sums import ClassSums, make_class_sums
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision, widest_float
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.results import Certificate

FEATURES = "feature"
"""Names of saved layer inputs begin like this."""

ACTIVATIONS = "activation"
"""Names of saved activations begin like this."""


@full_precision()
def measure(
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
    *,
    store: CheckpointStore | None = None,
) -> Measurement:
    """Measure every sample's gradient.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        options: How to measure.
        device: Device to run on.
        advance: Called with the number of samples done.
        store: Saves the unfinished pass, and loads an earlier one; None for neither.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured, a loss is not finite, or the certificate fails.
    """
    setup = PassSetup(model, source, options, device)
    store = store or NullStore()
    with backward_in_eval_mode(model, device):
        plan = prepare(model, source, device)
        run = _begin(setup, plan)
        try:
            store.load(run.restore)
        except DamagedError:
            run = _begin(setup, plan)  # some of the damaged state may have been restored
        if run.done:
            advance(run.done)
        with store.watching():
            _measure_rest(run, store, advance)
        run.sums.finish()
        return run.result(run.certificate())


def _measure_rest(run: _Pass, store: CheckpointStore, advance: Callable[[int], None]) -> None:
    """Measure what is left, batch by batch; save the pass if it is interrupted between two of them."""
    size = run.setup.options.batch_size
    try:
        while run.done < len(run.order):
            indices = run.order[run.done : run.done + size]
            run.batch(indices)
            advance(len(indices))
            store.maybe_save(run.state)
    except KeyboardInterrupt:
        # a batch that is cut short leaves sums that nobody can resume from
        if not run.in_batch:
            store.keep(run.state())
        raise


@dataclass(kw_only=True, eq=False)
class _Pass:
    """What a pass has measured so far, and how a batch is added.

    Attributes:
        setup: Model, samples, options and device.
        layout: Layers and columns.
        batches: Measures a batch; its plan may change on the way.
        hasher: Shortens activations.
        reader: Reads the gradients of a batch.
        order: Indices of all samples, class by class.
        rows: What is recorded of each sample.
        features: Inputs of the plan's feature layers.
        activations: Inputs of all layers; empty unless label-free.
        sums: Sums per class.
        done: Samples measured, the first ones in `order`.
        in_batch: Whether a batch has been begun and not finished.
    """

    setup: PassSetup
    layout: Layout
    batches: Batches
    hasher: FeatureHasher
    reader: Reader
    order: NDArray[np.int64]
    rows: SampleRows
    features: Views
    activations: Views
    sums: ClassSums
    done: int = 0
    in_batch: bool = False

    @property
    def plan(self) -> Plan:
        """How the model is measured by now."""
        return self.batches.plan

    def batch(self, indices: NDArray[np.int64]) -> None:
        """Measure one batch; its labels are sorted.

        Raises:
            ModelError: If the model itself fails on one of the samples.
            EngineError: If a loss or gradient is not finite, or memory does not suffice.
        """
        self.in_batch = True
        labels = torch.from_numpy(self.setup.source.labels[indices])
        device = self.setup.device
        norms = torch.zeros(len(indices), len(self.layout.layers), dtype=widest_float(device), device=device)
        slices: list[ClassSlice] = []

        def consume(name: str, form: PerSample, residuals: Residuals) -> None:
            parameter = self.plan.parameters[name]
            if not slices:  # the scales are known from the first parameter on
                slices.extend(split_by_class(labels, residuals.scale, _first(self.plan)))
            add = partial(self.sums.add, name)
            projection = self.layout.projections[name]
            squares, sketches = self.reader.read(form, parameter.shape, projection, slices, add)
            # weight and bias of a layer add up
            norms[:, self.layout.layer_index[name]] += squares
            self.rows.sketches[indices, self.layout.columns[name]] = sketches.float().cpu().numpy()

        outcome = self.batches.run(indices.tolist(), consume, self._label_free(indices))
        squares = norms.cpu().double()
        # before anything is stored: a NaN would spread into every average
        self._refuse_overflow(indices, outcome.residuals, squares.sum(1))
        self.rows.store(indices, squares, outcome.residuals)
        for layer, views in outcome.features.items():
            self.features.store(indices, layer, views)
        for layer, average in outcome.activations.items():
            self.activations.store(indices, layer, (self.hasher(average),))
        # last, so that an interrupted batch does not count
        self.done += len(indices)
        self.in_batch = False

    def _refuse_overflow(self, indices: NDArray[np.int64], residuals: Residuals, norms: Tensor) -> None:
        finite = torch.isfinite(residuals.loss) & torch.isfinite(residuals.scale) & torch.isfinite(norms)
        bad = (~finite).nonzero().flatten().tolist()
        if bad:
            raise EngineError(
                f"sample {self.setup.source.ids[indices[bad[0]]]}",
                f"loss {residuals.loss[bad[0]].item()}, squared norm of the gradient {norms[bad[0]].item()}",
                "check the weights and this sample's input for overflow, or build the model in float32",
            )

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

    def _saved_rows(self) -> dict[str, NDArray[Any]]:
        """Return every array with a row per sample."""
        return self.rows.arrays() | self.features.arrays(FEATURES) | self.activations.arrays(ACTIVATIONS)

    def state(self) -> PassState:
        """Return all that is needed to resume from here, between two batches."""
        # sorted, so that the file does not depend on the order of a set
        metadata = PassMetadata(
            looped=tuple(sorted(self.plan.looped)),
            features=self.features.shapes(),
            activations=self.activations.shapes(),
        )
        arrays = self._saved_rows()

        def rows(start: int, stop: int) -> Arrays:
            indices = self.order[start:stop]
            return {name: np.asarray(array[indices]) for name, array in arrays.items()}

        return PassState(
            done=self.done,
            sums=self.sums.state().arrays(),
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
        self.sums.restore(saved.sums)
        # shard by shard: together they may be larger than memory
        for start, stop, rows in saved.shards:
            indices = self.order[start:stop]
            self.rows.overwrite(indices, rows)
            self.features.overwrite(FEATURES, indices, rows)
            self.activations.overwrite(ACTIVATIONS, indices, rows)
        self.done = saved.done

    def certificate(self) -> Certificate:
        """Return the certificate of the pass, once its sums are finished.

        Raises:
            EngineError: If a check fails.
        """
        source = self.setup.source
        options = self.setup.options
        order = np.random.default_rng(options.seed).permutation(len(self.rows.scale))
        # sorted for data sets that are read faster in order
        chosen = np.sort(order[: samples_again(self.setup)])
        samples = SketchedSamples(
            labels=source.labels,
            scale=self.rows.scale,
            sketches=self.rows.sketches,
            unit_norms=self.rows.unit_norms,
            layer_columns=self.layout.layer_columns,
        )
        recorded = Recorded(
            layers=list(self.layout.layers),
            squared_norms=self.rows.squared_norms[chosen],
            sum_errors=class_sum_errors(samples, self.sums.sketches),
        )
        probe = load_probe(source, chosen.tolist(), self.setup.model, self.setup.device)
        return certify(self.setup, self.plan, probe, recorded)

    def result(self, certificate: Certificate) -> Measurement:
        """Return the finished measurement."""
        gram, error = self.sums.gram()
        return Measurement(
            layers=self.layout.measured_layers(self.setup.model, self.plan),
            squared_norms=self.rows.squared_norms,
            class_squares=self.sums.class_squares,
            total_squares=self.sums.total_squares(),
            class_gram=gram,
            class_gram_error=error,
            sketches=self.rows.sketches,
            scale=self.rows.scale,
            views=self.features.finished(),
            loss=self.rows.loss,
            margin=self.rows.margin,
            predicted=self.rows.predicted,
            probability=self.rows.probability,
            certificate=certificate,
            notices=(rounding_notice(certificate),) if self.setup.options.bf16 else (),
            skipped=self.plan.skipped,
            jacobian_sketches=self.rows.jacobian_sketches,
            activations={view.layer: view.rows for view in self.activations.finished()},
        )


def _begin(setup: PassSetup, plan: Plan) -> _Pass:
    """Return a pass that has measured nothing yet."""
    options = setup.options
    source = setup.source
    samples = len(source.labels)
    classes = len(source.class_names)
    layout = make_layout(plan, options.sketch_size, options.seed)
    hasher = FeatureHasher(options.feature_size, options.seed)
    return _Pass(
        setup=setup,
        layout=layout,
        batches=Batches(setup, plan, hasher),
        hasher=hasher,
        reader=Reader.like(_first(plan)),
        # class by class, so that one class's sum is in memory; stable, so that the order is always the same
        order=np.argsort(source.labels, kind="stable"),
        rows=allocate_rows(
            samples,
            len(layout.layers),
            classes,
            columns=layout.width,
            sketch_memory=options.sketch_memory,
            label_free=options.label_free,
        ),
        features=Views(samples),
        activations=Views(samples),
        sums=make_class_sums(plan.parameters, layout, classes, options.class_memory * BYTES_PER_MIB),
    )


def _first(plan: Plan) -> Tensor:
    """Return a parameter, for dtype and device."""
    return next(iter(plan.parameters.values())).detach()
