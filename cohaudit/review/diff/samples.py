"""Which samples two audits share, by the hash of each input: relabeled, renamed, moved, dropped or added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cohaudit.results import Audit

STEPS: tuple[tuple[str, ...], ...] = (("content", "id"), ("content", "label"), ("content",))
"""What two samples must share to be one, the strictest first: copies of an input are matched with themselves
before each other."""


@dataclass(frozen=True)
class SampleChanges:
    """The samples of two audits, each counted once: in both, dropped, or added."""

    both: int
    """Number of samples in both audits, relabeled, renamed, moved and edited ones among them."""
    relabeled: int
    """Number of these with another label in the head."""
    renamed: int
    """Number of those with the same label that have another id in the head: a file or key was renamed."""
    moved: int
    """Number of those with the same label that have no id but their row, and another row in the head."""
    edited: int
    """Number of samples in both whose id is the same, and whose input is another one in the head."""
    dropped: int
    """Number of samples of the base alone."""
    added: int
    """Number of samples of the head alone."""

    @property
    def changed(self) -> bool:
        """Whether anything but the order of the samples differs."""
        return any((self.relabeled, self.renamed, self.edited, self.dropped, self.added))

    @property
    def words(self) -> str:
        """The counts in a few words, without those that are 0."""
        within = [
            (self.relabeled, "relabeled"),
            (self.renamed, "renamed"),
            (self.moved, "in another row"),
            (self.edited, "with another input"),
        ]
        changed = ", ".join(f"{count:,} {what}" for count, what in within if count)
        parts = [f"{self.both:,} in both{f' ({changed})' if changed else ''}"]
        parts += [
            f"{count:,} {what}" for count, what in ((self.dropped, "dropped"), (self.added, "added")) if count
        ]
        return ", ".join(parts)


def match_samples(base: Audit, head: Audit) -> pd.DataFrame:
    """Match the samples of two audits.

    Samples are matched by the hash of their input, copies of one input by id and label first; what is left,
    by id. Ids that are row numbers move when a row is inserted: they count only if no input is in both
    audits, as under another transform.

    Args:
        base: The earlier audit.
        head: The later audit.

    Returns:
        A row for each sample of both: content, id, label, place in the order of suspicion, 0 to 1, and row in
        the table of samples; each once with `_base` and once with `_head` added to its name.
    """
    left, right = _table(base), _table(head)
    matched: list[pd.DataFrame] = []
    for keys in (*STEPS, ("id",)):
        if keys == ("id",) and _number_rows(base, head) and any(map(len, matched)):
            break
        pairs = _pairs(left, right, keys)
        left = left[~left["row"].isin(pairs["row_base"])]
        right = right[~right["row"].isin(pairs["row_head"])]
        matched.append(pairs)
    return pd.concat(matched, ignore_index=True)


def compare_samples(base: Audit, head: Audit) -> SampleChanges:
    """Count what became of the samples of two audits.

    Args:
        base: The earlier audit.
        head: The later audit.
    """
    both = match_samples(base, head)
    by_row = _number_rows(base, head)
    relabeled = both["label_base"] != both["label_head"]
    edited = both["content_base"] != both["content_head"]
    elsewhere = int(((both["id_base"] != both["id_head"]) & ~relabeled).sum())
    return SampleChanges(
        both=len(both),
        relabeled=int(relabeled.sum()),
        renamed=0 if by_row else elsewhere,
        moved=elsewhere if by_row else 0,
        edited=int(edited.sum()),
        dropped=len(base.samples) - len(both),
        added=len(head.samples) - len(both),
    )


def _table(audit: Audit) -> pd.DataFrame:
    table = audit.samples[["id", "label", "content"]].reset_index(drop=True)
    place = audit.samples["rank"].to_numpy() / max(len(table), 1)
    return table.assign(place=place, row=range(len(table)))


def _pairs(left: pd.DataFrame, right: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return pairs of samples that are equal in some columns, in order: the first with the first."""
    names = list(keys)
    sides = []
    for side, suffix in ((left, "_base"), (right, "_head")):
        # a sample without a hash has nothing to be matched by but its id
        known = side[side["content"] != ""] if "content" in keys else side
        order = known.groupby(names).cumcount()
        sides.append(known.add_suffix(suffix).assign(**{name: known[name] for name in names}, order=order))
    return sides[0].merge(sides[1], on=[*names, "order"]).drop(columns=[*names, "order"])


def _number_rows(*audits: Audit) -> bool:
    """Tell whether the ids of all of them are row numbers."""
    return all(map(_are_rows, audits))


def _are_rows(audit: Audit) -> bool:
    """Tell whether ids are row numbers: rising from 0, and no larger than there are rows."""
    ids = audit.samples["id"].tolist()
    if not all(one.isdecimal() and str(int(one)) == one for one in ids):
        return False
    rows = [int(one) for one in ids]
    return rows == sorted(rows) and (not rows or rows[-1] < audit.subject.samples_total)
