"""What a network answers when its training samples, its weights or its units are disturbed.

Every network of a cell answers the same disturbed samples. Where inputs are words, what is mixed or disturbed
is what the first embedding makes of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from benchmarks.shared.training import logits_of

Answers = dict[str, Tensor]
"""Name of the disturbance → logits, [N, C]."""
NEAREST = 5
"""Nearest samples, one of which a sample is mixed with."""


def neighbors(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return for every sample one of its nearest others by the raw inputs; words by their cosine, [N]."""
    if x.is_floating_point():
        flat = x.flatten(1).numpy()
        metric = "euclidean"
    else:
        flat = np.zeros((len(x), int(x.max()) + 1), dtype=np.float32)
        np.add.at(flat, (np.arange(len(x))[:, None], x.numpy()), 1)
        flat[:, 0] = 1e-3
        metric = "cosine"
    found = NearestNeighbors(n_neighbors=NEAREST, metric=metric).fit(flat).kneighbors(return_distance=False)
    # kneighbors() of the fitted samples leaves out the sample itself
    some = torch.randint(0, NEAREST, (len(x),), generator=generator)
    return torch.from_numpy(found)[torch.arange(len(x)), some]


def partners(y: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each sample another one of the same label, drawn at random, [N]."""
    partner = torch.arange(len(y))
    for c in y.unique():
        own = (y == c).nonzero()[:, 0]
        partner[own] = own[torch.randperm(len(own), generator=generator)]
    return partner


def mixed(model: nn.Module, x: Tensor, partner: Tensor, share: float) -> Tensor:
    """Return the logits on samples mixed with their partners.

    Args:
        model: In eval mode.
        x: [N, ...].
        partner: Position of each sample's partner, [N].
        share: Share of the sample itself, in [0, 1].
    """
    if x.is_floating_point():
        return logits_of(model, share * x + (1 - share) * x[partner])
    parts = torch.arange(len(x)).split(250)
    found = []
    with torch.no_grad(), _embedded(model, lambda h: _halves(h, share)):
        # the first half of a batch are the samples, the second their partners
        found = [model(torch.cat([x[part], x[partner[part]]]))[: len(part)] for part in parts]
    return torch.cat(found)


def _halves(h: Tensor, share: float) -> Tensor:
    half = len(h) // 2
    return torch.cat([share * h[:half] + (1 - share) * h[half:], h[half:]])


@contextmanager
def _embedded(model: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    embed = next(module for module in model.modules() if isinstance(module, nn.Embedding))
    handle = embed.register_forward_hook(lambda module, inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def noised(model: nn.Module, x: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Return the logits on samples with noise of `size` standard deviations of all inputs."""
    if x.is_floating_point():
        return logits_of(model, x + size * x.std() * torch.randn(x.shape, generator=generator))
    with _embedded(model, lambda h: h + size * h.std() * torch.randn(h.shape, generator=generator)):
        return logits_of(model, x)


def natural(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return samples as they could have been.

    Images are shifted by a pixel, a tenth of a table's cells are those of other rows, a fifth of the words
    are left out.
    """
    if not x.is_floating_point():
        return torch.where(torch.rand(x.shape, generator=generator) < 0.2, torch.zeros_like(x), x)
    if x.ndim == 2:
        other = x[torch.randperm(len(x), generator=generator)]
        return torch.where(torch.rand(x.shape, generator=generator) < 0.1, other, x)
    shifts = torch.randint(0, 4, (len(x),), generator=generator).tolist()
    steps = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return torch.stack([torch.roll(one, steps[s], (1, 2)) for one, s in zip(x, shifts, strict=True)])


def moved_weights(model: nn.Module, x: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Return the logits with Gaussian noise in every weight tensor, `size` of its root mean square."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(size * p.square().mean().sqrt() * torch.randn(p.shape, generator=generator))
    return logits_of(moved, x)


def half_networks(model: nn.Module, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the logits of two halves of the network.

    Each hidden layer's units are in one of two random parts, and count twice there.
    """
    hidden = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d | nn.Embedding)
    ][:-1]
    masks: dict[nn.Module, Tensor] = {}
    found = []
    for first in (True, False):
        handles = [m.register_forward_hook(_half(masks, first, generator)) for m in hidden]
        try:
            found.append(logits_of(model, x))
        finally:
            for handle in handles:
                handle.remove()
    return found[0], found[1]


def _half(
    masks: dict[nn.Module, Tensor], first: bool, generator: torch.Generator
) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        conv = isinstance(module, nn.Conv1d | nn.Conv2d)
        size = output.shape[1] if conv else output.shape[-1]
        if module not in masks:
            masks[module] = (torch.randperm(size, generator=generator) < size // 2).float()
        mask = masks[module] if first else 1 - masks[module]
        shaped = mask.view(1, -1, *[1] * (output.ndim - 2)) if conv else mask
        return 2 * output * shaped

    return hook


def disturbed(model: nn.Module, x: Tensor, y: Tensor) -> Answers:
    """Return a network's answers to every disturbance of its training samples.

    Args:
        model: In eval mode.
        x: [N, ...].
        y: Labels as given, [N].
    """
    generator = torch.Generator().manual_seed(0)
    answers = disturbed_inputs(model, x, y, generator)
    for size in (0.1, 0.3):
        answers[f"weights {size}"] = moved_weights(model, x, size, generator)
    answers["half 0"], answers["half 1"] = half_networks(model, x, generator)
    return answers


def disturbed_inputs(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Answers:
    """Return a network's answers to its training samples, mixed with others or with noise.

    Args:
        model: In eval mode.
        x: [N, ...].
        y: Labels as given, [N].
        generator: Draws; from the same state, all networks answer the same inputs.
    """
    own = partners(y, generator)
    stranger = torch.randperm(len(y), generator=generator)
    near = neighbors(x, generator)
    answers = {
        "mix same": mixed(model, x, own, 0.5),
        "mix other": mixed(model, x, stranger, 0.7),
        "mix half": mixed(model, x, stranger, 0.5),
        "mix near": mixed(model, x, near, 0.5),
        "natural": logits_of(model, natural(x, generator)),
    }
    for size in (0.1, 0.3):
        answers[f"noise {size}"] = noised(model, x, size, generator)
    return answers


def mixing(x: Tensor, y: Tensor) -> dict[str, NDArray[np.int64]]:
    """Return the partners that `disturbed` mixes with, [N] each."""
    generator = torch.Generator().manual_seed(0)
    own = partners(y, generator)
    stranger = torch.randperm(len(y), generator=generator)
    return {"own": own.numpy(), "stranger": stranger.numpy(), "near": neighbors(x, generator).numpy()}
