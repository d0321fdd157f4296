"""`cohaudit scan`: runs a scan, writes the report and prints a summary."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cohaudit.cli._options import (
    SectionedCommand,
    checkpoint_options,
    describe_origin,
    given_options,
    subject_arguments,
)
from cohaudit.cli._order import in_training_order
from cohaudit.cli._output import annotate, print_note, say, write_out
from cohaudit.cli._ranks import follow_scan, joined_ranks
from cohaudit.cli._run import collected_notes, data_path, parsed_shard, run_scan, run_shard
from cohaudit.config.file import load_config
from cohaudit.errors import GATE_FAILED, OK, printable

if TYPE_CHECKING:
    from cohaudit.config import Config
    from cohaudit.results import Audit


@click.command(cls=SectionedCommand, short_help="Audit a network: labels and generalization.")
@checkpoint_options
@click.option(
    "--shard",
    metavar="K/N",
    help="Measure the K-th of N shards alone, and write it to the folder --out; see cohaudit merge.",
)
@click.option("--json", "as_json", is_flag=True, help="Print audit.json instead of the summary.")
@click.pass_context
def scan(
    ctx: click.Context,
    /,
    *,
    checkpoints: tuple[Path, ...],
    config_file: Path | None,
    fresh: bool,
    quiet: bool,
    as_json: bool,
    shard: str | None,
    **options: Any,
) -> None:
    """Audit the network in CHECKPOINT with its training data.

    If several checkpoints of one training run are given, the last one is audited; the predictions of the
    earlier ones help to find wrong labels. They are used in the order given, or sorted by number if their
    paths differ in numbers alone.

    Prints a summary and writes report.html, audit.json and samples.csv. Settings come from these options,
    then from the first of: the file given with --config, cohaudit.toml beside the checkpoint, cohaudit.toml
    in the working directory, the table [tool.cohaudit] in pyproject.toml there. `cohaudit init` writes one.

    Exit code: 0 passed, 1 a gate failed, 2 bad usage or input, 70 a bug in cohaudit.
    """
    with joined_ranks(shard) as link:
        ordered = in_training_order(checkpoints)
        given, config = settings_of(ordered, options, config_file, quiet or shard is not None)
        if shard is not None:
            with collected_notes():
                say(run_shard(ordered[-1], config, parsed_shard(shard), quiet, fresh))
            ctx.exit(OK)
        if link is not None and link.launch.rank:
            follow_scan(ordered[-1], config, link)
        with collected_notes() as notes:
            audit, files = run_scan(ordered[-1], ordered[:-1], config, quiet, fresh, link=link)
        subject = [str(ordered[-1]), *subject_arguments(given)]
        show_audit(ctx, audit, config, Shown(files, notes, subject, quiet, as_json))


def settings_of(
    checkpoints: list[Path], options: Mapping[str, Any], config_file: Path | None, quiet: bool
) -> tuple[dict[str, Any], Config]:
    """Return the settings given as options, and all settings; say where they come from.

    Args:
        checkpoints: Checkpoints, the one to audit last.
        options: Every option of a key.
        config_file: Configuration file that was named.
        quiet: Whether to leave out which earlier checkpoints are used.

    Raises:
        ConfigError: If a setting is wrong.
    """
    *earlier, checkpoint = checkpoints
    given = given_options(options)
    config = load_config(checkpoint, given, config_file)
    if earlier and not quiet:
        # on standard error, because standard output may hold JSON
        names = ", ".join(printable(str(path)) for path in earlier)
        say(f"auditing {printable(str(checkpoint))}; earlier ones, in this order: {names}")
    # with --quiet too: a log must tell which file gave the model, the data and the gates
    if origin := describe_origin(config, given):
        say(printable(origin))
    return given, config


@dataclass(frozen=True)
class Shown:
    """How an audit is shown.

    Attributes:
        files: Files of the report.
        notes: What the parts of the scan logged.
        subject: Arguments of another command that say what is audited.
        quiet: Whether to print no summary.
        as_json: Whether to print audit.json instead of the summary.
    """

    files: list[Path]
    notes: list[str]
    subject: list[str]
    quiet: bool
    as_json: bool


def show_audit(ctx: click.Context, audit: Audit, config: Config, shown: Shown) -> None:
    """Print an audit that has been written, and end the command with its exit code.

    Args:
        ctx: Context of the command.
        audit: The audit.
        config: Settings.
        shown: How it is shown.

    Raises:
        Exit: Always.
    """
    if shown.as_json:
        from cohaudit.results.json_encode import audit_to_json

        write_out(audit_to_json(audit).encode())
    elif not shown.quiet:
        from cohaudit.report.terminal.next_step import next_step
        from cohaudit.report.terminal.summary import render_summary

        then = next_step(audit, shown.files, data_path(config), shown.subject)
        write_out(render_summary(audit, shown.files, sys.stdout, shown.notes, then))
    annotate(audit, config.formats, shown.as_json)
    if shown.quiet or shown.as_json:  # the summary, which was not printed, contains these
        _print_warnings(audit)
    ctx.exit(GATE_FAILED if any(gate.failed for gate in audit.gates) else OK)


def _print_warnings(audit: Audit) -> None:
    # exit code 0 and no word would pass for a verdict
    if reason := audit.labels_not_judged:
        print_note(f"no verdict: {reason}")
    for notice in audit.notices:
        print_note(notice)
    for gate in audit.gates:
        if gate.failed or gate.warned:
            say(f"gate {gate.outcome}: {printable(f'{gate.expression}: {gate.reason}')}")
