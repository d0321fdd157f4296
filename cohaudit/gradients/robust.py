"""Averages of gradients that no few samples can pull: winsorized mean, and median of three.

A direction that many samples share survives both; one that a single sample owns does not. Stepping along such
an average in place of the mean keeps a network from memorizing single samples (winsorized gradient
descent: Chatterjee, ICLR 2020, arXiv 2002.10657; median of three, M3: Zielinski, Krishnan & Chatterjee, arXiv
2003.07422).

    from cohaudit import robust

    found = robust.winsorized_gradient(model, loss, inputs, labels, clip=0.04)
    for name, parameter in model.named_parameters():
        parameter.grad = found.gradient[name]
    optimizer.step()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cohaudit.errors import ConfigError

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits [1, classes] and label [1] → the sample's loss; such as torch.nn.functional.cross_entropy."""
GROUPS = 3
"""Means of which the median is taken."""


@dataclass(frozen=True)
class RobustGradient:
    """A robust average of per-sample gradients.

    Attributes:
        gradient: Name of each trainable parameter → the average, shaped like it.
        kept: ‖average‖ / ‖mean‖, over all parameters: how much of the mean's length survives.
        cosine: Between the average and the mean.
        clipped: Of each sample, the share of its gradient's energy in coordinates that were clipped,
            [samples]; empty where nothing is clipped.
    """

    gradient: Mapping[str, Tensor]
    kept: float
    cosine: float
    clipped: Tensor


def winsorized_gradient(
    model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor, *, clip: float
) -> RobustGradient:
    """Return the winsorized mean of the samples' gradients.

    Each coordinate is clipped across the samples to its k-th smallest and k-th largest value but k, with
    k = ⌊clip · samples⌋, and then averaged: with k = 0 that is the mean.

    One parameter at a time has its samples' gradients in memory: samples × the largest parameter. Each takes
    a forward and a backward pass.

    Args:
        model: In the mode it is trained in; layers that mix samples, such as BatchNorm in training mode, or
            that draw random numbers are not supported.
        loss: Of one sample.
        inputs: [samples, ...].
        labels: [samples].
        clip: Share of the samples clipped on each side, in [0, 0.5).

    Raises:
        ConfigError: If `clip` is outside its range, or there is no sample.
    """
    if not 0 <= clip < 0.5:
        raise ConfigError("clip", f"found {clip}", "give a share from 0 to below 0.5")
    count = _count(inputs)
    k = int(clip * count)
    outside, energy = torch.zeros(2, count, dtype=torch.float64)
    averages = {}
    means = {}
    for name, rows in _per_sample(model, loss, inputs, labels):
        means[name] = rows.mean(0)
        clipped = rows
        if k:
            columns = rows.flatten(1).T.contiguous()  # a coordinate's samples side by side: half the time
            low, high = (columns.kthvalue(n, dim=1).values.view_as(rows[0]) for n in (k + 1, count - k))
            clipped = rows.clamp(low, high)
            squares = rows.double().square().flatten(1)
            moved = (clipped != rows).flatten(1)
            outside += (squares * moved).sum(1).cpu()
            energy += squares.sum(1).cpu()
        averages[name] = clipped.mean(0)
    shares = outside / energy.clamp_min(torch.finfo(torch.float64).tiny) if k else torch.empty(0)
    return _told(averages, means, shares)


def median_of_three_gradient(
    model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor, *, seed: int = 0
) -> RobustGradient:
    """Return M3: the coordinatewise median of the mean gradients of three groups of the samples.

    Args:
        model: As in `winsorized_gradient`.
        loss: Likewise.
        inputs: [samples, ...]; at least three.
        labels: [samples].
        seed: Of the division into groups.

    Raises:
        ConfigError: If there are fewer than three samples.
    """
    count = _count(inputs)
    if count < GROUPS:
        raise ConfigError("inputs", f"found {count} samples", f"give at least {GROUPS}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    averages = {}
    means = {}
    for name, rows in _per_sample(model, loss, inputs, labels):
        means[name] = rows.mean(0)
        groups = [rows[part.to(rows.device)].mean(0) for part in order.tensor_split(GROUPS)]
        averages[name] = torch.stack(groups).median(0).values
    return _told(averages, means, torch.empty(0))


def _count(inputs: Tensor) -> int:
    if not len(inputs):
        raise ConfigError("inputs", "found no sample", "give at least one")
    return len(inputs)


def _per_sample(model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield each trainable parameter's name with its samples' gradients, [samples, *shape]."""
    values = {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue

        def of_sample(own: Tensor, x: Tensor, y: Tensor, name: str = name) -> Tensor:
            return loss(functional_call(model, values | {name: own}, (x[None],)), y[None])

        yield name, vmap(grad(of_sample), in_dims=(None, 0, 0))(parameter.detach(), inputs, labels)


def _told(averages: dict[str, Tensor], means: dict[str, Tensor], clipped: Tensor) -> RobustGradient:
    ours, plain = (
        torch.cat([part.double().flatten().cpu() for part in parts.values()]) for parts in (averages, means)
    )
    length = float(plain.norm())
    return RobustGradient(
        gradient=averages,
        kept=float(ours.norm()) / length if length else 0.0,
        cosine=float(torch.nn.functional.cosine_similarity(ours, plain, dim=0)),
        clipped=clipped,
    )
