"""Runs a scan for the commands that need one: refuses early, shows progress, writes the report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cohaudit.cli._memory import require_address_space
from cohaudit.cli._output import print_note
from cohaudit.config.file import is_file, require_subject
from cohaudit.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from cohaudit.config import Config
    from cohaudit.pipeline.distributed.link import Link
    from cohaudit.pipeline.distributed.pass_blocks import Divided
    from cohaudit.pipeline.distributed.shard import Shard
    from cohaudit.pipeline.progress import Progress
    from cohaudit.results import Audit


def run_scan(
    checkpoint: Path,
    earlier: list[Path],
    config: Config,
    quiet: bool,
    fresh: bool,
    *,
    divided: Divided | None = None,
    link: Link | None = None,
) -> tuple[Audit, list[Path]]:
    """Scan, and write the report.

    Everything that can be refused without the model is refused before anything expensive happens.

    Args:
        checkpoint: Checkpoint to audit.
        earlier: Earlier checkpoints of its training run, oldest first.
        config: Settings.
        quiet: Whether to show no progress.
        fresh: Whether to start over even if an interrupted scan could be resumed.
        divided: Other processes that measure, or have measured, a part of the passes; None if there are none.
        link: Connection to the other ranks of this scan; None if it runs in one process.

    Returns:
        The audit with its gates, and the files written.

    Raises:
        Interrupted: If the user interrupts it; its text says where the unfinished pass is stored.
    """
    from cohaudit.untrusted import limiting

    require_address_space()
    with limiting(config.read_memory, config.read_seconds):
        return _run_scan(checkpoint, earlier, config, quiet, fresh, divided=divided, link=link)


def run_shard(checkpoint: Path, config: Config, shard: Shard, quiet: bool, fresh: bool) -> str:
    """Measure one shard of a scan, and write it to the folder `out`.

    Args:
        checkpoint: Checkpoint to audit.
        config: Settings.
        shard: The shard.
        quiet: Whether to show no progress.
        fresh: Whether to measure again what is in the folder.

    Returns:
        What was done, in a line.

    Raises:
        CohauditError: If anything cannot be used.
    """
    from cohaudit.untrusted import limiting

    folder = _refuse_early(checkpoint, config)

    from cohaudit.loading.factories import guarding
    from cohaudit.pipeline.distributed.measure_shard import measure_shard

    sources = [config.base / path for path in (config.data, config.holdout) if path]
    with limiting(config.read_memory, config.read_seconds), guarding(checkpoint, *sources):
        done = measure_shard(config, checkpoint, folder, shard, _progress(quiet), fresh=fresh)
    before = f", {done.resumed} of them measured before" if done.resumed else ""
    return (
        f"shard {shard}: {done.samples:,} samples, {done.blocks} of {done.total} blocks in {folder}{before}; "
        f"with all of them: cohaudit merge {folder} {checkpoint} and the same settings"
    )


def parsed_shard(text: str) -> Shard:
    """Return the shard that a text such as 3/16 names.

    Raises:
        ConfigError: If it names none.
    """
    from cohaudit.pipeline.distributed.shard import Shard

    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ConfigError(f"--shard {text}", "is not K/N with K from 1 to N", "name a shard, such as 3/16")
    return Shard(int(number), int(of))


def _refuse_early(checkpoint: Path, config: Config) -> Path:
    """Refuse what can be refused without the model; return the folder of the output.

    Raises:
        CohauditError: If anything cannot be used.
    """
    from cohaudit.pipeline.preflight import out_folder, refusals

    for _, error in refusals(config):  # the doctor reports all of them, a scan stops at the first
        raise error
    if is_file(checkpoint):  # a missing checkpoint is the first thing to report, and the loader does it best
        require_subject(config)
    return out_folder(config)


def _run_scan(
    checkpoint: Path,
    earlier: list[Path],
    config: Config,
    quiet: bool,
    fresh: bool,
    *,
    divided: Divided | None,
    link: Link | None,
) -> tuple[Audit, list[Path]]:
    out = _refuse_early(checkpoint, config)

    # imported only now: torch takes seconds to load, and a refusal should not wait for it
    from cohaudit.loading.factories import guarding
    from cohaudit.pipeline.resume import RESUME_FOLDER, ResumableRun
    from cohaudit.pipeline.scan import scan_checkpoint

    sources = [config.base / path for path in (config.data, config.holdout) if path]
    resumable = ResumableRun(out / RESUME_FOLDER, fresh)
    leader = None
    if link is not None:
        from cohaudit.pipeline.distributed.leader import BLOCKS_FOLDER, Leader

        divided = leader = Leader(link, out / BLOCKS_FOLDER, fresh)
        config = link.placed(config)
    try:
        with guarding(checkpoint, *earlier, *sources):
            audit = scan_checkpoint(config, checkpoint, _progress(quiet), earlier, resumable, divided=divided)
        files = _write(audit, out, config)
    except Interrupted:
        # the group of commands prints the text behind "interrupted"
        saved = [resumable.describe(), leader.describe() if leader else ""]
        raise Interrupted(*filter(None, saved)) from None
    # only now: until the report is written, an interruption must not cost the measuring
    resumable.remove()
    if leader:
        leader.remove()
    return audit, files


def data_path(config: Config) -> Path | None:
    """Return the training data as a path from the working directory; None if code makes it."""
    path = config.base / config.data
    if not config.data or not path.exists():
        return None
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _write(audit: Audit, out: Path, config: Config) -> list[Path]:
    """Write the report; if a user's template fails, with the shipped ones, so that no measurement is lost.

    Raises:
        UserTemplateError: If a template failed; the report is written all the same.
    """
    from cohaudit.errors import UserTemplateError
    from cohaudit.pipeline.preflight import templates_folder
    from cohaudit.report import write_report

    templates, data = templates_folder(config), data_path(config)
    try:
        return write_report(audit, out, config.formats, templates, data)
    except UserTemplateError as error:
        # measuring may have taken hours, and the template can be corrected and rendered again
        write_report(audit, out, config.formats, data=data)
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
            print_note(record.getMessage())
        else:
            self._notes.append(record.getMessage())


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Collect what the parts of a scan log: which weights were loaded, what the model is fed."""
    notes: list[str] = []
    handler = _Collector(notes)
    logger = logging.getLogger("cohaudit")
    level = logger.level  # a program that calls the command line may have set it
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
