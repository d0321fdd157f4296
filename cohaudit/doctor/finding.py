"""What `cohaudit doctor` says of one thing that it looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from cohaudit.errors import CohauditError

Status = Literal["ok", "warning", "failed", "not run"]
Figures = Mapping[str, str | int | float | bool | None]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Finding:
    """One check and its outcome.

    Attributes:
        check: What was looked at, in a word or two.
        status: A scan would run in spite of a warning, and not after a failure; what depends on a check that
            failed is not run.
        found: What was found, in words; it may hold any text of the user's files.
        remedy: What to do, in the imperative; empty when there is nothing to do.
        figures: The same for a program; a check has the same names in every run in which it is ok.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""
    figures: Figures = field(default_factory=dict)


def attempt(check: str, run: Callable[[], tuple[Finding, Found]]) -> tuple[Finding, Found | None]:
    """Run a check, and make a finding of what a user can cause to go wrong.

    Args:
        check: What it is called.
        run: Returns the finding, and what other checks need of it.
    """
    try:
        return run()
    except CohauditError as error:
        return Finding(check, "failed", f"{error.where}: {error.found}", error.remedy), None


def not_run(check: str, missing: str) -> Finding:
    """Return the finding of a check that lacks what another one should have given."""
    return Finding(check, "not run", f"needs {missing}")


def amount(size: float) -> str:
    """Return bytes in words: 850 MB, 1.9 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"


def duration(seconds: float) -> str:
    """Return seconds in words, no more exact than a forecast is: 8 s, 4 min, 1.5 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
