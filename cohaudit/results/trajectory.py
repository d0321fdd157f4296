"""What the checkpoints of one training run show together, as data."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.results.estimate import Skipped

STRATA = ("easy", "typical", "hard", "memorized")
"""Groups of samples: the memorized samples, and thirds of the others, by rising memorization."""


@dataclass(frozen=True)
class Point:
    """One checkpoint of a training run."""

    checkpoint: str
    """Name of the checkpoint's file; its path when several have the same name."""
    accuracy: float
    """Share of the training samples that are predicted as labeled, in [0, 1]."""
    corrected: float
    """Mean probability that the model's predictions are the true labels, by models of the raw data and the
    labels as given, in [0, 1]."""
    expected: float
    """Expected accuracy on new data, in [0, 1], by the network's layers and answers at this checkpoint alone.
    It compares checkpoints; that of the risk also uses the raw data and the other checkpoints, and may
    differ."""
    agreement: float
    """Mean probability that models of the raw data give to the model's predictions, in [0, 1]."""
    rating: float
    """What the advice is based on, in [0, 1]: the mean of two numbers. One combines `agreement` and
    `corrected`, with more of the first the more of the given labels the models of the raw data find. The
    other is the share of crossed samples that the checkpoint classifies as expected; without such samples,
    the first number alone."""
    holdout: float | Skipped
    """Accuracy on the holdout, in [0, 1]."""
    loss: float
    """Mean training loss, in nats."""
    m_coherence: float
    """m·α of the whole gradient, in [0, m]: the number of samples that one sample's step helps on average."""
    easy: float
    """Share of the mean gradient that comes from easy samples; the four shares add up to 1, and one can be
    negative."""
    typical: float
    """Share of the mean gradient that comes from typical samples."""
    hard: float
    """Share of the mean gradient that comes from hard samples."""
    memorized: float
    """Share of the mean gradient that comes from memorized samples."""
    learned: int
    """Number of samples that are predicted as labeled here but not at the checkpoint before."""
    forgotten: int
    """Number of samples that were predicted as labeled at the checkpoint before but not here."""


@dataclass(frozen=True)
class Series:
    """The coherence of one layer or class over the checkpoints."""

    name: str
    """Name of the layer or class."""
    values: tuple[float, ...]
    """α_u at each checkpoint, in [-1, 1]; 0 without a gradient."""


@dataclass(frozen=True)
class Trajectory:
    """What the network learned when, and where it should have stopped."""

    points: tuple[Point, ...]
    """The checkpoints, in the order of training."""
    layers: tuple[Series, ...]
    """Coherence of each layer over the checkpoints."""
    classes: tuple[Series, ...]
    """Coherence of each class over the checkpoints."""
    judge: int
    """Number of the checkpoint that decides which labels are wrong, from 0: the one with the best expected
    accuracy."""
    advised: int
    """Number of the checkpoint to use, from 0: the latest that cannot be told from the one with the best
    rating."""
    takeover: int
    """Number of the checkpoint, from 0, from which on most of the mean gradient comes from memorized samples;
    −1 when it never does."""
    sizes: tuple[int, ...]
    """Number of easy, typical, hard, and memorized samples."""
    learned_at: tuple[int, ...]
    """For each sample, the number of the checkpoint, from 0, from which on it is always predicted as labeled;
    −1 when the last checkpoint does not predict it as labeled."""
    forgotten: tuple[int, ...]
    """For each sample, how often a checkpoint predicted it as labeled and the next one did not."""
    advice: str
    """What to do, with the number behind it."""


@dataclass(frozen=True)
class StabilityTerm:
    """What the steps up to a checkpoint add to the stability bound."""

    checkpoint: str
    """Name of the checkpoint; the steps are those since the checkpoint before."""
    steps: int
    """Number of gradient steps."""
    rate: float
    """Learning rate, η."""
    alpha: float
    """Coherence α of the gradients at the checkpoint before, in [0, 1]."""
    smoothness: float
    """β, change of the mean gradient divided by change of the weights, between the two checkpoints."""
    lipschitz: float
    """L, largest norm of a sample's gradient so far."""
    adds: float
    """Sum of η √(2 (1 − α)) L² / m over the steps, in nats: what they add to the bound if differences do not
    grow."""
    total: float
    """Sum of `adds` so far, in nats."""
    log10_bound: float
    """Base-10 logarithm of the bound so far, in nats, with the growth of differences; −300 for a bound of
    0."""
    measured: float | Skipped
    """Mean loss on the holdout minus mean training loss at the checkpoint, in nats."""


@dataclass(frozen=True)
class Stability:
    """The bound on the gap that follows from coherent steps (Chatterjee & Zielinski, arXiv 2203.10036)."""

    terms: tuple[StabilityTerm, ...]
    """One term per checkpoint, in the order of training, without the first checkpoint."""
    advice: str
    """What the bound says, with the number behind it."""
