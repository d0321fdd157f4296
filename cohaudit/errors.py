"""Everything that a user, or a user's files, can cause to go wrong.

Each boundary (configuration, checkpoint, model, data, engine) has its own error; the command line
catches the root once, prints the message and ends with the exit code that the class names.
A bug is none of these and keeps its traceback.
"""

from __future__ import annotations

import textwrap
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
        self.where, self.found, self.remedy = where, found, remedy
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


def told(error: BaseException) -> str:
    """Return type and text of an exception from other people's code, on one line and not at any length."""
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300, placeholder=' …')}"
