"""A first cohaudit.toml: every key with its meaning, filled in from the files of a folder.

The files are only listed, and Python code only parsed: nothing is imported or run.
"""

from __future__ import annotations

import itertools
import re
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cohaudit.config import KEYS
from cohaudit.config.file import FILE_NAME
from cohaudit.config.keys import Key, toml_value
from cohaudit.errors import ConfigError
from cohaudit.loading.find_factories import Factory, find_factories
from cohaudit.loading.import_side_effects import Work, find_work

CHECKPOINTS = frozenset({".safetensors", ".pt", ".pth", ".bin", ".ckpt"})
DATA_FILES = frozenset({".npz", ".csv", ".jsonl", ".parquet", ".safetensors"})
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

TRAINING = frozenset({"train", "training"})
NOT_TRAINING = frozenset(
    {"test", "val", "valid", "validation", "holdout", "heldout", "held", "eval", "dev", "truth"}
)
DATA = TRAINING | NOT_TRAINING | {"data", "dataset"}
NOT_WEIGHTS = frozenset({"optimizer", "optim", "scheduler", "args"})
"""Words in a file's name that say what it is for."""

OWN_TABLE = b"id,label,predicted,suggested,suspicion,"
"""How the samples.csv of a report begins."""
OWN_LINE = re.compile(rb'\{"id": "(?:[^"\\]|\\.)*", "label": "(?:[^"\\]|\\.)*", "predicted": ')
"""How the .jsonl of an export begins."""

NUMBER = re.compile(r"[0-9]+")
SHARD = re.compile(r".*-\d{5}-of-\d{5}\..*")
NOT_SEARCHED = frozenset({"tests", "test", "venv", "node_modules", "__pycache__", KEYS["out"].default})
HEADER = """\
# Settings of `cohaudit scan`. A line like #key = value shows a default: remove the # to change it.
# Paths are relative to this file. A scan runs the code that is named here.
"""
MOST_FILES = 10_000
"""Entries of one folder that are looked at."""


@dataclass(frozen=True)
class Finding:
    """What was found for one purpose."""

    candidates: tuple[str, ...]
    """Relative to the folder, the likeliest first."""
    note: str = ""
    """What is left to do for the first one."""
    to_fill_in: str = ""
    """Without candidates: the value, with gaps for the user to fill."""
    first: str = ""
    """What has to be done before a scan, if anything has; the imperative."""


@dataclass(frozen=True)
class _Model:
    path: Path
    factory: Factory
    work: Work | None
    """The first thing that importing the file does."""


def write_starter(folder: Path, *, force: bool) -> list[str]:
    """Write a commented cohaudit.toml, with the model and data that are found filled in.

    Args:
        folder: Where to look, and to write.
        force: Replace a file that is already there.

    Returns:
        What was found and what is left to do, as lines.

    Raises:
        ConfigError: When there is no such folder, or already such a file, or it cannot be written.
    """
    if not folder.is_dir():
        raise ConfigError(str(folder), "is not a folder", "name the folder of the checkpoint and its data")
    target = folder / FILE_NAME
    if target.exists() and not force:
        raise ConfigError(str(target), "is already there", "edit it, or replace it with --force")
    findings = {**_find_models(folder), "data": _find_data(folder)}
    try:
        _write_whole(target, starter_text(findings))
    except OSError as error:
        raise ConfigError(str(target), f"cannot be written ({error.strerror})", "check the folder") from None
    return _account(target, findings, _find_checkpoints(folder))


def starter_text(findings: dict[str, Finding]) -> str:
    """Return the file's text.

    Args:
        findings: Key → what was found for it.
    """
    blocks = [HEADER]
    for section, keys in itertools.groupby(KEYS.values(), key=lambda key: key.section):
        blocks.append(f"# ---- {section} ----\n")
        blocks.extend(_key_text(key, findings.get(key.name, Finding(()))) for key in keys)
    return "\n".join(blocks)


def _key_text(key: Key, found: Finding) -> str:
    remarks = [key.help]
    if found.candidates[1:]:
        remarks.append(f"Also found: {', '.join(map(toml_value, found.candidates[1:]))}.")
    if found.note:
        remarks.append(found.note)
    comment = "\n".join(line for text in remarks for line in textwrap.wrap(text, 98))
    value = toml_value(found.candidates[0] if found.candidates else key.default)
    if not found.candidates:
        value = found.to_fill_in or value
    return f"{textwrap.indent(comment, '# ')}\n{'' if found.candidates else '#'}{key.name} = {value}\n"


def _account(target: Path, findings: dict[str, Finding], checkpoints: list[str]) -> list[str]:
    lines = [f"Wrote {target}"]
    for name, found in findings.items():
        also = f" (also found: {', '.join(found.candidates[1:])})" if found.candidates[1:] else ""
        shown = f"{found.candidates[0]}{also}" if found.candidates else f"not found: fill in the key {name}"
        if not found.to_fill_in:
            lines.append(f"  {name}: {shown}{f'. {found.note}' if found.note else ''}")
    shown = str(target.parent / _last_of_series(checkpoints)) if checkpoints else "CHECKPOINT"
    lines.append(f"  checkpoint: {', '.join(checkpoints) or 'not found: name yours when you scan'}")
    scan = f"cohaudit scan {shown}"
    first = _first(target, findings)
    return [*lines, f"Next: {first}, then: {scan}" if first else f"Next: {scan}"]


