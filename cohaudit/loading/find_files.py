"""Finds the checkpoints, the training data and the code in a folder, by their names; nothing is run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from cohaudit.config import KEYS
from cohaudit.errors import ConfigError
from cohaudit.loading.data_structure import same_structure
from cohaudit.untrusted import read_bytes

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
ANSWER_WORDS = frozenset({"truth", "labels", "submission"})
"""Words in the name of a file that holds answers without inputs, which is no holdout."""
HOLDOUT_ORDER = ("holdout", "heldout", "held", "test", "eval", "dev", "val", "valid", "validation")
"""Words in the name of a holdout, the best first: training often stops by the validation data, which then
looks better than new data."""
DATA_WORDS = TRAINING_WORDS | EVALUATION_WORDS | {"data", "dataset"}
"""Words in the name of any data, which is therefore not a checkpoint."""
NON_WEIGHT_WORDS = frozenset({"optimizer", "optim", "scheduler", "args"})
"""Words in the name of a file that looks like a checkpoint but holds no weights."""

REPORT_TABLE_START = b"id,label,predicted,suggested,"
"""First bytes of the samples.csv of a report."""
EXPORT_LINE_START = re.compile(rb'\{"id": "(?:[^"\\]|\\.)*", "label": "(?:[^"\\]|\\.)*", "predicted": ')
"""Start of the .jsonl file of an export."""

NUMBER = re.compile(r"[0-9]+")
"""Number in the name of a checkpoint of a series."""
SHARD_NAME = re.compile(r".*-\d{5}-of-\d{5}\..*")
"""Name of one shard of a checkpoint, which is opened through its index."""
NON_MODEL_WORDS = frozenset({"test", "conftest", "setup"})
"""Words in the name of a Python file that defines no model."""
FOLDERS_NOT_SEARCHED = frozenset(
    {"tests", "test", "venv", "node_modules", "__pycache__", KEYS["out"].default}
)
"""Names of folders that hold other people's files, test files, or an earlier report."""
MAX_ENTRIES_PER_FOLDER = 10_000
"""Entries of one folder to look at. An image folder can hold millions, and the first few tell what it is."""


def find_code(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the Python files that may define a model, each with its text; tests and setup files do not.

    Args:
        folder: Folder to search, with the folders in it.
    """
    for path in _listed(folder, depth=2):
        if path.suffix == ".py" and not _words(path.name) & NON_MODEL_WORDS:
            yield path, _source(path)


def find_data(folder: Path) -> tuple[str, ...]:
    """Return the paths of possible training data, relative to the folder; files named so come first.

    Data files and folders of class folders count, except evaluation data and the tables of earlier reports.

    Args:
        folder: Folder to search, with the folders in it.
    """
    paths = _data_paths(folder)
    words = {path: _words(path.as_posix()) for path in paths}
    usable = [path for path in paths if not words[path] & EVALUATION_WORDS or words[path] & TRAINING_WORDS]
    # sort() is stable: among equals the order of the names stays
    usable.sort(key=lambda path: not words[path] & TRAINING_WORDS)
    return tuple(path.as_posix() for path in usable)


def find_holdout(folder: Path, data: str) -> tuple[str, ...]:
    """Return the paths of possible holdouts for the training data, relative to the folder, the best first.

    They are named as evaluation data, and have the training data's kind, and its classes, arrays or columns.

    Args:
        folder: Folder to search, with the folders in it.
        data: Path of the training data, relative to the folder.
    """
    # only the last part: everything in a folder called test_project is named test
    words = {path: _words(path.name) for path in _data_paths(folder) if path.as_posix() != data}
    named = [path for path, own in words.items() if own & set(HOLDOUT_ORDER) and not own & ANSWER_WORDS]
    usable = [path for path in named if same_structure(folder / path, folder / data)]
    usable.sort(key=lambda path: min(HOLDOUT_ORDER.index(word) for word in words[path] & set(HOLDOUT_ORDER)))
    return tuple(path.as_posix() for path in usable)


def find_checkpoints(folder: Path) -> list[str]:
    """Return the paths of the checkpoints, relative to the folder.

    Args:
        folder: Folder to search, with the folders in it.
    """
    paths = [path.relative_to(folder) for path in _listed(folder, depth=2) if _is_checkpoint(path)]
    return [path.as_posix() for path in paths]


def series_of(checkpoints: list[str]) -> list[str]:
    """Return the largest series of checkpoints whose names differ in numbers only, in the order of these.

    Args:
        checkpoints: Names of checkpoints, at least one.
    """
    series: dict[tuple[str, ...], list[str]] = {}
    for name in checkpoints:
        series.setdefault(tuple(NUMBER.split(name)), []).append(name)
    # of equally large ones the first
    largest = max(series.values(), key=len)
    return sorted(largest, key=lambda name: [int(number) for number in NUMBER.findall(name)])


def _is_checkpoint(path: Path) -> bool:
    """Tell by its name whether a path is a checkpoint, or the index of a sharded one."""
    if _words(path.name) & (DATA_WORDS | NON_WEIGHT_WORDS) or SHARD_NAME.match(path.name):
        return False
    is_index = path.name.endswith(".index.json")
    return is_index or (path.suffix.lower() in CHECKPOINT_SUFFIXES and path.is_file())


def _is_data_file(path: Path) -> bool:
    """Tell whether a path is a file of data, and not a table that cohaudit wrote."""
    suffix = path.suffix.lower()
    # a .safetensors file is a checkpoint unless its name says data
    named_data = suffix != ".safetensors" or bool(_words(path.name) & DATA_WORDS)
    return suffix in DATA_SUFFIXES and named_data and path.is_file() and not _is_own_output(path)


def _is_own_output(path: Path) -> bool:
    """Tell whether a file is the table of an earlier report or export, under any name."""
    if path.name == "samples.csv" and path.with_name("audit.json").exists():
        return True
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".jsonl":
                return bool(EXPORT_LINE_START.match(file.read(1 << 12)))  # the start of one line is enough
            return path.suffix.lower() == ".csv" and file.read(len(REPORT_TABLE_START)) == REPORT_TABLE_START
    except OSError:
        return False


def _data_paths(folder: Path) -> list[Path]:
    """Return the data files and image folders in a folder and in the folders in it, relative to it."""
    # depth 2 reaches data/train.csv, but does not list every file of an image folder
    return [
        path.relative_to(folder)
        for path in _listed(folder, depth=2)
        if _is_data_file(path) or _is_image_folder(path)
    ]


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
        entries = list(itertools.islice(folder.iterdir(), MAX_ENTRIES_PER_FOLDER))
    except OSError:
        return []
    # a name that is not UTF-8 cannot be written into a configuration
    return [path for path in entries if path.name.encode(errors="ignore").decode() == path.name]


def _source(path: Path) -> str:
    """Return the text of a file; empty for a folder, or for a file that cannot be read."""
    try:
        return read_bytes(path, ConfigError).decode("utf-8", "replace")
    except (OSError, ConfigError):
        return ""


def _words(name: str) -> set[str]:
    """Return the words of a name, in lower case: `My-train_2.csv` has my, train and csv."""
    return set(re.split(r"[^a-z]+", name.lower()))
