"""The built-in loop: early stopping, batches, schedules, and models of every kind of output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.crossfits import build, clouds, loop, source_of
from torch import Tensor, nn

from cohaudit.errors import ModelError
from cohaudit.pipeline.crossfit.training_data import TrainingData
from cohaudit.pipeline.crossfit.training_loop import PATIENCE, EarlyStopping, TrainingLoop, _batches


def all_of(inputs: np.ndarray, labels: np.ndarray) -> TrainingData:
    return TrainingData(source_of(inputs, labels), np.arange(len(labels)))


@given(st.integers(2, 200), st.integers(1, 70))
def test_batches_are_a_partition_and_none_has_one_sample(samples: int, size: int) -> None:
    found = list(_batches(np.arange(samples), size))
    assert sorted(i for batch in found for i in batch) == list(range(samples))
    sizes = [len(batch) for batch in found]
    assert min(sizes) >= 2
    assert max(sizes) <= max(size, 3)
    assert max(sizes) - min(sizes) <= 1


def test_the_weights_with_the_least_loss_come_back() -> None:
    network = nn.Linear(1, 1)
    stopping = EarlyStopping(network)
    losses = [3.0, 2.0, math.nan, 2.5, *[2.0] * PATIENCE]
    over = []
    for epoch, loss in enumerate(losses):
        nn.init.constant_(network.weight, float(epoch))
        over.append(stopping.is_over(loss))
        if over[-1]:
            break
    assert over.index(True) == 1 + PATIENCE, "so many epochs without a smaller loss"
    stopping.restore_best()
    assert network.weight.item() == 1.0


def test_the_rate_falls_along_a_cosine_to_the_last_one() -> None:
    rates = []

    class Recording(nn.Linear):
        """Notes the length of each step on a loss whose gradient is the same."""

        def forward(self, x: Tensor) -> Tensor:
            rates.append(self.weight[0, 0].item())
            return super().forward(x) * 1e-3

    trainer = loop(optimizer="sgd", epochs=3, batch_size=60)
    optimizer = replace(trainer.recipe.optimizer, lr=0.9, last_lr=0.1, momentum=0.0)
    trainer = replace(trainer, recipe=replace(trainer.recipe, optimizer=optimizer))
    network = Recording(5, 3)
    trainer.train(network, all_of(*clouds()), 0, lambda samples: None)
    steps = np.diff([*rates, network.weight[0, 0].item()])
    np.testing.assert_allclose(steps / steps[0], [1, 0.5 / 0.9, 0.1 / 0.9], rtol=0.05)


@pytest.mark.parametrize("outputs", ["one", "flat", "a dictionary", "a tuple"])
def test_every_output_that_a_scan_takes_can_be_trained(outputs: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(5, 2 if outputs.startswith("a ") else 1)

        def forward(self, x: Tensor) -> object:
            logits = self.head(x)
            return {"one": logits, "flat": logits[:, 0], "a tuple": (logits, x)}.get(
                outputs, {"logits": logits}
            )

    inputs, labels = clouds(90)
    inputs, labels = inputs[labels < 2], labels[labels < 2]
    data = TrainingData(source_of(inputs, labels, classes=2), np.arange(len(labels)))
    trainer = loop(optimizer="sgd", lr=0.3, epochs=8)
    network = Network()
    before = trainer._loss_on(network, data)
    trainer.train(network, data, 0, lambda samples: None)
    assert trainer._loss_on(network, data) < 0.5 * before


def test_a_model_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="none of its parameters requires a gradient"):
        loop().train(build().requires_grad_(False), all_of(*clouds()), 0, lambda samples: None)


def test_a_failure_in_training_mode_is_told() -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise RuntimeError("no schedule")
            return super().forward(x)

    with pytest.raises(ModelError, match="a step of training fails: RuntimeError: no schedule"):
        loop().train(Broken(5, 3), all_of(*clouds()), 0, lambda samples: None)


def test_the_forecast_grows_with_the_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def step(self: TrainingLoop, *_: object) -> Tensor:
        nonlocal now
        now += 0.25
        return torch.zeros(())

    monkeypatch.setattr(TrainingLoop, "_step", step)
    monkeypatch.setattr("cohaudit.pipeline.crossfit.training_loop.time.perf_counter", lambda: now)
    seconds = loop(epochs=7, batch_size=10).seconds_per_network(build(), all_of(*clouds()))
    assert seconds == pytest.approx(7 * 6 * 0.25), "7 epochs of 6 batches"


def test_inputs_are_read_when_they_are_needed() -> None:
    read: list[int] = []
    inputs, labels = clouds()
    source = source_of(inputs, labels)

    def load(indices: Sequence[int]) -> object:
        read.extend(indices)
        return source.load(indices)

    data = TrainingData(replace(source, load=load), np.array([3, 5, 8]))
    assert (len(data), data.labels.tolist()) == (3, labels[[3, 5, 8]].tolist())
    assert read == []
    row, label = data[1]
    assert read == [5]
    np.testing.assert_array_equal(row, inputs[5])
    assert type(label) is int
    with pytest.raises(IndexError):
        data[3]
