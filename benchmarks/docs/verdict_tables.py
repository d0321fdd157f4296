"""The tables of docs/detection.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from benchmarks.docs.verdict_cells import CELL, Verdicts, by_family, cells_of, holds, long_lists
from benchmarks.verdicts.fit import CLAIM_ERROR, LONG_LIST
from benchmarks.verdicts.judging import REVIEWS
from benchmarks.verdicts.opinions import ALONE, CROSSFIT, OURS, VARIANTS
from benchmarks.verdicts.second_split import NAME as SECOND_SPLIT
from benchmarks.verdicts.tables import BEHIND, FOLDS, KNN, LOSS

NOTHING = "–"
"""Cell of a table for which there is no figure."""
TRAJECTORY = ("AUM", "CSL", "forgetting", "mean probability")
"""Beginnings of the names of methods that need the run up to the checkpoint."""
KEYWORDS = ("hausa news", "distant")
"""Data set and noise of the headlines labeled by keywords."""
LOST_POSITIVES = "of class 1"
"""End of the name of the noise by which members of a class are labeled as the rest."""


def needs(method: str) -> str:
    """Return what a method needs to be given."""
    if method in VARIANTS:
        return {OURS: "checkpoint, raw data", ALONE: "checkpoint", CROSSFIT: "the same, five training runs"}[
            method
        ]
    if "5 folds" in method:
        return "five training runs"
    if method == SECOND_SPLIT:
        return "two training runs"
    return "the run so far" if method.startswith(TRAJECTORY) else "checkpoint"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """Return a table.

    Args:
        header: Titles of the columns.
        rows: Cells.
        texts: Number of columns of text, the first ones; figures are aligned to the right.
    """
    aligned = ["---"] * texts + ["---:"] * (len(header) - texts)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, aligned, *rows))


def share(values: pd.Series) -> str:
    """Return the share of rows for which something holds; nothing of no rows."""
    return f"{values.astype(float).mean():.0%}" if len(values) else NOTHING


def mean(values: pd.Series, digits: int = 3) -> str:
    """Return the mean of what is known."""
    known = values.dropna().astype(float)
    return f"{known.mean():.{digits}f}" if len(known) else NOTHING


def data(verdicts: Verdicts) -> str:
    """Return the table of the families of data sets: networks, kinds of noise, sizes."""
    ours = verdicts.of(OURS).reset_index()
    real = ours[ours["kind"] != "synthetic"]
    rows = [["; ".join(own["dataset"].unique()), *_measured(own)] for _, own in real.groupby("family")]
    clouds = ours[ours["kind"] == "synthetic"]
    if len(clouds):
        rows.append([f"{clouds['dataset'].nunique()} worlds of Gaussian clouds", *_measured(clouds)])
    titles = ["family: its data sets", "networks", "wrong labels", "samples", "checkpoints"]
    return markdown(titles, rows, texts=3)


def _measured(own: pd.DataFrame) -> list[str]:
    noises = own["noise"].str.replace(" %", "%").unique()
    return ["; ".join(own["model"].unique()), "; ".join(noises), _size(own), str(len(own))]


def _size(own: pd.DataFrame) -> str:
    least, most = own["samples"].min(), own["samples"].max()
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def methods(verdicts: Verdicts) -> str:
    """Return the table of all methods, those that are furthest ahead first."""
    groups = verdicts.groups()
    names = verdicts.scored["method"].unique()
    lead = {str(name): verdicts.lead(str(name), OURS) for name in names}
    rows = []
    for name in sorted(lead, key=lambda name: -lead[name]):
        figures = [_ranked(own[own["method"] == name], cells_of(own)) for own in groups.values()]
        beside = "" if name == OURS else f"{lead[name]:+.3f}".replace("-", "−")
        rows.append([f"**{name}**" if name == OURS else name, needs(name), *figures, beside])
    titles = ["method", "needs", *groups, "AUROC − cohaudit's"]
    return markdown(titles, rows, texts=2)


def _ranked(own: pd.DataFrame, cells: int) -> str:
    """Return AUROC and average precision, and in how many cells if not in all."""
    if not len(own):
        return NOTHING
    text = f"{by_family(own, 'auroc'):.3f} / {by_family(own, 'ap'):.3f}"
    return text if len(own) == cells else f"{text} ({len(own)} of {cells})"


def real_noise(verdicts: Verdicts) -> str:
    """Return the table of the cells whose wrong labels are real; means over their seeds."""
    real = verdicts.scored[verdicts.scored["kind"] == "real"]
    columns = [OURS, ALONE, CROSSFIT, LOSS, KNN, FOLDS]
    one_run = [name for name in CELL if name != "seed"]
    by_method = real.pivot_table("auroc", one_run, "method").reindex(columns=columns)
    by_method["share_true"] = real.groupby(one_run)["share_true"].mean()
    rows = []
    for own in by_method.reset_index().to_dict("records"):
        figures = [NOTHING if pd.isna(own[method]) else f"{own[method]:.3f}" for method in columns]
        labels = f"{own['dataset']}, {own['noise']}"
        rows.append([labels, own["model"], own["stage"], f"{own['share_true']:.0%}", *figures])
    titles = [OURS, "no outside predictions", "cross-fit", LOSS, KNN, "five folds"]
    return markdown(["data, labels by", "network", "stage", "wrong", *titles], rows, texts=3)


def honesty(verdicts: Verdicts) -> str:
    """Return the table of what the verdict claims, beside what is true."""
    rows = []
    for name in VARIANTS:
        for kind, own in verdicts.by_kind(verdicts.of(name)):
            if name != OURS and kind != "all":
                continue
            long = long_lists(own)
            rows.append(
                [
                    name if kind == "all" else f"… {kind}",
                    f"{int(own['told'].astype(bool).sum())} of {len(own)}",
                    str(len(long)),
                    share(long["right"]),
                    mean(long["error"]),
                    mean(long["recall"], 2),
                    share(holds(own)),
                ]
            )
    lists = f"lists of {LONG_LIST} and more"
    titles = ["can be told", lists, f"claim within {CLAIM_ERROR}", "mean error", "recall", "interval holds"]
    return markdown(["verdict", *titles], rows)


def reviews(verdicts: Verdicts) -> str:
    """Return the table of the verdict after a review."""
    rows = []
    for kind, own in verdicts.by_kind(verdicts.of(OURS)):
        error = own["reviewed_error"]
        long = long_lists(own, "reviewed_")
        rows.append(
            [
                kind,
                str(len(own)),
                mean(error),
                share(error <= CLAIM_ERROR),
                f"{error.max():.3f}",
                share(holds(own, "reviewed")),
                str(len(long)),
                share(long["right"]),
            ]
        )
    errors = ["calibration error", f"at most {CLAIM_ERROR}", "largest", "interval holds"]
    lists = [f"lists of {LONG_LIST} and more", f"claim within {CLAIM_ERROR}"]
    return markdown([f"after {REVIEWS} reviews", "checkpoints", *errors, *lists], rows)


def figures(verdicts: Verdicts) -> str:
    """Return the table of single figures."""
    ours = verdicts.of(OURS)
    clean = ours[ours["share_true"] == 0]
    rows = [
        [
            "checkpoints without wrong labels: most suspects",
            f"{clean['suspects'].max():.0f} ({len(clean)} checkpoints)",
        ]
    ]
    for kind in ("real", "planted"):
        for name in (OURS, ALONE):
            behind, ahead, cells = beside(verdicts, name, kind)
            rows += [
                [f"{name}, {kind}: over {BEHIND} behind the better of loss and kNN", f"{behind} of {cells}"],
                [f"{name}, {kind}: at least as good as five folds", f"{ahead} of {cells}"],
            ]
    return markdown(["figure", "value"], rows)


def beside(verdicts: Verdicts, method: str, kind: str) -> tuple[int, int, int]:
    """Return in how many cells of a kind a method is behind loss or kNN, in how many it reaches five folds.

    Returns:
        Cells behind the better of loss and kNN, cells at least as good as five folds, all cells of the kind.
    """
    scored = verdicts.scored[verdicts.scored["kind"] == kind]
    by_method = scored.pivot_table("auroc", CELL, "method")
    behind = by_method[[LOSS, KNN]].max(axis=1) - by_method[method] > BEHIND
    ahead = by_method[method] >= by_method[FOLDS]
    return int(behind.sum()), int(ahead.sum()), len(by_method)
