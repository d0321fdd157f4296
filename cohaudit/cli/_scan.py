"""`cohaudit scan`: runs a scan, writes the report and prints a summary."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cohaudit.cli._options import SectionedCommand, checkpoint_options, given_options
from cohaudit.cli._order import in_training_order
from cohaudit.cli._output import annotate, write_out
from cohaudit.config.file import is_file, load_config, require_subject
from cohaudit.errors import GATE_FAILED, OK, printable

if TYPE_CHECKING:
    from cohaudit.config import Config
    from cohaudit.pipeline.progress import Progress
    from cohaudit.results import Audit


@click.command(cls=SectionedCommand)
@checkpoint_options
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
    *earlier, checkpoint = in_training_order(checkpoints)
    config = load_config(checkpoint, given_options(options), config_file)
    if earlier and not quiet:
        names = ", ".join(printable(str(path)) for path in earlier)
        click.echo(f"auditing {printable(str(checkpoint))}; earlier ones, in this order: {names}", err=True)
    if config.source and not quiet:
        click.echo(f"settings from {printable(config.source)}", err=True)
    with collected_notes() as notes:
        audit, files = run_scan(checkpoint, earlier, config, quiet, fresh)
    if as_json:
        from cohaudit.results.json_encode import audit_to_json

        write_out(audit_to_json(audit).encode())
    elif not quiet:
        from cohaudit.report.terminal.summary import render_summary

        write_out(render_summary(audit, files, sys.stdout, notes))
    annotate(audit, config.formats, as_json)
    if quiet or as_json:  # the summary, which was not printed, contains these
        _print_warnings(audit)
    ctx.exit(GATE_FAILED if any(gate.failed for gate in audit.gates) else OK)


def _print_warnings(audit: Audit) -> None:
    for notice in audit.notices:
        _print_note(notice)
    for gate in audit.gates:
        if gate.failed or gate.warned:
            click.echo(f"gate {gate.outcome}: {printable(f'{gate.expression}: {gate.reason}')}", err=True)


def run_scan(
    checkpoint: Path, earlier: list[Path], config: Config, quiet: bool, fresh: bool
) -> tuple[Audit, list[Path]]:
    """Scan, and write the report.

    Everything that can be refused without the model is refused before anything expensive happens.

    Args:
        checkpoint: Checkpoint to audit.
        earlier: Earlier checkpoints of its training run, oldest first.
        config: Settings.
        quiet: Whether to show no progress.
        fresh: Whether to start over even if an interrupted scan could be resumed.

    Returns:
        The audit with its gates, and the files written.

    Raises:
        KeyboardInterrupt: If the user interrupts it; its text says where the unfinished pass is stored.
    """
    from cohaudit.pipeline.preflight import out_folder, refusals, templates_folder

    for _, error in refusals(config):
        raise error
    if is_file(checkpoint):  # a missing checkpoint is the first thing to report, and the loader does it best
        require_subject(config)

    from cohaudit.loading.factories import guarding
    from cohaudit.pipeline.resume import RESUME_FOLDER, ResumableRun
    from cohaudit.pipeline.scan import scan_checkpoint

    sources = [config.base / path for path in (config.data, config.holdout) if path]
    out = out_folder(config)
    resumable = ResumableRun(out / RESUME_FOLDER, fresh)
    try:
        with guarding(checkpoint, *earlier, *sources):
            audit = scan_checkpoint(config, checkpoint, _progress(quiet), earlier, resumable)
        files = _write(audit, out, config.formats, templates_folder(config))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*filter(None, [resumable.describe()])) from None
    resumable.remove()
    return audit, files


def _write(audit: Audit, out: Path, formats: tuple[str, ...], templates: Path | None) -> list[Path]:
    """Write the report; if a user's template fails, with the shipped ones, so that no measurement is lost.

    Raises:
        UserTemplateError: If a template failed; the report is written all the same.
    """
    from cohaudit.errors import UserTemplateError
    from cohaudit.report import write_report

    try:
        return write_report(audit, out, formats, templates)
    except UserTemplateError as error:
        write_report(audit, out, formats)
        again = f"the report is written with the shipped templates: cohaudit report {out / 'audit.json'}"
        remedy = f"{error.remedy}; {again} --templates {templates} writes it again"
        raise UserTemplateError(error.where, error.found, remedy) from error


class _Collector(logging.Handler):
    """Collects log records for the summary; prints warnings at once."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.INFO)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            _print_note(record.getMessage())
        else:
            self._notes.append(record.getMessage())


def _print_note(text: str) -> None:
    """Print a note on standard error, on one line."""
    click.echo(f"note: {printable(text)}", err=True)


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Collect what the parts of a scan log: which weights were loaded, what the model is fed."""
    notes: list[str] = []
    handler = _Collector(notes)
    logger = logging.getLogger("cohaudit")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield notes
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _progress(quiet: bool) -> Progress:
    from rich.console import Console

    from cohaudit.pipeline.progress import SilentProgress, progress_on

    return SilentProgress() if quiet else progress_on(Console(stderr=True))
