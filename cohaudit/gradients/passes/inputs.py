"""The gradients of the weights behind each input column, for the labels given and for shuffled ones.

Where the first layer is a linear map of a flat row, the gradient of sample i at the weights of column j is
δ_i x_ij, with δ_i the gradient at the layer's output; where it is an embedding, that of a token is the sum of
δ over its places in the sample. Only δ is computed: what comes before is cut off, so that a pass costs one
forward and, for each order of the labels, one backward pass through the layers behind.

The residual is not p − y of the loss, which a fitted network has driven to nothing, but the class's share of
all samples − y: that of a network that answers with the frequencies of the classes. It is linear in the
labels and sums to zero over the samples, for every order of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from cohaudit.gradients.checks.prepare import Probe, Source, failures_attributed, to_model
from cohaudit.gradients.passes.input_sums import ColumnSums, InputSums, TokenSums, rows_of
from cohaudit.gradients.passes.measurement import Options
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision
from cohaudit.gradients.residuals import logits_of
from cohaudit.gradients.tracing.trace import call, every_module_called
from cohaudit.results import Skipped

SHUFFLES = 20
"""Orders of the labels for the null: its standard deviation is then known to about 16 %."""
PROBES = 32
"""Samples on which it is seen whether a layer gets the columns as they are."""
MOST_BYTES = 2**30
"""Memory that the sums may take."""
ROUNDING = 1e-4
"""Relative error up to which a layer's input counts as the column, scaled and shifted."""


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
        count = len(source.labels)
        size = options.batch_size
        batches = [np.arange(start, min(start + size, count)) for start in range(0, count, size)]
        rows = (rows_of(source.load(indices.tolist())) for indices in batches)
        kind = ColumnSums if isinstance(layer, nn.Linear) else TokenSums
        sums: ColumnSums | TokenSums = kind(layer, rows, 1 + SHUFFLES, device)
        residuals = _Residuals(source, options.seed)
        for indices in batches:
            with failures_attributed(model, source, indices.tolist(), size, device):
                inputs = to_model(source.load(indices.tolist()), model, device)
                sums.begin(rows_of(inputs))
                for k, delta in enumerate(_deltas(model, layer, inputs, residuals.of(indices))):
                    sums.add(k, delta)
            advance(len(indices))
    return sums.finished(name)


def _first_layer(
    model: nn.Module, source: Source, device: torch.device
) -> tuple[str, nn.Linear | nn.Embedding] | Skipped:
    """Return the layer that the columns of the input enter one by one, or that looks up its tokens."""
    spread = np.linspace(0, len(source.labels) - 1, min(PROBES, len(source.labels))).astype(int)
    inputs = Probe(source, spread.tolist(), model, device).inputs
    leaves = pytree.tree_leaves(inputs)
    if len(leaves) != 1 or leaves[0].ndim < 2:
        return Skipped("inputs", "a sample is not one row of numbers: it has no columns")
    seen = _calls(model, inputs)
    if not seen or not _sees_columns(rows_of(inputs), *seen[0][1:]):
        return Skipped(
            "inputs", "no dense layer or embedding takes the input column by column, as in a table"
        )
    name, layer, _ = seen[0]
    if sum(other is layer for _, other, _ in seen) > 1:
        return Skipped("inputs", f"layer {name} sees more than the input: it is called several times")
    if isinstance(layer, nn.Linear) and layer.weight.numel() * (1 + SHUFFLES) * 8 > MOST_BYTES:
        return Skipped("inputs", f"layer {name} has {layer.weight.numel():,} weights, too many for its sums")
    return name, layer


def _calls(model: nn.Module, inputs: Any) -> list[tuple[str, nn.Linear | nn.Embedding, Tensor]]:
    """Return the name and input of each dense layer and embedding, in the order in which they are called."""
    seen: list[tuple[str, nn.Linear | nn.Embedding, Tensor]] = []

    def watch(name: str, layer: nn.Linear | nn.Embedding) -> Any:
        return layer.register_forward_hook(lambda module, given, output: seen.append((name, layer, given[0])))

    hooks = [
        watch(name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Embedding)
    ]
    try:
        with torch.no_grad():
            call(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _sees_columns(rows: Tensor, layer: nn.Linear | nn.Embedding, given: Tensor) -> bool:
    """Return whether a layer's input is the input itself, but for a scale and a shift of each column."""
    if given.shape != rows.shape:
        return False
    if isinstance(layer, nn.Embedding):
        return bool((given == rows).all())
    x, a = (one.cpu().double() for one in (rows, given))
    size = ROUNDING * a.square().sum(0)
    x = x - x.mean(0)
    a = a - a.mean(0)
    scale = (x * a).sum(0) / x.square().sum(0).clamp_min(torch.finfo(x.dtype).tiny)
    rest = (a - scale * x).square().sum(0)
    return bool((rest <= ROUNDING * (a.square().sum(0) + size)).all())


class _Residuals:
    """The class's share − y, for the labels as they are and for shuffled ones."""

    def __init__(self, source: Source, seed: int) -> None:
        generator = np.random.default_rng(seed)
        shuffled = [generator.permutation(source.labels) for _ in range(SHUFFLES)]
        self._labels = torch.from_numpy(np.stack([source.labels, *shuffled]))
        self._classes = len(source.class_names)
        counts = torch.bincount(self._labels[0], minlength=self._classes)
        self._share = counts.double() / len(source.labels)

    def of(self, indices: NDArray[np.int64]) -> Tensor:
        """Return those of some samples, [orders, samples, classes]."""
        return self._share - F.one_hot(self._labels[:, indices], self._classes)


def _deltas(model: nn.Module, layer: nn.Module, inputs: Any, residuals: Tensor) -> Iterator[Tensor]:
    """Yield, for each residual, the gradient at a layer's output of ⟨residual, logits⟩."""
    with torch.enable_grad(), _cut_behind(layer) as outputs:
        logits = logits_of(call(model, inputs))
    if logits.numel() == len(logits):  # one output z stands for the logits [0, z]
        residuals = residuals[:, :, 1:]
    for k, residual in enumerate(residuals):
        direction = residual.reshape(logits.shape).to(logits)
        more = k + 1 < len(residuals)
        yield torch.autograd.grad(logits, outputs[0], direction, retain_graph=more)[0]


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
