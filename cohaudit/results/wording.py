"""Numbers as every text writes them: at most three digits, a true minus, no exponent such as e-05.

Messages, advice, reports and the terminal share these, so that one figure reads the same everywhere. Rounded
values are only shown; nothing is decided by them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

_MIN_DECIMAL = 1e-5
"""Smallest number written with decimals alone: one more zero could no longer be counted at a glance."""

_MAX_DECIMAL = 1e6
"""Smallest number too large for that, for the same reason."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """Write a number with three significant digits: 0.0123; a dash for a missing one."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return true_minus(f"{'-' * (value < 0)}∞")
    if value == 0:
        return "0"
    if not _MIN_DECIMAL <= abs(value) < _MAX_DECIMAL:
        mantissa, exponent = f"{value:.1e}".split("e")
        return true_minus(f"{mantissa} × 10{raised(int(exponent))}")
    # Three significant digits: intervals are rarely known better.
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return true_minus(f"{value:,.{decimals}f}")


def rounded(value: float, digits: int) -> str:
    """Write a number with at most so many significant digits, without zeros at the end: 0.9, 12,350.

    What is written is the number that `digits` digits leave, so that a comparison of that number holds for
    the reader too.
    """
    shown = float(f"{value:.{digits}g}")
    if not math.isfinite(shown) or shown == 0:
        return number(shown)
    if _MIN_DECIMAL <= abs(shown) < _MAX_DECIMAL:
        # through Decimal: the format "f" of a float would need to know how many decimals it has
        return true_minus(_without_zeros(f"{Decimal(repr(shown)):,f}"))
    mantissa, exponent = f"{shown:.{digits - 1}e}".split("e")
    return true_minus(f"{_without_zeros(mantissa)} × 10{raised(int(exponent))}")


def compact(value: float) -> str:
    """Write a number that was chosen, not measured, with no more digits than it has: 0.5, 0.001, 12.5."""
    if value == 0 or _MIN_DECIMAL <= abs(value) < _MAX_DECIMAL:
        return true_minus(f"{value:,.8f}".rstrip("0").rstrip("."))
    return number(value)


def spelled_alike(names: Sequence[str]) -> str:
    """Return a sentence about class names that differ only by case or by space; empty if none do.

    Args:
        names: Class names.
    """
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault("".join(name.split()).casefold(), []).append(name)
    alike = [" and ".join(f"{name!r:.60}" for name in group) for group in spellings.values() if group[1:]]
    if not alike:
        return ""
    more = f" (and {len(alike) - 1} more)" if alike[1:] else ""
    return f"The classes {alike[0]}{more} differ only by case or space: one class may be spelled in two ways."


def percent(share: float) -> str:
    """Write a share: 10.1%; only exactly 0 and 1 are written as 0% and 100%.

    A share that rounding puts a little outside 0 to 1 counts as the nearer of the two.
    """
    if math.isnan(share):
        return "–"
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    digits = f"{share:.1%}"
    if digits in {"0.0%", "-0.0%", "100.0%"}:
        return "100%" if share > 0 else "0%"
    return true_minus(digits)


def points(share: float) -> str:
    """Write a difference of shares in points, to a tenth."""
    return true_minus(f"{100 * share:.1f}")


def duration(seconds: float) -> str:
    """Return seconds in words, no more precise than a forecast is: 8 s, 4 min, 1.5 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def uncapitalized(words: str) -> str:
    """Return words with a small first letter, to stand after a colon."""
    return words[:1].lower() + words[1:]


def raised(exponent: int) -> str:
    """Write an exponent: ¹⁴, ⁻⁷."""
    return str(exponent).translate(_RAISED)


def true_minus(digits: str) -> str:
    """Return a number with the sign of the typographers in place of the hyphen: −0.2."""
    return digits.replace("-", "\u2212")


def _without_zeros(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
