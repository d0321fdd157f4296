"""Where the expected accuracy comes from: its steps, the causes of the gap, the holdout, its track record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cohaudit.report.words import Text, count, number, percent, points, prose, text
from cohaudit.results import Driver, Holdout, Risk, Skipped, format_points
from cohaudit.results.gap import format_accuracy

_KINDS = {"samples": "Samples", "layer": "Layer", "class": "Class", "training": "Training"}
"""Kind of a driver → as the page writes it."""


@dataclass(frozen=True)
class TrackRecord:
    """How well the accuracy on new data was estimated on data sets that no constant was chosen on."""

    checkpoints: int
    """Checkpoints of trained networks, on real data."""
    families: int
    """Families of data sets, each left out once."""
    mean_error: float
    """Mean absolute error, in accuracy; families count the same, here and below."""
    bias: float
    """Mean of estimated minus true accuracy."""
    covered: float
    """Share of the true accuracies inside their intervals."""
    covered_fitted: float
    """The same for networks with a training accuracy of 0.99 and more."""


TRACK_RECORD = TrackRecord(107, 15, mean_error=0.053, bias=0.012, covered=0.82, covered_fitted=0.80)
"""As `benchmarks/results/gap.json` has it; a test compares the two."""


@dataclass(frozen=True)
class StepView:
    """One step on the way to the expected accuracy."""

    name: str
    reason: str
    accuracy: str
    """The accuracy that is expected after this step."""


@dataclass(frozen=True)
class DriverView:
    """One cause of the gap."""

    kind: str
    name: Text
    """Name of the layer or class; empty for other kinds."""
    measured: str
    share: str
    """How much of the gap it is at most, in points; a dash where unknown."""
    reason: Text


def build_steps(risk: Risk) -> Iterator[StepView]:
    """Yield the steps from the training accuracy to the expected one."""
    # accuracies, not what each step adds: rounded differences would not add up to the gap
    for term in risk.terms:
        yield StepView(prose(term.name), prose(term.reason), percent(term.measured))
    if isinstance(risk.holdout, Holdout):
        yield StepView(
            name="correction by the holdout",
            reason=(
                f"The steps above predict a gap of {format_points(risk.predicted)} without the holdout; its "
                f"{count(risk.holdout.samples)} samples show {_shown_gap(risk.holdout)}. The more certain "
                "of the two counts more."
            ),
            accuracy=percent(risk.expected.value),
        )


def _shown_gap(holdout: Holdout) -> str:
    if isinstance(holdout.right_gap, Skipped):
        return f"{format_points(holdout.gap)} to labels as given"
    return f"{format_points(holdout.right_gap)} to right labels"


def build_drivers(risk: Risk) -> Iterator[DriverView]:
    """Yield all causes of the gap, the largest first."""
    for one in risk.drivers:
        yield DriverView(
            kind=_KINDS[one.kind],
            name=text("" if one.name == one.kind else one.name, 40),
            measured=_measured(one),
            share="–" if isinstance(one.lowers, Skipped) else points(one.lowers),
            reason=text(one.reason, 400),
        )


def _measured(driver: Driver) -> str:
    """Write the measurement behind a driver in its own unit."""
    if driver.kind == "class":
        return f"{points(driver.measured)} points"
    return f"{number(driver.measured)} nats" if driver.kind == "training" else percent(driver.measured)


def holdout_rows(risk: Risk) -> Iterator[tuple[str, str]]:
    """Yield what was measured on the holdout, beside what was predicted without it."""
    found = risk.holdout
    if not isinstance(found, Holdout):
        return
    left_out = f" ({count(found.repeated)} also in the training data, left out)" if found.repeated else ""
    yield "Samples", f"{count(found.samples)}{left_out}"
    yield "Accuracy on its labels as given", percent(found.accuracy)
    yield "Measured gap to its labels as given", format_points(found.gap)
    if not isinstance(found.right_accuracy, Skipped) and not isinstance(found.right_gap, Skipped):
        yield "Accuracy on its right labels (estimated)", format_accuracy(found.right_accuracy)
        yield "Gap to its right labels (estimated)", format_points(found.right_gap)
    yield "Predicted gap to right labels", format_points(risk.predicted)
    yield "Cosine of the mean gradients", number(found.cosine)
    yield "Coherence αᵤ within the training data", number(found.within)
    yield "Coherence from training to holdout", number(found.across)


def reading(risk: Risk | None) -> str:
    """Say what the gap is, and how far its prediction can be trusted."""
    if risk is None:
        return (
            "Without a verdict, the numbers below only describe the gradients. They do not show whether "
            "the model overfits."
        )
    combined = (
        "Prediction and holdout are combined, and the more certain one counts more. "
        if isinstance(risk.holdout, Holdout)
        else ""
    )
    record = TRACK_RECORD
    return (
        "The gap is training accuracy minus expected accuracy on new data with right labels. On labels as "
        f"given, {format_accuracy(risk.expected_given)} is expected. {combined}The prediction was tested on "
        f"{record.checkpoints} checkpoints of small networks on {record.families} families of data sets, "
        f"each left out when its constants were chosen: its mean error was {points(record.mean_error)} "
        f"points, it was {points(abs(record.bias))} points too {'high' if record.bias > 0 else 'low'} on "
        f"average, and {record.covered:.0%} of its intervals held the true accuracy "
        f"({record.covered_fitted:.0%} for networks that fit their labels). It cannot see wrong labels that "
        "follow a rule, and was not tested on large networks."
    )
