"""Gradients of the weights of each input column, for the labels as given and for shuffled ones.

If the first layer is a linear map of a flat row, the gradient of sample i at the weights of column j is δ_i
x_ij, where δ_i is the gradient at the layer's output. If it is an embedding, the gradient of a token is the
sum of δ over its positions in the sample. Only δ is computed: the graph is cut at the layer's output, so that
a batch costs one forward pass and, for each order of the labels, one backward pass through the layers after
it.

The residual is not p − y of the loss, which is almost zero in a fitted network, but (share of the class among
all samples) − y: the residual of a network that predicts the frequencies of the classes. It is linear in the
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

from cohaudit.gradients.checks.failures import attribute_batch_failure
from cohaudit.gradients.checks.probe import load_probe, to_model
from cohaudit.gradients.pass_setup import Options, Source
from cohaudit.gradients.passes.column_sums import ColumnSums, make_column_sums
from cohaudit.gradients.passes.input_sums import InputSums, rows_of
from cohaudit.gradients.passes.token_sums import TokenSums, make_token_sums
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision
from cohaudit.gradients.residuals import along, logits_of
from cohaudit.gradients.tracing.trace import call, every_module_called
from cohaudit.results import Skipped

LABEL_SHUFFLES = 20
"""Shuffled orders of the labels that the null distribution is estimated from. The standard deviation of n
values has a relative error of about 1/√(2n), which is 16 % here; the score allows for it."""

COLUMN_PROBES = 32
"""Samples on which a layer's input is compared with the columns."""

MAX_SUM_BYTES = 2**30
"""Largest memory for the sums."""

FLOAT64_BYTES = 8
"""Bytes of one number of the sums."""

COLUMN_TOLERANCE = 1e-4
"""Largest relative error of a layer's input, as a scaled and shifted column: rounding of a normalization in
float32 is well below it."""


