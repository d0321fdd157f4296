"""The pass over the data: every sample once, class by class, with one batch of gradients in memory.

What is kept: per sample and layer the squared norm, per class and layer the squared norm of the class's
gradient sum, the cosines between the classes' sums, and a short sketch per sample. Sums are accumulated
in float64; a class's sum leaves memory when its last sample has been seen.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit.errors import EngineError
from cohaudit.gradients.checks.certificate import certify, rounding_notice
from cohaudit.gradients.checks.prepare import Probe, Source, prepare
from cohaudit.gradients.engine import LabelFree
from cohaudit.gradients.features import FeatureHasher, Views
from cohaudit.gradients.forms.per_sample import PerSample
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.measurement import BLOCK, MeasuredLayer, Measurement, Options
from cohaudit.gradients.passes.reading import Reader, Share, shares
from cohaudit.gradients.passes.resume_protocol import (
    CheckpointStore,
    DamagedError,
    NullStore,
    PassState,
    ResumeState,
    fill,
    part,
)
from cohaudit.gradients.passes.sums import ClassSums
from cohaudit.gradients.precision import TINY, backward_in_eval_mode, full_precision
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.sketch import make_projections
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.results import Certificate

Array = NDArray[np.float64]


@full_precision()
def measure(
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
    keeper: CheckpointStore | None = None,
) -> Measurement:
    """Measure every sample's gradient.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        options: How.
        device: Where.
        advance: Called with the number of samples done.
        keeper: Keeps the pass while it is not finished, and hands over an earlier one; None for nobody.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured, a loss is not finite, or the certificate fails.
    """
    with backward_in_eval_mode(model, device):
        plan = prepare(model, source, device)
        keeper = keeper or NullStore()
        run = _Pass(model, plan, source, options, device)
        try:
            keeper.load(run.restore)
        except DamagedError:
            run = _Pass(model, plan, source, options, device)
        if run.done:
            advance(run.done)
        with keeper.watching():
            _go(run, keeper, advance)
        run.sums.finish()
        return run.result(run.certificate())


def _go(run: _Pass, keeper: CheckpointStore, advance: Callable[[int], None]) -> None:
    """Measure what is left, batch by batch; what is interrupted between two of them is kept."""
    size = run.options.batch_size
    try:
        while run.done < len(run.order):
            indices = run.order[run.done : run.done + size]
            run.batch(indices)
            advance(len(indices))
            keeper.maybe_save(run.state)
    except KeyboardInterrupt:
        if not run.in_batch:
            keeper.keep(run.state())
        raise


class _Pass:
    """The arrays of the pass and how a batch fills them."""

    def __init__(
        self, model: nn.Module, plan: Plan, source: Source, options: Options, device: torch.device
    ) -> None:
        shorten = FeatureHasher(options.feature_size, options.seed)
        self.model = model
        self.batches = Batches(model, plan, source, options, device, shorten)
        self.source = source
        self.options = options
        self.device = device
        self.order: NDArray[np.int64] = np.argsort(source.labels, kind="stable")
        self.done = 0
        self.in_batch = False
        self.projections = make_projections(plan.parameters, options.sketch_size, options.seed)
        self.like = next(iter(plan.parameters.values())).detach()
        self.reader = Reader(self.like)
        self.columns = self._columns()
        self.layers = self._layers(model)
        self.index = {layer.name: k for k, layer in enumerate(self.layers)}
        count = len(source.labels)
        classes = len(source.class_names)
        self.squared_norms, self.unit_norms = (np.zeros((count, len(self.layers))) for _ in range(2))
        columns = sum(projection.size for projection in self.projections.values())
        memory = options.sketch_memory * 2**20 // (1 + options.label_free)
        self.sketches = zeros(count, columns, memory)
        self.scale = np.zeros(count)
        self.loss = np.zeros(count)
        self.margin = np.zeros(count)
        self.predicted = np.zeros(count, dtype=np.int64)
        self.probability = np.zeros((count, classes), dtype=np.float32)
        self.features = Views(count)
        self.activations = Views(count)
        self.shorten = shorten
        self.jacobian_sketches = zeros(count, columns, memory) if options.label_free else None
        layer_index = {name: self.index[owner] for name, owner in plan.layer_of.items()}
        self.sums = ClassSums(
            plan.parameters, self.projections, layer_index, classes, options.class_memory * 2**20
        )

    @property
    def plan(self) -> Plan:
        """How the model is measured by now."""
        return self.batches.plan

    def _columns(self) -> dict[str, slice]:
        """Return where each parameter's sketch stands."""
        columns = {}
        start = 0
        for name, projection in self.projections.items():
            columns[name] = slice(start, start + projection.size)
            start += projection.size
        return columns

    def _layers(self, model: nn.Module) -> tuple[MeasuredLayer, ...]:
        modules = dict(model.named_modules())
        owned: dict[str, list[str]] = {}
        for name, owner in self.plan.layer_of.items():
            owned.setdefault(owner, []).append(name)
        return tuple(
            MeasuredLayer(
                name=owner,
                kind=type(modules.get(owner, model)).__name__,
                parameters=sum(self.plan.parameters[name].numel() for name in names),
                path=self.plan.path(owner),
                columns=slice(self.columns[names[0]].start, self.columns[names[-1]].stop),
            )
            for owner, names in owned.items()
        )

    def batch(self, indices: NDArray[np.int64]) -> None:
        """Measure one batch; its labels are sorted.

        Raises:
            ModelError: If the model itself fails on one of the samples.
            EngineError: If a loss or gradient is not finite, or memory does not suffice.
        """
        self.in_batch = True
        labels = torch.from_numpy(self.source.labels[indices])
        # Apple's GPUs have no float64
        double = torch.float32 if self.device.type == "mps" else torch.float64
        norms = torch.zeros(len(indices), len(self.layers), dtype=double, device=self.device)
        parts: list[Share] = []

        def consume(name: str, form: PerSample, outcome: Residuals) -> None:
            if not parts:
                parts.extend(shares(labels, outcome.scale, self.like))
            shape = self.plan.parameters[name].shape
            layer = self.index[self.plan.layer_of[name]]
            add = partial(self.sums.add, name)
            squares, short = self.reader.read(form, shape, self.projections[name], parts, add)
            norms[:, layer] += squares
            self.sketches[indices, self.columns[name]] = short.float().cpu().numpy()

        found = self.batches.run(indices.tolist(), consume, self._label_free(indices))
        outcome = found.residuals
        squares = norms.cpu().double()
        self._refuse_overflow(indices, outcome, squares.sum(1))
        self.unit_norms[indices] = squares.sqrt().numpy()
        self.squared_norms[indices] = (squares * outcome.scale.square()[:, None]).numpy()
        self.scale[indices] = outcome.scale.numpy()
        self.loss[indices] = outcome.loss.numpy()
        self.margin[indices] = outcome.margin.numpy()
        self.predicted[indices] = outcome.predicted.numpy()
        self.probability[indices] = outcome.probability.float().numpy()
        for layer, views in found.features.items():
            self.features.keep(indices, layer, views)
        for layer, average in found.activations.items():
            self.activations.keep(indices, layer, (self.shorten(average),))
        self.done = self.done + len(indices)
        self.in_batch = False

    def _per_sample(self) -> dict[str, NDArray[Any]]:
        """Return every array with a row per sample."""
        names = ("squared_norms", "unit_norms", "sketches", "scale", "loss", "margin", "predicted")
        own: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in names}
        own |= {"probability": self.probability}
        if self.jacobian_sketches is not None:
            own |= {"jacobian_sketches": self.jacobian_sketches}
        return own | self.features.arrays("feature") | self.activations.arrays("activation")

    def state(self) -> PassState:
        """Return all that it takes to go on from here, between two batches."""
        facts = {
            "looped": sorted(self.plan.looped),
            "features": self.features.widths,
            "activations": self.activations.widths,
        }
        rows = self._per_sample()
        size = sum(array[0].nbytes for array in rows.values())
        return PassState(
            self.done, self.sums.state(), facts, lambda start, stop: part(rows, self.order[start:stop]), size
        )

    def restore(self, kept: ResumeState) -> None:
        """Go on from an earlier pass over the same samples, with the same model and options.

        Raises:
            KeyError: If something is missing.
            ValueError: If it is of another pass.
        """
        self.batches.loop(kept.facts["looped"])
        self.features.widths = kept.facts["features"]
        self.activations.widths = kept.facts["activations"]
        self.sums.restore(kept.sums)
        for start, stop, rows in kept.shards:
            indices = self.order[start:stop]
            for name, array in self._per_sample().items():
                if name in rows or "-" not in name:  # a layer may have been reached later than by this shard
                    own = np.empty_like(array[indices])
                    fill(own, rows[name])
                    array[indices] = own
        self.done = kept.done

    def _refuse_overflow(self, indices: NDArray[np.int64], outcome: Residuals, norms: Tensor) -> None:
        finite = torch.isfinite(outcome.loss) & torch.isfinite(outcome.scale) & torch.isfinite(norms)
        bad = (~finite).nonzero().flatten().tolist()
        if bad:
            sample = self.source.ids[indices[bad[0]]]
            raise EngineError(
                f"sample {sample}",
                f"loss {outcome.loss[bad[0]].item()}, squared norm of the gradient {norms[bad[0]].item()}",
                "check the weights and this sample's input for overflow, or build the model in float32",
            )

    def _label_free(self, indices: NDArray[np.int64]) -> LabelFree | None:
        """Return what to measure beside the loss gradients of a batch, which fills `jacobian_sketches`."""
        if self.jacobian_sketches is None:
            return None
        rows = self.jacobian_sketches
        # a parameter that this batch does not reach has no gradient
        rows[indices] = 0

        def consume(name: str, form: PerSample, outcome: Residuals) -> None:
            shape = self.plan.parameters[name].shape
            sketches = self.reader.sketch(form, shape, self.projections[name], len(indices))
            rows[indices, self.columns[name]] = sketches.float().cpu().numpy()

        return LabelFree(self.options.seed, consume)

    def certificate(self) -> Certificate:
        """Return what vouches for the pass, once its sums are finished.

        Raises:
            EngineError: If something is off.
        """
        order = np.random.default_rng(self.options.seed).permutation(len(self.scale))
        chosen = np.sort(order[: self.options.certificate_samples])
        model = self.model
        layers = [layer.name for layer in self.layers]
        return certify(
            model,
            self.plan,
            Probe(self.source, chosen.tolist(), model, self.device),
            self.squared_norms[chosen],
            layers,
            self.sum_errors(),
            self.options.temperature,
            self.options.certificate_tolerance,
            self.options.bf16,
        )

    def result(self, certificate: Certificate) -> Measurement:
        """Return the finished measurement."""
        gram, error = self.sums.gram()
        return Measurement(
            layers=self._layers(self.model),
            squared_norms=self.squared_norms,
            class_squares=self.sums.class_squares,
            total_squares=self.sums.total_squares(),
            class_gram=gram,
            class_gram_error=error,
            sketches=self.sketches,
            scale=self.scale,
            views=self.features.finished(),
            loss=self.loss,
            margin=self.margin,
            predicted=self.predicted,
            probability=self.probability,
            certificate=certificate,
            notices=(rounding_notice(certificate),) if self.options.bf16 else (),
            skipped=self.plan.skipped,
            jacobian_sketches=self.jacobian_sketches,
            activations={view.layer: view.rows for view in self.activations.finished()},
        )

    def sum_errors(self) -> Array:
        """Return how far the sums are from the samples' sketches, per layer.

        A sketch is linear: the sketch of a class's sum is the sum of its samples' sketches, so that ten
        thousand samples added wrongly cannot pass unseen. ‖sketch(Σ g_i) − Σ sketch(g_i)‖ / Σ‖g_i‖, the
        largest over the classes.
        """
        labels = self.source.labels
        classes = len(self.source.class_names)
        peaks = np.full(classes, TINY)
        np.maximum.at(peaks, labels, self.scale)
        relative = (self.scale / peaks[labels]).astype(np.float32)
        totals = np.zeros((classes, self.sketches.shape[1]))
        for start in range(0, len(labels), BLOCK):
            part = slice(start, start + BLOCK)
            weights = np.zeros((classes, len(labels[part])), dtype=np.float32)
            weights[labels[part], np.arange(weights.shape[1])] = relative[part]
            totals += weights @ np.asarray(self.sketches[part])
        lengths = np.zeros((classes, len(self.layers)))
        np.add.at(lengths, labels, self.unit_norms * relative[:, None])
        differences = self.sums.sketches / peaks[:, None] - totals
        errors = [
            np.linalg.norm(differences[:, layer.columns], axis=1) / np.maximum(lengths[:, k], TINY)
            for k, layer in enumerate(self.layers)
        ]
        return np.asarray(np.max(errors, axis=1))


def zeros(rows: int, columns: int, memory: int) -> NDArray[np.float32]:
    """Return an array of zeros, [rows, columns], in a file where it takes more than `memory` bytes.

    The file has no name where the system allows that: it is gone with the array, however the run ends.

    Raises:
        EngineError: If the disk has no room for it.
    """
    size = rows * columns * 4
    if size <= memory:
        return np.zeros((rows, columns), dtype=np.float32)
    with tempfile.TemporaryFile(prefix="cohaudit-") as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a disk that fills up later would end the process
        except OSError as error:
            raise EngineError(
                f"temporary folder {tempfile.gettempdir()}",
                f"no room for the sketches of {rows:,} samples, {size / 1e6:,.0f} MB: {error.strerror}",
                "set TMPDIR to a folder with more room, lower --sketch-size, or raise --sketch-memory",
            ) from error
        return np.memmap(file, np.float32, "r+", shape=(rows, columns))