def _first(target: Path, findings: dict[str, Finding]) -> str:
    """Return what has to be done before a scan; empty when nothing has."""
    gaps = [name for name, found in findings.items() if not found.candidates]
    fill_in = [f"fill in {' and '.join(gaps)} in {target}"] if gaps else []
    return " and ".join([*(found.first for found in findings.values() if found.first), *fill_in])


def _find_models(folder: Path) -> dict[str, Finding]:
    """Return what was found for `model`, and for `model_args` if it needs some.

    A scan imports the file, so one that only defines things goes before one that trains.
    """
    models: list[_Model] = []
    for path in _listed(folder, depth=2):
        if path.suffix == ".py" and not _words(path.name) & {"test", "conftest", "setup"}:
            source = _source(path)
            work = next(iter(find_work(source)), None)
            models += [_Model(path, factory, work) for factory in find_factories(source)]
    models.sort(key=lambda model: (bool(model.work), bool(model.factory.required)))
    specs = tuple(f"{m.path.relative_to(folder).as_posix()}:{m.factory.name}" for m in models)
    if not models:
        return {"model": Finding(())}
    best = models[0]
    required = models[0].factory.required
    notes = []
    first = ""
    if best.work:
        notes.append(
            f"A scan imports {best.path.name}, whose line {best.work.line} runs {best.work.what}: put that"
            " under `if __name__ == '__main__':`, or move the model into a file of its own."
        )
        first = f"see to what {best.path.name} does on import"
    if not required:
        return {"model": Finding(specs, " ".join(notes), first=first)}
    notes.append(f"It needs arguments: give {', '.join(required)} in model_args.")
    gaps = ", ".join(f"{name if name.isascii() else toml_value(name)} = …" for name in required)
    return {
        "model": Finding(specs, " ".join(notes), first=first),
        "model_args": Finding((), f"{specs[0]} needs these: fill them in.", f"{{ {gaps} }}"),
    }


def _find_data(folder: Path) -> Finding:
    found = [
        path.relative_to(folder)
        for path in _listed(folder, depth=2)
        if _is_data_file(path) or _is_image_folder(path)
    ]
    words = {path: _words(path.as_posix()) for path in found}
    fit = [path for path in found if not words[path] & NOT_TRAINING or words[path] & TRAINING]
    fit.sort(key=lambda path: not words[path] & TRAINING)
    return Finding(tuple(path.as_posix() for path in fit))


def _find_checkpoints(folder: Path) -> list[str]:
    found = [path.relative_to(folder) for path in _listed(folder, depth=2) if _is_checkpoint(path)]
    return [path.as_posix() for path in found]


def _last_of_series(checkpoints: list[str]) -> str:
    """Return the first checkpoint; of those whose names differ from its in numbers alone, the last one."""
    series = [name for name in checkpoints if NUMBER.split(name) == NUMBER.split(checkpoints[0])]
    return max(series, key=lambda name: [int(number) for number in NUMBER.findall(name)])


def _is_checkpoint(path: Path) -> bool:
    if _words(path.name) & (DATA | NOT_WEIGHTS) or SHARD.match(path.name):
        return False
    return path.name.endswith(".index.json") or (path.suffix.lower() in CHECKPOINTS and path.is_file())


def _is_data_file(path: Path) -> bool:
    suffix = path.suffix.lower()
    named_data = suffix != ".safetensors" or bool(_words(path.name) & DATA)
    return suffix in DATA_FILES and named_data and path.is_file() and not _is_own(path)


def _is_own(path: Path) -> bool:
    """Tell whether a file is the table of an earlier report or export, under whatever name."""
    if path.name == "samples.csv" and path.with_name("audit.json").exists():
        return True
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".jsonl":
                return bool(OWN_LINE.match(file.read(1 << 12)))
            return path.suffix.lower() == ".csv" and file.read(len(OWN_TABLE)) == OWN_TABLE
    except OSError:
        return False


def _is_image_folder(path: Path) -> bool:
    """Tell whether at least two folders in `path` hold images."""
    classes = (
        inner for inner in _entries(path) if any(file.suffix.lower() in IMAGES for file in _entries(inner))
    )
    return len(list(itertools.islice(classes, 2))) == 2


def _listed(folder: Path, depth: int) -> Iterator[Path]:
    """Yield what is in a folder, then what is in the folders in it, each in the order of the names."""
    entries = sorted(path for path in _entries(folder) if not path.name.startswith("."))
    yield from entries
    if depth > 1:
        for path in entries:
            if path.name not in NOT_SEARCHED:
                yield from _listed(path, depth - 1)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(itertools.islice(folder.iterdir(), MOST_FILES))
    except OSError:  # a file, or a folder that may not be read: nothing to find in it
        return []


def _source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # a folder of that name, or a file that may not be read
        return ""


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))


def _write_whole(target: Path, text: str) -> None:
    """Write a file aside and rename it into place."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".cohaudit-") as aside:
        whole = Path(aside, target.name)
        whole.write_text(text, encoding="utf-8", newline="\n")
        whole.replace(target)
