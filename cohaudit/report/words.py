"""Numbers and names as a person reads them. Rounded values are only shown; nothing is decided by them.

Numbers that also stand in messages and advice are written by `cohaudit.results.wording`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass

from cohaudit.results import Estimate
from cohaudit.results.wording import compact as compact
from cohaudit.results.wording import number as number
from cohaudit.results.wording import percent as percent
from cohaudit.results.wording import points as points
from cohaudit.results.wording import raised as raised
from cohaudit.results.wording import true_minus

REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters whose only use is to change the order in which other characters are shown."""

UNKNOWN = "–"
"""What stands for a number that was not measured."""

_MAX_FULL = 240
"""Characters of a long form at most: enough to tell two names apart, on a page that has hundreds of them."""
_FILE_END = re.compile(r"[A-Za-z0-9_-]{0,5}\.[A-Za-z0-9]{1,5}\Z")
"""End of a file's name: its extension and up to five characters before it. templates/page.js has the same."""
_MAX_NINES = 8
"""Decimals of a probability near 1 at most; beyond, two probabilities look alike."""


@dataclass(frozen=True)
class Text:
    """A text from outside, made safe to show."""

    short: str
    """Cut to a length that fits every layout."""
    full: str
    """A longer form to show on demand; empty when `short` is already whole."""

    @property
    def end(self) -> str:
        """End of a file's name, which a line must not break, such as 0017.png; empty for any other name."""
        found = _FILE_END.search(self.short)
        return found[0] if found else ""

    @property
    def start(self) -> str:
        """The short form without `end`."""
        return self.short.removesuffix(self.end)


def text(raw: str, limit: int = 48) -> Text:
    """Make a name from a file safe to show: visible, in its own order, cut in the middle.

    Args:
        raw: The name as the audit has it.
        limit: Characters of the short form at most.
    """
    longest = max(limit, _MAX_FULL)
    visible = "".join(_visible(c) for c in raw[:longest])
    if len(raw) <= limit:
        return Text(visible, "")
    # Paths differ at their end, names at their start: keep both.
    tail = "".join(_visible(c) for c in raw[-(limit // 2) :])
    full = visible + ("…" if len(raw) > longest else "")
    return Text(f"{visible[: limit - limit // 2 - 1]}…{tail}", full)


def _visible(character: str) -> str:
    if character < " ":
        # the symbols for control characters: ␊ for a line break, ␛ for escape
        return chr(0x2400 + ord(character))
    # Lone surrogates cannot be encoded in UTF-8, and would make the file unwritable.
    hidden = character in REORDERING or unicodedata.category(character) in {"Cc", "Cs"}
    return "\ufffd" if hidden else character


def count(value: int) -> str:
    """Write a whole number: 38,000."""
    return f"{value:,}"


def signed(value: float) -> str:
    """Write a cosine: +0.83, −0.20; a dash for one that was not measured."""
    return UNKNOWN if math.isnan(value) else true_minus(f"{value:+.2f}")


def fixed(value: float) -> str:
    """Write a number in [0, 1] with two decimals; only exactly 0 and 1 are written as 0.00 and 1.00."""
    # from here down, two decimals would round to 0.00
    if 0 < value < 0.005:
        return "<0.01"
    if 0.995 <= value < 1:
        return ">0.99"
    return UNKNOWN if math.isnan(value) else f"{value:.2f}"


def probability(value: float) -> str:
    """Write a probability: 0.83; near 1 with enough decimals to rank it: 0.99983."""
    if math.isnan(value) or not 0.995 <= value < 1:
        return fixed(value)
    decimals = min(_MAX_NINES, math.ceil(-math.log10(1 - value)) + 1)
    cut = math.floor(value * 10**decimals) / 10**decimals  # rounded, it could be written as 1
    return f"{cut:.{decimals}f}" if decimals < _MAX_NINES else f">{cut:.{decimals}f}"


def percent_interval(estimate: Estimate) -> str:
    """Write the confidence interval of a share: 10.1% to 14.2%."""
    return f"{percent(estimate.low)} to {percent(estimate.high)}"


def interval(estimate: Estimate) -> str:
    """Write the confidence interval of an estimate: 0.0101 to 0.0142."""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def seconds(value: float) -> str:
    """Write a duration: 0.04 s, 12.3 s, 4 min 05 s."""
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    # rounded before it is split, else 119.7 s would be 1 min 60 s
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def plural(quantity: int, noun: str) -> str:
    """Write a count with its noun: 1 sample, 1,300 samples, 2 classes."""
    if quantity == 1:
        return f"1 {noun}"
    return f"{count(quantity)} {noun}{'es' if noun.endswith(('s', 'ch')) else 's'}"


def isolated(name: Text) -> str:
    """Return the short form of a name between marks that keep it from reordering the text around it."""
    # first strong isolate: a name has the direction of its own first letter
    return f"\u2068{name.short}\u2069"


def named(raw: str) -> str:
    """Make a name safe inside a sentence: short, and unable to reorder the text around it."""
    return isolated(text(raw, 32))


def prose(raw: str) -> str:
    """Make a sentence from outside safe to show: at most 400 characters."""
    return text(raw, 400).short
