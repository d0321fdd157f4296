"""Writes a first cohaudit.toml: every key with its meaning, filled in from the files of a folder.

Files are only listed and Python code is only parsed: nothing is imported or run.
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
from cohaudit.loading.import_side_effects import SideEffect, find_side_effects

CHECKPOINT_SUFFIXES = frozenset({".safetensors", ".pt", ".pth", ".bin", ".ckpt"})
"""Endings of checkpoint files."""
DATA_SUFFIXES = frozenset({".npz", ".csv", ".jsonl", ".parquet", ".safetensors"})
"""Endings of data files. A .safetensors file counts as data only if its name says so."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
"""Endings of image files."""

TRAINING_WORDS = frozenset({"train", "training"})
"""Words in the name of training data."""
EVALUATION_WORDS = frozenset(
    {"test", "val", "valid", "validation", "holdout", "heldout", "held", "eval", "dev", "truth"}
)
"""Words in the name of data that a model is not trained on."""
DATA_WORDS = TRAINING_WORDS | EVALUATION_WORDS | {"data", "dataset"}
"""Words in the name of any data, which is therefore not a checkpoint."""
NON_WEIGHT_WORDS = frozenset({"optimizer", "optim", "scheduler", "args"})
"""Words in the name of a file that looks like a checkpoint but holds no weights."""

REPORT_TABLE_START = b"id,label,predicted,suggested,suspicion,"
"""First bytes of the samples.csv of a report."""
EXPORT_LINE_START = re.compile(rb'\{"id": "(?:[^"\\]|\\.)*", "label": "(?:[^"\\]|\\.)*", "predicted": ')
"""Start of the .jsonl file of an export."""

NUMBER = re.compile(r"[0-9]+")
"""Number in the name of a checkpoint of a series."""
SHARD_NAME = re.compile(r".*-\d{5}-of-\d{5}\..*")
"""Name of one shard of a checkpoint, which is opened through its index."""
FOLDERS_NOT_SEARCHED = frozenset(
    {"tests", "test", "venv", "node_modules", "__pycache__", KEYS["out"].default}
)
"""Names of folders that hold other people's files, test files, or an earlier report."""
HEADER = """\
# Settings of `cohaudit scan`. A line like #key = value shows a default: remove the # to change it.
# Paths are relative to this file. A scan runs the code named here.
"""
"""First lines of the file."""
MAX_ENTRIES_PER_FOLDER = 10_000
"""Entries of one folder to look at. An image folder can hold millions, and the first few tell what it is."""
COMMENT_WIDTH = 98
"""Longest line of a comment in the file, in characters, without the '# '."""


@dataclass(frozen=True)
class Candidates:
    """Possible values of one key, and what the user still has to do."""

    values: tuple[str, ...] = ()
    """Possible values, the likeliest first; paths are relative to the folder."""
    note: str = ""
    """Advice about the first value, in sentences."""
    template: str = ""
    """TOML value with gaps for the user to fill in, if there are no values."""
    todo: str = ""
    """What to do before a scan, as an imperative; empty if nothing."""


@dataclass(frozen=True)
class _Model:
    """A factory, and the file that defines it."""

    path: Path
    factory: Factory
    side_effect: SideEffect | None
    """The first thing that importing the file does besides defining things."""


def write_starter(folder: Path, *, force: bool) -> list[str]:
    """Write a commented cohaudit.toml, filled in with the model and data found in a folder.

    Args:
        folder: Folder to search and to write to.
        force: Whether to replace an existing file.

    Returns:
        Lines for the terminal: what was found and what is left to do.

    Raises:
        ConfigError: If the folder does not exist, the file exists already, or it cannot be written.
    """
    if not folder.is_dir():
        raise ConfigError(str(folder), "is not a folder", "name the folder of the checkpoint and its data")
    target = folder / FILE_NAME
    if target.exists() and not force:
        raise ConfigError(str(target), "exists already", "edit it, or replace it with --force")
    candidates = {**_find_models(folder), "data": _find_data(folder)}
    try:
        _write_whole(target, starter_text(candidates))
    except OSError as error:
        raise ConfigError(
            str(target), f"cannot be written: {error.strerror}", "check the permissions of the folder"
        ) from None
    return _summary(target, candidates, _find_checkpoints(folder))


