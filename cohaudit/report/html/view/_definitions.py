"""What each measure is, in a formula and in plain words."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.config.used import setting
from cohaudit.report.words import number, prose
from cohaudit.results import Audit


@dataclass(frozen=True)
class Definition:
    """One measure."""

    name: str
    formula: str
    words: str


def definitions(audit: Audit) -> tuple[Definition, ...]:
    """Define every measure that the report shows, with the settings that it was made with."""
    return (*_of_sets(audit), *_of_samples(audit), _RISK)


def _of_sets(audit: Audit) -> tuple[Definition, ...]:
    return (
        Definition(
            "Coherence α",
            "α = ‖μ‖² / mean ‖gᵢ‖²",
            "gᵢ is the gradient of sample i's loss, μ the mean over the samples. α is the share of a "
            "gradient that is common to all of them, between 0 and 1. Intervals are bootstraps over the "
            f"samples, at {setting(audit.settings, 'confidence'):.0%}.",
        ),
        Definition(
            "m-coherence",
            "m · α",
            "How many of the m samples, itself included, a step on one sample helps on average: m when all "
            "agree, 1 when every sample stands alone, below 1 when they cancel. Near convergence they do "
            "cancel, whatever was learned: the mean gradient vanishes, so that α and m-coherence say little "
            "there. Read them at a temperature above 1, or on an earlier checkpoint.",
        ),
        Definition(
            "Pairwise coherence αᵤ",
            "αᵤ = (m · α − 1) / (m − 1)",
            "α without each sample's agreement with itself: 0 when the gradients are orthogonal, whatever "
            "m is. Sets of different size are compared by this one.",
        ),
        Definition(
            "Energy of a layer",
            "f = Σ ‖gᵢ in the layer‖² / Σ ‖gᵢ‖²",
            "The layer's share of the squared gradients. The model's α is the mean of its layers' α, "
            "weighted by their energy.",
        ),
    )


def _of_samples(audit: Audit) -> tuple[Definition, ...]:
    neighbors = f"{setting(audit.settings, 'neighbors')} samples with the largest |cosine|"
    if audit.subject.samples < audit.subject.samples_total:
        neighbors += " (of a subsample fewer, in proportion)"
    return (
        Definition(
            "Neighborhood support",
            "sᵢ = mean of cos(gᵢ, gⱼ) over the neighbors j",
            f"The neighbors are the {neighbors}: those that pull at the same weights. Supporters have a "
            "positive cosine, opponents a negative one. The support count is the number of samples with a "
            "cosine of at least 0.5, which want mostly the same change: with few, it is memorized.",
        ),
        Definition(
            "Error of a cosine",
            "√(mean (sketched ‖gᵢ‖² / exact ‖gᵢ‖² − 1)² / 2)",
            "Cosines between samples come from sketches, short random projections of their gradients. The "
            f"standard error of a cosine near 0 is about {number(audit.cosine_error)}; toward ±1 it "
            "shrinks. Norms, α and m-coherence are exact.",
        ),
        Definition(
            "Leave-one-out margin",
            "ŷᵢ(given label) − largest ŷᵢ(other label)",
            "ŷᵢ predicts the label of sample i from all other samples, by ridge regression on "
            f"{prose(audit.representation) or 'a representation, which this model lacks'}. Below 0, the rest "
            "of the data would have given it another label: the suggested one.",
        ),
        Definition(
            "Suspicion",
            "P(label is wrong | ŷᵢ)",
            "The probability that the given label is wrong: how often labels with as little support from ŷᵢ "
            "are wrong, told by labels that are wrong by design. A suspect has a suspicion of at least "
            f"{setting(audit.settings, 'suspicion_threshold'):g}.",
        ),
    )


_RISK = Definition(
    "Risk",
    "Σ weight · value over the reasons",
    "The weighted mean of the reasons on the first screen. It ranks models; it is no measured test error. "
    "Two of the weights follow how well each reason alone ranked 96 models by their true gap between "
    "training and test; that of the memorized labels is a judgment.",
)
