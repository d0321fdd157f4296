"""Which suspects of two audits are new, fixed, or still there, matched by the hash of their content."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

from cohaudit.config.used import setting
from cohaudit.results import Audit
from cohaudit.review.diff.samples import match_samples

SUSPECTS_SIGNIFICANCE = 0.05
"""Probability below which the number of new suspects is not explained by chance. Only clear suspects count:
many samples share one suspicion near the threshold, and the next training run moves all of them across it."""

Elsewhere = Literal["not a suspect", "relabeled", "suppressed", "removed", "added", "not audited", "suspect"]
"""What a suspect of one audit is in the other: a sample with the same label that is not a suspect; a sample
with another label; confirmed by a person; not among the samples of the head, or of the base; perhaps among
them, but --limit left it out; or a suspect too. Samples are found by the hash of their input, and by their id
only where no input is in both audits."""


@dataclass(frozen=True)
class ComparedSuspect:
    """A suspect of one of the two audits."""

    id: str
    """Sample id in its own audit."""
    label: str
    """Label as given in its own audit."""
    suggested: str
    """Likeliest true label."""
    suspicion: float
    """Probability that the label is wrong, in [0, 1]."""
    elsewhere: Elsewhere
    """What the sample is in the other audit."""


@dataclass(frozen=True)
class StillSuspect:
    """A suspect of both audits."""

    base: ComparedSuspect
    """The suspect in the base."""
    head: ComparedSuspect
    """The suspect in the head."""


@dataclass(frozen=True)
class SuspectChanges:
    """The suspects of two audits; each list has the most suspicious first."""

    new: tuple[ComparedSuspect, ...]
    """Suspects of the head alone."""
    fixed: tuple[ComparedSuspect, ...]
    """Suspects of the base alone."""
    still: tuple[StillSuspect, ...]
    """Suspects of both."""
    unhashed: int
    """Number of suspects without a hash in their audit, which were matched by id alone."""
    clear_from: float
    """Smallest suspicion of a clear suspect, in [0, 1]: halfway from the higher of the two thresholds to
    1."""
    clear_new: int
    """Number of clear suspects among the new ones that have another label in the base, or are not in it."""
    clear_fixed: int
    """Number of clear suspects among the fixed ones that have another label in the head, or are not in
    it."""
    chance: float
    """Probability of at least so many new ones among the clear suspects of one audit alone, in [0, 1], if
    each of them is as likely new as fixed."""
    more: bool
    """Whether that probability is too small for chance: there are more suspects."""
    fewer: bool
    """Whether the same holds for the fixed ones: there are fewer suspects."""


@dataclass(frozen=True)
class _Unmatched:
    """A suspect before it is matched."""

    id: str
    label: str
    suggested: str
    suspicion: float
    content: str

    def matched(self, elsewhere: Elsewhere) -> ComparedSuspect:
        return ComparedSuspect(self.id, self.label, self.suggested, self.suspicion, elsewhere)


def compare_suspects(base: Audit, head: Audit) -> SuspectChanges:
    """Match the suspects of two audits.

    A sample that occurs several times is matched with the same id first, then with the same label. A suspect
    without a hash in its audit is matched by id.

    Args:
        base: The earlier audit; its labels were judged.
        head: The later audit; its labels were judged.

    Raises:
        ConfigError: The setting `suspicion_threshold` of an audit has an invalid value.
    """
    before = _suspects(base)
    after = _suspects(head)
    pairs = _match(before, after)
    base_of = {j: i for i, j in pairs}
    matched_in_base = {i for i, _ in pairs}
    both = match_samples(base, head)
    rows = list(zip(both["row_base"], both["row_head"], strict=True))
    in_head = _describe_elsewhere(base, head, dict(rows), "removed")
    in_base = _describe_elsewhere(head, base, {j: i for i, j in rows}, "added")
    new = tuple(one.matched(in_base(one)) for j, one in enumerate(after) if j not in base_of)
    fixed = tuple(one.matched(in_head(one)) for i, one in enumerate(before) if i not in matched_in_base)
    still = tuple(
        StillSuspect(before[base_of[j]].matched("suspect"), one.matched("suspect"))
        for j, one in enumerate(after)
        if j in base_of
    )
    clear_from = (1 + max(setting(audit.settings, "suspicion_threshold") for audit in (base, head))) / 2
    clear_new = _count_clear(new, clear_from)
    clear_fixed = _count_clear(fixed, clear_from)
    chance = sign_test(clear_new, clear_fixed)
    return SuspectChanges(
        new=new,
        fixed=fixed,
        still=still,
        unhashed=sum(not one.content for one in (*before, *after)),
        clear_from=clear_from,
        clear_new=clear_new,
        clear_fixed=clear_fixed,
        chance=chance,
        more=chance <= SUSPECTS_SIGNIFICANCE,
        fewer=sign_test(clear_fixed, clear_new) <= SUSPECTS_SIGNIFICANCE,
    )


def sign_test(new: int, fixed: int) -> float:
    """Return the probability of at least so many new suspects, if each is new or fixed by the toss of a coin.

    P(X ≥ new), X ~ binomial(new + fixed, ½): McNemar's exact test (Psychometrika 12, 1947), one-sided.
    """
    n = new + fixed
    # in logarithms: 2 ** n is not a float64 for more than 1,023 suspects
    log_total = math.lgamma(n + 1) - n * math.log(2)
    terms = (math.exp(log_total - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(new, n + 1))
    # rounding can lift the sum over all terms above 1
    return min(1.0, math.fsum(terms))


def _count_clear(suspects: tuple[ComparedSuspect, ...], clear_from: float) -> int:
    # with the same label in both audits, or confirmed by a person, it is another training run that found it
    told = {"relabeled", "removed", "added", "not audited"}
    return sum(one.suspicion >= clear_from for one in suspects if one.elsewhere in told)


def _suspects(audit: Audit) -> list[_Unmatched]:
    """Return the suspects, most suspicious first, each with the hash of its content."""
    hashes = {one.id: one.content for one in audit.evidence}
    rows = audit.suspects
    columns = zip(rows["id"], rows["label"], rows["suggested"], rows["suspicion"], strict=True)
    return [
        _Unmatched(name, label, suggested, float(suspicion), hashes.get(name, ""))
        for name, label, suggested, suspicion in columns
    ]


def _match(before: list[_Unmatched], after: list[_Unmatched]) -> list[tuple[int, int]]:
    """Return pairs of positions of the same sample; every position is in one pair at most."""
    # from the strictest key to the loosest: copies of a sample are matched with themselves before each other
    keys: tuple[Callable[[_Unmatched], Hashable], ...] = (
        lambda one: (one.content, one.id) if one.content else None,
        lambda one: (one.content, one.label) if one.content else None,
        lambda one: one.content or None,
    )
    left = dict(enumerate(before))
    right = dict(enumerate(after))
    pairs = []
    for key in keys:
        pairs += _pop_pairs(left, right, key)
    # last, because an id can mean another sample: row numbers move when a row is inserted
    unhashed = {one.id for one in (*left.values(), *right.values()) if not one.content}
    pairs += _pop_pairs(left, right, lambda one: one.id if one.id in unhashed else None)
    return pairs


def _pop_pairs(
    left: dict[int, _Unmatched], right: dict[int, _Unmatched], key: Callable[[_Unmatched], Hashable]
) -> list[tuple[int, int]]:
    """Remove pairs of equal key, in order, and return them; a key of None matches nothing."""
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    # reversed, so that pop takes the first of them
    for j, one in reversed(right.items()):
        places[key(one)].append(j)
    known = {i: key(one) for i, one in left.items() if key(one) is not None}
    pairs = [(i, places[k].pop()) for i, k in known.items() if places[k]]
    for i, j in pairs:
        del left[i], right[j]
    return pairs


def _describe_elsewhere(
    own: Audit, other: Audit, pairs: Mapping[int, int], absent: Elsewhere
) -> Callable[[_Unmatched], Elsewhere]:
    """Return a function that says what a suspect of one audit alone is in the other audit.

    Args:
        own: The audit that it is a suspect of.
        other: The other audit.
        pairs: Row in the table of samples of `own` → row in that of `other`.
        absent: What it is if `other` audited all of its samples, and has none of this input.
    """
    suppressed = {(one.sample, one.label) for one in other.suppressed}
    labels = other.samples["label"].tolist()
    # not by the id in `other`, which can mean another sample: row numbers move when a row is inserted
    places = {name: pairs[row] for row, name in enumerate(own.samples["id"]) if row in pairs}
    if other.subject.samples < other.subject.samples_total:
        absent = "not audited"

    def describe(one: _Unmatched) -> Elsewhere:
        if (one.content, one.label) in suppressed:
            return "suppressed"
        place = places.get(one.id)
        if place is None:
            return absent
        return "not a suspect" if one.label == labels[place] else "relabeled"

    return describe
