"""How at risk the model is of overfitting: a first figure from three measured reasons.

Each reason is mapped to [0, 1] and the figure is their weighted mean. The weights follow how well each
reason alone ranked 96 perceptrons on digits by their true gap between training and test accuracy
(Kendall τ: support 0.60, leave-one-out gap 0.46). The figure ranks models; it is not yet calibrated in
accuracy points.
"""

from __future__ import annotations

from collections.abc import Sequence

from cohaudit.results import LEVELS, Level, Risk, RiskTerm

SUPPORT_WEIGHT, GAP_WEIGHT, MEMORIZED_WEIGHT = 0.5, 0.3, 0.2
WORST_MEMORIZED = 0.5
"""A training set half of which is memorized against its surroundings counts as the worst case."""


def estimate_risk(
    mean_support: float,
    accuracy: float,
    leave_one_out_accuracy: float,
    memorized_share: float,
    classes: int,
    levels: Sequence[float],
) -> Risk:
    """Combine the reasons.

    Args:
        mean_support: Mean neighborhood support, in [−1, 1].
        accuracy: Training accuracy.
        leave_one_out_accuracy: Share of the given labels that the other samples predict.
        memorized_share: Expected share of samples whose label is wrong and which the model fits.
        classes: C.
        levels: Values from which the level is moderate, high, severe.

    Returns:
        The risk, its terms in order of their contribution.
    """
    gap = max(0.0, accuracy - leave_one_out_accuracy)
    terms = [
        RiskTerm(
            "gradient support",
            mean_support,
            _clip(1 - mean_support),
            SUPPORT_WEIGHT,
            f"A sample's gradient neighbors agree with it to {mean_support:.2f} on average, where 1 is full "
            "agreement and 0 none: the less they agree, the less of what was learned is shared.",
        ),
        RiskTerm(
            "leave-one-out gap",
            gap,
            _clip(gap / (1 - 1 / classes)),
            GAP_WEIGHT,
            f"The model fits {accuracy:.1%} of its training labels; the other samples alone, in the "
            f"network's early representation, predict {leave_one_out_accuracy:.1%}. "
            "The rest was fitted one by one.",
        ),
        RiskTerm(
            "memorized labels",
            memorized_share,
            _clip(memorized_share / WORST_MEMORIZED),
            MEMORIZED_WEIGHT,
            f"An estimated {memorized_share:.1%} of the samples carry a wrong label "
            "that the model fits anyway.",
        ),
    ]
    value = sum(term.value * term.weight for term in terms)
    terms.sort(key=lambda term: term.value * term.weight, reverse=True)
    return Risk(value, risk_level(value, levels), tuple(terms))


def risk_level(value: float, levels: Sequence[float]) -> Level:
    """Return the level of a risk value, given the values from which moderate, high and severe begin."""
    return LEVELS[sum(value >= bound for bound in levels)]


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
