"""The pass over the data: every sample once, class by class, with one batch of gradients in memory.

What is kept: per sample and layer the squared norm, per class and layer the squared norm of the class's
gradient sum, the cosines between the classes' sums, and a short sketch per sample. Sums are accumulated
in float64; a class's sum leaves memory when its last sample has been seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit.errors import CohauditError, EngineError
from cohaudit.gradients.certificate import certify
from cohaudit.gradients.engine import Engine, UnplannedCallError
from cohaudit.gradients.per_sample import PerSample
from cohaudit.gradients.plan import Path, Plan
from cohaudit.gradients.prepare import Probe, Source, prepare, to_model
from cohaudit.gradients.reading import TINY, Reader, Share, shares
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.sketch import make_projections
from cohaudit.gradients.sums import ClassSums
from cohaudit.gradients.trial import refuse_failing
from cohaudit.results import Certificate, Skipped

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """How to measure; see `Config` for units and reasons."""

    batch_size: int
    temperature: float
    sketch_size: int
    feature_size: int
    class_memory: int
    certificate_samples: int
    certificate_tolerance: float
    seed: int


@dataclass(frozen=True)
class MeasuredLayer:
    """One layer: name, type, trainable parameters, how it was measured, its columns in the sketches."""

    name: str
    kind: str
    parameters: int
    path: Path
    columns: slice


@dataclass(frozen=True)
class Measurement:
    """What the pass measured; N samples, L layers, C classes.

    Attributes:
        layers: The layers, input side first.
        squared_norms: ‖g_i^l‖², [N, L].
        class_squares: ‖Σ_{i in c} g_i^l‖², [C, L].
        total_squares: ‖Σ_i g_i^l‖², [L].
        class_gram: ⟨Σ_{i in c} g_i, Σ_{i in d} g_i⟩, [C, C].
        class_gram_error: Standard error of a cosine in it; 0 when whole gradients were used.
        sketches: Sketch of g_i / scale_i, float32 [N, columns].
        scale: Norm of the residual, [N].
        features: The network's own early representation of each sample, float32 [N, any].
        feature_layer: The layer whose input it is; empty when there is none.
        loss: [N], nats.
        margin: Logit of the label minus the largest other one, [N].
        predicted: int64 [N].
        certificate: What was checked.
        skipped: What was not measured.
    """

    layers: tuple[MeasuredLayer, ...]
    squared_norms: Array
    class_squares: Array
    total_squares: Array
    class_gram: Array
    class_gram_error: float
    sketches: NDArray[np.float32]
    scale: Array
    features: NDArray[np.float32]
    feature_layer: str
    loss: Array
    margin: Array
    predicted: NDArray[np.int64]
    certificate: Certificate
    skipped: tuple[Skipped, ...]


def measure(
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> Measurement:
    """Measure every sample's gradient.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        options: How.
        device: Where.
        advance: Called with the number of samples done.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured, a loss is not finite, or the certificate fails.
    """
    plan = prepare(model, source, device)
    run = _Pass(model, plan, source, options, device)
    order = np.argsort(source.labels, kind="stable")
    for start in range(0, len(order), options.batch_size):
        indices = order[start : start + options.batch_size]
        run.batch(indices)
        advance(len(indices))
    generator = np.random.default_rng(options.seed)
    chosen = np.sort(generator.permutation(len(order))[: options.certificate_samples])
    probe = Probe(source, chosen.tolist(), model, device)
    recorded = run.squared_norms[chosen]
    layers = [layer.name for layer in run.layers]
    run.sums.finish()
    certificate = certify(
        model,
        run.plan,
        probe,
        recorded,
        layers,
        run.sum_errors(),
        options.temperature,
        options.certificate_tolerance,
    )
    return run.result(certificate)


class _Pass:
    """The arrays of the pass and how a batch fills them."""

    def __init__(
        self, model: nn.Module, plan: Plan, source: Source, options: Options, device: torch.device
    ) -> None:
        self.engine, self.plan, self.source, self.options, self.device = (
            Engine(model, plan),
            plan,
            source,
            options,
            device,
        )
        self.projections = make_projections(plan.parameters, options.sketch_size, options.seed)
        self.like = next(iter(plan.parameters.values())).detach()
        self.reader = Reader(self.like)
        self.columns = self._columns()
        self.layers = self._layers(model)
        self.index = {layer.name: k for k, layer in enumerate(self.layers)}
        count, classes = len(source.labels), len(source.class_names)
        self.squared_norms = np.zeros((count, len(self.layers)))
        self.sketches = np.zeros((count, sum(p.size for p in self.projections.values())), dtype=np.float32)
        self.scale, self.loss, self.margin = np.zeros(count), np.zeros(count), np.zeros(count)
        self.predicted = np.zeros(count, dtype=np.int64)
        self.features: NDArray[np.float32] | None = None
        self.feature_projection: Tensor | None = None
        layer_index = {name: self.index[owner] for name, owner in plan.layer_of.items()}
        self.sums = ClassSums(
            plan.parameters, self.projections, layer_index, classes, options.class_memory * 2**20
        )

    def _columns(self) -> dict[str, slice]:
        """Return where each parameter's sketch stands."""
        columns, start = {}, 0
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
        try:
            self._measure_as_planned(indices)
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"--batch-size {self.options.batch_size}",
                f"{self.device} has too little memory for a batch",
                "lower it, or use --device cpu",
            ) from error
        except Exception as error:
            # a GPU that has failed once fails on every sample
            if not isinstance(error, CohauditError) and self.device.type == "cpu":
                batch = Probe(self.source, indices.tolist(), self.engine.model, self.device)
                refuse_failing(self.engine.model, batch.inputs, batch.ids)
            raise

    def _measure_as_planned(self, indices: NDArray[np.int64]) -> None:
        """Measure one batch; where the model's path depends on the data, turn to the loop first."""
        while True:
            try:
                self._measure(indices)
            except UnplannedCallError as unplanned:
                self.plan = self.plan.with_loop(unplanned.parameters)
                self.engine = Engine(self.engine.model, self.plan)
            else:
                return

    def _measure(self, indices: NDArray[np.int64]) -> None:
        labels = torch.from_numpy(self.source.labels[indices])
        inputs = to_model(self.source.load(indices.tolist()), self.engine.model, self.device)
        # Apple's GPUs have no float64
        double = torch.float32 if self.device.type == "mps" else torch.float64
        norms = torch.zeros(len(indices), len(self.layers), dtype=double, device=self.device)
        sketches = torch.zeros(len(indices), self.sketches.shape[1], device=self.device)
        parts: list[Share] = []

        def consume(name: str, form: PerSample, outcome: Residuals) -> None:
            if not parts:
                parts.extend(shares(labels, outcome.scale, self.like))
            shape, layer = self.plan.parameters[name].shape, self.index[self.plan.layer_of[name]]
            reading = self.reader.read(form, shape, self.projections[name], parts)
            norms[:, layer] += reading.squared_norms
            sketches[:, self.columns[name]] = reading.sketches
            for part, total in zip(parts, reading.sums, strict=True):
                self.sums.add(name, part, total)

        outcome, features = self.engine.run(inputs, labels, self.options.temperature, consume)
        squares = norms.cpu().double()
        self._refuse_overflow(indices, outcome, squares.sum(1))
        self.squared_norms[indices] = (squares * outcome.scale.square()[:, None]).numpy()
        self.sketches[indices] = sketches.cpu().numpy()
        self.scale[indices], self.loss[indices] = outcome.scale.numpy(), outcome.loss.numpy()
        self.margin[indices], self.predicted[indices] = outcome.margin.numpy(), outcome.predicted.numpy()
        self._keep_features(indices, features)

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

    def _keep_features(self, indices: NDArray[np.int64], features: Tensor | None) -> None:
        """Keep the features, projected to at most `feature_size` numbers by random signs."""
        if features is None:
            return
        if features.shape[1] > self.options.feature_size:
            if self.feature_projection is None:
                generator = torch.Generator().manual_seed(self.options.seed)
                signs = torch.randint(
                    0, 2, (features.shape[1], self.options.feature_size), generator=generator
                )
                self.feature_projection = (signs * 2 - 1).to(features) / self.options.feature_size**0.5
            features = features @ self.feature_projection
        if self.features is None:
            self.features = np.zeros((len(self.scale), features.shape[1]), dtype=np.float32)
        self.features[indices] = features.float().cpu().numpy()

    def result(self, certificate: Certificate) -> Measurement:
        """Return the finished measurement."""
        gram, error = self.sums.gram()
        features = (
            self.features if self.features is not None else np.zeros((len(self.scale), 0), dtype=np.float32)
        )
        return Measurement(
            layers=self._layers(self.engine.model),
            squared_norms=self.squared_norms,
            class_squares=self.sums.class_squares,
            total_squares=self.sums.total_squares(),
            class_gram=gram,
            class_gram_error=error,
            sketches=self.sketches,
            scale=self.scale,
            features=features,
            feature_layer=self.plan.feature_layer if features.shape[1] else "",
            loss=self.loss,
            margin=self.margin,
            predicted=self.predicted,
            certificate=certificate,
            skipped=self.plan.skipped,
        )

    def sum_errors(self) -> Array:
        """Return how far the sums are from the samples' sketches, per layer.

        A sketch is linear: the sketch of a class's sum is the sum of its samples' sketches, so that ten
        thousand samples added wrongly cannot pass unseen. ‖sketch(Σ g_i) − Σ sketch(g_i)‖ / Σ‖sketch(g_i)‖,
        the largest over the classes.
        """
        errors = np.zeros((len(self.source.class_names), len(self.layers)))
        for c in range(len(errors)):
            rows = np.flatnonzero(self.source.labels == c)
            peak = max(self.scale[rows].max(initial=0), TINY)
            own, scale = self.sketches[rows], self.scale[rows] / peak
            difference = self.sums.sketches[c] / peak - scale @ own
            for k, layer in enumerate(self.layers):
                columns = own[:, layer.columns]
                lengths = np.sqrt(np.einsum("ij,ij->i", columns, columns)) @ scale
                errors[c, k] = np.linalg.norm(difference[layer.columns]) / max(lengths, TINY)
        return np.asarray(errors.max(0))
