"""The training runs of the stopping benchmark: every data set under every schedule, the rest in rotation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.shared import paths
from benchmarks.verdicts.samples import DATA_SETS

CACHE = paths.CACHE / "stopping"
"""Folder of the runs."""
SCHEDULES = ("cosine", "constant", "step", "warm-up")
"""Learning rates over time; see `stopping_networks.rate_factor`."""

SEEDS = 2
"""Seeds of every data set and schedule; the second one combines them with other noises and networks."""

UNSEEN = "sentiment"
"""Family that was added when the form of the rating was chosen."""


@dataclass(frozen=True)
class Plan:
    """A training run.

    Attributes:
        data: Name of the data set, in `benchmarks.verdicts.samples`.
        noise: Kind of label noise; see `planted_noise.plant`.
        network: Name of the network, in `stopping_networks`.
        adamw: Whether the optimizer is AdamW, rather than SGD with momentum.
        schedule: One of SCHEDULES.
        augmentation: Whether training sees the samples changed at random.
        epochs: Passes over the data.
        samples: Training samples, at most.
        seed: Seed of samples, noise, weights, order and augmentation.
    """

    data: str
    noise: str
    network: str
    adamw: bool
    schedule: str
    augmentation: bool
    epochs: int
    samples: int
    seed: int

    @property
    def family(self) -> str:
        """Data sets of one family are left out together."""
        return DATA_SETS[self.data].family

    @property
    def seen(self) -> bool:
        """Whether the form of the rating was chosen with this run in view."""
        return self.seed == 0 and self.family != UNSEEN

    @property
    def name(self) -> str:
        """Its unique name."""
        optimizer = "AdamW" if self.adamw else "SGD"
        augmented = "augmented" if self.augmentation else "plain"
        recipe = f"{self.network} {optimizer} {self.schedule} {augmented}"
        return f"{self.data} {self.noise} {recipe} seed {self.seed}"

    @property
    def file(self) -> Path:
        """File of what is saved of the run."""
        text = f"{self.name} {self.epochs} {self.samples}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        return CACHE / ("".join(c if c.isalnum() else "-" for c in self.name) + f"-{digest}.npz")

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Epochs after which a checkpoint is saved: denser at first, as much happens there."""
        shares = (1 / 16, 1 / 8, 0.2, 0.32, 0.47, 0.65, 0.83, 1.0)
        return tuple(sorted({max(1, round(share * self.epochs)) for share in shares}))


@dataclass(frozen=True)
class Subject:
    """A data set, and how it can be trained on.

    Attributes:
        data: Name of the data set.
        samples: Training samples, at most.
        epochs: Passes over the data.
        networks: Names of networks, taken in turn.
        noises: Kinds of label noise, taken in turn.
    """

    data: str
    samples: int
    epochs: int
    networks: tuple[str, ...]
    noises: tuple[str, ...]


IMAGE = ("CNN, BatchNorm", "CNN, pretrained", "CNN", "ViT")
TEXT = ("text CNN", "transformer")
TABLE = ("MLP, BatchNorm", "MLP")
DIGITS = ("MLP", "CNN, BatchNorm", "MLP, BatchNorm", "CNN")
PATCHES = ("CNN, pretrained", "CNN, BatchNorm", "ViT", "CNN")
WORDS = ("word window",)
SUBJECTS = (
    Subject("cifar", 1000, 24, IMAGE, ("30 % uniform", "0 %", "20 % confused", "10 % by class")),
    Subject("trec", 1200, 12, TEXT, ("20 % uniform", "0 %", "40 % uniform", "20 % confused")),
    Subject("adult", 1000, 40, TABLE, ("20 % uniform", "10 % confused", "0 %", "30 % uniform")),
    Subject("fashion", 800, 24, IMAGE, ("20 % by class", "40 % uniform", "10 % confused", "0 %")),
    Subject("labelme", 1000, 40, TABLE, ("majority", "0 %", "one annotator", "30 % uniform")),
    Subject("digits", 700, 40, DIGITS, ("40 % uniform", "20 % uniform", "0 %", "20 % hard")),
    Subject("camvid patches", 1000, 20, PATCHES, ("0 %", "20 % confused", "30 % uniform", "20 % by class")),
    Subject("hausa news", 1200, 14, TEXT, ("distant", "20 % uniform", "0 %", "distant")),
    Subject("california", 1000, 40, TABLE, ("20 % by class", "0 %", "20 % uniform", "10 % hard")),
    Subject("english words", 1600, 16, WORDS, ("20 % uniform", "0 %", "20 % confused", "40 % uniform")),
    Subject("origin", 1000, 12, TEXT, ("20 % uniform", "30 % by class", "0 %", "40 % uniform")),
    Subject("hausa words", 1600, 16, WORDS, ("distant", "40 % uniform", "20 % confused", "0 %")),
    Subject("sentiment", 1200, 12, TEXT, ("majority", "0 %", "one annotator", "30 % uniform")),
)
"""The data sets; every one is trained on under every schedule."""


def plans() -> list[Plan]:
    """Return all training runs, seed by seed and schedule by schedule, so that any first part is balanced."""
    return [
        plan_of(subject, turn, place, seed)
        for seed in range(SEEDS)
        for turn in range(len(SCHEDULES))
        for place, subject in enumerate(SUBJECTS)
    ]


def plan_of(subject: Subject, turn: int, place: int, seed: int) -> Plan:
    """Return one run of a data set.

    Args:
        subject: The data set.
        turn: Which of its four runs.
        place: Place of the data set among all, which shifts its schedules, so that any turn has all of them.
        seed: Shifts noise and network against the schedule, and draws the samples.
    """
    return Plan(
        data=subject.data,
        # shifted by the seed: the second seed combines them otherwise
        noise=subject.noises[(turn + seed) % len(subject.noises)],
        network=subject.networks[(turn + 2 * seed) % len(subject.networks)],
        adamw=(turn // 2 + place + seed) % 2 == 1,
        schedule=SCHEDULES[(turn + place) % len(SCHEDULES)],
        augmentation=(turn + place // 2 + seed) % 2 == 1,
        epochs=subject.epochs,
        samples=subject.samples,
        seed=seed,
    )
