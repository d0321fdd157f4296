"""The gradients of the weights behind each input column, for the labels given and for shuffled ones.

Where the first layer is a linear map of a flat row, the gradient of sample i at the weights of column j is
δ_i x_ij, with δ_i the gradient at the layer's output. Only δ is computed: what comes before is cut off, so
that a pass costs one forward and, for each labeling, one backward pass through the layers behind.

The residual is not p − y of the loss, which a fitted network has driven to nothing, but the class's share of
all samples − y: that of a network that answers with the frequencies of the classes. It is linear in the
labels and sums to zero over the samples, for every order of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from cohaudit.gradients.measurement import Options
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision
from cohaudit.gradients.prepare import Probe, Source, failures_told, to_model
from cohaudit.gradients.residuals import logits_of
from cohaudit.gradients.trace import call, every_module_called
from cohaudit.results import Skipped

Array = NDArray[np.float64]

SHUFFLES = 20
"""Orders of the labels for the null: its standard deviation is then known to about 16 %."""
PROBES = 32
"""Samples on which it is seen whether a layer gets the columns as they are."""
MOST_BYTES = 2**30
"""Memory that the sums may take."""
ROUNDING = 1e-4
"""Relative error up to which a layer's input counts as the column, scaled and shifted."""


@dataclass(frozen=True)
class InputSums:
    """Sums over the samples of the gradients of each input column's weights, g_ij = δ_i (x_ij − mean_j).

    The first row is for the labels as given, the others for shuffled ones: [1 + SHUFFLES, columns].

    Attributes:
        layer: The layer that sees the input.
        squared_sum: ‖Σ_i g_ij‖².
        squares: Σ_i ‖g_ij‖².
        norms: Σ_i ‖g_ij‖.
        constant: Whether all samples have the same value, [columns].
    """

    layer: str
    squared_sum: Array
    squares: Array
    norms: Array
    constant: NDArray[np.bool_]


