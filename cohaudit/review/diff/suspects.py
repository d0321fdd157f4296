"""Which suspects of two audits are new, fixed or still there, by their content's hash; part of `diff`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

from cohaudit.config.used import setting
from cohaudit.results import Audit

UNLIKELY = 0.05
"""Probability under which so many more new suspects than fixed ones are no chance. Only clear ones count:
many samples share one suspicion beside the threshold, and another training moves all of them across."""

Elsewhere = Literal["no suspect", "relabeled", "suppressed", "not audited", "suspect"]
"""What a suspect of one audit is in the other: there with the same label; with another label; found to be
right by a person; not among its samples; or a suspect too. Samples that are no suspects are found by id."""


@dataclass(frozen=True)
class Suspect:
    """A sample that looks mislabeled."""

    id: str
    """As in its own audit."""
    label: str
    """As given there."""
    suggested: str
    """What fits better."""
    suspicion: float
    """Probability that the label is wrong."""
    elsewhere: Elsewhere
    """What it is in the other audit."""


@dataclass(frozen=True)
class StillSuspect:
    """A suspect of both audits."""

    base: Suspect
    """There."""
    head: Suspect
    """Here."""


@dataclass(frozen=True)
class SuspectChanges:
    """Suspects of two audits, each list the most suspicious first."""

    new: tuple[Suspect, ...]
    """Of the head alone."""
    fixed: tuple[Suspect, ...]
    """Of the base alone."""
    still: tuple[StillSuspect, ...]
    """Of both."""
    unhashed: int
    """How many have no hash in their audit, and could be matched by id alone."""
    clear_from: float
    """Suspicion from which on a suspect is clear: halfway from the higher of the two thresholds to 1."""
    clear_new: int
    """Clear ones among the new, without those that are suppressed in the base."""
    clear_fixed: int
    """Clear ones among the fixed, without those that are suppressed in the head."""
    chance: float
    """Probability of at least so many clear new ones among the clear ones of one audit alone, where each is
    as likely fixed."""
    more: bool
    """Whether that is too unlikely: there are more suspects."""
    fewer: bool
    """Whether so many clear fixed ones are too unlikely: there are fewer suspects."""


@dataclass(frozen=True)
class _Found:
    """A suspect before it is matched."""

    id: str
    label: str
    suggested: str
    suspicion: float
    content: str


def compare_suspects(base: Audit, head: Audit) -> SuspectChanges:
    """Match the suspects of two audits.

    A sample that occurs several times is matched with the same id first, then with the same label. What an
    audit holds no hash of is matched by id.

    Args:
        base: The earlier audit; its samples were judged.
        head: The later one, likewise.

    Raises:
        ConfigError: If a threshold that an audit holds is none.
    """
    before = _suspects(base)
    after = _suspects(head)
    pairs = _matched(before, after)
    told = {new: old for old, new in pairs}
    gone = {old for old, _ in pairs}
    in_base = _elsewhere(base)
    in_head = _elsewhere(head)
    new = tuple(_told(one, in_base(one)) for i, one in enumerate(after) if i not in told)
    fixed = tuple(_told(one, in_head(one)) for i, one in enumerate(before) if i not in gone)
    still = tuple(
        StillSuspect(_told(before[told[i]], "suspect"), _told(one, "suspect"))
        for i, one in enumerate(after)
        if i in told
    )
    clear_from = (1 + max(setting(audit.settings, "suspicion_threshold") for audit in (base, head))) / 2
    # what a person found to be right in one of the two has not changed by itself
    changed = ([one for one in part if one.elsewhere != "suppressed"] for part in (new, fixed))
    clear = [sum(one.suspicion >= clear_from for one in part) for part in changed]
    chance = sign_test(*clear)
    return SuspectChanges(
        new=new,
        fixed=fixed,
        still=still,
        unhashed=sum(not one.content for one in (*before, *after)),
        clear_from=clear_from,
        clear_new=clear[0],
        clear_fixed=clear[1],
        chance=chance,
        more=chance <= UNLIKELY,
        fewer=sign_test(*reversed(clear)) <= UNLIKELY,
    )


def sign_test(new: int, fixed: int) -> float:
    """Return the probability of at least so many new ones, where each is new or fixed by the toss of a coin.

    P(X ≥ new), X ~ binomial(new + fixed, ½): McNemar's exact test (Psychometrika 12, 1947), one-sided.
    """
    n = new + fixed
    whole = math.lgamma(n + 1) - n * math.log(2)
    terms = (math.exp(whole - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(new, n + 1))
    return min(1.0, math.fsum(terms))


def _suspects(audit: Audit) -> list[_Found]:
    """Return the suspects in the order of the evidence, the most suspicious first."""
    hashes = {one.id: one.content for one in audit.evidence}
    place = {name: k for k, name in enumerate(hashes)}
    rows = audit.samples[audit.samples["suspect"]]
    columns = zip(rows["id"], rows["label"], rows["suggested"], rows["suspicion"], strict=True)
    found = [_Found(i, label, fits, float(wrong), hashes.get(i, "")) for i, label, fits, wrong in columns]
    return sorted(found, key=lambda one: place.get(one.id, len(place)))


def _matched(before: list[_Found], after: list[_Found]) -> list[tuple[int, int]]:
    """Return pairs of places, of one sample each; every place once at most."""
    keys: tuple[Callable[[_Found], Hashable], ...] = (
        lambda one: (one.content, one.id) if one.content else None,
        lambda one: (one.content, one.label) if one.content else None,
        lambda one: one.content or None,
    )
    left = dict(enumerate(before))
    right = dict(enumerate(after))
    pairs = []
    for key in keys:
        pairs += _taken(left, right, key)
    without = {one.id for one in (*left.values(), *right.values()) if not one.content}
    pairs += _taken(left, right, lambda one: one.id if one.id in without else None)
    return pairs


def _taken(
    left: dict[int, _Found], right: dict[int, _Found], key: Callable[[_Found], Hashable]
) -> list[tuple[int, int]]:
    """Take out pairs of equal key, in order; a key of None matches nothing."""
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for j, one in reversed(right.items()):
        places[key(one)].append(j)
    known = {i: key(one) for i, one in left.items() if key(one) is not None}
    pairs = [(i, places[k].pop()) for i, k in known.items() if places[k]]
    for i, j in pairs:
        del left[i], right[j]
    return pairs


def _elsewhere(other: Audit) -> Callable[[_Found], Elsewhere]:
    """Return what tells of a suspect of one audit alone what it is in the other."""
    suppressed = {(one.sample, one.label) for one in other.suppressed}
    labels: Mapping[str, str] = dict(zip(other.samples["id"], other.samples["label"], strict=True))

    def of(one: _Found) -> Elsewhere:
        if (one.content, one.label) in suppressed:
            return "suppressed"
        if one.id not in labels:
            return "not audited"
        return "no suspect" if labels[one.id] == one.label else "relabeled"

    return of


def _told(one: _Found, elsewhere: Elsewhere) -> Suspect:
    return Suspect(one.id, one.label, one.suggested, one.suspicion, elsewhere)
