"""What samples have in common, as data: of the model, of each layer, and of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cohaudit.results.estimate import Estimate, Skipped
from cohaudit.results.ranges import Count, NonNegative, Proportion
from cohaudit.results.wording import percent


@dataclass(frozen=True)
class Coherence:
    """How much a set of per-sample gradients has in common (Chatterjee & Zielinski, arXiv 2203.10036)."""

    samples: Count
    """Number of samples in the set, m."""
    alpha: Estimate
    """α = ‖μ‖² / mean‖g_i‖², in [0, 1]: the share of the gradients' energy that the samples have in
    common."""
    m_coherence: Estimate
    """m·α, in [0, m]: the number of samples, itself included, that one sample's step helps on average."""
    pairwise: Estimate
    """α_u = (m·α − 1) / (m − 1), in [-1, 1]: α without each sample's agreement with itself; 0 for orthogonal
    gradients, for every m."""


@dataclass(frozen=True)
class MeasuredGradients:
    """Which samples' gradients were measured one by one, and what the sums of all gradients stand on."""

    samples: Count
    """Number of samples whose gradients were measured one by one."""
    sums: Literal["all samples", "these samples"]
    """Samples whose gradients the sums are over, of the classes and of all: exact, or estimated."""
    energy_error: NonNegative
    """Relative standard error of Σ‖g_i‖², 0 if all samples were measured one by one."""

    def in_words(self, total: int) -> str:
        """Return it as part of a sentence.

        Args:
            total: Number of samples audited.
        """
        if self.samples == total:
            return "the gradients of all samples measured one by one"
        error = f"{self.samples:,} of {total:,} gradients measured one by one (their energy ± "
        error += f"{percent(self.energy_error)})"
        return error + (", sums over all" if self.sums == "all samples" else ", sums estimated from them")


@dataclass(frozen=True)
class Layer:
    """One module that owns parameters."""

    name: str
    """Qualified name in the model; the root module is '(model)'."""
    kind: str
    """Class name of the module."""
    parameters: Count
    """Number of trainable parameters that it owns; a shared parameter counts where it is first named."""
    path: Literal["closed form", "vmap", "loop"]
    """Method by which its per-sample gradients were computed."""
    energy: Proportion
    """f_l, the layer's share of Σ‖g_i‖² over the model, in [0, 1]."""
    gradient_norm: NonNegative
    """Root mean square of ‖g_i^l‖ over the samples."""
    coherence: Coherence | Skipped
    """Coherence of all samples in this layer's part of the gradient."""


@dataclass(frozen=True)
class ClassResult:
    """One class of the dataset."""

    name: str
    """Class name."""
    samples: Count
    """Number of samples with this label."""
    accuracy: Proportion | None
    """Share of these samples that the model predicts as labeled, in [0, 1]; null if there are none."""
    mean_loss: NonNegative | None
    """Mean loss over these samples, in nats; null if there are none."""
    suspects: Count
    """Number of these samples that are suspects: probably mislabeled."""
    predicted_gap: Estimate | Skipped
    """Training accuracy of the class minus its expected accuracy on new samples, in [-1, 1]."""
    coherence: Coherence | Skipped
    """Coherence of the samples of the class in the whole gradient."""


def by_gap(classes: Sequence[ClassResult]) -> list[ClassResult]:
    """Return the classes with the largest predicted gap first; classes without one keep their order, at 0."""

    def gap(one: ClassResult) -> float:
        return one.predicted_gap.value if isinstance(one.predicted_gap, Estimate) else 0.0

    # sorted is stable, in reverse too: equal gaps keep the order of the classes
    return sorted(classes, key=gap, reverse=True)


@dataclass(frozen=True)
class ClassCosines:
    """Cosines between the mean gradients of the classes; negative: the two classes pull the weights apart."""

    matrix: tuple[tuple[float, ...], ...]
    """Cosines in [-1, 1], [class, class], in the order of the classes. The diagonal is 1; a class without a
    gradient has 0."""
    error: NonNegative
    """Standard error of one cosine, as that of these samples' mean gradients: 0 when computed from whole
    gradients, above 0 when from sketches."""
    sampling: tuple[tuple[NonNegative, ...], ...]
    """Root mean square error of each cosine, as that of the mean gradients of all samples of the two kinds
    under these weights, [class, class]: from the jackknife, and from how far noise pulls a cosine to 0."""
