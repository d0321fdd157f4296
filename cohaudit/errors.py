"""The errors that a user, or a user's files, can cause.

Each boundary (configuration, checkpoint, model, data, engine) has its own class. The command line catches the
root once, prints the message and exits with the code of the class. A bug is not one of these and keeps its
traceback.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import textwrap
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

OK = 0
"""Exit code: done, and every gate passed."""
GATE_FAILED = 1
"""Exit code: a gate failed."""
BAD_INPUT = 2
"""Exit code: a user can correct what went wrong; click uses the same one for bad usage."""
BUG = 70
"""Exit code: an error in cohaudit, EX_SOFTWARE of sysexits.h."""
MAX_NAMES = 8
"""Names listed at most if none is close to the one that was given."""
SUGGESTIONS = 3
"""Close names suggested at most."""
MIN_SIMILARITY = 0.5
"""Smallest similarity, by difflib, of a name that is suggested: batchsize finds batch_size, xyzzy nothing."""
_ADDRESS = re.compile(r"(?:^|/)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.+)")
"""An address such as s3://bucket/file, also as pathlib writes it; one letter alone is a drive of Windows."""
_NO_MEMORY = re.compile(
    r"allocate memory|alloc_cpu|bad_alloc|[Oo]ut of memory|start new thread|failed to map segment"
)
"""What libraries say if memory ran out, or the address space that `ulimit -v` grants."""
WORKFLOW_COMMANDS = {"::": ":\u200b:", "##[": "#\u200b#["}
"""Start of a workflow command in a log of GitHub Actions → the same with an invisible space in between."""


class CohauditError(Exception):
    """Root of the errors that a user can cause: says where, what was found, and what to do.

    Args:
        where: File, option, layer or sample, as the user knows it.
        found: What was found there.
        remedy: What to do, in the imperative.
    """

    exit_code: ClassVar[int] = BAD_INPUT

    def __init__(self, where: str, found: str, remedy: str) -> None:
        self.where = where
        self.found = found
        self.remedy = remedy
        super().__init__(f"{where}: {found}\n  → {remedy}")


class ConfigError(CohauditError):
    """A configuration file, key, option or gate cannot be used."""


class CheckpointError(CohauditError):
    """A checkpoint cannot be read, is unsafe to open, or holds no usable tensors."""


class ModelError(CohauditError):
    """A model factory fails, or the model does not fit the checkpoint or the data."""


class DataError(CohauditError):
    """A dataset cannot be read, or holds samples or labels that cannot be audited."""


class EngineError(CohauditError):
    """Per-sample gradients of the model cannot be measured, or the certificate failed."""


class ReportError(CohauditError):
    """An audit file cannot be read, or an output cannot be written."""


class UserTemplateError(CohauditError):
    """A template given with --templates cannot be used, or fails."""


class UserCodeError(CohauditError):
    """Code that the user named raises what nothing in cohaudit expects, or tries to end the program."""


class MissingMemoryError(CohauditError):
    """Memory ran out, or the address space that the system grants."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            "memory",
            f"there is not enough of it: {describe_error(error)}",
            "use a smaller --batch-size or --limit, free memory, or raise the limit of the shell (ulimit -v)",
        )


class Interrupted(KeyboardInterrupt):
    """A person, or the system, asked the program to stop: Ctrl-C or SIGTERM."""


class MissingExtraError(CohauditError):
    """An optional package is not installed that this input needs.

    Args:
        where: File or option that needs it.
        package: Name of the missing package.
        extra: Extra of cohaudit that installs it.
    """

    def __init__(self, where: str, package: str, extra: str) -> None:
        super().__init__(where, f"needs the package {package}", f"pip install 'cohaudit[{extra}]'")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory ran out; torch and others have no class for that."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | OSError | ImportError) and bool(_NO_MEMORY.search(str(error)))


def describe_error(error: BaseException) -> str:
    """Return type and text of an exception from code that is not ours, on one line and shortened."""
    # shorten also joins lines: messages of torch and of users span several
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300, placeholder=' …')}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a remedy, in the imperative, for a name that is not among the known ones."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=SUGGESTIONS, cutoff=MIN_SIMILARITY)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(names) > MAX_NAMES:
        return f"use one of {', '.join(names[:MAX_NAMES])} and {len(names) - MAX_NAMES} more"
    return f"use one of {', '.join(names)}"


def as_named(path: Path) -> str:
    """Return a path as the user wrote it: of s3://bucket/file, pathlib makes s3:/bucket/file."""
    found = _ADDRESS.search(path.as_posix())
    return f"{found['scheme']}://{found['rest']}" if found else str(path)


def missing(path: Path, usable: Callable[[Path], bool], what: str) -> tuple[str, str]:
    """Return what was found, and a remedy, for a path that does not exist.

    Args:
        path: The path.
        usable: Returns whether an entry of the same folder could have been meant.
        what: What such an entry is, in words, in case the folder has none.
    """
    if _ADDRESS.search(path.as_posix()):
        return "is an address, not a file on this machine", "download it, and name the file that you saved"
    # the name is in the folder: "no such file" would send the user looking for a typo
    if path.is_symlink():
        return (
            f"is a link to {path.readlink()}, which does not exist",
            "restore the target of the link, or name another file",
        )
    names: list[str] = []
    with suppress(OSError):  # the folder does not exist, or may not be listed
        entries = [entry for entry in path.parent.iterdir() if not entry.name.startswith(".")]
        names = sorted(entry.name for entry in entries if usable(entry))
    if names:
        return "no such file or folder", did_you_mean(path.name, names)
    found = f"has no {what}" if path.parent.is_dir() else "is not a folder"
    return "no such file or folder", f"check the path: {path.parent} {found}"


def printable(text: str, limit: int | None = None) -> str:
    r"""Write control, bidirectional and unassigned characters as escapes such as \x1b.

    The runner of GitHub Actions executes commands that it finds in a log: there, these are broken up as well.

    Args:
        text: Any text; a hostile file can put anything into it.
        limit: Most characters to return; a longer text ends in an ellipsis.
    """
    # cut before the escapes are written, so that none of them is cut in half
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    # unicode_escape also takes half of a surrogate pair, which UTF-8 refuses
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    # only there: an invisible space in a name that is pasted elsewhere would match nothing
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for begins, apart in WORKFLOW_COMMANDS.items():
            shown = shown.replace(begins, apart)
    return shown


def without_padding(text: str) -> str:
    """Return the lines without spaces at their ends: rich pads them, and they would wrap when pasted."""
    return "".join(f"{line.rstrip(' ')}\n" for line in text.splitlines())
