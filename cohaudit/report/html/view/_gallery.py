"""The samples: how many are of which kind, the suspects, and what was suppressed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from cohaudit.config.used import setting
from cohaudit.report.figures.distributions import suspicion_histogram
from cohaudit.report.html.view._confusions import Confusions, build_confusions
from cohaudit.report.html.view._judged import judges_samples, lists_suspects
from cohaudit.report.html.view._listing import Listing, build_listing
from cohaudit.report.words import Text, count, percent, probability, prose, text
from cohaudit.results import Audit, Skipped, format_wrong_labels
from cohaudit.results.kinds import DUPLICATE, MISLABELED, REVIEWED, SAMPLE_KINDS


@dataclass(frozen=True)
class KindView:
    """One kind of sample."""

    name: str
    samples: str
    share: str
    certainty: str
    """Mean probability that they are of this kind; empty without samples."""
    meaning: str


@dataclass(frozen=True)
class SuppressedRow:
    """A sample that would be a suspect if no person had confirmed its label."""

    id: Text
    label: Text
    suspicion: str
    reviewer: Text
    reason: str
    until: str


@dataclass(frozen=True)
class Gallery:
    """The section on the samples."""

    total: int
    """Suspects."""
    summary: str
    kinds: tuple[KindView, ...]
    """Empty when no sample was judged."""
    kinds_line: str
    """How many samples are of which kind, in a line."""
    twins: str
    """How many near-duplicates there are, and how many carry another label; empty when none."""
    histogram: Markup | None
    confusions: Confusions | None
    """Given and suggested labels of the suspects; None without any."""
    listing: Listing
    more: str
    """Which suspects or pictures are not on the page; empty when all are."""
    suppressed: tuple[SuppressedRow, ...]


def build_gallery(audit: Audit) -> Gallery:
    """Return the section on the samples, the most suspicious first."""
    threshold = setting(audit.settings, "suspicion_threshold")
    total = int(audit.samples["suspect"].sum())
    listing = build_listing(audit)
    kinds = tuple(_kinds(audit)) if judges_samples(audit) else ()
    return Gallery(
        total=total,
        summary=_summary(audit, total, threshold),
        kinds=kinds,
        kinds_line=", ".join(f"{kind.samples} {kind.name}" for kind in kinds if kind.share),
        twins=_twins(audit),
        histogram=_histogram(audit, threshold) if judges_samples(audit) else None,
        confusions=build_confusions(audit, listing.suspects),
        listing=listing,
        more=_more(total, listing),
        suppressed=tuple(_suppressed(audit)),
    )


def _histogram(audit: Audit, threshold: float) -> Markup:
    suspicion = audit.samples["suspicion"].dropna()
    return suspicion_histogram(suspicion, threshold, listed=lists_suspects(audit))


def _summary(audit: Audit, total: int, threshold: float) -> str:
    if not audit.sanity.auditable:
        return "No sample was judged, because the model is not auditable."
    if not judges_samples(audit):
        return "No sample was judged: the suspicion was not measured. See what was skipped."
    wrong_labels = _wrong_labels(audit)
    if total == 0 and not audit.lists_suspects:
        return f"{wrong_labels}No suspects are listed."
    if total == 0 and audit.suppressed:
        return (
            f"{wrong_labels}Every sample with a suspicion of at least {threshold:g} is suppressed: see below."
        )
    if total == 0:
        return f"{wrong_labels}No sample has a suspicion of {threshold:g} or more."
    share = percent(total / max(len(audit.samples), 1))
    have = "sample has" if total == 1 else "samples have"
    rest = f" {count(len(audit.suppressed))} more are suppressed and listed last." if audit.suppressed else ""
    # The mean of probabilities is the expected share of wrong labels among the suspects.
    wrong = float(audit.samples["suspicion"][audit.samples["suspect"]].mean())
    return (
        f"{wrong_labels}{count(total)} {have} a suspicion of at least {threshold:g}: {share} of the audited "
        f"samples. Expected precision: {percent(wrong)} of their labels are wrong.{rest}"
    )


def _wrong_labels(audit: Audit) -> str:
    """Return how many labels are wrong as a sentence or two, with a space at the end; empty if unknown."""
    wrong = audit.labels.wrong
    return "" if isinstance(wrong, Skipped) else f"Wrong labels: {format_wrong_labels(wrong).rstrip('.')}. "


MEANINGS: Mapping[str, str] = {
    "typical": "Similar samples support the label.",
    "mislabeled": "The label is probably wrong: the suspects.",
    "ambiguous": "Similar samples carry two labels: hard, but the label is probably correct.",
    "rare": "No similar samples: rare but probably correct. Keep it.",
    "reviewed": "A person confirmed the label: suppressed, listed last.",
    "duplicate": "Another sample looks nearly the same to every layer.",
}
"""Kind of sample → what it means, in the order of the page."""


def _kinds(audit: Audit) -> Iterator[KindView]:
    for name, meaning in MEANINGS.items():
        own = audit.samples[audit.samples["kind"] == name]
        # only suppressions make this kind: most audits have none
        if name == REVIEWED and own.empty:
            continue
        if name == SAMPLE_KINDS[MISLABELED] and not lists_suspects(audit):
            yield KindView(name, "–", "", "", "Which labels are wrong cannot be told here.")
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
    # Twins with different labels are the ones to look at: at least one label is wrong.
    label_of = audit.samples.set_index("id")["label"]
    # as arrays: pandas does not compare columns that have different indices
    apart = int((twin["label"].to_numpy() != label_of[twin["duplicate_of"]].to_numpy()).sum())
    are = "sample is a near-duplicate" if len(twin) == 1 else "samples are near-duplicates"
    but = f"; {count(apart)} of them carry another label than their twin" if apart else ""
    other = int((twin["kind"] != SAMPLE_KINDS[DUPLICATE]).sum())
    kinds = f", {count(other)} of them of another kind" if other else ""
    return (
        f"{count(len(twin))} {are} of another sample{kinds}{but}. See the column duplicate_of in samples.csv."
    )


def _more(total: int, listing: Listing) -> str:
    parts = []
    if total > len(listing.suspects):
        left = count(total - len(listing.suspects))
        parts.append(f"{left} more suspects are in samples.csv, in the rows with suspect = True.")
    if listing.unseen:
        parts.append(
            f"{count(listing.unseen)} samples are shown without their picture, to keep the page small."
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
            until=prose(entry.expires) or "no expiry",
        )
