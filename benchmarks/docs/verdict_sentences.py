"""The sentences of docs/detection.md that hold figures: the answer, and what cannot be done."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import pandas as pd

from benchmarks.docs.verdict_cells import Verdicts, by_family, holds, long_lists
from benchmarks.docs.verdict_tables import KEYWORDS, LOST_POSITIVES, beside, share
from benchmarks.verdicts.fit import CLAIM_ERROR, LONG_LIST
from benchmarks.verdicts.judging import REVIEWS
from benchmarks.verdicts.opinions import OURS
from benchmarks.verdicts.tables import BEHIND, FOLDS, KNN, LOSS

WIDTH = 150
"""Characters of a line."""


def bullets(items: Iterable[str]) -> str:
    """Return a list, its lines no longer than WIDTH."""
    return "\n".join(
        textwrap.fill(
            f"- {item}", WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
        )
        for item in items
    )


def answer(verdicts: Verdicts) -> str:
    """Return how good the order and the list are."""
    return bullets([_order(verdicts), *_claims(verdicts.of(OURS))])


def _order(verdicts: Verdicts) -> str:
    real_data = verdicts.groups()["real data"]
    ours, folds, knn, loss = (_ranked(real_data, method) for method in (OURS, FOLDS, KNN, LOSS))
    planted, real = (_auroc(verdicts, kind) for kind in ("planted", "real"))
    behind, ahead, cells = beside(verdicts, OURS, "real")
    return (
        "**Order.** Wrong labels come before right ones with an AUROC (and average precision) of "
        f"{ours} on real data; cleanlab with five more training runs reaches {folds}, nearest neighbors of "
        f"the features {knn}, the loss {loss}. Planted errors are easy, real ones hard: AUROC {planted} and "
        f"{real}. In {ahead} of {cells} checkpoints with real errors cohaudit is at least as good as the "
        f"five runs; in {behind} it is more than {BEHIND} behind the better of loss and neighbors."
    )


def _claims(ours: pd.DataFrame) -> list[str]:
    long = long_lists(ours)
    after = long_lists(ours, "reviewed_")
    real = ours[ours["kind"] == "real"]
    error = ours["reviewed_error"]
    return [
        "**List.** Suspects are listed only where wrong labels can be told from hard samples: in "
        f"{_told(ours)} checkpoints. Of the {len(long)} lists of {LONG_LIST} and more, "
        f"{share(long['right'])} claim a precision within {CLAIM_ERROR} of the true one. On average they "
        f"hold {share(long['recall'])} of the wrong labels.",
        "**Number.** The interval of the share of wrong labels is meant to contain it in 90% of the cases. "
        f"It does in {share(holds(ours))} of the checkpoints, and in {share(holds(real))} of those with real "
        "errors.",
        f"**After {REVIEWS} reviewed labels** the suspicions' expected calibration error is "
        f"{error.mean():.3f} on average and {error.max():.3f} at most, and "
        f"{share(holds(ours, 'reviewed'))} of the intervals contain the share. Of {len(after)} lists of "
        f"{LONG_LIST} and more, {share(after['right'])} claim a precision within {CLAIM_ERROR}.",
    ]


def _ranked(table: pd.DataFrame, method: str) -> str:
    own = table[table["method"] == method]
    return f"{by_family(own, 'auroc'):.3f} ({by_family(own, 'ap'):.3f})"


def _auroc(verdicts: Verdicts, kind: str) -> str:
    own = verdicts.scored[(verdicts.scored["kind"] == kind) & (verdicts.scored["method"] == OURS)]
    return f"{by_family(own, 'auroc'):.3f}"


def limits(verdicts: Verdicts) -> str:
    """Return what cannot be done, and how bad it is."""
    ours = verdicts.of(OURS).reset_index()
    real, planted = (ours[ours["kind"] == kind] for kind in ("real", "planted"))
    return bullets(
        [
            "**Where hard samples look like wrong labels, there is no list.** People err where samples are "
            f"hard. It can be told which labels are wrong in {_told(real)} checkpoints with real errors, and "
            f"in {_told(planted)} with planted ones. Elsewhere there is an order, an upper bound of the "
            "share, and `cohaudit review`.",
            *_keywords(verdicts),
            *_lost_positives(ours),
            "**A class that is nearly always called another** is called so by its neighbors too. No method "
            "that sees only the given labels can detect that.",
        ]
    )


def _told(own: pd.DataFrame) -> str:
    return f"{int(own['told'].astype(bool).sum())} of {len(own)}"


def _keywords(verdicts: Verdicts) -> list[str]:
    """Return the sentence on labels by keywords, if that was measured."""
    name, noise = KEYWORDS
    own = verdicts.scored[(verdicts.scored["dataset"] == name) & (verdicts.scored["noise"] == noise)]
    if not len(own):
        return []
    best = own.sort_values("auroc").iloc[-1]
    ours = _range(own[own["method"] == OURS]["auroc"])
    return [
        "**Labels by keywords.** Headlines that keywords labeled are wrong by a rule, and a rule looks right "
        f"to whoever sees only the labels: AUROC {ours}. The best of {own['method'].nunique()} methods "
        f"reaches {best['auroc']:.2f} in its best checkpoint ({best['method']})."
    ]


def _lost_positives(ours: pd.DataFrame) -> list[str]:
    """Return the sentence on two classes of which one loses members to the other, if that was measured."""
    own = ours[ours["noise"].str.endswith(LOST_POSITIVES)]
    if not len(own):
        return []
    return [
        "**Lost positives.** Members of a rare class that are labeled as the rest come early in the order "
        f"(AUROC {_range(own['auroc'])}, average precision {_range(own['ap'])}). It can be told in "
        f"{_told(own)} checkpoints: as many hard samples would explain them as well. Work with `rank`."
    ]


def _range(values: pd.Series) -> str:
    low, high = (f"{bound:.2f}" for bound in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"
