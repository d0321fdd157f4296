"""Networks whose calls cannot be watched: measured by the loop, or refused by the layer's name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import cohaudit
from cohaudit.errors import EngineError, ModelError
from cohaudit.gradients import Source, check_model
from cohaudit.gradients.checks.prepare import prepare
from cohaudit.report.html.view._classes import build_classes

LABELS = np.arange(6) % 3
INPUTS = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(24).reshape(6, 4) % 20


def source(inputs: torch.Tensor) -> Source:
    return Source(lambda indices: inputs[indices], LABELS, [*"abcdef"], ["0", "1", "2"])


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.head(self.first(x).relu()).float()


class TakesGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = self.energy(x).tanh()
            (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        return energy - slope[:, :3]


class TransformsGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        slope = torch.func.grad(lambda z: self.energy(z).tanh().sum())(x)
        return self.energy(x).tanh() - slope[:, :3]


class NeedsGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        energy = self.energy(x)
        (slope,) = torch.autograd.grad(energy.tanh().sum(), x, create_graph=True)
        return energy - slope[:, :3]


class Bag(nn.Module):
    def __init__(self, sparse: bool = True) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(20, 8, mode="mean", sparse=sparse)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(x))


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 3, dtype=torch.cfloat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(x.to(torch.cfloat)).abs()


@pytest.mark.parametrize(
    ("model", "inputs", "looped"),
    [
        (Mixed(), INPUTS, True),
        (TakesGradients(), INPUTS, True),
        (TransformsGradients(), INPUTS, True),
        (Bag(), TOKENS, False),
    ],
)
def test_every_parameter_has_a_path(model: nn.Module, inputs: torch.Tensor, looped: bool) -> None:
    model.eval()
    plan = prepare(model, source(inputs), torch.device("cpu"))
    assert plan.parameters.keys() == dict(model.named_parameters()).keys()
    assert plan.all_looped == looped


def test_complex_parameters_are_refused_by_the_layers_name() -> None:
    with pytest.raises(EngineError, match=r"layer mix: its parameter mix.weight is complex"):
        check_model(Complex().eval(), source(INPUTS), torch.device("cpu"))


def test_gradients_that_are_not_recorded_are_refused_by_the_layers_name() -> None:
    model = nn.Sequential(nn.Linear(8, 8), NeedsGradients()).eval()
    with pytest.raises(ModelError, match=r"layer 1: its forward takes gradients.*\n.*torch.enable_grad"):
        check_model(model, source(INPUTS), torch.device("cpu"))


@pytest.mark.parametrize(("last", "outputs"), [(nn.Softmax(1), 3), (nn.Sigmoid(), 1)])
def test_probabilities_are_no_logits(last: nn.Module, outputs: int) -> None:
    model = nn.Sequential(nn.Linear(8, outputs), last).eval()
    with pytest.raises(ModelError, match="they are probabilities, not logits"):
        check_model(model, source(INPUTS), torch.device("cpu"))
    # log-probabilities are logits
    check_model(nn.Sequential(nn.Linear(8, 3), nn.LogSoftmax(1)).eval(), source(INPUTS), torch.device("cpu"))


@pytest.mark.parametrize(("absent", "names"), [(2, ()), (1, ()), (1, ("a", "b", "c"))])
def test_a_class_without_samples(absent: int, names: tuple[str, ...]) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 60)
    inputs = (generator.normal(size=(60, 8)) + 3 * np.eye(8)[labels]).astype(np.float32)
    keep = labels != absent
    torch.manual_seed(0)
    audit = cohaudit.scan(nn.Linear(8, 3), (inputs[keep], labels[keep]), class_names=names, outside=False)
    assert [one.samples == 0 for one in audit.classes] == [c == absent for c in range(3)]
    assert any("1 of 3 classes have no sample" in notice for notice in audit.notices)
    empty = audit.classes[absent]
    assert (empty.accuracy, empty.mean_loss) == (None, None)
    row = next(row for row in build_classes(audit).rows if row.samples == "0")
    assert (row.accuracy, row.mean_loss, row.suspect_share) == ("–", "–", "–")
