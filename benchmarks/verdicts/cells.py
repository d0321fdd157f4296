"""The cells of the verdicts benchmark: data, noise, and network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.shared import paths
from benchmarks.verdicts.synthetic import GRID

CACHE = paths.CACHE / "verdicts"
"""Folder of the runs."""
STAGES = ("early", "interpolated")
"""Stages of a training run: the best epoch on test data, and the first that fits nearly all labels."""


@dataclass(frozen=True)
class Cell:
    """A training run.

    Attributes:
        data: Name of the data set; "clouds …" is synthetic.
        noise: Kind of label noise; see `planted_noise.plant`.
        model: Name of the network.
        seed: Seed of samples, noise, weights and order.
        every_peer: Whether the slow peers judge its checkpoints too: those of real noise, and one kind of
            planted noise for each network and data set; none that is repeated, or large.
    """

    data: str
    noise: str
    model: str
    seed: int = 0
    every_peer: bool = False

    @property
    def synthetic(self) -> bool:
        """Whether its samples are drawn from clouds."""
        return self.data.startswith("clouds")

    @property
    def human(self) -> bool:
        """Whether its wrong labels are real: of people, or of distant supervision."""
        return not self.noise[0].isdigit()

    @property
    def file(self) -> Path:
        """File of what is saved of its run."""
        text = f"{self.data} {self.noise} {self.model} {self.seed}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        return CACHE / ("".join(c if c.isalnum() else "-" for c in text) + f"-{digest}.npz")


TABLE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("labelme", "MLP", ("majority", "one annotator", "10 % uniform")),
    ("hausa news", "text CNN", ("distant", "15 % uniform")),
    ("sentiment", "text CNN", ("one annotator", "10 % hard")),
    ("digits, a 3?", "CNN", ("15 % of class 1", "1.5 % of class 0", "0 %")),
    ("digits", "MLP, SGD", ("10 % uniform", "10 % confused", "0 %")),
    ("wine", "MLP", ("10 % uniform",)),
    ("adult", "MLP", ("10 % uniform", "10 % hard", "10 % confused")),
    ("digits 0, 1", "CNN", ("5 % uniform",)),
    ("digits 3, 8", "CNN", ("5 % uniform",)),
    ("breast cancer", "MLP", ("10 % uniform", "8 % hard")),
    ("hausa words", "word window", ("distant",)),
    ("fashion", "CNN", ("20 % uniform", "20 % by class", "10 % hard", "4 % uniform")),
    ("trec", "text CNN", ("15 % uniform", "15 % confused")),
    ("california", "MLP", ("15 % by class", "20 % uniform")),
    ("origin", "text CNN", ("5 % uniform", "0 %")),
    ("english words", "word window", ("10 % confused", "5 % uniform")),
    ("cifar", "CNN", ("20 % uniform", "20 % confused", "0 %")),
    ("cifar10h", "CNN", ("one annotator",)),
    ("sentiment", "transformer", ("majority",)),
    ("camvid patches", "CNN", ("10 % by class", "10 % confused")),
    ("trec", "transformer", ("20 % uniform", "10 % hard")),
    ("hausa news", "transformer", ("distant",)),
    ("fashion, a bag?", "CNN", ("20 % of class 1",)),
    ("english words, fine", "word window", ("10 % uniform",)),
    ("digits", "CNN", ("20 % uniform", "10 % hard")),
    ("fashion", "MLP, SGD", ("20 % uniform", "10 % confused")),
    ("cifar", "ViT", ("20 % hard",)),
    ("cifar10h", "ResNet, pretrained", ("one annotator",)),
    ("cifar", "ResNet, pretrained", ("10 % uniform", "40 % uniform")),
    ("cifar", "ResNet", ("20 % confused",)),
    ("labelme", "MLP, SGD", ("majority", "one annotator")),
    ("sentiment, MiniLM embeddings", "MLP", ("majority", "one annotator")),
    ("trec, MiniLM embeddings", "MLP", ("15 % confused",)),
    ("trec, MiniLM tokens", "MiniLM, fine-tuned", ("15 % uniform",)),
    ("adult, large", "MLP", ("10 % hard",)),
    ("english words, large", "word window", ("10 % uniform",)),
)
"""Data, network, and kinds of noise; real noise and small networks first."""
REPEATED = ("labelme", "hausa news", "hausa words", "sentiment", "digits")
"""Data sets that are cheap enough for a second seed: those with real errors, and the digits."""
LARGE = ("adult, large", "english words, large", "trec, MiniLM tokens")
"""Data sets with too many samples, or too large a network, for the slow peers."""


def cells() -> list[Cell]:
    """Return all cells: on real data, those of a second seed, then synthetic ones."""
    real = [
        Cell(
            data,
            noise,
            model,
            every_peer=data not in LARGE and (noise == noises[0] or not noise[0].isdigit()),
        )
        for data, model, noises in TABLE
        for noise in noises
    ]
    again = [replace(cell, seed=1, every_peer=False) for cell in real if cell.data in REPEATED]
    return real + again + [Cell(data, noise, "MLP") for data, noise in GRID]
