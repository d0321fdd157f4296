"""Files of unknown origin: the one place that opens them, and how much work they may cause."""

from cohaudit.untrusted.files import (
    check_regular,
    is_regular,
    open_regular,
    read_bytes,
    read_text,
)
from cohaudit.untrusted.limits import Limits, current_limits, limiting
from cohaudit.untrusted.rehearsal import Rehearsal, rehearse

__all__ = [
    "Limits",
    "Rehearsal",
    "check_regular",
    "current_limits",
    "is_regular",
    "limiting",
    "open_regular",
    "read_bytes",
    "read_text",
    "rehearse",
]
