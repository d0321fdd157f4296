"""The gap on the first screen: its parts, its causes, the holdout, and how good its prediction is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cohaudit.report.words import Text, count, number, percent, points, prose, text
from cohaudit.results import Driver, Holdout, Risk, format_points

_KINDS = {"samples": "Samples", "layer": "Layer", "class": "Class", "training": "Training"}
"""Kind of a driver → as the page writes it."""


@dataclass(frozen=True)
class TrackRecord:
    """How well the gap was predicted for networks of kinds that nothing was fitted to."""

    networks: int
    """Trained networks of the benchmark, half of them used for fitting."""
    rank_correlation: float
    """Kendall's τ between predicted and true gaps."""
    mean_error: float
    """Mean absolute error, in accuracy."""
    bias: float
    """Mean of predicted minus true gap, in accuracy."""
    covered: float
    """Share of the true gaps inside their intervals."""


TRACK_RECORD = TrackRecord(networks=326, rank_correlation=0.82, mean_error=0.048, bias=0.029, covered=0.83)
"""As `benchmarks/results/risk.json` has it; a test compares the two."""


@dataclass(frozen=True)
class TermView:
    """One part of the predicted gap."""

    name: str
    reason: str
    measured: str
    adds: str
    """What it adds to the gap, in points."""


@dataclass(frozen=True)
class DriverView:
    """One cause of the gap."""

    kind: str
    name: Text
    """Name of the layer or class; empty for other kinds."""
    measured: str
    reason: Text
    remedy: Text


def build_terms(risk: Risk) -> Iterator[TermView]:
    """Yield the parts of the predicted gap, and the correction by a holdout."""
    for term in risk.terms:
        yield TermView(prose(term.name), prose(term.reason), percent(term.measured), points(term.adds))
    if isinstance(risk.holdout, Holdout):
        yield TermView(
            name="correction by the holdout",
            reason=(
                f"The parts above predict {format_points(risk.predicted)} from the training data alone; the "
                f"{count(risk.holdout.samples)} holdout samples show {format_points(risk.holdout.gap)}."
            ),
            measured=percent(risk.holdout.accuracy),
            adds=points(risk.gap.value - risk.predicted.value),
        )


def build_drivers(risk: Risk) -> Iterator[DriverView]:
    """Yield all causes of the gap, the largest first."""
    for one in risk.drivers:
        yield DriverView(
            kind=_KINDS[one.kind],
            name=text("" if one.name == one.kind else one.name, 40),
            measured=_measured(one),
            reason=text(one.reason, 400),
            remedy=text(one.remedy, 400),
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
    yield "Accuracy", percent(found.accuracy)
    yield "Measured gap", format_points(found.gap)
    yield "Predicted gap", format_points(risk.predicted)
    yield "Cosine of the mean gradients", number(found.cosine)
    yield "Coherence αᵤ within the training data", number(found.within)
    yield "Coherence from training to holdout", number(found.across)


def reading(risk: Risk | None) -> str:
    """Say how to read the first screen, and how far its prediction can be trusted."""
    if risk is None:
        return (
            "Without a verdict, the numbers below only describe the gradients. They do not show whether "
            "the model overfits."
        )
    combined = (
        "It combines the measured and the predicted gap, and the more certain one counts more. The "
        "prediction uses"
        if isinstance(risk.holdout, Holdout)
        else "It is predicted from"
    )
    record = TRACK_RECORD
    return (
        f"The gap is training accuracy minus accuracy on new data with correct labels. {combined} the "
        f"training data alone, by a formula fitted on one half of {record.networks} small trained "
        "networks. On the other half it ranked them by their true gap with Kendall's τ = "
        f"{record.rank_correlation}; its mean error was {points(record.mean_error)} points, it predicted "
        f"{points(record.bias)} points too much on average, and {record.covered:.0%} of its intervals held "
        "the true gap. It was not tested on much larger networks or on other kinds of data. Shares of the "
        "causes overlap: a mislabeled sample counts for the samples and for its class."
    )
