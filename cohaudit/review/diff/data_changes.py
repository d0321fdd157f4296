"""What became of each sample between two audits: matched by the hash of its input, not by its id or place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from cohaudit.results import Audit


@dataclass(frozen=True)
class DataChanges:
    """How the samples of two audits differ. A sample that was relabeled and renamed counts as both."""

    same: int
    """Number of samples of the base that the head has too, with the same input."""
    relabeled: int
    """Those of them with another label."""
    renamed: int
    """Those of them with another id, such as a moved image; 0 where ids are row numbers."""
    removed: int
    """Number of samples of the base that the head does not have."""
    added: int
    """Number of samples of the head that the base does not have."""

    @property
    def sentence(self) -> str:
        """What changed, as a phrase; empty if nothing did."""
        counts = {name: getattr(self, name) for name in ("relabeled", "renamed", "removed", "added")}
        return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def match_samples(base: Audit, head: Audit) -> dict[int, int] | None:
    """Find the samples of the base in the head, by content; of equal inputs, those of one id and label first.

    Args:
        base: The earlier audit.
        head: The later audit.

    Returns:
        Row in the base's table of samples → row in the head's; None if no input is in both, so that nothing
        tells which samples are the same: under another transform every input has another hash.
    """
    # an audit of an earlier version may have no hashes: that they are both empty says nothing
    before = {i: row for i, row in enumerate(_rows(base)) if row[0]}
    after = {j: row for j, row in enumerate(_rows(head)) if row[0]}
    found: dict[int, int] = {}
    keys: tuple[Callable[[tuple[str, str, str]], Hashable], ...] = (
        lambda row: row,
        lambda row: row[:2],
        lambda row: (row[0], row[2]),
        lambda row: row[0],
    )
    for key in keys:
        places = defaultdict[Hashable, list[int]](list)
        # reversed, so that pop takes the first of equal samples
        for j, row in reversed(after.items()):
            places[key(row)].append(j)
        for i, row in list(before.items()):
            if candidates := places.get(key(row)):
                found[i] = candidates.pop()
                del before[i], after[found[i]]
    return found or None


def compare_data(base: Audit, head: Audit) -> DataChanges | None:
    """Count what became of the samples; None if no input is in both audits."""
    pairs = match_samples(base, head)
    if pairs is None:
        return None
    old = list(_rows(base))
    new = list(_rows(head))
    numbered = all(_are_row_numbers(rows) for rows in (old, new))
    return DataChanges(
        same=len(pairs),
        relabeled=sum(old[i][2] != new[j][2] for i, j in pairs.items()),
        renamed=0 if numbered else sum(old[i][1] != new[j][1] for i, j in pairs.items()),
        removed=len(old) - len(pairs),
        added=len(new) - len(pairs),
    )


def _rows(audit: Audit) -> Iterator[tuple[str, str, str]]:
    """Yield content, id and label of each sample."""
    samples = audit.samples
    return zip(samples["content"], samples["id"], samples["label"], strict=True)


def _are_row_numbers(rows: list[tuple[str, str, str]]) -> bool:
    return all(name.isdecimal() for _, name, _ in rows)
