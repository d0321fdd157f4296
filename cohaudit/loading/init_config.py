"""Writes a first cohaudit.toml: every key with its meaning, filled in from the files of a folder.

Files are only listed and Python code is only parsed: nothing is imported or run.
"""

from __future__ import annotations

import fnmatch
import itertools
import shlex
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

from cohaudit.config import KEYS
from cohaudit.config.file import FILE_NAME
from cohaudit.config.keys import Key, toml_value
from cohaudit.errors import ConfigError
from cohaudit.loading.find_factories import Factory, find_factories
from cohaudit.loading.find_files import (
    NUMBER,
    find_checkpoints,
    find_code,
    find_data,
    find_holdout,
    series_of,
)
from cohaudit.loading.find_transforms import find_transforms
from cohaudit.loading.import_side_effects import SideEffect, find_side_effects

HEADER = """\
# Settings of `cohaudit scan`. A line like #key = value shows a default: remove the # to change it.
# Paths are relative to this file. A scan runs the code named here.
"""
"""First lines of the file."""
TRANSFORM_NOTE = "Remove the line if training did not use it on its inputs."
"""What to check about a transform that was found by its name."""
HOLDOUT_NOTE = "Remove the line if the model was trained on it."
"""What to check about a holdout that was found by its name."""
MAX_SHOWN_CHECKPOINTS = 8
"""Checkpoints that the terminal lists; a training run can leave hundreds."""
MAX_NAMED_CHECKPOINTS = 5
"""Checkpoints of a series that the next command names one by one, where no pattern fits them alone."""
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
    candidates = _find_models(folder) | _find_data(folder) | _find_transforms(folder)
    try:
        _write_whole(target, starter_text(candidates))
    except OSError as error:
        raise ConfigError(
            str(target), f"cannot be written: {error.strerror}", "check the permissions of the folder"
        ) from None
    return _summary(target, candidates, find_checkpoints(folder))


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
    named = [*checkpoints[:MAX_SHOWN_CHECKPOINTS], *_and_more(len(checkpoints) - MAX_SHOWN_CHECKPOINTS)]
    lines.append(f"  checkpoint: {', '.join(named) or 'not found: name yours when you scan'}")
    scan = f"cohaudit scan {_arguments(target.parent, checkpoints)}"
    # one that is found in another folder may name no code
    if target.parent.resolve() != Path.cwd().resolve():
        scan += f" --config {shlex.quote(str(target))}"
    todo = _todo(target, candidates)
    return [*lines, f"Next: {todo}, then: {scan}" if todo else f"Next: {scan}"]


def _and_more(count: int) -> list[str]:
    return [f"and {count} more"] if count > 0 else []


def _arguments(folder: Path, checkpoints: list[str]) -> str:
    """Return the checkpoints to scan as a shell takes them: all of the largest series, or the only one."""
    if not checkpoints:
        return "CHECKPOINT"
    series = series_of(checkpoints)
    if len(series) == 1:
        return shlex.quote(str(folder / series[0]))
    pattern = NUMBER.sub("*", series[0])
    # as a shell expands it: a * stands for no /, and the folder may hold other files that fit
    same_depth = [name for name in checkpoints if name.count("/") == pattern.count("/")]
    if sorted(series) == sorted(fnmatch.filter(same_depth, pattern)) and not set("?[") & set(pattern):
        parts = str(folder / pattern).split("*")
        return "*".join(shlex.quote(part) if part else "" for part in parts)
    named = series if len(series) <= MAX_NAMED_CHECKPOINTS else series[-1:]
    return " ".join(shlex.quote(str(folder / name)) for name in named)


def _todo(target: Path, candidates: dict[str, Candidates]) -> str:
    """Return what to do before a scan, as an imperative; empty if nothing."""
    gaps = [name for name, found in candidates.items() if not found.values]
    fill_in = [f"fill in {' and '.join(gaps)} in {target}"] if gaps else []
    return " and ".join([*(found.todo for found in candidates.values() if found.todo), *fill_in])


def _find_data(folder: Path) -> dict[str, Candidates]:
    """Return candidates for `data`, and for `holdout` if some data looks like it."""
    data = find_data(folder)
    holdout = find_holdout(folder, data[0]) if data else ()
    found = {"data": Candidates(data)}
    return found | ({"holdout": Candidates(holdout, HOLDOUT_NOTE)} if holdout else {})


def _find_transforms(folder: Path) -> dict[str, Candidates]:
    """Return candidates for `transform`, if there are any, in files that are safe to import."""
    specs = [
        f"{path.relative_to(folder).as_posix()}:{name}"
        for path, source in find_code(folder)
        if not find_side_effects(source)
        for name in find_transforms(source)
    ]
    return {"transform": Candidates(tuple(specs), TRANSFORM_NOTE)} if specs else {}


def _find_models(folder: Path) -> dict[str, Candidates]:
    """Return candidates for `model`, and for `model_args` if the first one needs arguments.

    A scan imports the file, so a file that only defines things comes before one that trains.
    """
    models: list[_Model] = []
    for path, source in find_code(folder):
        side_effect = next(iter(find_side_effects(source)), None)
        models += [_Model(path, factory, side_effect) for factory in find_factories(source)]
    # files that are safe to import first, then factories that need no arguments
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
    # a bare key of TOML is ASCII, but a Python name need not be
    gaps = ", ".join(f"{name if name.isascii() else toml_value(name)} = …" for name in required)
    return {
        "model": Candidates(specs, " ".join(notes), todo=todo),
        "model_args": Candidates((), f"{specs[0]} needs these: fill them in.", f"{{ {gaps} }}"),
    }


def _write_whole(target: Path, text: str) -> None:
    """Write a file elsewhere and rename it into place, so that it is never half-written."""
    # in the same folder: a rename is atomic only within one file system
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".cohaudit-") as aside:
        whole = Path(aside, target.name)
        whole.write_text(text, encoding="utf-8", newline="\n")
        whole.replace(target)
