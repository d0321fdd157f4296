"""Trains many small networks at the cost of one: their weights are stacked, and one call runs all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from benchmarks.shared.label_noise import NoisyData


def train_stacked(
    models: list[nn.Module],
    make_optimizer: Callable[[nn.ParameterList], torch.optim.Optimizer],
    data: NoisyData,
    members: Tensor,
    *,
    batch_size: int,
    stages: Sequence[int],
) -> Iterator[list[nn.Module]]:
    """Train networks of one kind, as if each was alone; yield them at each stage.

    The order of the batches comes from torch's global generator.

    Args:
        models: The networks, in eval mode.
        make_optimizer: Returns an optimizer of the stacked weights; it must treat each number by itself.
        data: All samples.
        members: Samples that each network sees, [networks, any].
        batch_size: Samples per step of each network.
        stages: Numbers of epochs after which the networks are yielded, rising.
    """
    each = [dict(model.named_parameters()) for model in models]
    stacked = {name: nn.Parameter(torch.stack([one[name].detach() for one in each])) for name in each[0]}
    optimizer = make_optimizer(nn.ParameterList(stacked.values()))

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(models[0], weights, (x,)), y)

    for epoch in range(1, stages[-1] + 1):
        order = members.gather(1, torch.rand(members.shape).argsort(1))
        for batch in order.split(batch_size, 1):
            optimizer.zero_grad()
            vmap(loss)(dict[str, Tensor](stacked), data.train[batch], data.labels[batch]).sum().backward()
            optimizer.step()
        if epoch in stages:
            with torch.no_grad():
                for k, one in enumerate(each):
                    for name, value in one.items():
                        value.copy_(stacked[name][k])
            yield models
