"""Writes a first cohaudit.toml: every key with its meaning, filled in from the files of a folder.

Files are only listed and Python code is only parsed: nothing is imported or run.
"""

from __future__ import annotations

import itertools
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

from cohaudit.config import KEYS
from cohaudit.config.file import FILE_NAME
from cohaudit.config.keys import Key, toml_value
from cohaudit.errors import ConfigError
from cohaudit.loading.find_factories import Factory, find_factories
from cohaudit.loading.find_files import find_checkpoints, find_code, find_data, last_of_series
from cohaudit.loading.import_side_effects import SideEffect, find_side_effects

HEADER = """\
# Settings of `cohaudit scan`. A line like #key = value shows a default: remove the # to change it.
# Paths are relative to this file. A scan runs the code named here.
"""
"""First lines of the file."""
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
    candidates = {**_find_models(folder), "data": Candidates(find_data(folder))}
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
    lines.append(f"  checkpoint: {', '.join(checkpoints) or 'not found: name yours when you scan'}")
    checkpoint = str(target.parent / last_of_series(checkpoints)) if checkpoints else "CHECKPOINT"
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
