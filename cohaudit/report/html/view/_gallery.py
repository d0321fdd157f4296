"""The suspects: each with what it looks like, what its label is and should be, and who agrees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from cohaudit.config.used import setting
from cohaudit.report.figures.distributions import suspicion_histogram
from cohaudit.report.html.view._listing import Listing, build_listing
from cohaudit.report.html.view._settings import judged
from cohaudit.report.words import Text, count, percent, probability, prose, text
from cohaudit.results import Audit
from cohaudit.results.kinds import REVIEWED


@dataclass(frozen=True)
class KindView:
    """One kind of sample."""

    name: str
    samples: str
    share: str
    certainty: str
    """Mean probability that they are of this kind."""
    meaning: str


@dataclass(frozen=True)
class SuppressedRow:
    """A sample that would be a suspect, had no person found its label right."""

    id: Text
    label: Text
    suspicion: str
    reviewer: Text
    reason: str
    until: str


@dataclass(frozen=True)
class Gallery:
    """The section."""

    total: int
    summary: str
    kinds: tuple[KindView, ...]
    """Empty when nobody was judged."""
    twins: str
    """How many near-duplicates there are and whether their labels agree; empty when none."""
    histogram: Markup | None
    listing: Listing
    more: str
    """Where the suspects are that are not shown; empty when all are."""
    suppressed: tuple[SuppressedRow, ...]


def build_gallery(audit: Audit) -> Gallery:
    """Put the suspects into words, the most suspicious first."""
    threshold = setting(audit.settings, "suspicion_threshold")
    suspicion = audit.samples["suspicion"].dropna()
    total = int(audit.samples["suspect"].sum())
    listing = build_listing(audit)
    return Gallery(
        total=total,
        summary=_summary(audit, total, threshold),
        kinds=tuple(_kinds(audit)) if judged(audit) else (),
        twins=_twins(audit),
        histogram=suspicion_histogram(suspicion, threshold) if judged(audit) else None,
        listing=listing,
        more=_more(total, listing),
        suppressed=tuple(_suppressed(audit)),
    )


def _summary(audit: Audit, total: int, threshold: float) -> str:
    if not audit.sanity.auditable:
        return "No sample is judged: the model is not auditable."
    if not judged(audit):
        return "No sample is judged: the suspicion was not measured, see what was skipped."
    if total == 0 and audit.suppressed:
        return f"Every sample that reaches a suspicion of {threshold:g} is suppressed, see below."
    if total == 0:
        return f"No sample reaches a suspicion of {threshold:g}: no label looks wrong."
    share = percent(total / max(len(audit.samples), 1))
    verb = "sample reaches" if total == 1 else "samples reach"
    rest = f" {count(len(audit.suppressed))} more, listed last, are suppressed." if audit.suppressed else ""
    wrong = float(audit.samples["suspicion"][audit.samples["suspect"]].mean())
    return (
        f"{count(total)} {verb} a suspicion of {threshold:g}: {share} of the samples audited. "
        f"By their suspicion, {percent(wrong)} of them are wrong.{rest}"
    )


MEANINGS = {
    "typical": "the other samples give the label",
    "mislabeled": "the label is more likely wrong than right: the suspects below",
    "ambiguous": "the others are torn between two labels: hard, and more likely right than wrong",
    "rare": "the others say nothing of it: right and alone, keep it",
    "reviewed": "a person found the label right: suppressed, listed last",
    "duplicate": "another sample is nearly the same to every layer",
}


def _kinds(audit: Audit) -> Iterator[KindView]:
    for name, meaning in MEANINGS.items():
        own = audit.samples[audit.samples["kind"] == name]
        if name == REVIEWED and own.empty:
            continue
        yield KindView(
            name,
            count(len(own)),
            percent(len(own) / len(audit.samples)),
            percent(float(own["certainty"].mean())) if len(own) else "",
            meaning,
        )


def _twins(audit: Audit) -> str:
    twin = audit.samples[audit.samples["duplicate_of"] != ""]
    if twin.empty:
        return ""
    label_of = audit.samples.set_index("id")["label"]
    apart = int((twin["label"].to_numpy() != label_of[twin["duplicate_of"]].to_numpy()).sum())
    verb = "sample is" if len(twin) == 1 else "samples are"
    but = f"; {count(apart)} of them carry another label than their twin" if apart else ""
    return f"{count(len(twin))} {verb} nearly the same as another one{but}: see duplicate_of in samples.csv."


def _more(total: int, listing: Listing) -> str:
    parts = []
    if total > listing.suspects:
        left = count(total - listing.suspects)
        parts.append(f"{left} more suspects are in samples.csv, where the column suspect is True.")
    if listing.unseen:
        parts.append(
            f"{count(listing.unseen)} samples stand here without their picture, to keep the page small."
        )
    return " ".join(parts)


def _suppressed(audit: Audit) -> Iterator[SuppressedRow]:
    suspicion = dict(zip(audit.samples["id"], audit.samples["suspicion"], strict=True))
    for entry in audit.suppressed:
        yield SuppressedRow(
            id=text(entry.id, 56),
            label=text(entry.label, 28),
            suspicion=probability(suspicion.get(entry.id, math.nan)),
            reviewer=text(entry.reviewer, 40),
            reason=prose(entry.reason),
            until=prose(entry.expires) or "for good",
        )
