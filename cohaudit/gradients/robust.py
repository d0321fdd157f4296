"""Averages of gradients that a few samples cannot dominate: winsorized mean, and median of three.

A direction that many samples share survives both; a direction of a single sample does not. A training step
along such an average, instead of the mean, keeps a network from memorizing single samples (winsorized
gradient descent: Chatterjee, ICLR 2020, arXiv 2002.10657; median of three, M3: Zielinski, Krishnan &
Chatterjee, arXiv 2003.07422).

    from cohaudit import robust

    found = robust.winsorized_gradient(model, loss, inputs, labels, clip=0.04)
    for name, parameter in model.named_parameters():
        parameter.grad = found.gradient[name]
    optimizer.step()
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cohaudit.errors import ConfigError
from cohaudit.gradients.precision import SMALLEST_FLOAT64

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits [1, classes] and label [1] → loss of the sample, e.g. torch.nn.functional.cross_entropy."""

ROUNDED_DIGITS = 9
"""Decimals that a product is rounded to: floating-point errors are smaller."""

MEDIAN_GROUPS = 3
"""Groups of samples; the average is the median of their means."""


@dataclass(frozen=True)
class RobustGradient:
    """A robust average of per-sample gradients.

    Attributes:
        gradient: Name of each trainable parameter → the average, shaped like it.
        kept: ‖average‖ / ‖mean‖, over all parameters.
        cosine: Cosine between the average and the mean, over all parameters.
        clipped: For each sample, the share of its squared gradient norm in coordinates that were clipped,
            [samples]; empty if nothing is clipped.
    """

    gradient: Mapping[str, Tensor]
    kept: float
    cosine: float
    clipped: Tensor


def clipped_count(clip: float, count: int) -> int:
    """Return ⌊clip · count⌋, the samples clipped at either end of a coordinate.

    The product is rounded first: in floating point 0.29 · 100 is 28.999…, which would be one sample fewer.
    """
    return math.floor(round(clip * count, ROUNDED_DIGITS))


def winsorized_gradient(
    model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor, *, clip: float
) -> RobustGradient:
    """Return the winsorized mean of the samples' gradients.

    With k = ⌊clip · samples⌋, the k smallest and the k largest values of each coordinate are replaced by the
    nearest of the others, and the result is averaged. With k = 0 it is the mean.

    It needs memory for samples × the largest parameter, and a forward and a backward pass for each parameter:
    only one parameter's per-sample gradients are in memory at a time.

    Args:
        model: In the mode in which it is trained. Layers that mix samples, such as BatchNorm in training
            mode, and layers that draw random numbers are not supported.
        loss: Loss of one sample.
        inputs: Inputs of the samples, [samples, ...].
        labels: Labels of the samples, [samples].
        clip: Share of the samples clipped on each side, in [0, 0.5).

    Raises:
        ConfigError: If `clip` is outside its range, or there are no samples.
    """
    if not 0 <= clip < 0.5:
        raise ConfigError("clip", f"found {clip}", "give a share from 0 to below 0.5")
    count = _count(inputs)
    k = clipped_count(clip, count)
    # in float64: small squares of many parameters are added up
    outside, energy = torch.zeros(2, count, dtype=torch.float64)
    averages = {}
    means = {}
    for name, rows in _per_sample(model, loss, inputs, labels):
        means[name] = rows.mean(0)
        clipped = rows
        if k:
            # kthvalue takes half the time if the samples of a coordinate lie side by side
            columns = rows.flatten(1).T.contiguous()
            low, high = (columns.kthvalue(n, dim=1).values.view_as(rows[0]) for n in (k + 1, count - k))
            clipped = rows.clamp(low, high)
            squares = rows.double().square().flatten(1)
            moved = (clipped != rows).flatten(1)
            outside += (squares * moved).sum(1).cpu()
            energy += squares.sum(1).cpu()
        averages[name] = clipped.mean(0)
    shares = outside / energy.clamp_min(torch.finfo(torch.float64).tiny) if k else torch.empty(0)
    return _summarize(averages, means, shares)


def median_of_three_gradient(
    model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor, *, seed: int = 0
) -> RobustGradient:
    """Return M3: in each coordinate, the median of the mean gradients of three groups of samples.

    Args:
        model: See `winsorized_gradient`.
        loss: Loss of one sample.
        inputs: Inputs of the samples, [samples, ...]; at least three.
        labels: Labels of the samples, [samples].
        seed: Seed of the random division into groups.

    Raises:
        ConfigError: If there are fewer than three samples.
    """
    count = _count(inputs)
    if count < MEDIAN_GROUPS:
        raise ConfigError("inputs", f"found {count} samples", f"give at least {MEDIAN_GROUPS}")
    # on the CPU, so that the groups are the same on every device
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    averages = {}
    means = {}
    for name, rows in _per_sample(model, loss, inputs, labels):
        means[name] = rows.mean(0)
        groups = [rows[part.to(rows.device)].mean(0) for part in order.tensor_split(MEDIAN_GROUPS)]
        averages[name] = torch.stack(groups).median(0).values
    return _summarize(averages, means, torch.empty(0))


def _count(inputs: Tensor) -> int:
    if not len(inputs):
        raise ConfigError("inputs", "found no samples", "give at least one")
    return len(inputs)


def _per_sample(model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield each trainable parameter's name with its samples' gradients, [samples, *shape]."""
    # all other parameters are constants of the function that is differentiated
    values = {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue

        def of_sample(own: Tensor, x: Tensor, y: Tensor, name: str = name) -> Tensor:
            return loss(functional_call(model, values | {name: own}, (x[None],)), y[None])

        yield name, vmap(grad(of_sample), in_dims=(None, 0, 0))(parameter.detach(), inputs, labels)


def _summarize(averages: dict[str, Tensor], means: dict[str, Tensor], clipped: Tensor) -> RobustGradient:
    average, mean = (
        torch.cat([part.double().flatten().cpu() for part in parts.values()]) for parts in (averages, means)
    )
    length = float(mean.norm())
    return RobustGradient(
        gradient=averages,
        kept=float(average.norm()) / length if length else 0.0,
        # the default eps of 1e-8 would shrink the cosine of a fitted network's gradients
        cosine=float(torch.nn.functional.cosine_similarity(average, mean, dim=0, eps=SMALLEST_FLOAT64)),
        clipped=clipped,
    )
