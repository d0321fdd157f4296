"""Models whose samples mix, or that are random, are refused, and the module is named."""

from __future__ import annotations

import torch
from support.networks import CLASSES, SAMPLES, Apply
from support.oracle import (
    refusal,
)
from torch import nn
from torch.nn import functional as F


def test_samples_that_mix_are_refused() -> None:
    inputs = torch.randn(SAMPLES, 5).double()
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, CLASSES))
    assert "layer 1: BatchNorm without running statistics" in refusal(net, inputs)
    centered = Apply(lambda n, x: n.head(x - x.mean(0)), head=nn.Linear(5, CLASSES))
    assert "model: a sample's logits depend on the other samples of its batch" in refusal(centered, inputs)
    inner = Apply(lambda n, x: n.head(x / (1 + x.mean(0))), head=nn.Linear(4, 4))
    net = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.ReLU(), inner), nn.Linear(4, CLASSES))
    assert "layer 1.1: a sample's logits depend on the other samples" in refusal(net, inputs)


def test_mixing_is_named_where_the_batch_stands_second() -> None:
    mixer = Apply(lambda n, x: n.head(x - x.mean(1, keepdim=True)), head=nn.Linear(5, 4))
    net = Apply(
        lambda n, x: n.head(n.mixer(x.transpose(0, 1)).sum(0)), mixer=mixer, head=nn.Linear(4, CLASSES)
    )
    assert "layer mixer: " in refusal(net, torch.randn(SAMPLES, 3, 5).double())


def test_random_forward_is_refused() -> None:
    net = Apply(lambda n, x: n.head(F.dropout(x, 0.5, training=True)), head=nn.Linear(5, CLASSES))
    assert "model: two forward passes" in refusal(net, torch.randn(SAMPLES, 5).double())
    drop = Apply(lambda n, x: F.dropout(x, 0.5, training=True))
    net = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.ReLU(), drop), nn.Linear(4, CLASSES))
    assert "layer 1.1: two forward passes" in refusal(net, torch.randn(SAMPLES, 5).double())
