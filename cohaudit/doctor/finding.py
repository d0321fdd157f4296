"""The result of one check of `cohaudit doctor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from cohaudit.errors import CohauditError, Interrupted, MissingMemoryError, is_out_of_memory
from cohaudit.untrusted.code import user_code_error

Status = Literal["ok", "warning", "failed", "not run"]
"""Outcome of a check; only "failed" means that a scan would stop."""
Figures = Mapping[str, str | int | float | bool | None]
"""Name → value, for programs."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Finding:
    """One check and its outcome.

    Attributes:
        check: Name of the check, in a word or two.
        status: Outcome; a check that depends on a failed one is not run.
        found: What was found, in words; it may contain any text of the user's files.
        remedy: What to do, in the imperative; empty if there is nothing to do.
        figures: The same for a program; a check has the same names in every run in which it is ok.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""
    figures: Figures = field(default_factory=dict)


def attempt(check: str, run: Callable[[], tuple[Finding, Value]]) -> tuple[Finding, Value | None]:
    """Run a check, and turn an error that a user can cause into a finding.

    Args:
        check: Name of the check.
        run: Returns the finding, and the value that other checks need.

    Raises:
        Interrupted: If the user has asked to stop.
        BaseException: A bug.
    """
    try:
        return run()
    except CohauditError as error:
        return _failed(check, error)
    except Interrupted:
        raise
    except BaseException as error:  # as the scan would report it: user code can raise anything
        known = MissingMemoryError(error) if is_out_of_memory(error) else user_code_error(error)
        if known is None:
            raise
        return _failed(check, known)


def _failed(check: str, error: CohauditError) -> tuple[Finding, None]:
    return Finding(check, "failed", f"{error.where}: {error.found}", error.remedy), None


def not_run(check: str, missing: str) -> Finding:
    """Return the finding of a check that could not be run because something is missing."""
    return Finding(check, "not run", f"needs {missing}")


def amount(size: float) -> str:
    """Return a number of bytes in words: 850 MB, 1.9 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"
