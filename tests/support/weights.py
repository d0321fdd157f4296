"""Small models, tensors that fit them, and how a test loads them."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from cohaudit.errors import ModelError
from cohaudit.loading.checkpoint import Checkpoint
from cohaudit.loading.model import load_weights


def net(classes: int = 3, width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, width, 3),
            norm=nn.BatchNorm2d(width),
            flat=nn.Flatten(),
            fc=nn.Linear(width * 4, classes),
        )
    )


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Weights of the model's shapes, with other values than it has."""
    torch.manual_seed(1)
    return {name: torch.randn(v.shape).abs().to(v.dtype) for name, v in model.state_dict().items()}


def held(tensors: dict[str, Tensor], **metadata: str) -> Checkpoint:
    return Checkpoint("model.pt", "torch file", "", tensors, metadata)


def assert_has(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, tensors[name].to(value.dtype)), name


def mismatch(model: nn.Module, tensors: dict[str, Tensor]) -> ModelError:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    with pytest.raises(ModelError) as caught:
        load_weights(model, held(tensors))
    assert_has(model, before)
    assert model.training
    assert caught.value.where == "model.pt"
    return caught.value


class Tied(nn.Module):
    """A language model in small: its last layer is its embedding."""

    def __init__(self, tie: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        if tie:
            self.head.weight = self.embed.weight
