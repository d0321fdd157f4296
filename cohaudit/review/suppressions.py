"""Suspects that a person has found to be right: a file of entries, and which samples they hold for.

An entry names a sample by the hash of its content, so that it survives renaming and reordering, and holds
only while the sample carries the label that was looked at.
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

TABLE = "suppress"
"""Name of the file's array of tables."""

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_NAMED = 3
"""Entries named at most in a notice."""


@dataclass(frozen=True)
class Matches:
    """What a file of suppressions comes to, held against the samples of an audit."""

    samples: Mapping[int, Suppression]
    """Index of a sample → the entry that holds for it."""
    notices: tuple[str, ...]
    """Entries that hold for nothing, in sentences."""


def read_suppressions(path: Path) -> tuple[Suppression, ...]:
    """Read a file of suppressions.

    Args:
        path: A TOML file of `[[suppress]]` entries.

    Returns:
        The entries, also those that have expired, in the file's order.

    Raises:
        ConfigError: If the file cannot be read, or an entry is not whole, has an unknown key or occurs twice.
    """
    content = read_toml(path)
    for key in content:
        if key != TABLE:
            raise ConfigError(f"{path}: {key}", "there is no such key", did_you_mean(key, [TABLE]))
    given = content.get(TABLE, [])
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise ConfigError(f"{path}: {TABLE}", "is no list of tables", f"begin each entry with [[{TABLE}]]")
    entries: dict[tuple[str, str], str] = {}
    found = []
    for number, values in enumerate(given, 1):
        where = _where(path, number, values)
        entry = _entry(values, where)
        earlier = entries.setdefault((entry.sample, entry.label), where)
        if earlier != where:
            raise ConfigError(where, f"the same sample and label as {earlier}", "take one of the two out")
        found.append(entry)
    return tuple(found)


def active(entries: Iterable[Suppression], today: date) -> list[Suppression]:
    """Return the entries that have not expired.

    Args:
        entries: From `read_suppressions`.
        today: The day of the scan.
    """
    return [entry for entry in entries if not entry.expires or today.isoformat() < entry.expires]


def match(
    entries: Sequence[Suppression], hashes: Mapping[int, str], labels: Sequence[str], today: date
) -> Matches:
    """Find the samples that suppressions hold for.

    Args:
        entries: From `read_suppressions`.
        hashes: Index of a sample → hash of its content; of all samples when any entry is active.
        labels: Class name of each sample.
        today: The day of the scan.

    Returns:
        The samples, and what is to be said of the entries that hold for none.
    """
    held = active(entries, today)
    holding = {(entry.sample, entry.label): entry for entry in held}
    given = {index: (content, labels[index]) for index, content in hashes.items()}
    samples = {index: holding[key] for index, key in given.items() if key in holding}
    matched = set(given.values())
    idle = [entry for key, entry in holding.items() if key not in matched]
    holds = set(held)
    expired = [entry for entry in entries if entry not in holds]
    return Matches(samples, tuple(filter(None, (_told_expired(expired), _told_idle(idle)))))


def suppressed_notice(suppressed: Sequence[Suppression]) -> str:
    """Return a notice of how many suspects are suppressed; empty when none is."""
    if not suppressed:
        return ""
    many = len(suppressed) > 1
    reviewers = list(dict.fromkeys(f"{entry.reviewer:.40}" for entry in suppressed))
    more = f" and {len(reviewers) - _NAMED} more" if len(reviewers) > _NAMED else ""
    return (
        f"{len(suppressed):,} more sample{'s' * many} would be {'suspects' if many else 'a suspect'}, but "
        f"{'are' if many else 'is'} suppressed: found to be right by {', '.join(reviewers[:_NAMED])}{more}."
    )


def _told_expired(expired: Sequence[Suppression]) -> str:
    if not expired:
        return ""
    days = [f"{entry.name} on {entry.expires}" for entry in expired]
    if len(expired) == 1:
        return f"1 suppression has expired: {days[0]}. Its sample can be a suspect again."
    return (
        f"{len(expired):,} suppressions have expired: {_listed(days)}. Their samples can be suspects again."
    )


def _told_idle(idle: Sequence[Suppression]) -> str:
    if not idle:
        return ""
    names = [f"{entry.name} as {entry.label!r:.60}" for entry in idle]
    verb = "suppression holds" if len(idle) == 1 else "suppressions hold"
    return (
        f"{len(idle):,} {verb} for no sample audited: {_listed(names)}. "
        "A sample was removed or left out, or its input or label has changed."
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _where(path: Path, number: int, values: Mapping[str, Any]) -> str:
    """Name an entry for a message: its place in the file, and its id if it has one."""
    name = values.get("id")
    return f"{path}, [[{TABLE}]] number {number}" + (
        f" ({name!r:.80})" if isinstance(name, str) and name else ""
    )


def _entry(values: Mapping[str, Any], where: str) -> Suppression:
    """Return an entry, once every part of it is known to be usable."""
    known = [field.name for field in fields(Suppression)]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: {key}", "there is no such key", did_you_mean(key, known))
    texts = {key: _text(values, key, where) for key in known if key != "expires"}
    if not _HASH.fullmatch(texts["sample"]):
        raise ConfigError(
            f"{where}: sample",
            f"found {texts['sample']!r:.80}, no 'sha256:' with 64 hexadecimal digits",
            "copy it from what cohaudit export --format suppressions writes",
        )
    return Suppression(**texts, expires=_day(values.get("expires"), where))


def _text(values: Mapping[str, Any], key: str, where: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        kind = TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
        raise ConfigError(f"{where}: {key}", f"found {value!r:.80}, {kind}", "give a text in quotes")
    if key != "id" and not value.strip():
        raise ConfigError(f"{where}: {key}", "is empty" if key in values else "is missing", _TO_FILL_IN[key])
    return value


_TO_FILL_IN = {
    "sample": "copy it from what cohaudit export --format suppressions writes",
    "label": "give the label that was found to be right",
    "reviewer": "name who looked at the sample, or take the entry out if nobody has",
    "reason": "say why the label is right, or take the entry out if it is not",
}
"""Key that every entry needs → what to do when it is missing."""


def _day(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime) or not isinstance(value, date):
        remedy = "give a day without quotes, as in expires = 2027-06-30"
        raise ConfigError(f"{where}: expires", f"found {value!r:.80}, no day", remedy)
    return value.isoformat()
