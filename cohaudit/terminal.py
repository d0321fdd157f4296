"""Text from files, made safe to print: nothing in a name can move the cursor, recolor or reorder a line."""

from __future__ import annotations

import os

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
