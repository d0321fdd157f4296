"""The group of commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any

import click

from cohaudit.cli._check import check
from cohaudit.cli._correct import correct
from cohaudit.cli._diff import diff
from cohaudit.cli._doctor import doctor
from cohaudit.cli._export import export
from cohaudit.cli._init import init
from cohaudit.cli._inspect import inspect
from cohaudit.cli._interruption import interruptible
from cohaudit.cli._merge import merge
from cohaudit.cli._output import accept_any_text, drop_output, print_plainly_in_a_cell, say
from cohaudit.cli._ranks import INTERRUPTED, silence_other_ranks
from cohaudit.cli._report import report
from cohaudit.cli._review import review
from cohaudit.cli._scan import scan
from cohaudit.cli._trajectory import trajectory
from cohaudit.errors import (
    BUG,
    OK,
    CohauditError,
    Interrupted,
    MissingMemoryError,
    ReportError,
    is_out_of_memory,
    printable,
)
from cohaudit.untrusted.code import user_code_error
from cohaudit.untrusted.exits import end_process, holding_exits, settle

PIPE_CLOSED = 128 + 13
"""Exit code of a program ended by SIGPIPE, which Python does not name on Windows."""
LONGEST_LINE = 500
"""Characters shown of a line of an error message; a hostile file can put a name of any length into one."""
BUG_REPORT = (
    "this is a bug in cohaudit: please report it with the lines above and what `cohaudit doctor` prints, "
    "with the same arguments"
)
"""Shown under the traceback of an error that no user can cause."""
NO_MEMORY_LEFT = b"error: memory: there is none left\n  -> raise the limit of the shell (ulimit -v)\n"
"""Written without taking any."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What the system says if a disk, or a stream, takes no more."""
GROUPS = {
    "Start": ("init", "doctor", "inspect"),
    "Audit": ("scan", "merge", "trajectory"),
    "Act": ("review", "correct", "export", "report"),
    "Compare": ("check", "diff"),
}
"""Heading in the help → its commands, in the order of their use."""


class _Commands(click.Group):
    """A group that turns errors into a message and an exit code, and lists its commands by their use."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, under a heading each kind of use."""
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str()) for name in names])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the options before the command; a wrong one is reported like any other error.

        Raises:
            Exit: If an option is wrong.
            UsageError: If there are no arguments at all; click then shows the help.
        """
        nothing = not args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if nothing:
                raise
            _say_usage(error)
            raise click.exceptions.Exit(error.exit_code) from None
        except Interrupted:  # click would end with 1, the code of a failed gate
            say("interrupted")
            raise click.exceptions.Exit(INTERRUPTED) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a scan by several processes speaks with one voice from here on."""
        if args[:1] == [scan.name]:
            silence_other_ranks()
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; from here on, both signals that end one end this one with a line."""
        try:
            with interruptible(), holding_exits():
                return super().main(*args, **options)
        except Interrupted:  # before or after the command itself
            say("interrupted")
            sys.exit(INTERRUPTED)
        except Exception as error:  # such as a full disk, where the help is printed to
            sys.exit(_explained(error))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            ClickException: If click itself reports it.
            Exit: When the command is done.
            Abort: If the user ended a prompt.
        """
        accept_any_text()  # before anything is printed
        print_plainly_in_a_cell()
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _say_usage(error)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):  # click ends the program itself
            raise
        except CohauditError as error:
            _say(error)
            ctx.exit(error.exit_code)
        except Interrupted as error:
            say("; ".join(["interrupted", *map(printable, map(str, error.args))]))
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            drop_output()
            ctx.exit(PIPE_CLOSED)
        # all others too: SystemExit of the user's code would end a scan as if it had passed its gates
        except BaseException as error:
            ctx.exit(_explained(error))


def _explained(error: BaseException) -> int:
    """Report an exception that no boundary turned into an error, and return the exit code."""
    try:
        return _explain(error)
    except (MemoryError, SystemError):  # there is not even enough for the message
        with suppress(OSError):
            os.write(2, NO_MEMORY_LEFT)
        end_process(MissingMemoryError.exit_code)


def _explain(error: BaseException) -> int:
    known: CohauditError | None = (
        MissingMemoryError(error) if is_out_of_memory(error) else user_code_error(error)
    )
    if isinstance(error, OSError) and error.errno in _FULL:
        drop_output()  # else the same error would end the program while Python flushes the stream
        found = f"cannot be written: {error.strerror}"
        known = ReportError("output", found, "free space, or send it elsewhere")
    elif known is None and isinstance(error, OSError) and error.filename is not None:
        # what the system says of a path is never a bug, wherever it says it
        known = ReportError(str(error.filename), f"{error.strerror}", "check the path and its permissions")
    elif known is None and isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        known = ReportError(printable(error.object[:200]), "is not UTF-8", "rename what has this name")
    if known is not None:
        _say(known)
        if isinstance(error, ImportError):
            # libraries that were loaded by half would crash while Python ends
            end_process(known.exit_code)
        return known.exit_code
    # a code of its own: Python would end with 1, the code of a failed gate
    say(f"{''.join(traceback.format_exception(error))}\n{BUG_REPORT}")
    return BUG


def _say(error: CohauditError) -> None:
    # line by line: `printable` would turn the line breaks of the message into escapes
    say("error: " + "\n".join(printable(line, LONGEST_LINE) for line in str(error).split("\n")))


def _say_usage(error: click.UsageError) -> None:
    """Report what is wrong with a command as it was typed, and where its usage is explained."""
    message = printable(error.format_message().replace("\n", " "), LONGEST_LINE)
    command = error.ctx.command_path if error.ctx else "cohaudit"
    say(f"error: {message}\n  → see {command} --help")


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from cohaudit import __version__

        click.echo(f"cohaudit {__version__}")
        ctx.exit()


# commands inherit both
@click.group(
    cls=_Commands, context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def main() -> None:
    """Audit a trained network from its checkpoint and its training data.

    Reports what the network learned, what it merely memorized, which labels look wrong, and how well it
    generalizes to new data. `cohaudit init` in the folder of your project is the first step; `cohaudit
    COMMAND -h` explains a command.
    """


def program() -> None:
    """Run cohaudit as a program of its own."""
    # compiling what a model's forward compiles takes minutes and changes nothing that is measured
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    try:
        main()
    except SystemExit as ended:
        # what the user's code has registered to run at the end must not turn a failed gate into a success
        settle(ended.code if isinstance(ended.code, int) else OK)
        # everything is written and said: a signal while Python ends has nothing left to interrupt
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise


for command in (scan, merge, trajectory, doctor, inspect, check, diff, report, review, export, correct, init):
    main.add_command(command)
