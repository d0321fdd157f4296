"""Curvature of a sample's loss in its input: high where a network had to memorize.

Garg, Ravikumar & Roy, "Memorization Through the Lens of Curvature of Loss Function Around Samples", ICML
2024.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.detection.scores import Array

PROBES = 10
"""Random directions: the authors' number. Fewer rank worse: on early networks on digits, 5 cost 0.003 to 0.03
AUROC."""
STEP = 1e-3
"""Length of a step in each number of the input: the authors' h."""
BATCH = 100
"""Samples in memory at once."""


def input_curvature(model: nn.Module, inputs: Tensor, labels: Tensor, probes: int = PROBES) -> Array:
    """Return Tr(H²) of each sample, H the Hessian of its loss in its input, estimated by Hutchinson's method.

    It is the mean of ‖Hv‖² over random signs v; Hv is the change of the gradient along v. The number of a
    word has no gradient: where inputs are integers, it is the curvature in the output of the embedding that
    reads them.

    Args:
        model: Checkpoint in eval mode; its parameters collect no gradients.
        inputs: [N, ...], floating point, or integers that an `nn.Embedding` reads.
        labels: int64 [N].
        probes: Number of directions v.

    Raises:
        ValueError: If the inputs are integers and no embedding reads them.
    """
    if not has_input_gradient(model, inputs):
        raise ValueError(
            f"the inputs are {inputs.dtype} and no nn.Embedding reads them: the loss has no gradient in them"
        )
    generator = torch.Generator().manual_seed(0)
    found = []
    for x, y in zip(inputs.split(BATCH), labels.split(BATCH), strict=True):
        start = _gradient(model, x, y, None)
        total = torch.zeros(len(x), dtype=torch.float64)
        for _ in range(probes):
            signs = torch.randint(0, 2, start.shape, generator=generator).to(start) * 2 - 1
            change = _gradient(model, x, y, STEP * signs) - start
            total += (change.flatten(1).double() / STEP).square().sum(1)
        found.append(total / probes)
    return torch.cat(found).numpy()


def mean_curvature(models: Iterable[nn.Module], inputs: Tensor, labels: Tensor) -> Array:
    """Return the curvature, averaged over checkpoints of a run, as the paper does over all epochs."""
    return np.asarray(np.mean([input_curvature(model, inputs, labels) for model in models], axis=0))


def has_input_gradient(model: nn.Module, inputs: Tensor) -> bool:
    """Return whether the loss has a gradient in the inputs, or in an embedding of them."""
    return inputs.is_floating_point() or _reader(model, inputs[:2]) is not None


def _gradient(model: nn.Module, x: Tensor, y: Tensor, moved: Tensor | None) -> Tensor:
    """Return each sample's gradient at its input, or at its embedding, moved by a step or not."""
    if x.is_floating_point():
        point = (x if moved is None else x + moved).detach().requires_grad_()
        loss = F.cross_entropy(model(point), y, reduction="sum")
        return torch.autograd.grad(loss, point)[0]
    reader = _reader(model, x[:2])
    assert reader is not None
    with _moved_output(reader, moved) as points:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        return torch.autograd.grad(loss, points[0])[0]


def _reader(model: nn.Module, some: Tensor) -> nn.Embedding | None:
    """Return the embedding that reads the inputs, if there is one."""
    readers = []

    def watch(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Embedding) and arguments[0].shape == some.shape and arguments[0].equal(some):
            readers.append(module)

    handles = [m.register_forward_hook(watch) for m in model.modules() if isinstance(m, nn.Embedding)]
    try:
        with torch.no_grad():
            model(some)
    finally:
        for handle in handles:
            handle.remove()
    return readers[0] if readers else None


@contextmanager
def _moved_output(reader: nn.Embedding, moved: Tensor | None) -> Iterator[list[Tensor]]:
    """Move the output of an embedding by a step; yield a list that then holds it, as a leaf."""
    points: list[Tensor] = []

    def move(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        point = (output if moved is None else output + moved).detach().requires_grad_()
        points.append(point)
        return point

    handle = reader.register_forward_hook(move)
    try:
        yield points
    finally:
        handle.remove()