@full_precision()
def input_sums(
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> InputSums | Skipped:
    """Measure the gradients behind each input column, with one more pass over the samples.

    A column that is scaled or shifted on its way to the layer, as by a BatchNorm, is measured as it is in
    the data: a scale multiplies all its gradients alike, and the mean is taken out.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        options: Batch size and seed; all is computed in the model's own precision, the sums in float64.
        device: Where.
        advance: Called with the number of samples done.

    Returns:
        The sums; or why there are no columns to tell apart.

    Raises:
        ModelError: If the model fails on a sample.
        EngineError: If memory does not suffice.
    """
    with backward_in_eval_mode(model, device), every_module_called():
        first = _first_layer(model, source, device)
        if isinstance(first, Skipped):
            return first
        name, layer = first
        mean, constant = _columns(source, options.batch_size)
        run = _Pass(layer, mean.masked_fill(constant, 0), constant, source, options.seed, device)
        for start in range(0, len(source.labels), options.batch_size):
            indices = np.arange(start, min(start + options.batch_size, len(source.labels)))
            with failures_told(model, source, indices.tolist(), options.batch_size, device):
                run.batch(model, to_model(source.load(indices.tolist()), model, device), indices)
            advance(len(indices))
    return run.result(name)


def _first_layer(model: nn.Module, source: Source, device: torch.device) -> tuple[str, nn.Linear] | Skipped:
    """Return the linear layer that the columns of the input enter one by one."""
    spread = np.linspace(0, len(source.labels) - 1, min(PROBES, len(source.labels))).astype(int)
    inputs = Probe(source, spread.tolist(), model, device).inputs
    row = _row(inputs)
    if row is None:
        return Skipped("inputs", "a sample is not one tensor of numbers: it has no columns")
    seen: list[tuple[str, nn.Linear, Tensor]] = []

    def watch(name: str, layer: nn.Linear) -> Any:
        return layer.register_forward_hook(lambda module, given, output: seen.append((name, layer, given[0])))

    hooks = [watch(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    try:
        with torch.no_grad():
            call(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen or not _are_columns(row, seen[0][2]):
        return Skipped(
            "inputs", "no dense layer takes the columns of the input one by one, as in a network on a table"
        )
    name, layer, _ = seen[0]
    if sum(other is layer for _, other, _ in seen) > 1:
        return Skipped("inputs", f"layer {name} sees more than the input: it is called several times")
    if layer.weight.numel() * (1 + SHUFFLES) * 8 > MOST_BYTES:
        return Skipped("inputs", f"layer {name} has {layer.weight.numel():,} weights, too many for its sums")
    return name, layer


def _row(inputs: Any) -> Tensor | None:
    """Return a batch's inputs as [batch, columns]; None if they are several tensors, or have no columns."""
    leaves = pytree.tree_leaves(inputs)
    return leaves[0].flatten(1) if len(leaves) == 1 and leaves[0].ndim > 1 else None


def _are_columns(row: Tensor, given: Tensor) -> bool:
    """Return whether a layer's input is the row, but for a scale and a shift of each column."""
    if given.shape != row.shape:
        return False
    x, a = (one.double().cpu() for one in (row, given))
    x, a = x - x.mean(0), a - a.mean(0)
    scale = (x * a).sum(0) / x.square().sum(0).clamp_min(torch.finfo(x.dtype).tiny)
    rest = (a - scale * x).square().sum(0)
    size = a.square().sum(0) + ROUNDING * given.double().cpu().square().sum(0)
    return bool((rest <= ROUNDING * size).all())


def _columns(source: Source, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return the mean of each column, float64, and whether it is constant, [columns]."""
    total: Tensor | float = 0.0
    lowest = highest = None
    for start in range(0, len(source.labels), batch_size):
        stop = min(start + batch_size, len(source.labels))
        row = _row(source.load(list(range(start, stop))))
        assert row is not None
        row = row.double()
        total = total + row.sum(0)
        lowest = row.amin(0) if lowest is None else torch.minimum(lowest, row.amin(0))
        highest = row.amax(0) if highest is None else torch.maximum(highest, row.amax(0))
    assert isinstance(total, Tensor)
    return total / len(source.labels), torch.as_tensor(lowest == highest)


class _Pass:
    """The sums, and how a batch adds to them."""

    def __init__(
        self,
        layer: nn.Linear,
        mean: Tensor,
        constant: Tensor,
        source: Source,
        seed: int,
        device: torch.device,
    ) -> None:
        # Apple's GPUs have no float64
        wide: dict[str, Any] = {"device": device}
        wide["dtype"] = torch.float32 if device.type == "mps" else torch.float64
        self.layer, self.mean, self.varies = layer, mean.to(**wide), (~constant).to(**wide)
        self.wide = wide
        generator = np.random.default_rng(seed)
        shuffled = [generator.permutation(source.labels) for _ in range(SHUFFLES)]
        self.labels = torch.from_numpy(np.stack([source.labels, *shuffled]))
        self.classes = len(source.class_names)
        self.share = torch.bincount(self.labels[0], minlength=self.classes).double() / len(source.labels)
        outputs, columns = layer.weight.shape
        self.sums = torch.zeros(1 + SHUFFLES, outputs, columns, **wide)
        self.squares, self.norms = (torch.zeros(1 + SHUFFLES, columns, **wide) for _ in range(2))

    def batch(self, model: nn.Module, inputs: Any, indices: NDArray[np.int64]) -> None:
        """Add a batch, for every order of the labels."""
        row = _row(inputs)
        assert row is not None
        x = (row.to(**self.wide) - self.mean) * self.varies
        with torch.enable_grad(), _cut_behind(self.layer) as outputs:
            logits = logits_of(call(model, inputs))
        for k, labels in enumerate(self.labels[:, indices]):
            residual = self.share - F.one_hot(labels, self.classes)
            if logits.numel() == len(logits):  # one output z stands for the logits [0, z]
                residual = residual[:, 1:]
            direction = residual.reshape(logits.shape).to(logits)
            (delta,) = torch.autograd.grad(logits, outputs[0], direction, retain_graph=k < SHUFFLES)
            delta = delta.to(**self.wide)
            size = delta.norm(dim=1)
            self.sums[k] += delta.mT @ x
            self.squares[k] += size.square() @ x.square()
            self.norms[k] += size @ x.abs()

    def result(self, name: str) -> InputSums:
        """Return the sums over all batches."""
        told = (self.sums.square().sum(1), self.squares, self.norms)
        squared_sum, squares, norms = (one.cpu().double().numpy() for one in told)
        return InputSums(name, squared_sum, squares, norms, self.varies.cpu().numpy() == 0)


@contextmanager
def _cut_behind(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Let autograd's graph begin at a layer's output, which is put into the list given."""
    outputs: list[Tensor] = []

    def cut(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[0].clone()  # which may be changed in place

    hook = layer.register_forward_hook(cut)
    try:
        yield outputs
    finally:
        hook.remove()
