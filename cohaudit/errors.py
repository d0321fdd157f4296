"""Everything that a user, or a user's files, can cause to go wrong.

Each boundary (configuration, checkpoint, model, data, engine) has its own error; the command line
catches the root once, prints the message and ends with the exit code that the class names.
A bug is none of these and keeps its traceback.
"""

from __future__ import annotations

import difflib
import os
import textwrap
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

OK = 0
GATE_FAILED = 1
BAD_INPUT = 2
BUG = 70


class CohauditError(Exception):
    """Root of what a user can cause: says where, what was found, and what to do.

    Args:
        where: The file, option, layer or sample concerned, as the user knows it.
        found: What was found there.
        remedy: What to do about it, in the imperative.
    """

    exit_code: ClassVar[int] = BAD_INPUT

    def __init__(self, where: str, found: str, remedy: str) -> None:
        self.where = where
        self.found = found
        self.remedy = remedy
        super().__init__(f"{where}: {found}\n  → {remedy}")


class ConfigError(CohauditError):
    """A configuration file, key, option or gate that cannot be used."""


class CheckpointError(CohauditError):
    """A checkpoint that cannot be read, is unsafe to open, or holds no usable tensors."""


class ModelError(CohauditError):
    """A model factory that fails, or a model that does not fit the checkpoint or the data."""


class DataError(CohauditError):
    """A dataset that cannot be read, or holds samples or labels that cannot be audited."""


class EngineError(CohauditError):
    """A model whose per-sample gradients cannot be measured, or a failed certificate."""


class ReportError(CohauditError):
    """An audit file that cannot be read, or an output that cannot be written."""


class UserTemplateError(CohauditError):
    """A template given with --templates that cannot be used, or fails."""


class MissingExtraError(CohauditError):
    """An optional package that this input needs is not installed.

    Args:
        where: The file or option that needs it.
        package: The package that is missing.
        extra: The extra of cohaudit that brings it.
    """

    def __init__(self, where: str, package: str, extra: str) -> None:
        super().__init__(where, f"needs the package {package}", f"pip install 'cohaudit[{extra}]'")


def describe_error(error: BaseException) -> str:
    """Return type and text of an exception from other people's code, on one line and not at any length."""
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300, placeholder=' …')}"


MOST_NAMES = 8
"""Names listed at most when none is near."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a remedy, in the imperative, for `name`, which is not among the `known` ones."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(names) > MOST_NAMES:
        return f"use one of {', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES} more"
    return f"use one of {', '.join(names)}"


def missing(path: Path, usable: Callable[[Path], bool], what: str) -> tuple[str, str]:
    """Return what to say of a path that leads nowhere, and what to do about it.

    Args:
        path: The path.
        usable: Tells whether an entry of the folder could have been meant, by its name.
        what: What such an entry is, for when there is none.
    """
    if path.is_symlink():
        return (
            f"is a link to {path.readlink()}, which does not exist",
            "restore the target of the link, or name another file",
        )
    names: list[str] = []
    with suppress(OSError):  # no such folder, or none that may be listed
        entries = [entry for entry in path.parent.iterdir() if not entry.name.startswith(".")]
        names = sorted(entry.name for entry in entries if usable(entry))
    if names:
        return "no such file or folder", did_you_mean(path.name, names)
    found = f"has no {what}" if path.parent.is_dir() else "is not a folder"
    return "no such file or folder", f"check the path: {path.parent} {found}"


COMMANDS = {"::": ":\u200b:", "##[": "#\u200b#["}
"""What begins a workflow command in a log of GitHub Actions → the same, taken apart by what is not seen."""


def printable(text: str, limit: int | None = None) -> str:
    r"""Write control, bidirectional and unassigned characters as escapes such as \x1b.

    In GitHub Actions, whose runner takes a line of the log for a command, no name can give one either.

    Args:
        text: Any text, with whatever a hostile file put into it.
        limit: Characters to keep; a longer text ends in an ellipsis.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for begins, apart in COMMANDS.items():
            shown = shown.replace(begins, apart)
    return shown


def without_padding(text: str) -> str:
    """Return what rich laid out without the spaces at the ends of lines, which would wrap when pasted."""
    return "".join(f"{line.rstrip(' ')}\n" for line in text.splitlines())