def starter_text(candidates: dict[str, Candidates]) -> str:
    """Return the text of a cohaudit.toml with all keys.

    Args:
        candidates: Key → possible values. Other keys get their defaults, commented out.
    """
    blocks = [HEADER]
    for section, keys in itertools.groupby(KEYS.values(), key=lambda key: key.section):
        blocks.append(f"# ---- {section} ----\n")
        blocks.extend(_key_text(key, candidates.get(key.name, Candidates())) for key in keys)
    return "\n".join(blocks)


def _key_text(key: Key, candidates: Candidates) -> str:
    """Return the lines of one key: its comment, and its value or its default commented out."""
    remarks = [key.help]
    if candidates.values[1:]:
        remarks.append(f"Also found: {', '.join(map(toml_value, candidates.values[1:]))}.")
    if candidates.note:
        remarks.append(candidates.note)
    comment = "\n".join(line for text in remarks for line in textwrap.wrap(text, COMMENT_WIDTH))
    if candidates.values:
        setting = f"{key.name} = {toml_value(candidates.values[0])}"
    else:
        setting = f"#{key.name} = {candidates.template or toml_value(key.default)}"
    return f"{textwrap.indent(comment, '# ')}\n{setting}\n"


def _summary(target: Path, candidates: dict[str, Candidates], checkpoints: list[str]) -> list[str]:
    """Return lines for the terminal: what was found, and the next step."""
    lines = [f"Wrote {target}"]
    for name, found in candidates.items():
        if found.template:  # the line of the model says which arguments it needs
            continue
        also = f" (also found: {', '.join(found.values[1:])})" if found.values[1:] else ""
        shown = f"{found.values[0]}{also}" if found.values else f"not found: fill in the key {name}"
        lines.append(f"  {name}: {shown}{f'. {found.note}' if found.note else ''}")
    lines.append(f"  checkpoint: {', '.join(checkpoints) or 'not found: name yours when you scan'}")
    checkpoint = str(target.parent / _last_of_series(checkpoints)) if checkpoints else "CHECKPOINT"
    scan = f"cohaudit scan {checkpoint}"
    todo = _todo(target, candidates)
    return [*lines, f"Next: {todo}, then: {scan}" if todo else f"Next: {scan}"]


def _todo(target: Path, candidates: dict[str, Candidates]) -> str:
    """Return what to do before a scan, as an imperative; empty if nothing."""
    gaps = [name for name, found in candidates.items() if not found.values]
    fill_in = [f"fill in {' and '.join(gaps)} in {target}"] if gaps else []
    return " and ".join([*(found.todo for found in candidates.values() if found.todo), *fill_in])


def _find_models(folder: Path) -> dict[str, Candidates]:
    """Return candidates for `model`, and for `model_args` if the first one needs arguments.

    A scan imports the file, so a file that only defines things comes before one that trains.
    """
    models: list[_Model] = []
    for path in _listed(folder, depth=2):
        if path.suffix == ".py" and not _words(path.name) & {"test", "conftest", "setup"}:
            source = _source(path)
            side_effect = next(iter(find_side_effects(source)), None)
            models += [_Model(path, factory, side_effect) for factory in find_factories(source)]
    models.sort(key=lambda model: (bool(model.side_effect), bool(model.factory.required)))
    specs = tuple(f"{m.path.relative_to(folder).as_posix()}:{m.factory.name}" for m in models)
    if not models:
        return {"model": Candidates()}
    best = models[0]
    required = best.factory.required
    notes = []
    todo = ""
    if best.side_effect:
        name = best.path.name
        notes.append(
            f"A scan imports {name}, and its line {best.side_effect.line} runs {best.side_effect.what}: put"
            " that under `if __name__ == '__main__':`, or move the model into a file of its own."
        )
        todo = f"make {name} safe to import"
    if not required:
        return {"model": Candidates(specs, " ".join(notes), todo=todo)}
    notes.append(f"It needs arguments: give {', '.join(required)} in model_args.")
    gaps = ", ".join(f"{name if name.isascii() else toml_value(name)} = …" for name in required)
    return {
        "model": Candidates(specs, " ".join(notes), todo=todo),
        "model_args": Candidates((), f"{specs[0]} needs these: fill them in.", f"{{ {gaps} }}"),
    }


