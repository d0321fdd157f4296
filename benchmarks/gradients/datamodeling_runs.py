"""Networks retrained on random halves of the data, and what a scan measures of one that was trained on all.

Everything is saved in benchmarks/.cache: another score of "who supports whom" is then judged in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.label_noise import NoisyData, load_noisy
from benchmarks.shared.measuring import measure_model
from benchmarks.shared.recipes import WordAverage, cnn, perceptron
from benchmarks.shared.stacked_training import train_stacked
from benchmarks.shared.training import logits_of, train_epoch

CACHE = paths.CACHE / "datamodeling"
"""Folder of the margins and the measurements."""
HELD_OUT = 200
"""Samples of new data that are asked for as well."""
KEPT = 0.5
"""Share of the training samples that each retrained network sees."""
SUBSETS = 80
"""Random halves."""
TOGETHER = 20
"""Networks trained together."""
AUDITED = 2
"""Networks trained on all samples; figures are their mean."""
RATE = 3e-3
"""Learning rate of AdamW; its weight decay is the default, 0.01."""
BATCH = 50
"""Samples per step."""
HOT = 10.0
"""Temperature of the second measurement."""
EPSILON = 1e-8
"""What AdamW adds to the root of its second moment."""

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Experiment:
    """A network, its data, and when it is asked.

    Attributes:
        data: Name of the data set.
        network: Name of the network.
        stages: Numbers of epochs after which networks are asked: at their best, and when nearly all labels
            are fitted.
        seeds: Networks retrained on each half, by different weights and orders.
        samples: Number of training samples.
    """

    data: str
    network: str
    stages: tuple[int, int]
    seeds: int = 2
    samples: int = 1000

    @property
    def folder(self) -> Path:
        """Folder in which its figures are saved."""
        return CACHE / f"{self.data}-{self.network}-{'-'.join(map(str, self.stages))}-{self.samples}"

    def load(self, folder: Path) -> NoisyData:
        """Return its samples, a fifth of whose labels are wrong, from the folder of the data."""
        data = load_noisy(self.data, "20 %", 0, folder).first(self.samples)
        if self.network != "CNN":
            return data
        # half the resolution: a quarter of the time
        return replace(data, train=F.avg_pool2d(data.train, 2), test=F.avg_pool2d(data.test, 2))

    def build(self, data: NoisyData) -> nn.Module:
        """Return the untrained network."""
        return NETWORKS[self.network](data)


NETWORKS: dict[str, Callable[[NoisyData], nn.Module]] = {
    "MLP": lambda data: perceptron(data.train[0].numel(), data.classes, 64),
    "CNN": lambda data: cnn(data.train.shape[-1], data.train.shape[1], data.classes),
    "word average": lambda data: WordAverage(data.classes, 32),
}
"""Networks by name."""

EXPERIMENTS = (
    Experiment("digits", "MLP", (5, 100)),
    Experiment("fashion", "MLP", (3, 30)),
    Experiment("trec", "word average", (4, 20)),
    Experiment("adult", "MLP", (3, 60)),
    Experiment("fashion", "CNN", (5, 25), seeds=1),
    Experiment("digits", "MLP", (10, 200), samples=250),
    Experiment("fashion", "MLP", (6, 60), samples=250),
    Experiment("trec", "word average", (8, 40), samples=250),
    Experiment("adult", "MLP", (6, 120), samples=250),
)
"""The scores' one constant is chosen on the first; the others show what it is worth. Those with fewer samples
show whether it depends on their number."""


def asked(data: NoisyData) -> tuple[Tensor, Tensor]:
    """Return the samples whose margins are asked for, and their labels: training samples, then new ones."""
    inputs = torch.cat([data.train, data.test[:HELD_OUT]])
    return inputs, torch.cat([data.labels, data.test_labels[:HELD_OUT]])


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log(p / (1 − p)) of each label's probability p, float64 [samples] (TRAK's model output)."""
    z = logits.double()
    given = z.gather(1, labels[:, None])[:, 0]
    return given - z.scatter(1, labels[:, None], -torch.inf).logsumexp(1)


def halves(samples: int) -> Tensor:
    """Return the samples of each random half, int64 [SUBSETS, samples / 2]."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(SUBSETS, samples, generator=generator).argsort(1)[:, : round(KEPT * samples)]


def train_together(
    experiment: Experiment, data: NoisyData, members: Tensor, seed: int
) -> Iterator[list[nn.Module]]:
    """Train networks, each on samples of its own, and yield them at each stage, in eval mode.

    Args:
        experiment: Network and stages.
        data: All samples.
        members: Samples that each network sees, [networks, any].
        seed: Seed of the weights and of the order of the batches.
    """
    torch.manual_seed(seed)
    models = [experiment.build(data).eval() for _ in members]
    optimizer = partial(torch.optim.AdamW, lr=RATE)
    yield from train_stacked(models, optimizer, data, members, batch_size=BATCH, stages=experiment.stages)


def train_apart(
    experiment: Experiment, data: NoisyData, members: Tensor, seed: int
) -> Iterator[list[nn.Module]]:
    """The same as `train_together`, one network after the other: quicker for convolutions."""
    stages: list[list[nn.Module]] = [[] for _ in experiment.stages]
    torch.manual_seed(seed)
    for some in members:
        for stage, (model, _) in zip(stages, trained_alone(experiment, data, some), strict=True):
            stage.append(deepcopy(model))
    yield from stages


def trained_alone(
    experiment: Experiment, data: NoisyData, members: Tensor
) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
    """Train a network by torch's global generator; yield it at each stage, in eval mode."""
    model = experiment.build(data)
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    for epoch in range(1, experiment.stages[-1] + 1):
        train_epoch(model, optimizer, data.train[members], data.labels[members], BATCH)
        if epoch in experiment.stages:
            yield model, optimizer


