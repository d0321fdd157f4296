"""Measures by others that rank networks by their gap, from a checkpoint and its training data.

Each function returns measures by name, larger for a larger expected gap, as in PGDL (NeurIPS 2020).
N samples, C classes. A measure that is not defined for a network is left out.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import kurtosis
from sklearn.metrics import davies_bouldin_score
from torch import Tensor, nn
from torch.nn import functional as F

Measures = dict[str, float]
FEW_SAMPLES = 500
"""Number of samples for measures that take several passes."""


def of_weights(model: nn.Module, initial: nn.Module, shape: tuple[int, ...] | None) -> Measures:
    """Return norms of the weights, and of what training added to them.

    The spectral norm of a convolution is that of its kernel as a matrix of output by input numbers, as in
    Jiang et al. (arXiv 1912.02178).

    Args:
        model: Trained.
        initial: The same before training.
        shape: Shape of a sample; None if inputs are words, which have no path norm.
    """
    matrices = [p.detach().flatten(1) for p in model.parameters() if p.ndim > 1]
    pairs = list(zip(model.parameters(), initial.parameters(), strict=True))
    found = {
        "spectral norms": sum(math.log(float(torch.linalg.matrix_norm(m, 2))) for m in matrices),
        "parameter norm": math.sqrt(sum(float(p.detach().square().sum()) for p, _ in pairs)),
        "distance from initialization": math.sqrt(
            sum(float((p - q).detach().square().sum()) for p, q in pairs)
        ),
    }
    return found if shape is None else found | _path_norm(model, shape)


def _path_norm(model: nn.Module, shape: tuple[int, ...]) -> Measures:
    """Return the log of the sum over all paths of the squared products of weights.

    It is what a copy with squared weights makes of an input of ones; not defined where samples are
    normalized or mixed by attention.
    """
    squared = copy.deepcopy(model)
    if any(isinstance(module, nn.LayerNorm) for module in squared.modules()):
        return {}
    with torch.no_grad():
        for parameter in squared.parameters():
            parameter.square_()
        for module in squared.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.zero_()
                module.running_var.add_(module.eps).square_().sub_(module.eps)
        return {"path norm": float(squared.double()(torch.ones(1, *shape).double()).sum().log())}


def weight_watcher(model: nn.Module) -> Measures:
    """Return WeightWatcher's mean power-law exponent, and minus its mean distance from random weights.

    Raises:
        ImportError: If weightwatcher is not installed.
    """
    import weightwatcher

    logging.getLogger("weightwatcher").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        details = weightwatcher.WeightWatcher(model=model).analyze(randomize=True)
    signs = {"alpha": 1, "rand_distance": -1}
    found = {n: sign * float(details[n].mean()) for n, sign in signs.items() if n in details.columns}
    return {f"WeightWatcher {name}": value for name, value in found.items() if math.isfinite(value)}


def sharpness(model: nn.Module, x: Tensor, y: Tensor) -> Measures:
    """Return by how much the mean loss rises: 5 % of the weights' length uphill, and 10 % at random."""
    x = x[:FEW_SAMPLES]
    y = y[:FEW_SAMPLES]
    moved = copy.deepcopy(model)
    parameters = [p for p in moved.parameters() if p.requires_grad]
    loss = F.cross_entropy(moved(x), y)
    gradients = torch.autograd.grad(loss, parameters)
    length = math.sqrt(sum(float(p.detach().square().sum()) for p in parameters))
    slope = math.sqrt(sum(float(g.square().sum()) for g in gradients)) or 1.0
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p.add_(g, alpha=0.05 * length / slope)
        uphill = float(F.cross_entropy(moved(x), y) - loss)
        generator = torch.Generator().manual_seed(0)
        rises = []
        for _ in range(3):
            for p, own in zip(parameters, (p for p in model.parameters() if p.requires_grad), strict=True):
                noise = torch.randn(p.shape, generator=generator)
                p.copy_(own + 0.1 * own.square().mean().sqrt() * noise)
            rises.append(float(F.cross_entropy(moved(x), y) - loss))
    return {"sharpness": uphill, "sharpness at random": float(np.mean(rises))}


