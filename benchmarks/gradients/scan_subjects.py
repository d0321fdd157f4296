"""What whole scans are timed on: networks with data, in as many samples as wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch

from benchmarks.gradients.trained import LARGE, trained
from benchmarks.shared.measuring import CPU
from benchmarks.shared.networks import TextEncoder
from benchmarks.shared.workloads import SPECS, Spec, Workload, make

Build: TypeAlias = Callable[[int, Path], Workload]
"""(samples, folder of the data) → network and data."""


@dataclass(frozen=True)
class Subject:
    """A network with its data.

    Attributes:
        build: Makes it for some number of samples; raises FileNotFoundError without its data.
        samples: Numbers of samples to scan. Where an epoch over 20,000 takes minutes they are few, of two
            sizes: what a sample costs and what a scan costs in any case then tell what more would.
        trained: Whether the network is trained on the data; else both are random.
    """

    build: Build
    samples: tuple[int, ...]
    trained: bool


def _fitted(name: str, samples: int, folder: Path) -> Workload:
    """Return one of the trained networks, on samples beyond those it was trained on if there are too few."""
    network = trained(name, folder)
    inputs, truth = LARGE[name].data(folder)
    labels = truth.clone()
    labels[: len(network.data.labels)] = network.data.labels
    if samples > len(labels):
        raise ValueError(f"{name}: the data has {len(labels):,} samples")
    return Workload(network.model, inputs[:samples], labels[:samples], network.data.classes, 128, CPU)


def _random(spec: Spec, samples: int, folder: Path) -> Workload:
    return make(spec, CPU, samples)


def _words(length: int, samples: int) -> torch.Tensor:
    return torch.randint(WORDS, (samples, length))


WORDS = 30_522
"""Word pieces of BERT's vocabulary."""
MINI_LM = Spec(lambda: TextEncoder(WORDS, 64, 4, 384, 6, 12), partial(_words, 64), 4, 512, 64)
"""Shape of MiniLM, 22 million parameters, on texts of 64 word pieces."""
BERT = Spec(lambda: TextEncoder(WORDS, 32, 4, 768, 12, 12), partial(_words, 32), 4, 64, 16)
"""Shape of BERT-base, 109 million parameters, on texts of 32 word pieces."""

SUBJECTS: dict[str, Subject] = {
    "small CNN": Subject(partial(_fitted, "CNN, 25 epochs"), (20_000, 60_000), True),
    "perceptron": Subject(partial(_fitted, "perceptron"), (20_000,), True),
    "LSTM": Subject(partial(_fitted, "character LSTM"), (20_000,), True),
    "ResNet-18": Subject(partial(_random, SPECS["resnet18-64"]), (64, 256), False),
    "ViT": Subject(partial(_random, SPECS["vit"]), (256, 1024), False),
    "GPT": Subject(partial(_random, SPECS["gpt"]), (512, 2048), False),
    "MiniLM": Subject(partial(_random, MINI_LM), (64, 256), False),
    "BERT": Subject(partial(_random, BERT), (48, 96), False),
}
"""Subjects by name."""
