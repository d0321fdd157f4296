"""Suppressions: a file of suspects whose labels a person confirmed, and the samples that they apply to.

An entry names a sample by the hash of its content, so that it survives renaming and reordering. It applies
only while the sample has the label that was reviewed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

from cohaudit.config.file import read_toml
from cohaudit.config.keys import TYPE_NAMES
from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.results.suppression import Suppression

SUPPRESSIONS_TABLE = "suppress"
"""Name of the file's array of tables."""

CONTENT_HASH = re.compile(r"sha256:[0-9a-f]{64}")
"""Form of the hash of a sample's content."""

MAX_NAMES_IN_NOTICE = 3
"""Entries that a notice names; more are counted."""

REQUIRED_KEYS = {
    "sample": "copy it from what cohaudit export --format suppressions writes",
    "label": "give the label that is right",
    "reviewer": "name who reviewed the sample, or delete the entry if nobody did",
    "reason": "say why the label is right, or delete the entry if it is not",
}
"""Key that every entry needs → what to do when it is missing."""


@dataclass(frozen=True)
class Matches:
    """The samples that the entries of a file apply to."""

    samples: Mapping[int, Suppression]
    """Index of a sample → the entry that applies to it."""
    notices: tuple[str, ...]
    """Entries that apply to no sample, in sentences."""


def read_suppressions(path: Path) -> tuple[Suppression, ...]:
    """Read a file of suppressions.

    Args:
        path: A TOML file of `[[suppress]]` entries.

    Returns:
        The entries in the file's order, including those that have expired.

    Raises:
        ConfigError: The file cannot be read, or an entry is incomplete, has an unknown key, or occurs twice.
    """
    content = read_toml(path)
    for key in content:
        if key != SUPPRESSIONS_TABLE:
            raise ConfigError(
                f"{path}: {key}", "there is no such key", did_you_mean(key, [SUPPRESSIONS_TABLE])
            )
    given = content.get(SUPPRESSIONS_TABLE, [])
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        remedy = f"begin each entry with [[{SUPPRESSIONS_TABLE}]]"
        raise ConfigError(f"{path}: {SUPPRESSIONS_TABLE}", "is not a list of tables", remedy)
    first_places: dict[tuple[str, str], str] = {}
    entries = []
    for number, values in enumerate(given, 1):
        where = _where(path, number, values)
        entry = _entry(values, where)
        # two entries with different reviewers or days would contradict each other
        earlier = first_places.setdefault((entry.sample, entry.label), where)
        if earlier != where:
            raise ConfigError(where, f"the same sample and label as {earlier}", "delete one of the two")
        entries.append(entry)
    return tuple(entries)


def active(entries: Iterable[Suppression], today: date) -> list[Suppression]:
    """Return the entries that have not expired.

    Args:
        entries: From `read_suppressions`.
        today: Day of the scan.
    """
    # days written as 2027-06-30 have the order of their texts
    return [entry for entry in entries if not entry.expires or today.isoformat() < entry.expires]


def match(
    entries: Sequence[Suppression], hashes: Mapping[int, str], labels: Sequence[str], today: date
) -> Matches:
    """Find the samples that suppressions apply to.

    Args:
        entries: From `read_suppressions`.
        hashes: Index of a sample → hash of its content; must have all samples when an entry is active.
        labels: Class name of each sample.
        today: Day of the scan.

    Returns:
        The samples, and notices about the entries that apply to none.
    """
    valid = active(entries, today)
    by_key = {(entry.sample, entry.label): entry for entry in valid}
    sample_keys = {index: (content, labels[index]) for index, content in hashes.items()}
    samples = {index: by_key[key] for index, key in sample_keys.items() if key in by_key}
    matched = set(sample_keys.values())
    unmatched = [entry for key, entry in by_key.items() if key not in matched]
    unexpired = set(valid)
    expired = [entry for entry in entries if entry not in unexpired]
    notices = (_expired_notice(expired), _unmatched_notice(unmatched))
    return Matches(samples, tuple(filter(None, notices)))


def suppressed_notice(suppressed: Sequence[Suppression]) -> str:
    """Return a notice about how many suspects are suppressed; empty when there are none."""
    if not suppressed:
        return ""
    many = len(suppressed) > 1
    reviewers = list(dict.fromkeys(f"{entry.reviewer:.40}" for entry in suppressed))
    return (
        f"{len(suppressed):,} more sample{'s' * many} would be {'suspects' if many else 'a suspect'}, but "
        f"{'are' if many else 'is'} suppressed: reviewed by {_list_names(reviewers)}."
    )


def _expired_notice(expired: Sequence[Suppression]) -> str:
    if not expired:
        return ""
    days = _list_names([f"{entry.name} on {entry.expires}" for entry in expired])
    if len(expired) == 1:
        return f"1 suppression has expired: {days}. Its sample can be a suspect again."
    return f"{len(expired):,} suppressions have expired: {days}. Their samples can be suspects again."


def _unmatched_notice(unmatched: Sequence[Suppression]) -> str:
    if not unmatched:
        return ""
    names = [f"{entry.name} as {entry.label!r:.60}" for entry in unmatched]
    verb = "suppression applies" if len(unmatched) == 1 else "suppressions apply"
    return (
        f"{len(unmatched):,} {verb} to no audited sample: {_list_names(names)}. "
        "The sample was removed or not audited, or its input or label has changed."
    )


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES_IN_NOTICE])
    hidden = len(names) - MAX_NAMES_IN_NOTICE
    return f"{shown} and {hidden:,} more" if hidden > 0 else shown


def _where(path: Path, number: int, values: Mapping[str, Any]) -> str:
    """Return the place of an entry for a message: its number in the file, and its id if it has one."""
    name = values.get("id")
    place = f"{path}, [[{SUPPRESSIONS_TABLE}]] number {number}"
    return f"{place} ({name!r:.80})" if isinstance(name, str) and name else place


def _entry(values: Mapping[str, Any], where: str) -> Suppression:
    """Check every part of an entry, and return it."""
    known = [field.name for field in fields(Suppression)]
    for key in values:
        # refused, not ignored: with a misspelled `expires` an entry would never end
        if key not in known:
            raise ConfigError(f"{where}: {key}", "there is no such key", did_you_mean(key, known))
    entry = Suppression(
        sample=_text(values, "sample", where),
        label=_text(values, "label", where),
        reviewer=_text(values, "reviewer", where),
        reason=_text(values, "reason", where),
        id=_text(values, "id", where),
        expires=_day(values.get("expires"), where),
    )
    if not CONTENT_HASH.fullmatch(entry.sample):
        found = f"found {entry.sample!r:.80}, not 'sha256:' with 64 hexadecimal digits"
        raise ConfigError(f"{where}: sample", found, REQUIRED_KEYS["sample"])
    return entry


def _text(values: Mapping[str, Any], key: str, where: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        kind = TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
        raise ConfigError(f"{where}: {key}", f"found {value!r:.80}, {kind}", "give a text in quotes")
    # the id is for readers alone: the hash names the sample
    if key != "id" and not value.strip():
        found = "is empty" if key in values else "is missing"
        raise ConfigError(f"{where}: {key}", found, REQUIRED_KEYS[key])
    return value


def _day(value: Any, where: str) -> str:
    if value is None:
        return ""
    # a datetime is a date in Python; its time of day would need a time zone
    if isinstance(value, datetime) or not isinstance(value, date):
        remedy = "give a day without quotes, as in expires = 2027-06-30"
        raise ConfigError(f"{where}: expires", f"found {value!r:.80}, not a day", remedy)
    return value.isoformat()
