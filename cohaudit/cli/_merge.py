"""`cohaudit merge`: puts shards of a scan together, does the rest of the scan and writes the report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cohaudit.cli._options import SectionedCommand, as_arguments, checkpoint_options, subject_arguments
from cohaudit.cli._order import in_training_order
from cohaudit.cli._output import print_note
from cohaudit.cli._run import collected_notes, run_scan
from cohaudit.cli._scan import Shown, settings_of, show_audit

OF_THE_REPORT = frozenset({"out", "formats", "templates", "fail_on", "warn_on"})
"""Keys that say what becomes of an audit; a shard does not need them."""


@click.command(cls=SectionedCommand, short_help="Put the shards of a scan together.")
@click.argument("shards", type=click.Path(path_type=Path), metavar="SHARDS")
@checkpoint_options
@click.option("--json", "as_json", is_flag=True, help="Print audit.json instead of the summary.")
@click.pass_context
def merge(
    ctx: click.Context,
    /,
    *,
    shards: Path,
    checkpoints: tuple[Path, ...],
    config_file: Path | None,
    fresh: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Put together the shards of a scan that `cohaudit scan --shard K/N --out SHARDS` wrote.

    Name the same checkpoints and settings as for the shards; --out is the folder of the report. The report
    is that of a scan by one process, byte for byte but for its timings. Files in SHARDS stay.

    Exit code: that of `cohaudit scan`; 2 if a shard is missing, damaged or of another scan.
    """
    from cohaudit.pipeline.distributed.merged_shards import MergedShards

    ordered = in_training_order(checkpoints)
    given, config = settings_of(ordered, options, config_file, quiet)
    merged = MergedShards(shards, _command(shards, ordered, given, config_file), print_note)
    with collected_notes() as notes:
        audit, files = run_scan(ordered[-1], ordered[:-1], config, quiet, fresh, divided=merged)
    subject = [str(ordered[-1]), *subject_arguments(given)]
    show_audit(ctx, audit, config, Shown(files, notes, subject, quiet, as_json))


def _command(
    shards: Path, checkpoints: list[Path], given: Mapping[str, Any], config_file: Path | None
) -> str:
    """Return the command that measures a shard, without --shard."""
    measured = as_arguments({name: value for name, value in given.items() if name not in OF_THE_REPORT})
    named = ["--config", str(config_file)] if config_file else []
    words = ["cohaudit", "scan", *map(str, checkpoints), *measured, *named, "--out", str(shards)]
    return shlex.join(words)
