"""A sample as a card: its picture, its given and suggested label, and the samples for and against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cohaudit.report.figures.thumbnails import Thumbnail, thumbnail
from cohaudit.report.words import UNKNOWN, Text, count, number, probability, prose, signed, text
from cohaudit.results import Audit, Evidence, Neighbor, Preview

MAX_COLUMNS = 40
"""Columns of a table row shown at most."""
NUMBERS = ("loss", "support", "support count", "leave-one-out margin")
"""Names of the numbers on a card."""
_PICTURE_SIDES = ((100, 160), (250, 112))
"""Longest side of a sample's picture, in pixels, on a page with up to so many pictures of samples."""
_SMALL_PICTURE_SIDE = 80
"""The same on a page with more of them."""
_SIGNAL_SIDE = 192
"""Longest side of the drawing of a signal, in pixels."""
_NEIGHBOR_SIDE = 56
"""Longest side of a neighbor's picture, in pixels."""


@dataclass(frozen=True)
class NeighborView:
    """A supporter or opponent."""

    id: Text
    label: Text
    cosine: str
    picture: Thumbnail | None
    words: Text
    """Its text where there is no picture; empty for none."""
    suspect: bool
    """Whether it is a suspect itself."""
    duplicate: bool
    """Whether it looks nearly the same as the sample to every layer."""


@dataclass(frozen=True)
class RowLine:
    """One row in the table that compares a sample's row with its neighbors'."""

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
    """How many columns are left out; empty when none is."""


@dataclass(frozen=True)
class Card:
    """One sample."""

    rank: int
    id: Text
    given: Text
    suggested: Text | None
    """Label that the other samples suggest; None when it is the given one."""
    suspicion: str
    bar: str
    """The suspicion as a CSS percentage."""
    numbers: tuple[tuple[str, str], ...]
    predicted: Text
    is_kind: str
    """Kind of sample: mislabeled, ambiguous, rare or duplicate."""
    twin: Text | None
    """Sample that it is a near-duplicate of."""
    kind: str
    """How to show it: image, wave, row, text or none."""
    picture: Thumbnail | None
    text: str
    table: RowTable | None
    opponents: tuple[NeighborView, ...]
    supporters: tuple[NeighborView, ...]


class Pictures:
    """The pictures of a page: each is made once, as long as there is room for it.

    Args:
        previews: Sample id → what to show.
        samples: Samples with a picture of their own.
        room: Characters that all pictures may take together.
    """

    def __init__(self, previews: Mapping[str, Preview], samples: int, room: int) -> None:
        self._previews = previews
        self._side = next((side for most, side in _PICTURE_SIDES if samples <= most), _SMALL_PICTURE_SIDE)
        self._room = room
        self._made: dict[tuple[str, int], Thumbnail | None] = {}

    def of(self, sample: str) -> Thumbnail | None:
        """Return a sample's own picture, if it has one."""
        return self._get(sample, _SIGNAL_SIDE if self._previews[sample].kind == "wave" else self._side)

    def beside(self, sample: str) -> Thumbnail | None:
        """Return the picture that a sample has beside another one."""
        return self._get(sample, _NEIGHBOR_SIDE if self._previews[sample].kind == "image" else _SIGNAL_SIDE)

    def _get(self, sample: str, side: int) -> Thumbnail | None:
        image = self._previews[sample].image
        if not image:
            return None
        # a picture that was left out is remembered too: the room never grows again
        if (sample, side) not in self._made:
            # Checked before, not after: the page may exceed its room by one picture at most.
            made = thumbnail(image, side) if self._room > 0 else None
            self._room -= len(made.uri) if made else 0
            self._made[sample, side] = made
        return self._made[sample, side]


def build_cards(audit: Audit, shown: Sequence[Evidence], pictures: Pictures) -> Iterator[Card]:
    """Yield a card for each sample.

    Args:
        audit: The result of a scan.
        shown: The samples, in their order on the page.
        pictures: Source of their pictures.
    """
    position = {sample_id: i for i, sample_id in enumerate(audit.samples["id"])}
    suspects = frozenset(audit.samples["id"][audit.samples["suspect"]])
    context = _Context(audit.previews, suspects, pictures)
    for rank, evidence in enumerate(shown, 1):
        row = audit.samples.iloc[position[evidence.id]].to_dict()
        yield _card(rank, evidence, row, context)


@dataclass(frozen=True)
class _Context:
    """What all cards draw from."""

    previews: Mapping[str, Preview]
    """Sample id → what to show of it."""
    suspects: frozenset[str]
    """Ids of the suspects."""
    pictures: Pictures


def _card(rank: int, evidence: Evidence, row: Mapping[Any, Any], context: _Context) -> Card:
    own = context.previews[evidence.id]
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
        picture=context.pictures.of(evidence.id),
        text=prose(own.text),
        table=_row_table(evidence, row["label"], context.previews) if own.kind == "row" else None,
        opponents=tuple(_neighbor(one, context) for one in evidence.opponents),
        supporters=tuple(_neighbor(one, context) for one in evidence.supporters),
    )


def _numbers(row: Mapping[Any, Any]) -> tuple[str, str, str, str]:
    return (
        number(row["loss"]),
        signed(row["support"]),
        # missing in a table of pandas, where NaN would make a float of it
        UNKNOWN if pd.isna(row["support_count"]) else count(row["support_count"]),
        signed(row["loo_margin"]),
    )


def _neighbor(neighbor: Neighbor, context: _Context) -> NeighborView:
    preview = context.previews[neighbor.id]
    return NeighborView(
        id=text(neighbor.id, 14 if preview.image else 40),
        label=text(neighbor.label, 20),
        cosine=signed(neighbor.cosine),
        picture=context.pictures.beside(neighbor.id),
        words=text(preview.text, 120),
        suspect=neighbor.id in context.suspects,
        duplicate=neighbor.duplicate,
    )


def _row_table(evidence: Evidence, label: str, previews: Mapping[str, Preview]) -> RowTable:
    own = previews[evidence.id].row
    # The sample's own columns decide: in JSON lines, neighbors may have others.
    columns = list(own)[:MAX_COLUMNS]
    lines = [RowLine("suspect", text(label, 20), "", _cells(own, columns))]
    for role, neighbors in (("opponent", evidence.opponents), ("supporter", evidence.supporters)):
        for n in neighbors:
            cells = _cells(previews[n.id].row, columns)
            lines.append(RowLine(role, text(n.label, 20), signed(n.cosine), cells))
    left_out = len(own) - len(columns)
    note = f"The data has {count(left_out)} more columns." if left_out else ""
    return RowTable(tuple(text(column, 24) for column in columns), tuple(lines), note)


def _cells(row: Mapping[str, str], columns: Sequence[str]) -> tuple[Text, ...]:
    return tuple(text(row.get(column, ""), 24) for column in columns)
