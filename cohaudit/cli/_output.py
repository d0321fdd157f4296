"""Writing to standard output, whatever it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cohaudit.errors import ReportError

if TYPE_CHECKING:
    from cohaudit.results import Audit


def write_out(content: str | bytes) -> None:
    """Write to standard output.

    A reader that stops early, as in `| head`, is no error and no failed gate.

    Raises:
        ReportError: When the output cannot be written for another reason, such as a full disk.
    """
    if sys.stdout is None:  # closed by whoever started the program
        return
    try:
        click.echo(content, nl=False, color=True)  # as laid out: click would take forced colors out of a log
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    except OSError as error:
        drop_output()
        found = f"cannot be written: {error.strerror}"
        raise ReportError("standard output", found, "send it elsewhere") from None


def annotate(audit: Audit, formats: Sequence[str], as_json: bool = False) -> None:
    """Print what GitHub shows beside a change, if that is among the formats asked for.

    Args:
        audit: With its gates.
        formats: As given.
        as_json: Whether standard output holds JSON: GitHub reads standard error too.
    """
    from cohaudit.report import GITHUB, parsed_formats, render_annotations

    if GITHUB not in parsed_formats(formats):
        return
    if as_json:
        click.echo(render_annotations(audit), nl=False, err=True)
    else:
        write_out(render_annotations(audit))


def drop_output() -> None:
    """Send what is still to be written nowhere, so that closing the stream does not complain again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def accept_any_text() -> None:
    """Let a terminal or log that lacks a character show a ? instead of ending the program."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