def margins(model: nn.Module, x: Tensor, y: Tensor, logits: Tensor) -> Measures:
    """Return minus the lower quartile of the output margin, and of the margin at the input.

    The latter is the distance to the boundary to first order, (z_y − z_c) / ‖∇_x (z_y − z_c)‖ with c the best
    other class, over the root of the inputs' total variance (Jiang et al., ICLR 2019).
    """
    given = y[:, None]
    margin = (logits.gather(1, given) - logits.scatter(1, given, -torch.inf).amax(1, keepdim=True))[:, 0]
    part = x[:FEW_SAMPLES].clone().requires_grad_()
    z = model(part)
    other = z.detach().scatter(1, given[:FEW_SAMPLES], -torch.inf).argmax(1, keepdim=True)
    gap = (z.gather(1, given[:FEW_SAMPLES]) - z.gather(1, other))[:, 0]
    (slope,) = torch.autograd.grad(gap.sum(), part)
    spread = x.flatten(1).var(0).sum().sqrt()
    distance = gap.detach() / slope.flatten(1).norm(dim=1).clamp_min(1e-12) / spread
    return {
        "output margin": -float(margin.quantile(0.25)),
        "input margin": -float(distance.quantile(0.25)),
    }


def alignment(logits: Tensor, bias: Tensor, features: Tensor, weight: Tensor, y: Tensor) -> Measures:
    """Return minus GWA (Hölzl et al., arXiv 2510.25480).

    The mean of cos(−g_i, W) in the last layer, over its excess kurtosis plus 1.2.
    """
    residual = F.softmax(logits.double(), 1) - F.one_hot(y, logits.shape[1])
    size = residual.norm(dim=1) * features.double().norm(dim=1) * weight.double().norm()
    cosine = (-(residual * (logits.double() - bias)).sum(1) / (size + 1e-12)).numpy()
    return {"gradient-weight alignment": -float(cosine.mean() / (kurtosis(cosine) + 1.2))}


def _partners(y: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each sample another one of its class, drawn at random."""
    partner = torch.arange(len(y))
    for c in y.unique():
        own = (y == c).nonzero()[:, 0]
        partner[own] = own[torch.randperm(len(own), generator=generator)]
    return partner


def mixups(model: nn.Module, x: Tensor, y: Tensor, middle: nn.Module, features: Tensor) -> Measures:
    """Return the errors on mixed samples and the scatter of the classes: PGDL's winners.

    Natekar & Sharma (arXiv 2012.02775): labelwise mixup asks for the label of the mean of two samples of a
    class, at the input and, for manifold mixup, at the input of a module in the middle; the Davies-Bouldin
    index is that of the last layer's input. Mixup with other classes asks for the label of the larger part.

    Args:
        model: In eval mode.
        x: [N, ...].
        y: [N].
        middle: A module that maps the batch's hidden states.
        features: The last layer's input, [N, any].
    """
    generator = torch.Generator().manual_seed(0)
    partner = _partners(y, generator)
    stranger = torch.randperm(len(y), generator=generator)
    found = {
        "mixup": _error(model, 0.5 * (x + x[partner]), y),
        "mixup with other classes": _error(model, 0.7 * x + 0.3 * x[stranger], y),
        "manifold mixup": _manifold(model, x, y, middle, partner),
    }
    if len(y.unique()) > 1:
        index = float(davies_bouldin_score(features.numpy(), y.numpy()))
        found |= {"Davies-Bouldin": index, "Davies-Bouldin with mixup": index * found["mixup"]}
    return found


def _error(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        given = torch.cat([model(part).argmax(1) for part in x.split(500)])
    return float((given != y).double().mean())


def _manifold(model: nn.Module, x: Tensor, y: Tensor, middle: nn.Module, partner: Tensor) -> float:
    """Return the error when hidden states are averaged with their partners'."""

    def mix(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = inputs[0]
        return (0.5 * (hidden[: len(hidden) // 2] + hidden[len(hidden) // 2 :]), *inputs[1:])

    handle = middle.register_forward_pre_hook(mix)
    try:
        with torch.no_grad():
            parts = torch.arange(len(y)).split(250)
            given = torch.cat([model(torch.cat([x[i], x[partner[i]]])).argmax(1) for i in parts])
    finally:
        handle.remove()
    return float((given != y).double().mean())
