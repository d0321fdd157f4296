"""The provenance of corrected labels: a file beside the data says what was changed, and by what evidence.

A correction turns what an audit concluded into labels. The next audit would take these for evidence, and find
that they agree with what they were made from. The file tells it which labels these are, and what they were.

The file is JSON: the corrections that were made one after the other, and an entry for each sample whose label
was changed or confirmed. It is read as untrusted input: it names no code and no path, and is of bounded size.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cohaudit.config.keys import TYPE_NAMES
from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.results import Estimate
from cohaudit.results.corrections import CHANGED_BY, CorrectionRound, LabelChange
from cohaudit.results.reviewed import SHORT_HASH_DIGITS

BESIDE_DATA = ".provenance.json"
"""Ending of the file: the data's name and this, beside the data."""

FORM = "cohaudit label provenance"
"""Value of the key `form`, which tells the file from any other JSON."""

VERSION = 1
"""Version of the file's form; a file of another version is refused."""

MAX_FILE_BYTES = 256_000_000
"""Largest file that is read: a million changes of samples with long ids."""

MAX_ROUNDS = 1000
"""Corrections in a file, at most: more than anybody makes of one data set."""

MAX_TEXT = 10_000
"""Characters of an id, label or description, at most."""

RESTORE = "restore the file as cohaudit correct wrote it; without the file, corrected labels count as given"
"""What to do about a file that cannot be used."""

_CONTENT = re.compile(rf"[0-9a-f]{{{SHORT_HASH_DIGITS}}}")
"""Form of the hash of a sample's input."""

_FINGERPRINT = re.compile("[0-9a-f]{64}")
"""Form of the hash of the data."""


@dataclass(frozen=True)
class LabelProvenance:
    """What is known of the labels of a data set that was corrected."""

    fingerprint: str
    """Hash of the corrected data, 64 hexadecimal digits."""
    rounds: tuple[CorrectionRound, ...]
    """The corrections, the first one first."""
    changes: tuple[LabelChange, ...]
    """Samples whose label was changed or confirmed, each once."""


def provenance_file(data: Path) -> Path:
    """Return the path of the file that belongs to data: its name, and `BESIDE_DATA`."""
    return data.with_name(data.name + BESIDE_DATA)


def read_provenance(path: Path) -> LabelProvenance:
    """Read a file of provenance.

    Args:
        path: The file.

    Raises:
        ConfigError: The file cannot be read, is too large, or is not what `provenance_json` writes.
    """
    content = _object(_parsed(path), str(path))
    form = content.get("form")
    if form != FORM:
        raise ConfigError(str(path), f"is not a file of label provenance: its form is {form!r:.60}", RESTORE)
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        found = f"has version {version!r:.20} of its form; this cohaudit reads version {VERSION}"
        raise ConfigError(str(path), found, "use the version of cohaudit that wrote it, or a later one")
    _check_keys(content, ("form", "version", "fingerprint", "rounds", "changes"), str(path))
    fingerprint = content["fingerprint"]
    if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
        raise ConfigError(
            f"{path}: fingerprint", f"found {fingerprint!r:.80}, not 64 hexadecimal digits", RESTORE
        )
    rounds = tuple(
        _round(entry, f"{path}, round {number}")
        for number, entry in enumerate(_list(content, "rounds", path), 1)
    )
    if not 0 < len(rounds) <= MAX_ROUNDS:
        found = f"has {len(rounds):,} corrections, not 1 to {MAX_ROUNDS:,}"
        raise ConfigError(f"{path}: rounds", found, RESTORE)
    changes = tuple(
        _change(entry, f"{path}, change {number}", len(rounds))
        for number, entry in enumerate(_list(content, "changes", path), 1)
    )
    return LabelProvenance(fingerprint, rounds, changes)


def provenance_json(provenance: LabelProvenance) -> str:
    """Return the content of a file of provenance."""
    rounds = ",\n".join(json.dumps(asdict(one)) for one in provenance.rounds)
    # a line each, so that two versions can be compared line by line
    changes = ",\n".join(json.dumps(asdict(one)) for one in provenance.changes)
    return (
        f'{{"form": {json.dumps(FORM)}, "version": {VERSION}, "fingerprint": "{provenance.fingerprint}",\n'
        f'"rounds": [\n{rounds}\n],\n"changes": [\n{changes}\n]}}\n'
    )