def retrain(experiment: Experiment, data: NoisyData, part: int) -> None:
    """Train TOGETHER networks on as many halves, unless that was done; save their margins at each stage.

    Args:
        experiment: What is trained.
        data: Its samples.
        part: Number of the part; SUBSETS / TOGETHER parts are one seed.
    """
    file = experiment.folder / f"{part:03}.npy"
    if file.exists():
        return
    start = part * TOGETHER % SUBSETS
    members = halves(experiment.samples)[start : start + TOGETHER]
    train = train_apart if experiment.network == "CNN" else train_together
    inputs, labels = asked(data)
    margins = [
        torch.stack([log_odds(logits_of(model, inputs), labels) for model in models])
        for models in train(experiment, data, members, 1000 + part)
    ]
    experiment.folder.mkdir(parents=True, exist_ok=True)
    np.save(file, torch.stack(margins).float().numpy())


def outcomes(experiment: Experiment, stage: int) -> np.ndarray:
    """Return the margins by the retrained networks, float64 [seeds, SUBSETS, asked samples]."""
    parts = [
        np.load(experiment.folder / f"{part:03}.npy")[stage]
        for part in range(experiment.seeds * SUBSETS // TOGETHER)
    ]
    return np.concatenate(parts).astype(np.float64).reshape(experiment.seeds, SUBSETS, -1)


def audit(experiment: Experiment, data: NoisyData, number: int) -> None:
    """Train a network on all samples and save what is measured of it at each stage, unless that was done.

    Args:
        experiment: What is trained.
        data: Its samples.
        number: Number of the network, its seed.
    """
    if audited_file(experiment, number, len(experiment.stages) - 1).exists():
        return
    torch.manual_seed(number)
    inputs, labels = asked(data)
    everything = torch.arange(experiment.samples)
    for stage, (model, optimizer) in enumerate(trained_alone(experiment, data, everything)):
        measured = measure_model(model, inputs, labels, data.classes)
        hot = measure_model(model, inputs, labels, data.classes, temperature=HOT)
        plain, adapted = gradient_products(model, optimizer, inputs, labels)
        experiment.folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            audited_file(experiment, number, stage),
            sketches=measured.sketches * measured.scale[:, None].astype(np.float32),
            hot=hot.sketches,
            views=np.stack([unit_gram(view.rows) for view in measured.views]),
            log_odds=log_odds(logits_of(model, inputs), labels).numpy(),
            labels=labels.numpy(),
            wrong=data.wrong.numpy(),
            plain=plain,
            adapted=adapted,
        )


def audited_file(experiment: Experiment, number: int, stage: int) -> Path:
    """Return the file of what is measured of an audited network at a stage."""
    return experiment.folder / f"audited-{number}-{stage}.npz"


def unit_gram(rows: np.ndarray) -> np.ndarray:
    """Return the cosines between all rows, float32 [rows, rows]."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    cosines: np.ndarray = unit @ unit.T
    return cosines


def gradient_products(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return gᵢᵀgⱼ and gᵢᵀ D gⱼ of whole loss gradients, float32 [samples, samples] each.

    D is what the optimizer multiplies a gradient with, by AdamW's second moment: 1 / (√v̂ + ε) of each weight.

    Args:
        model: In eval mode.
        optimizer: Of its parameters, AdamW, after at least one step.
        inputs: [samples, ...].
        labels: int64 [samples].
    """
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def loss(weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, weights, (x[None],)), y[None])

    by_sample = vmap(partial(grad(loss), weights))
    plain = torch.zeros(len(inputs), len(inputs))
    adapted = torch.zeros(len(inputs), len(inputs))
    gradients = [by_sample(x, y) for x, y in zip(inputs.split(200), labels.split(200), strict=True)]
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        second = state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))
        rows = torch.cat([one[name].flatten(1) for one in gradients])
        plain += rows @ rows.T
        rows = rows / (second.flatten().sqrt() + EPSILON).sqrt()
        adapted += rows @ rows.T
    return plain.numpy(), adapted.numpy()


def run(experiment: Experiment, folder: Path) -> None:
    """Train and measure what is missing of an experiment."""
    torch.set_num_threads(1)
    data = experiment.load(folder)
    for number in range(AUDITED):
        audit(experiment, data, number)
    for part in range(experiment.seeds * SUBSETS // TOGETHER):
        retrain(experiment, data, part)
