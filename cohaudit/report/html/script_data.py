"""Data for the scripts of pages: JSON that may stand in a script element, whatever texts it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from cohaudit.report.words import REORDERING, Text

_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in {*"<>&\u2028\u2029", *REORDERING}}
"""Characters that could end the script element or a line in it, or reorder the source for its reader."""


def script_data(content: Mapping[str, Any]) -> Markup:
    """Return JSON that may stand in a script element, whatever text is in it."""
    # allow_nan=False: the browser's JSON.parse would stop at a NaN, and the page would show no samples.
    line = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(line.translate(_ESCAPES))


def shown_text(name: Text, raw: str | None = None) -> Any:
    """Return a text for the script: as it is, or what to show, to show on demand, and to write to a file."""
    if raw is not None and (raw != name.short or name.full):
        return [name.short, name.full, raw]
    return [name.short, name.full] if name.full else name.short
