"""The section on several checkpoints of a training run."""

from __future__ import annotations

from pathlib import PurePath

from cohaudit.report.figures.audits.trajectory import trajectory_figure
from cohaudit.report.html.view._tables import Table
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import count, number, percent, text
from cohaudit.results import Point, Series, Skipped, Trajectory
from cohaudit.results.trajectory import STRATA

_STRATA = {"easy": "easy", "typical": "medium", "hard": "hard", "memorized": "memorized"}
"""Group of samples → as the page writes it: a typical sample is one whose label has support, on all of it."""


def build_trajectory(found: Trajectory) -> AuditBody:
    """Return figure, tables and reading of the checkpoints."""
    shares = Table(
        "Share of the mean gradient by kind of sample",
        ("Checkpoint", *(_STRATA[name].capitalize() for name in STRATA)),
        tuple((text(one.checkpoint, 40), tuple(map(percent, _shares(one)))) for one in found.points),
    )
    sizes = ", ".join(
        f"{count(size)} {_STRATA[kind]}" for kind, size in zip(STRATA, found.sizes, strict=True)
    )
    judge = text(found.points[found.judge].checkpoint, 40).short
    reading = (
        "Training accuracy also rises by memorizing. Agreement is the mean probability that models of the "
        "raw data, which never saw the network, give to its answers: memorizing any label lowers it. "
        "Corrected is the mean probability that the answers are the true labels, the given labels "
        "considered: memorizing wrong labels that can be told lowers it. The rating combines them, with "
        "more of the agreement the better these models predict the labels, and what the checkpoint makes of "
        "new samples, each crossed from two of one expected class. What the layers alone expect on "
        "new data compares checkpoints; the verdict also uses the raw data. Where no earlier checkpoint is "
        f"clearly better than the last one, keep the last one. At {judge}, where the labels are judged, "
        f"the samples are {sizes} there: the last have labels that it probably gives only because it saw "
        "them, the others are cut into thirds. A share below 0 means that these samples pull against the "
        "update."
    )
    tables = (_accuracies(found), shares, _coherence(found, "layers"), _coherence(found, "classes"))
    to_do = found.advised != len(found.points) - 1
    return AuditBody(trajectory_figure(found), tables, reading, to_do)


def _accuracies(found: Trajectory) -> Table:
    with_holdout = any(not isinstance(one.holdout, Skipped) for one in found.points)
    accuracies = ("Rating", "Training", "Corrected", "Agreement", "Expected by layers alone")
    holdout = ("Holdout",) if with_holdout else ()
    return Table(
        "Accuracy by checkpoint",
        ("Checkpoint", *accuracies, *holdout, "Loss", "m-coherence", "Learned", "Forgotten"),
        tuple((text(one.checkpoint, 40), _point(one, with_holdout)) for one in found.points),
    )


def _point(one: Point, with_holdout: bool) -> tuple[str, ...]:
    holdout = "–" if isinstance(one.holdout, Skipped) else percent(one.holdout)
    accuracies = (one.rating, one.accuracy, one.corrected, one.agreement, one.expected)
    return (
        *map(percent, accuracies),
        *((holdout,) if with_holdout else ()),
        number(one.loss),
        number(one.m_coherence),
        count(one.learned),
        count(one.forgotten),
    )


def _shares(one: Point) -> tuple[float, float, float, float]:
    return one.easy, one.typical, one.hard, one.memorized


def _coherence(found: Trajectory, kind: str) -> Table:
    series: tuple[Series, ...] = getattr(found, kind)
    # without the extension, which all have: cut to this length, names would differ in nothing
    checkpoints = (text(PurePath(one.checkpoint).stem, 16).short for one in found.points)
    return Table(
        f"Coherence α\u1d64 of the {kind} by checkpoint",
        (kind.capitalize(), *checkpoints),
        tuple((text(one.name, 40), tuple(map(number, one.values))) for one in series),
    )
