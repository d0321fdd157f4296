"""The samples as data for the page's script: those with a card, then the other suspects in a line each.

The page shows the first cards by itself, whether scripts run or not; the script builds the others from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from markupsafe import Markup

from cohaudit.config.used import setting
from cohaudit.report.html.script_data import script_data, shown_text
from cohaudit.report.html.view._cards import NUMBERS, Card, NeighborView, Pictures, RowTable, build_cards
from cohaudit.report.words import Text, probability, prose, text
from cohaudit.results import Audit, Evidence
from cohaudit.results.kinds import SAMPLE_KINDS

STATIC_CARDS = 24
"""Cards written into the page itself: those that the script shows first, and all where no script runs."""
MAX_PAGE_SUSPECTS = 5000
"""Suspects on the page at most; samples.csv has all."""
_MAX_PICTURE_CHARACTERS = 1_000_000
"""Characters of all pictures of the page at most: leaves room for the rest of a page of 3 MB."""
_MAX_ROW_CHARACTERS = 400_000
"""Characters of all rows of neighbors in the data at most."""


@dataclass(frozen=True)
class Listing:
    """What the page shows of single samples."""

    printed: tuple[Card, ...]
    """Cards written into the page itself."""
    data: Markup
    """JSON for the script; empty without samples."""
    kinds: tuple[str, ...]
    """Kinds of samples that occur, in their fixed order."""
    suspects: tuple[str, ...]
    """Ids of the suspects on the page."""
    unseen: int
    """Samples whose picture the page has no room for."""
    numbers: tuple[tuple[str, str], ...]
    """Names of the numbers of a card, with empty values for the script to fill in."""


def build_listing(audit: Audit) -> Listing:
    """Return the samples that the page shows."""
    # a set that keeps its order
    suspicious = dict.fromkeys(audit.suspects["id"])
    evidence = {one.id: one for one in audit.evidence}
    suspects = [evidence[name] for name in suspicious if name in evidence]
    detailed = suspects[: setting(audit.settings, "gallery")]
    shown = [*detailed, *(one for one in audit.evidence if one.id not in suspicious)]
    pictures = Pictures(audit.previews, len(shown), _MAX_PICTURE_CHARACTERS)
    for one in shown:  # the samples' own pictures take room before their neighbors'
        pictures.of(one.id)
    cards = tuple(build_cards(audit, shown, pictures))
    brief = suspects[len(detailed) : MAX_PAGE_SUSPECTS]
    rows = audit.samples.set_index("id", drop=False)
    kinds = [
        name for name in SAMPLE_KINDS if name in set(rows["kind"].loc[[one.id for one in (*shown, *brief)]])
    ]
    return Listing(
        printed=cards[:STATIC_CARDS],
        data=script_data(_Writer(audit, rows).content(shown, cards, brief)) if cards or brief else Markup(""),
        kinds=tuple(kinds),
        suspects=tuple(one.id for one in (*detailed, *brief)),
        unseen=sum(not card.picture and card.kind in {"image", "wave"} for card in cards),
        numbers=tuple((name, "") for name in NUMBERS),
    )


class _Writer:
    """Puts samples into as few characters as the script can read: every neighbor and picture once."""

    def __init__(self, audit: Audit, rows: Any) -> None:
        self._audit = audit
        self._rows = rows
        self._classes = {one.name: i for i, one in enumerate(audit.classes)}
        self._pictures: dict[str, int] = {}
        self._coarse: list[int] = []
        self._kinds: dict[str, int] = {}
        self._neighbors: dict[tuple[Any, ...], int] = {}
        self._room = _MAX_ROW_CHARACTERS

    def content(
        self, shown: Sequence[Evidence], cards: Sequence[Card], brief: Sequence[Evidence]
    ) -> dict[str, Any]:
        # Cards in the page are not repeated in the data: the script reads them from the page.
        samples = [
            self._sample(one) | ({} if card.rank <= STATIC_CARDS else self._card(card))
            for one, card in zip(shown, cards, strict=True)
        ]
        samples += [self._sample(one) for one in brief]  # before what they add to below is written
        subject = self._audit.subject
        return {
            # the browser keeps verdicts by this: they belong to one model on one dataset
            "audit": f"{subject.checkpoint_sha256:.16}.{subject.data_fingerprint:.16}",
            "classes": [shown_text(text(name, 28), name) for name in self._classes],
            "kinds": list(self._kinds),
            # the page lists some of the ambiguous and rare samples, and of very many suspects
            "totals": [int((self._audit.samples["kind"] == name).sum()) for name in self._kinds],
            "columns": next((_texts(card.table.columns) for card in cards if card.table), []),
            "samples": samples,
            "neighbors": [list(key) for key in self._neighbors],
            "pictures": list(self._pictures),
            "coarse": self._coarse,
        }

    def _sample(self, one: Evidence) -> dict[str, Any]:
        """Return what sorting, filtering and recording verdicts need of a sample."""
        row = self._rows.loc[one.id]
        return {
            "id": shown_text(text(one.id, 56), one.id),
            "hash": one.content,
            "given": self._classes[row["label"]],
            "suggested": self._classes[row["suggested"]],
            "kind": self._kinds.setdefault(row["kind"], len(self._kinds)),
            "suspicion": [_short(row["suspicion"]), probability(row["suspicion"])],
            "loss": _short(row["loss"]),
            "margin": _short(row["loo_margin"]),
            "said": prose(self._audit.previews[one.id].text),
        }

    def _card(self, card: Card) -> dict[str, Any]:
        """Return what the card shows in addition."""
        written: dict[str, Any] = {
            "form": card.kind,
            "predicted": shown_text(card.predicted),
            "numbers": [value for _, value in card.numbers],
            "against": [self._neighbor(n) for n in card.opponents],
            "with": [self._neighbor(n) for n in card.supporters],
        }
        if card.twin:
            written["twin"] = shown_text(card.twin)
        if card.picture:
            written["picture"] = self._picture(card.picture.uri, card.picture.coarse)
        if card.table:
            written["rows"] = self._lines(card.table)
            written["note"] = card.table.note
        return written

    def _lines(self, table: RowTable) -> list[list[Any]]:
        """Return the row itself, and the rows of its neighbors while there is room."""
        lines = [[_ROLES[n.role], shown_text(n.label), n.cosine, _texts(n.cells)] for n in table.lines]
        # 3 for the quotes and the comma of JSON
        self._room -= sum(len(cell.short) + 3 for n in table.lines for cell in n.cells)
        return lines if self._room > 0 else lines[:1]

    def _neighbor(self, seen: NeighborView) -> list[Any]:
        picture = self._picture(seen.picture.uri, seen.picture.coarse) if seen.picture else -1
        words = "" if seen.picture else seen.words.short
        parts = chain(_pair(seen.id), _pair(seen.label), (picture, words, int(seen.suspect)))
        # The same sample is a neighbor of many: the data has it once, cards refer to its place.
        place = self._neighbors.setdefault(tuple(parts), len(self._neighbors))
        return [place, seen.cosine, int(seen.duplicate)]

    def _picture(self, uri: str, coarse: bool) -> int:
        if uri not in self._pictures:
            if coarse:
                self._coarse.append(len(self._pictures))
            self._pictures[uri] = len(self._pictures)
        return self._pictures[uri]


_ROLES = {"suspect": 0, "opponent": 1, "supporter": 2}
"""Role of a row → its number in the data; the script has the same order."""


def _short(value: float) -> float | None:
    """Round to what sorting needs; None for what was not measured or is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _pair(name: Text) -> tuple[str, str]:
    return name.short, name.full


def _texts(names: Sequence[Text]) -> list[Any]:
    return [shown_text(name) for name in names]