def _find_data(folder: Path) -> Candidates:
    """Return candidates for `data`: no evaluation data, and files named as training data first."""
    paths = [
        path.relative_to(folder)
        for path in _listed(folder, depth=2)
        if _is_data_file(path) or _is_image_folder(path)
    ]
    words = {path: _words(path.as_posix()) for path in paths}
    usable = [path for path in paths if not words[path] & EVALUATION_WORDS or words[path] & TRAINING_WORDS]
    usable.sort(key=lambda path: not words[path] & TRAINING_WORDS)
    return Candidates(tuple(path.as_posix() for path in usable))


def _find_checkpoints(folder: Path) -> list[str]:
    """Return the paths of the checkpoints, relative to the folder."""
    paths = [path.relative_to(folder) for path in _listed(folder, depth=2) if _is_checkpoint(path)]
    return [path.as_posix() for path in paths]


def _last_of_series(checkpoints: list[str]) -> str:
    """Return the highest-numbered checkpoint whose name differs from the first one's in numbers only."""
    series = [name for name in checkpoints if NUMBER.split(name) == NUMBER.split(checkpoints[0])]
    return max(series, key=lambda name: [int(number) for number in NUMBER.findall(name)])


def _is_checkpoint(path: Path) -> bool:
    if _words(path.name) & (DATA_WORDS | NON_WEIGHT_WORDS) or SHARD_NAME.match(path.name):
        return False
    is_index = path.name.endswith(".index.json")
    return is_index or (path.suffix.lower() in CHECKPOINT_SUFFIXES and path.is_file())


def _is_data_file(path: Path) -> bool:
    suffix = path.suffix.lower()
    named_data = suffix != ".safetensors" or bool(_words(path.name) & DATA_WORDS)
    return suffix in DATA_SUFFIXES and named_data and path.is_file() and not _is_own_output(path)


def _is_own_output(path: Path) -> bool:
    """Tell whether a file is the table of an earlier report or export, under any name."""
    if path.name == "samples.csv" and path.with_name("audit.json").exists():
        return True
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".jsonl":
                return bool(EXPORT_LINE_START.match(file.read(1 << 12)))
            return path.suffix.lower() == ".csv" and file.read(len(REPORT_TABLE_START)) == REPORT_TABLE_START
    except OSError:
        return False


def _is_image_folder(path: Path) -> bool:
    """Tell whether a folder holds at least two folders of images: one for each class."""
    classes = (
        inner
        for inner in _entries(path)
        if any(file.suffix.lower() in IMAGE_SUFFIXES for file in _entries(inner))
    )
    # two are enough to know, and a data set can have thousands of class folders
    return len(list(itertools.islice(classes, 2))) == 2


def _listed(folder: Path, depth: int) -> Iterator[Path]:
    """Yield a folder's visible entries, then those of the folders in it, each sorted by name."""
    entries = sorted(path for path in _entries(folder) if not path.name.startswith("."))
    yield from entries
    if depth > 1:
        for path in entries:
            if path.name not in FOLDERS_NOT_SEARCHED:
                yield from _listed(path, depth - 1)


def _entries(folder: Path) -> list[Path]:
    """Return the entries of a folder; none for a file, or for a folder that cannot be read."""
    try:
        return list(itertools.islice(folder.iterdir(), MAX_ENTRIES_PER_FOLDER))
    except OSError:
        return []


def _source(path: Path) -> str:
    """Return the text of a file; empty for a folder, or for a file that cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _words(name: str) -> set[str]:
    """Return the words of a name, in lower case: `My-train_2.csv` has my, train and csv."""
    return set(re.split(r"[^a-z]+", name.lower()))


def _write_whole(target: Path, text: str) -> None:
    """Write a file elsewhere and rename it into place, so that it is never half-written."""
    # in the same folder: a rename is atomic only within one file system
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".cohaudit-") as aside:
        whole = Path(aside, target.name)
        whole.write_text(text, encoding="utf-8", newline="\n")
        whole.replace(target)
