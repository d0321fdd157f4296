"""Sums over the samples for every single weight: the mean gradient, and how much the samples disagree.

A pass of its own, with the engine of `measure`. It computes per weight j the mean gradient μ_j and the mean
square mean_i g_ij², and per row of weights the squares of the classes' sums, Σ_c ‖Σ_{i∈c} g_i‖². Coherence,
the gradient's signal-to-noise ratio and the noise scale of any group of weights (a unit, a layer) follow from
these. Samples are measured class by class, so that three float64 numbers per weight are in memory, never
samples × weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Lookup, Outer, PerSample
from cohaudit.gradients.pass_setup import Options, PassSetup, Source
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.reading import ClassSlice, Reader, split_by_class
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision, sum_device
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.tracing.plan import Plan


@dataclass(frozen=True)
class WeightSums:
    """Sums over m samples of the gradients of every weight; tensors are float64, on the CPU.

    Attributes:
        samples: Number of samples, m.
        classes: Effective number of classes, m² / Σ_c m_c²: C if all have the same number of samples.
        layer_of: Parameter → its layer, input side first.
        mean: Parameter → μ_j, shaped like the parameter.
        mean_square: Parameter → mean_i g_ij², shaped like the parameter.
        class_squares: Parameter → Σ_c ‖Σ_{i∈c} g_i‖² of each row (each entry of the first dimension), [rows].
    """

    samples: int
    classes: float
    layer_of: Mapping[str, str]
    mean: Mapping[str, Tensor]
    mean_square: Mapping[str, Tensor]
    class_squares: Mapping[str, Tensor]


@full_precision()
def weight_sums(
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> WeightSums:
    """Sum every weight's gradients over the samples.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples; `measure` has checked that their losses and gradients are finite.
        options: How to measure; batch size, temperature and precision matter.
        device: Device to run on.
        advance: Called with the number of samples done.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured, or memory does not suffice.
    """
    with backward_in_eval_mode(model, device):
        plan = prepare(model, source, device, options.layers)
        run = _begin(PassSetup(model, source, options, device), plan)
        # class by class, so that the sum of one class at a time is in memory
        order = np.argsort(source.labels, kind="stable")
        for start in range(0, len(order), options.batch_size):
            indices = order[start : start + options.batch_size].tolist()
            run.batch(indices)
            advance(len(indices))
    return run.result()


@dataclass(frozen=True)
class _WeightSumPass:
    """The sums of all parameters, and how a batch is added to them.

    Attributes:
        source: The samples.
        batches: Measures a batch.
        like: A parameter, for dtype and device.
        reader: Forms whole gradients.
        sums: Parameter → its sums.
    """

    source: Source
    batches: Batches
    like: Tensor
    reader: Reader
    sums: Mapping[str, _WeightSums]

    def batch(self, indices: list[int]) -> None:
        """Add a batch; its labels are sorted."""
        labels = torch.from_numpy(self.source.labels[indices])
        slices: list[ClassSlice] = []

        def consume(name: str, form: PerSample, residuals: Residuals) -> None:
            if not slices:
                slices.extend(split_by_class(labels, residuals.scale, self.like))
            for part in slices:
                self.sums[name].add(form, part, self.reader)

        self.batches.run(indices, consume)

    def result(self) -> WeightSums:
        """Close the last class, and return the sums."""
        count = len(self.source.labels)
        for sums in self.sums.values():
            sums.close()
        return WeightSums(
            samples=count,
            classes=count**2 / float(np.square(np.bincount(self.source.labels)).sum()),
            layer_of=dict(self.batches.plan.layer_of),
            mean={name: sums.total.cpu() / count for name, sums in self.sums.items()},
            mean_square={name: sums.squares.cpu() / count for name, sums in self.sums.items()},
            class_squares={name: sums.class_squares.cpu() for name, sums in self.sums.items()},
        )


def _begin(setup: PassSetup, plan: Plan) -> _WeightSumPass:
    """Return a pass whose sums are zero."""
    like = next(iter(plan.parameters.values())).detach()
    return _WeightSumPass(
        source=setup.source,
        batches=Batches(setup, plan),
        like=like,
        reader=Reader.like(like),
        sums={name: _WeightSums(parameter) for name, parameter in plan.parameters.items()},
    )


class _WeightSums:
    """The sums of one parameter.

    Args:
        parameter: The parameter.

    Attributes:
        total: Sum over the samples of finished classes, float64, shaped like the parameter.
        squares: Sum of squares over all samples, likewise.
        class_squares: Of each row, the sum over finished classes of the squared norm of the class's sum,
            [rows].
    """

    def __init__(self, parameter: Tensor) -> None:
        self.total = _zeros(parameter)
        self.squares = _zeros(parameter)
        self._current = _zeros(parameter)
        self._shape = parameter.shape
        self.class_squares = self._rows(self._current)
        self._class: int | None = None

    def add(self, form: PerSample, part: ClassSlice, reader: Reader) -> None:
        """Add the samples of one class, which does not come before that of samples added earlier."""
        if part.label != self._class:
            self.close()
            self._class = part.label
        own = form.rows(part.start, part.stop)
        match own:
            case Outer() if own.b.shape[1] == 1:
                # (b aᵀ)² entry by entry is b² (a²)ᵀ: no whole gradient is needed
                square = Outer(own.b.square(), own.a.square())
                self._add(own.weighted_sum(part.weights), square.weighted_sum(part.weights.square()), part)
            case Lookup():
                self._add(own.weighted_sum(part.weights), _looked_up_squares(own, part.weights), part)
            case _:
                for start, stop in reader.pieces(own, self._shape, 0, part.stop - part.start):
                    formed = reader.formed(own.rows(start, stop), (stop - start) * self._shape.numel())
                    weights = part.weights[start:stop]
                    self._add(formed.weighted_sum(weights), _squares(formed, weights), part)

    def _add(self, total: Tensor, squares: Tensor, part: ClassSlice) -> None:
        """Add Σ_i w_i G_i and Σ_i w_i² G_i², where w_i is the scale over the class's largest."""
        self._current.add_(total.to(self._current.device), alpha=part.peak)
        # peak² is applied in float64: in float32 it underflows for fitted samples
        self.squares.add_(squares.to(self._current.device), alpha=part.peak**2)

    def close(self) -> None:
        """Finish the current class."""
        self.total += self._current
        self.class_squares += self._rows(self._current.square_())
        self._current.zero_()

    def _rows(self, values: Tensor) -> Tensor:
        """Return the sum of each row, [rows]; a single number is a row."""
        return values.reshape(*self._shape[:1] or (1,), -1).sum(1)


def _zeros(parameter: Tensor) -> Tensor:
    device = sum_device(parameter)
    return torch.zeros_like(parameter, dtype=torch.float64, device=device, requires_grad=False)


def _squares(formed: Dense, weights: Tensor) -> Tensor:
    """Return Σ_i w_i² G_i², entry by entry."""
    return Dense(formed.gradients.square()).weighted_sum(weights.square())


def _looked_up_squares(form: Lookup, weights: Tensor) -> Tensor:
    """Return Σ_i w_i² G_i² of an embedding: positions of a sample that share a row add up before squaring."""
    batch, _, width = form.b.shape
    # a cell is one row of the table in one sample's gradient
    sample = torch.arange(batch, device=form.index.device)[:, None]
    cells, place = torch.unique(sample * form.count + form.index, return_inverse=True)
    rows = form.b.new_zeros(len(cells), width).index_add_(0, place.flatten(), form.b.flatten(0, 1))
    own = weights[cells // form.count].to(rows)
    table = form.b.new_zeros(form.count, width)
    return table.index_add_(0, cells % form.count, (rows * own[:, None]).square())