@full_precision()
def input_sums(
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> InputSums | Skipped:
    """Measure the gradients of the weights of each input column, with one more pass over the samples.

    A column that is scaled or shifted before the layer, as by a BatchNorm, is measured as it is in the data:
    a scale multiplies all its gradients alike, and the mean is subtracted.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        options: Batch size and seed; gradients are computed in the model's own precision, sums in float64.
        device: Device to run on.
        advance: Called with the number of samples done.

    Returns:
        The sums; or the reason why the input has no columns to compare.

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
        # a pass of its own over the inputs: the mean must be known before gradients are added up
        rows = (rows_of(source.load(indices.tolist())) for indices in batches)
        sums: ColumnSums | TokenSums
        if isinstance(layer, nn.Linear):
            sums = make_column_sums(layer, rows, 1 + LABEL_SHUFFLES, device)
        else:
            sums = make_token_sums(layer, rows, 1 + LABEL_SHUFFLES, device)
        residuals = _shuffled_residuals(source, options.seed)
        for indices in batches:
            with attribute_batch_failure(model, source, indices.tolist(), device, batch_size=size):
                inputs = to_model(source.load(indices.tolist()), model, device)
                sums.begin(rows_of(inputs))
                for k, delta in enumerate(_deltas(model, layer, inputs, residuals.of(indices))):
                    sums.add(k, delta)
            advance(len(indices))
    return sums.finished(name)


def _first_layer(
    model: nn.Module, source: Source, device: torch.device
) -> tuple[str, nn.Linear | nn.Embedding] | Skipped:
    """Return the layer that receives the input's columns unmixed, or looks up its tokens, and its name."""
    # spread over the data, because neighboring rows of a sorted table may be constant in a column
    spread = np.linspace(0, len(source.labels) - 1, min(COLUMN_PROBES, len(source.labels))).astype(int)
    inputs = load_probe(source, spread.tolist(), model, device).inputs
    leaves = pytree.tree_leaves(inputs)
    if len(leaves) != 1 or leaves[0].ndim < 2:
        return Skipped("inputs", "a sample is not one row of numbers: it has no columns")
    calls = _calls(model, inputs)
    if not calls or not _receives_columns(rows_of(inputs), calls[0]):
        return Skipped(
            "inputs", "no dense layer or embedding takes the input column by column, as in a table"
        )
    name = calls[0].name
    layer = calls[0].layer
    if sum(other.layer is layer for other in calls) > 1:
        return Skipped("inputs", f"layer {name} sees more than the input: it is called several times")
    size = layer.weight.numel() * (1 + LABEL_SHUFFLES) * FLOAT64_BYTES
    if isinstance(layer, nn.Linear) and size > MAX_SUM_BYTES:
        return Skipped("inputs", f"layer {name} has {layer.weight.numel():,} weights, too many for its sums")
    return name, layer


@dataclass(frozen=True)
class _LayerCall:
    """One call of a dense layer or an embedding."""

    name: str
    layer: nn.Linear | nn.Embedding
    input: Tensor


def _calls(model: nn.Module, inputs: Any) -> list[_LayerCall]:
    """Return the calls of dense layers and embeddings, in their order."""
    calls: list[_LayerCall] = []

    def watch(name: str, layer: nn.Linear | nn.Embedding) -> Any:
        return layer.register_forward_hook(
            lambda module, given, output: calls.append(_LayerCall(name, layer, given[0]))
        )

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
    return calls


def _receives_columns(rows: Tensor, made: _LayerCall) -> bool:
    """Return whether a layer's input is the model's input, up to a scale and a shift of each column."""
    if made.input.shape != rows.shape:
        return False
    if isinstance(made.layer, nn.Embedding):
        return bool((made.input == rows).all())
    # least squares of the layer's input on the column: what is left must be rounding
    x, a = (one.cpu().double() for one in (rows, made.input))
    # of the values with their means: rounding is relative to these, however little a column varies
    size = COLUMN_TOLERANCE * a.square().sum(0)
    # without the means, which stand for the shift
    x = x - x.mean(0)
    a = a - a.mean(0)
    scale = (x * a).sum(0) / x.square().sum(0).clamp_min(torch.finfo(x.dtype).tiny)
    rest = (a - scale * x).square().sum(0)
    return bool((rest <= COLUMN_TOLERANCE * (a.square().sum(0) + size)).all())


@dataclass(frozen=True)
class _ShuffledResiduals:
    """Residuals (share of the class) − y for the labels as given and for shuffled ones.

    Attributes:
        labels: Labels in each order, the given one first, int64 [orders, N].
        class_share: Share of each class among all samples, [classes].
    """

    labels: Tensor
    class_share: Tensor

    def of(self, indices: NDArray[np.int64]) -> Tensor:
        """Return the residuals of some samples, [orders, samples, classes]."""
        return self.class_share - F.one_hot(self.labels[:, indices], len(self.class_share))


def _shuffled_residuals(source: Source, seed: int) -> _ShuffledResiduals:
    generator = np.random.default_rng(seed)
    # permutations rather than random draws, so that every order has the same class frequencies
    shuffled = [generator.permutation(source.labels) for _ in range(LABEL_SHUFFLES)]
    labels = torch.from_numpy(np.stack([source.labels, *shuffled]))
    counts = torch.bincount(labels[0], minlength=len(source.class_names))
    return _ShuffledResiduals(labels, counts.double() / len(source.labels))


def _deltas(model: nn.Module, layer: nn.Module, inputs: Any, residuals: Tensor) -> Iterator[Tensor]:
    """Yield, for each residual, the gradient at a layer's output of ⟨residual, logits⟩."""
    with torch.enable_grad(), _graph_from_output_of(layer) as outputs:
        logits = logits_of(call(model, inputs))
    if logits.numel() == len(logits):  # one output z stands for the logits [0, z]
        residuals = residuals[:, :, 1:]
    for k, residual in enumerate(residuals):
        direction = residual.reshape(logits.shape).to(logits)
        # the last backward pass frees the graph
        retain = k + 1 < len(residuals)
        yield torch.autograd.grad(along(logits, direction), outputs[0], retain_graph=retain)[0]


@contextmanager
def _graph_from_output_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Let autograd's graph begin at a layer's output, which is appended to the list that this yields."""
    outputs: list[Tensor] = []

    def cut(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[0].clone()  # autograd refuses to change a leaf in place, as the next layer may do

    hook = layer.register_forward_hook(cut)
    try:
        yield outputs
    finally:
        hook.remove()
