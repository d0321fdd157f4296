"""The suspects: each with what it looks like, what its label is and should be, and who agrees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cohaudit.kinds import REVIEWED
from cohaudit.report._words import Text, count, number, percent, probability, prose, signed, text
from cohaudit.report.figures import suspicion_histogram
from cohaudit.report.thumbnails import Thumbnail, thumbnail
from cohaudit.report.view._settings import judged
from cohaudit.results import Audit, Evidence, Neighbor, Preview
from cohaudit.settings_used import setting

_SIDE = 96
_NEIGHBOR_SIDE = 56
_COLUMNS = 40
"""Most columns of a row that are shown."""


@dataclass(frozen=True)
class NeighborView:
    """A supporter or opponent."""

    id: Text
    label: Text
    cosine: str
    picture: Thumbnail | None
    words: Text
    """What stands in the place of a picture: its text, or nothing."""
    suspect: bool
    """Whether it is a suspect itself."""
    duplicate: bool
    """Whether every layer sees it nearly as it sees the sample."""


@dataclass(frozen=True)
class RowLine:
    """A sample's row in the table that compares rows."""

    role: str
    """'suspect', 'opponent' or 'supporter'."""
    label: Text
    cosine: str
    cells: tuple[Text, ...]


@dataclass(frozen=True)
class RowTable:
    """A suspect's row beside those of its opponents and supporters."""

    columns: tuple[Text, ...]
    lines: tuple[RowLine, ...]
    note: str
    """How many columns are left out; empty when none."""


@dataclass(frozen=True)
class Card:
    """One suspect."""

    rank: int
    id: Text
    given: Text
    suggested: Text | None
    """The label that leave-one-out prediction prefers; None when that is the given one."""
    suspicion: str
    bar: str
    """The suspicion as a CSS percentage."""
    numbers: tuple[tuple[str, str], ...]
    predicted: Text
    kind: str
    """How to show it: image, row, text or none."""
    picture: Thumbnail | None
    text: str
    table: RowTable | None
    opponents: tuple[NeighborView, ...]
    supporters: tuple[NeighborView, ...]


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
    cards: tuple[Card, ...]
    more: str
    """Where the suspects are that are not shown; empty when all are."""
    suppressed: tuple[SuppressedRow, ...]


def build_gallery(audit: Audit) -> Gallery:
    """Put the suspects into words, the most suspicious first."""
    threshold, most = setting(audit, "suspicion_threshold"), setting(audit, "gallery")
    shown = audit.evidence[:most]
    suspicion = audit.samples["suspicion"].dropna()
    total = int(audit.samples["suspect"].sum())
    return Gallery(
        total=total,
        summary=_summary(audit, total, threshold),
        kinds=tuple(_kinds(audit)) if judged(audit) else (),
        twins=_twins(audit),
        histogram=suspicion_histogram(suspicion, threshold) if judged(audit) else None,
        cards=tuple(_cards(audit, shown)),
        more=_more(total, len(shown)),
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


def _more(total: int, shown: int) -> str:
    if total <= shown:
        return ""
    return f"{count(total - shown)} more suspects are in samples.csv, where the column suspect is True."


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


def _cards(audit: Audit, shown: Sequence[Evidence]) -> Iterator[Card]:
    position = {sample_id: i for i, sample_id in enumerate(audit.samples["id"])}
    suspects = frozenset(audit.samples["id"][audit.samples["suspect"]])
    for rank, evidence in enumerate(shown, 1):
        row = audit.samples.iloc[position[evidence.id]].to_dict()
        yield _card(rank, evidence, row, audit.previews, suspects)


def _card(
    rank: int,
    evidence: Evidence,
    row: Mapping[Any, Any],
    previews: Mapping[str, Preview],
    suspects: frozenset[str],
) -> Card:
    own = previews[evidence.id]
    return Card(
        rank=rank,
        id=text(evidence.id, 56),
        given=text(row["label"], 28),
        suggested=text(row["suggested"], 28) if row["suggested"] != row["label"] else None,
        suspicion=probability(row["suspicion"]),
        bar=f"{row['suspicion']:.1%}",
        numbers=(
            ("loss", number(row["loss"])),
            ("support", signed(row["support"])),
            ("support count", count(row["support_count"])),
            ("leave-one-out margin", signed(row["loo_margin"])),
        ),
        predicted=text(row["predicted"], 28),
        kind=own.kind,
        picture=thumbnail(own.image, _SIDE) if own.image else None,
        text=prose(own.text),
        table=_row_table(evidence, row["label"], previews) if own.kind == "row" else None,
        opponents=tuple(_neighbor(n, previews[n.id], n.id in suspects) for n in evidence.opponents),
        supporters=tuple(_neighbor(n, previews[n.id], n.id in suspects) for n in evidence.supporters),
    )


def _neighbor(neighbor: Neighbor, preview: Preview, suspect: bool) -> NeighborView:
    return NeighborView(
        id=text(neighbor.id, 14 if preview.image else 40),
        label=text(neighbor.label, 20),
        cosine=signed(neighbor.cosine),
        picture=thumbnail(preview.image, _NEIGHBOR_SIDE) if preview.image else None,
        words=text(preview.text, 120),
        suspect=suspect,
        duplicate=neighbor.duplicate,
    )


def _row_table(evidence: Evidence, label: str, previews: Mapping[str, Preview]) -> RowTable:
    own = previews[evidence.id].row
    columns = list(own)[:_COLUMNS]
    lines = [RowLine("suspect", text(label, 20), "", _cells(own, columns))]
    for role, neighbors in (("opponent", evidence.opponents), ("supporter", evidence.supporters)):
        for n in neighbors:
            cells = _cells(previews[n.id].row, columns)
            lines.append(RowLine(role, text(n.label, 20), signed(n.cosine), cells))
    left_out = len(own) - len(columns)
    note = f"{count(left_out)} more columns are in the data." if left_out else ""
    return RowTable(tuple(text(column, 24) for column in columns), tuple(lines), note)


def _cells(row: Mapping[str, str], columns: Sequence[str]) -> tuple[Text, ...]:
    return tuple(text(row.get(column, ""), 24) for column in columns)
