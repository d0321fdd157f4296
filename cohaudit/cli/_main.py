"""The commands, and the one place where errors end."""

from __future__ import annotations

import signal
import traceback
from pathlib import Path
from typing import Any

import click

from cohaudit.cli._check import check
from cohaudit.cli._diff import diff
from cohaudit.cli._doctor import doctor
from cohaudit.cli._inspect import inspect
from cohaudit.cli._options import templates_option
from cohaudit.cli._output import accept_any_text, drop_output, write_out
from cohaudit.cli._scan import scan
from cohaudit.cli._trajectory import trajectory
from cohaudit.errors import BUG, CohauditError, printable

INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + 13
"""Exit codes of a program ended by SIGINT and SIGPIPE (which Windows does not name), as shells count them."""

LONGEST_LINE = 500
"""Characters of a line of an error message; a hostile file can put a name of any length into one."""

BUG_REPORT = (
    "this is a bug in cohaudit: please report it with the lines above and what `cohaudit doctor` prints, "
    "given the same arguments"
)


class _Commands(click.Group):
    """A group that turns what goes wrong into a message and an exit code."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the options in front of the command; one that is wrong is told as any other error is.

        Raises:
            Exit: One is wrong.
            UsageError: There is nothing at all, which click answers with the help.
        """
        nothing = not args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if nothing:
                raise
            _say_usage(error)
            raise click.exceptions.Exit(error.exit_code) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            ClickException: It is of click's own.
            Exit: The command is done.
            Abort: The user ended a prompt.
        """
        accept_any_text()
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _say_usage(error)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except CohauditError as error:
            message = "\n".join(printable(line, LONGEST_LINE) for line in str(error).split("\n"))
            click.echo(f"error: {message}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt as error:
            click.echo("; ".join(["interrupted", *map(printable, map(str, error.args))]), err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            drop_output()
            ctx.exit(PIPE_CLOSED)
        except Exception:
            click.echo(f"{traceback.format_exc()}\n{BUG_REPORT}", err=True)
            ctx.exit(BUG)


def _say_usage(error: click.UsageError) -> None:
    """Say what is wrong with a command as it was typed: what was found, and what to do."""
    message = printable(error.format_message().replace("\n", " "), LONGEST_LINE)
    command = error.ctx.command_path if error.ctx else "cohaudit"
    click.echo(f"error: {message}\n  → {command} --help tells how it is used", err=True)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from cohaudit import __version__

        click.echo(f"cohaudit {__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"max_content_width": 100})
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

    Says what it learned, what it merely memorized, which labels look wrong, and how much it is at risk of
    overfitting.
    """


main.add_command(scan)
main.add_command(trajectory)
main.add_command(doctor)
main.add_command(inspect)
main.add_command(check)
main.add_command(diff)


@main.command()
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write [default: report.html beside AUDIT.JSON].",
)
@templates_option
def report(audit: Path, out: Path | None, templates: Path | None) -> None:
    """Render the report of an earlier scan again, from AUDIT.JSON alone."""
    from cohaudit.report import write_html
    from cohaudit.results.files import refuse_source
    from cohaudit.results.read import read_audit

    target = out or audit.parent / "report.html"
    refuse_source(target, audit)
    written = write_html(read_audit(audit), target, templates)
    write_out(f"Report: {printable(str(written))}\n")


@main.command()
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--format",
    "kind",
    type=click.Choice(
        ["csv", "jsonl", "parquet", "keep", "label-studio", "cleanlab", "suppressions", "mask"]
    ),
    default="csv",
    show_default=True,
    help="csv, jsonl, parquet: the suspects as a table. label-studio: as tasks, with the suggested labels. "
    "keep: the ids of all other samples. cleanlab: its columns, for every sample. suppressions: a file to "
    "note in which suspects are right after all. mask: the hidden units that hold most of the coherent "
    "gradient, after --audits width.",
)
@click.option("--all", "every", is_flag=True, help="List every sample, most suspicious first.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write [default: beside AUDIT.JSON, named after the format].",
)
def export(audit: Path, kind: str, every: bool, out: Path | None) -> None:
    """Write the suspects of an earlier scan as a list for cleaning, from AUDIT.JSON alone.

    The dataset itself is neither read nor changed.
    """
    from cohaudit.results.files import refuse_existing, refuse_source, write_file
    from cohaudit.results.read import read_audit
    from cohaudit.review import export as exporting

    target = out or audit.parent / exporting.EXPORT_FILE_NAMES[kind]
    refuse_source(target, audit)
    content = exporting.export(read_audit(audit), kind, every)
    if kind == "suppressions":  # what is there already may be the notes of a person
        refuse_existing(target)
    written = write_file(target, content)
    write_out(f"Written: {printable(str(written))}\n")


@main.command()
@click.argument("audit", type=click.Path(path_type=Path), metavar="AUDIT.JSON")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    required=True,
    help="The data that was audited: .npz, .safetensors, .csv, .jsonl, .parquet or an image folder.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="NEW",
    required=True,
    help="File or folder to write; a list of all changes goes to NEW.changes.csv. Neither may exist.",
)
@click.option("--drop", is_flag=True, help="Leave the suspects out, in place of correcting their labels.")
@click.option(
    "--only",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Change only the suspects whose ids are in this text file, one a line, or the samples in this .csv "
    "file, whose columns id and new_label the report's page writes.",
)
@click.option("--labels", default="", help="Key or column that holds the labels [default: as in the scan].")
@click.option("--ids", default="", help="Key or column that holds the ids [default: as in the scan].")
def correct(audit: Path, data: Path, out: Path, drop: bool, only: Path | None, labels: str, ids: str) -> None:
    """Write a copy of the audited data in which each suspect has the label that is suggested.

    The data itself is not changed, and all else in the copy is as it was. Look at the suspects first, and
    name those that are wrong with --only.
    """
    from cohaudit.results.read import read_audit
    from cohaudit.review.correct import correct as write_copy

    done = write_copy(read_audit(audit), data, out, drop=drop, only=only, labels=labels, ids=ids)
    many = len(done.changes)
    rest = done.samples - len(done.changes)
    what = f"{many:,} sample{'s' * (many != 1)} {'left out' if drop else 'relabeled'}, {rest:,} as before"
    write_out(f"Written: {printable(str(done.copy))} ({what})\n")
    write_out(f"Changes: {printable(str(done.log))}\n")
    for notice in done.notices:
        write_out(f"Note: {printable(notice)}\n")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=".", metavar="[DIR]")
@click.option("--force", is_flag=True, help="Replace a cohaudit.toml that is already there.")
def init(folder: Path, force: bool) -> None:
    """Write a commented cohaudit.toml for what is in DIR.

    DIR is the working directory unless named. Looks for a checkpoint, for training data and for the code of
    the model. Nothing is imported or run.
    """
    from cohaudit.loading.init_config import write_starter

    for line in write_starter(folder, force=force):
        write_out(f"{printable(line)}\n")
