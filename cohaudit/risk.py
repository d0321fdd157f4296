"""How at risk the model is of overfitting: a first figure from three measured reasons.

Each reason is mapped to [0, 1] and the figure is their weighted mean. The weights follow how well each
reason alone ranked 96 perceptrons on digits by their true gap between training and test accuracy
(Kendall τ: support 0.60, leave-one-out gap 0.46). The third was not measured so: its weight is a judgment,
and the smallest. The figure ranks models; it is not yet calibrated in accuracy points.
"""

from __future__ import annotations

from collections.abc import Sequence

from cohaudit.results import LEVELS, Level, Risk, RiskTerm

SUPPORT_WEIGHT, GAP_WEIGHT, MEMORIZED_WEIGHT = 0.5, 0.3, 0.2
WORST_MEMORIZED = 0.5
"""A training set half of which is memorized against its surroundings counts as the worst case."""
FAR_BELOW = 0.1
"""A model that fits so much fewer of its training labels than the other samples predict was hardly trained,
or does not get its inputs as in training: that prediction is linear, and never sees the sample's own label.
"""


def estimate_risk(
    mean_support: float,
    accuracy: float,
    leave_one_out_accuracy: float,
    representation: str,
    memorized_share: float,
    classes: int,
    levels: Sequence[float],
) -> Risk:
    """Combine the reasons.

    Args:
        mean_support: Mean neighborhood support, in [−1, 1].
        accuracy: Training accuracy.
        leave_one_out_accuracy: Share of the given labels that the other samples predict.
        representation: What that prediction sees of a sample, in words.
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
            _gap_reason(accuracy, leave_one_out_accuracy, representation),
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


def preprocessing_warning(accuracy: float, leave_one_out_accuracy: float) -> str:
    """Return a warning when the model fits far less than its neighbors alone predict; empty when not.

    Args:
        accuracy: Training accuracy.
        leave_one_out_accuracy: Share of the given labels that the other samples predict.
    """
    if accuracy > leave_one_out_accuracy - FAR_BELOW:
        return ""
    return (
        f"The model gets {accuracy:.0%} of its own training labels, less than its neighbors alone predict "
        f"({leave_one_out_accuracy:.0%}): if training reached more, the preprocessing or the transform "
        "differs from training."
    )


def _gap_reason(accuracy: float, leave_one_out_accuracy: float, representation: str) -> str:
    numbers = (
        f"The model fits {accuracy:.1%} of its training labels; from {representation}, the other samples "
        f"alone predict {leave_one_out_accuracy:.1%}."
    )
    if accuracy > leave_one_out_accuracy:
        return f"{numbers} The rest was fitted one by one."
    if preprocessing_warning(accuracy, leave_one_out_accuracy):
        return (
            f"{numbers} If training reached more, the preprocessing or the transform differs from training."
        )
    return f"{numbers} Nothing speaks for labels fitted one by one."


def risk_level(value: float, levels: Sequence[float]) -> Level:
    """Return the level of a risk value, given the values from which moderate, high and severe begin."""
    return LEVELS[sum(value >= bound for bound in levels)]


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