def match_changes(
    provenance: LabelProvenance,
    contents: Sequence[str],
    ids: Sequence[str],
    labels: Sequence[str],
    *,
    same_data: bool,
) -> dict[int, LabelChange]:
    """Find the samples that changes are about: those with this input and the label of today.

    A change of a sample whose label was edited since applies to nothing: the label is somebody else's word.

    Args:
        provenance: From `read_provenance`.
        contents: Short hash of each sample's input, [N].
        ids: Id of each sample, [N].
        labels: Class name of each sample, [N].
        same_data: Whether the data is byte for byte what was corrected: then an id names a sample even where
            another transform has changed the inputs.

    Returns:
        Index of a sample → its change, rising; each change is about one sample at most.
    """
    left = dict(enumerate(provenance.changes))
    free = dict(enumerate(zip(contents, ids, labels, strict=True)))
    found: dict[int, LabelChange] = {}

    def pair(
        of_change: Callable[[LabelChange], Hashable], of_sample: Callable[[str, str, str], Hashable]
    ) -> None:
        places = defaultdict[Hashable, list[int]](list)
        # reversed, so that pop takes the first of equal samples
        for i, (content, name, label) in reversed(free.items()):
            places[of_sample(content, name, label)].append(i)
        for k, change in list(left.items()):
            if candidates := places.get(of_change(change)):
                found[candidates[-1]] = left.pop(k)
                del free[candidates.pop()]

    # from the strictest key to the loosest: of equal samples, the one that was changed is taken
    pair(lambda one: (one.content, one.id, one.label), lambda content, name, label: (content, name, label))
    pair(lambda one: (one.content, one.label), lambda content, _, label: (content, label))
    if same_data:
        pair(lambda one: (one.id, one.label), lambda _, name, label: (name, label))
    return dict(sorted(found.items()))


def _parsed(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError(str(path), f"is {size / 1e6:,.0f} MB large, more than is read", RESTORE)
        return json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}", RESTORE) from None
    except (ValueError, RecursionError):
        # also a text that is not UTF-8
        raise ConfigError(str(path), "is not JSON, or was cut short", RESTORE) from None


def _round(entry: Any, where: str) -> CorrectionRound:
    values = _object(entry, where)
    _check_keys(values, [field.name for field in fields(CorrectionRound)], where)
    share = _object(values["remainder"], f"{where}: remainder")
    _check_keys(share, [field.name for field in fields(Estimate)], f"{where}: remainder")
    remainder = Estimate(
        *(_proportion(share, key, f"{where}: remainder") for key in ("value", "low", "high"))
    )
    if not remainder.low <= remainder.value <= remainder.high:
        raise ConfigError(f"{where}: remainder", "its value is outside of its bounds", RESTORE)
    if type(values["told"]) is not bool:
        raise _wrong_type(values, "told", where, "true or false")
    return CorrectionRound(
        audit=_text(values, "audit", where),
        samples=_count(values, "samples", where),
        relabeled=_count(values, "relabeled", where),
        removed=_count(values, "removed", where),
        by_audit=_count(values, "by_audit", where),
        wrong_changes=_proportion(values, "wrong_changes", where),
        told=values["told"],
        remainder=remainder,
    )


def _change(entry: Any, where: str, rounds: int) -> LabelChange:
    values = _object(entry, where)
    _check_keys(values, [field.name for field in fields(LabelChange)], where)
    content = _text(values, "content", where)
    if not _CONTENT.fullmatch(content):
        found = f"found {content!r:.80}, not {SHORT_HASH_DIGITS} hexadecimal digits"
        raise ConfigError(f"{where}: content", found, RESTORE)
    if values["by"] not in CHANGED_BY:
        raise _wrong_type(values, "by", where, f"one of {', '.join(CHANGED_BY)}")
    number = _count(values, "round", where)
    if not 1 <= number <= rounds:
        raise ConfigError(f"{where}: round", f"found {number}; there are {rounds} rounds", RESTORE)
    return LabelChange(
        content=content,
        id=_text(values, "id", where),
        given=_text(values, "given", where),
        label=_text(values, "label", where),
        wrong=_proportion(values, "wrong", where),
        by=values["by"],
        round=number,
    )


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(
            where, f"found {TYPE_NAMES.get(type(value), 'something else')}, not an object", RESTORE
        )
    return value


def _list(values: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    if not isinstance(values[key], list):
        raise _wrong_type(values, key, str(path), "a list")
    found: list[Any] = values[key]
    return found


def _check_keys(values: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: {key:.80}", "there is no such key", did_you_mean(key, known))
    for key in known:
        if key not in values:
            raise ConfigError(f"{where}: {key}", "is missing", RESTORE)


def _text(values: Mapping[str, Any], key: str, where: str) -> str:
    value = values[key]
    if not isinstance(value, str):
        raise _wrong_type(values, key, where, "a text")
    if len(value) > MAX_TEXT:
        raise ConfigError(
            f"{where}: {key}", f"has {len(value):,} characters, more than {MAX_TEXT:,}", RESTORE
        )
    return value


def _count(values: Mapping[str, Any], key: str, where: str) -> int:
    value = values[key]
    # a bool is an int
    if type(value) is not int or not 0 <= value < 2**53:
        raise _wrong_type(values, key, where, "a number of samples")
    return value


def _proportion(values: Mapping[str, Any], key: str, where: str) -> float:
    value = values[key]
    # JSON as Python reads it has NaN, which is in no range
    if type(value) not in {int, float} or not 0 <= value <= 1:
        raise _wrong_type(values, key, where, "a number from 0 to 1")
    return float(value)


def _wrong_type(values: Mapping[str, Any], key: str, where: str, expected: str) -> ConfigError:
    return ConfigError(f"{where}: {key}", f"found {values[key]!r:.80}, not {expected}", RESTORE)
