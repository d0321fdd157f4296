"""A sample as a card: what it looks like, what its label is and should be, and who agrees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cohaudit.report.figures.thumbnails import Thumbnail, thumbnail
from cohaudit.report.words import Text, count, number, probability, prose, signed, text
from cohaudit.results import Audit, Evidence, Neighbor, Preview

COLUMNS = 40
"""Most columns of a row that are shown."""
NUMBERS = ("loss", "support", "support count", "leave-one-out margin")
"""What the numbers of a card are."""
_SIDE = 96
_WIDE = 192
"""Longest side of a sample's picture, in pixels, and of the drawing of a signal."""
_NEIGHBOR_SIDE = 56


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
    """A sample's row beside those of its opponents and supporters."""

    columns: tuple[Text, ...]
    lines: tuple[RowLine, ...]
    note: str
    """How many columns are left out; empty when none."""


@dataclass(frozen=True)
class Card:
    """One sample."""

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
    is_kind: str
    """Mislabeled, ambiguous, rare or duplicate."""
    twin: Text | None
    """The sample that it is nearly the same as."""
    kind: str
    """How to show it: image, wave, row, text or none."""
    picture: Thumbnail | None
    text: str
    table: RowTable | None
    opponents: tuple[NeighborView, ...]
    supporters: tuple[NeighborView, ...]


class Pictures:
    """The pictures of a page: each made once, as long as there is room for it.

    Args:
        previews: Sample id → what to show.
        room: Characters that they may take together.
    """

    def __init__(self, previews: Mapping[str, Preview], room: int) -> None:
        self._previews = previews
        self._room = room
        self._made: dict[tuple[str, int], Thumbnail | None] = {}

    def of(self, sample: str) -> Thumbnail | None:
        """Return a sample's own picture, if it has one."""
        return self._get(sample, _WIDE if self._previews[sample].kind == "wave" else _SIDE)

    def beside(self, sample: str) -> Thumbnail | None:
        """Return the picture that a sample has beside another one."""
        return self._get(sample, _NEIGHBOR_SIDE if self._previews[sample].kind == "image" else _WIDE)

    def _get(self, sample: str, side: int) -> Thumbnail | None:
        image = self._previews[sample].image
        if not image:
            return None
        if (sample, side) not in self._made:
            made = thumbnail(image, side) if self._room > 0 else None
            self._room -= len(made.uri) if made else 0
            self._made[sample, side] = made
        return self._made[sample, side]


def build_cards(audit: Audit, shown: Sequence[Evidence], pictures: Pictures) -> Iterator[Card]:
    """Yield a card for each sample.

    Args:
        audit: The result of a scan.
        shown: The samples, in their order on the page.
        pictures: Where their pictures come from.
    """
    position = {sample_id: i for i, sample_id in enumerate(audit.samples["id"])}
    suspects = frozenset(audit.samples["id"][audit.samples["suspect"]])
    for rank, evidence in enumerate(shown, 1):
        row = audit.samples.iloc[position[evidence.id]].to_dict()
        yield _card(rank, evidence, row, audit.previews, suspects, pictures)


def _card(
    rank: int,
    evidence: Evidence,
    row: Mapping[Any, Any],
    previews: Mapping[str, Preview],
    suspects: frozenset[str],
    pictures: Pictures,
) -> Card:
    own = previews[evidence.id]

    def seen(neighbors: tuple[Neighbor, ...]) -> tuple[NeighborView, ...]:
        return tuple(_neighbor(n, previews[n.id], n.id in suspects, pictures) for n in neighbors)

    return Card(
        rank=rank,
        id=text(evidence.id, 56),
        given=text(row["label"], 28),
        suggested=text(row["suggested"], 28) if row["suggested"] != row["label"] else None,
        suspicion=probability(row["suspicion"]),
        bar=f"{row['suspicion']:.1%}",
        numbers=tuple(zip(NUMBERS, _numbers(row), strict=True)),
        predicted=text(row["predicted"], 28),
        is_kind=row["kind"],
        twin=text(row["duplicate_of"], 40) if row["duplicate_of"] else None,
        kind=own.kind,
        picture=pictures.of(evidence.id),
        text=prose(own.text),
        table=_row_table(evidence, row["label"], previews) if own.kind == "row" else None,
        opponents=seen(evidence.opponents),
        supporters=seen(evidence.supporters),
    )


def _numbers(row: Mapping[Any, Any]) -> tuple[str, str, str, str]:
    return (
        number(row["loss"]),
        signed(row["support"]),
        count(row["support_count"]),
        signed(row["loo_margin"]),
    )


def _neighbor(neighbor: Neighbor, preview: Preview, suspect: bool, pictures: Pictures) -> NeighborView:
    return NeighborView(
        id=text(neighbor.id, 14 if preview.image else 40),
        label=text(neighbor.label, 20),
        cosine=signed(neighbor.cosine),
        picture=pictures.beside(neighbor.id),
        words=text(preview.text, 120),
        suspect=suspect,
        duplicate=neighbor.duplicate,
    )


def _row_table(evidence: Evidence, label: str, previews: Mapping[str, Preview]) -> RowTable:
    own = previews[evidence.id].row
    columns = list(own)[:COLUMNS]
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
