"""Sums over the samples for every single weight: what they want of it together, and how far they differ.

A pass of its own, with the engine of `measure`: per weight j the mean gradient μ_j, the mean square
mean_i g_ij², and of each row of weights the squares of the classes' sums, Σ_c ‖Σ_{i∈c} g_i‖². Coherence, the
gradient's signal-to-noise ratio and the noise scale of any group of weights, a unit or a layer, follow from
these. The samples go by class, so that three numbers of eight bytes a weight are in memory, and never
samples × weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cohaudit.gradients.checks.prepare import Source, prepare
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Lookup, Outer, PerSample
from cohaudit.gradients.passes.batches import Batches
from cohaudit.gradients.passes.measurement import Options
from cohaudit.gradients.passes.reading import Reader, Share, shares
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision
from cohaudit.gradients.residuals import Residuals


@dataclass(frozen=True)
class WeightSums:
    """Sums over m samples of the gradients of every weight; tensors are float64, on the CPU.

    Attributes:
        samples: m.
        layer_of: Parameter → its layer, input side first.
        mean: Parameter → μ_j, shaped like it.
        mean_square: Parameter → mean_i g_ij², likewise.
        class_squares: Parameter → Σ_c ‖Σ_{i∈c} g_i‖² of each row, an entry of its first dimension.
    """

    samples: int
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
        source: The samples; `measure` has found their losses and gradients finite.
        options: How; of these, batch size, temperature and precision matter.
        device: Where.
        advance: Called with the number of samples done.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured, or memory does not suffice.
    """
    with backward_in_eval_mode(model, device):
        run = _Pass(model, source, options, device)
        order = np.argsort(source.labels, kind="stable")
        for start in range(0, len(order), options.batch_size):
            indices = order[start : start + options.batch_size].tolist()
            run.batch(indices)
            advance(len(indices))
    return run.result()


class _Pass:
    """The sums of all parameters, and how a batch is added to them."""

    def __init__(self, model: nn.Module, source: Source, options: Options, device: torch.device) -> None:
        plan = prepare(model, source, device)
        self._source = source
        self._layer_of = plan.layer_of
        self._batches = Batches(model, plan, source, options, device)
        self._like = next(iter(plan.parameters.values())).detach()
        self._reader = Reader(self._like)
        self._sums = {name: _Running(parameter) for name, parameter in plan.parameters.items()}

    def batch(self, indices: list[int]) -> None:
        """Add a batch, its labels sorted."""
        labels = torch.from_numpy(self._source.labels[indices])
        parts: list[Share] = []

        def consume(name: str, form: PerSample, outcome: Residuals) -> None:
            if not parts:
                parts.extend(shares(labels, outcome.scale, self._like))
            for part in parts:
                self._sums[name].add(form, part, self._reader)

        self._batches.run(indices, consume)

    def result(self) -> WeightSums:
        """Return the sums, finished."""
        count = len(self._source.labels)
        for running in self._sums.values():
            running.close()
        return WeightSums(
            samples=count,
            layer_of=dict(self._layer_of),
            mean={name: one.total.cpu() / count for name, one in self._sums.items()},
            mean_square={name: one.squares.cpu() / count for name, one in self._sums.items()},
            class_squares={name: one.class_squares.cpu() for name, one in self._sums.items()},
        )


class _Running:
    """The sums of one parameter: of all samples, of their squares, of the current class, of classes' rows."""

    def __init__(self, parameter: Tensor) -> None:
        # Apple's GPUs have no float64: there the sums live on the CPU
        device = torch.device("cpu") if parameter.device.type == "mps" else parameter.device
        self._shape = parameter.shape
        self.total, self.squares, self._current = (
            torch.zeros_like(parameter, dtype=torch.float64, device=device, requires_grad=False)
            for _ in range(3)
        )
        self.class_squares = self._rows(self._current)
        self._class = -1

    def add(self, form: PerSample, part: Share, reader: Reader) -> None:
        """Add the samples of one class; the class is none below those added before."""
        if part.label != self._class:
            self.close()
            self._class = part.label
        own = form.rows(part.start, part.stop)
        match own:
            case Outer() if own.b.shape[1] == 1:
                # (b aᵀ)² entry by entry is b² (a²)ᵀ
                square = Outer(own.b.square(), own.a.square())
                self._take(own.weighted_sum(part.weights), square.weighted_sum(part.weights.square()), part)
            case Lookup():
                self._take(own.weighted_sum(part.weights), _looked_up_squares(own, part.weights), part)
            case _:
                for start, stop in reader.pieces(own, self._shape, 0, part.stop - part.start):
                    formed = reader.formed(own.rows(start, stop), (stop - start) * self._shape.numel())
                    weights = part.weights[start:stop]
                    sums = formed.weighted_sum(weights), _squares(formed, weights)
                    self._take(*sums, part)

    def _take(self, total: Tensor, squares: Tensor, part: Share) -> None:
        """Add Σ_i w_i G_i and Σ_i w_i² G_i², of the gradients over the part's largest scale."""
        self._current.add_(total.to(self._current.device), alpha=part.peak)
        self.squares.add_(squares.to(self._current.device), alpha=part.peak**2)

    def close(self) -> None:
        """Finish the current class."""
        self.total += self._current
        self.class_squares += self._rows(self._current.square_())
        self._current.zero_()

    def _rows(self, values: Tensor) -> Tensor:
        """Return the sum of each row, [rows]; of a single number, itself."""
        return values.reshape(*self._shape[:1] or (1,), -1).sum(1)


def _squares(formed: Dense, weights: Tensor) -> Tensor:
    """Return Σ_i w_i² G_i², entry by entry."""
    return Dense(formed.gradients.square()).weighted_sum(weights.square())


def _looked_up_squares(form: Lookup, weights: Tensor) -> Tensor:
    """Return Σ_i w_i² G_i² of an embedding: positions of a sample that share a row add up before that."""
    batch, _, width = form.b.shape
    sample = torch.arange(batch, device=form.index.device)[:, None]
    cells, place = torch.unique(sample * form.count + form.index, return_inverse=True)
    rows = form.b.new_zeros(len(cells), width).index_add_(0, place.flatten(), form.b.flatten(0, 1))
    own = weights[cells // form.count].to(rows)
    table = form.b.new_zeros(form.count, width)
    return table.index_add_(0, cells % form.count, (rows * own[:, None]).square())
