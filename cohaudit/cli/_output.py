"""Writing to standard output: a terminal, a file, a pipe, or nothing at all."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from cohaudit.errors import ReportError, printable

if TYPE_CHECKING:
    from cohaudit.results import Audit


def write_out(content: str | bytes) -> None:
    """Write to standard output.

    A reader that stops early, as in `| head`, is neither an error nor a failed gate.

    Raises:
        ReportError: If the output cannot be written for another reason, such as a full disk.
    """
    if sys.stdout is None:  # the program was started with its output closed
        return
    try:
        click.echo(content, nl=False, color=True)  # else click would remove colors that FORCE_COLOR asks for
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    except OSError as error:
        drop_output()
        found = f"cannot be written: {error.strerror}"
        raise ReportError("standard output", found, "send it elsewhere") from None


def say(text: str) -> None:
    """Print on standard error. If nothing can be written there, the exit code alone has to say it."""
    with suppress(OSError):
        click.echo(text, err=True)


def print_note(text: str) -> None:
    """Print a note on standard error, on one line."""
    say(f"note: {printable(text)}")


def annotate(audit: Audit, formats: Sequence[str], as_json: bool = False) -> None:
    """Print annotations for GitHub if `formats` asks for them.

    Args:
        audit: Audit with its gates.
        formats: Formats as given.
        as_json: Whether standard output holds JSON; annotations then go to standard error, which GitHub reads
            as well.
    """
    from cohaudit.report import GITHUB, parsed_formats, render_annotations

    if GITHUB not in parsed_formats(formats):
        return
    if as_json:
        click.echo(render_annotations(audit), nl=False, err=True)
    else:
        write_out(render_annotations(audit))


def drop_output() -> None:
    """Discard output that is still buffered, so that closing the stream raises no second error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


KERNEL_MARK = "JPY_PARENT_PID"
"""Variable that Jupyter sets for a kernel; a command that a cell runs with ! inherits it."""
KERNEL_SETTINGS = {"CLICOLOR": "1", "PAGER": "cat", "GIT_PAGER": "cat"}
"""Variables that a kernel sets for such a command, whoever started the kernel."""


def print_plainly_in_a_cell(environment: MutableMapping[str, str] = os.environ) -> None:
    """Print plain lines if the cell of a notebook runs this command.

    A kernel gives its commands a terminal and asks them for colors, but a cell shows what a terminal would
    draw over as line after line.

    Args:
        environment: Variables of the process.
    """
    asked = all(environment.get(name) == value for name, value in KERNEL_SETTINGS.items())
    if KERNEL_MARK in environment or asked:
        # what every library of this process asks before it draws
        environment["TERM"] = "dumb"
        environment.pop("FORCE_COLOR", None)


def accept_any_text() -> None:
    """Show a ? for characters that the terminal or log cannot encode, instead of ending the program."""
    # a program that calls the command line may have replaced the stream, or closed it
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
