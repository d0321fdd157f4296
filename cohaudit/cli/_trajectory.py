"""`cohaudit trajectory`: shows what was learned when, and which checkpoint to keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cohaudit.cli._options import SectionedCommand, checkpoint_options, describe_origin, given_options
from cohaudit.cli._order import by_first_rising_number, in_training_order, words_of
from cohaudit.cli._output import annotate, say, write_out
from cohaudit.cli._run import collected_notes, run_scan
from cohaudit.config.file import load_config
from cohaudit.errors import GATE_FAILED, OK, CheckpointError, printable, without_padding

if TYPE_CHECKING:
    from cohaudit.results import Audit

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
"""Suffixes of the checkpoints that a folder is searched for."""
NAMES_IN_SUBFOLDERS = ("model.safetensors", "pytorch_model.bin")
"""File names of checkpoints that have a folder each, as Hugging Face's trainer writes them."""
MIN_CHECKPOINTS = 2
"""Fewest checkpoints of a trajectory."""


@click.command(cls=SectionedCommand, short_help="Follow a training run; say which checkpoint to keep.")
@checkpoint_options
@click.pass_context
def trajectory(
    ctx: click.Context,
    /,
    *,
    checkpoints: tuple[Path, ...],
    config_file: Path | None,
    fresh: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Follow a training run over its checkpoints, and advise which one to keep, without a holdout.

    Name the checkpoints, or their folder. Each takes one pass over the training data; the results are stored
    in the folder `snapshots` of the report, so that adding a checkpoint later takes one more pass. The last
    checkpoint is audited as by `cohaudit scan`, with the same files; trajectory.csv beside them lists when
    each sample was learned, and how often it was forgotten.

    Settings come from the same places as those of `cohaudit scan`.
    """
    from cohaudit.audits.registry import MULTI_CHECKPOINT_AUDITS, selected_audits
    from cohaudit.audits.training.measure_checkpoints import short_names

    (*earlier, last), left_out = _ordered(checkpoints)
    if not quiet:
        order = ", ".join(map(printable, short_names([str(path) for path in (*earlier, last)])))
        say(f"in this order: {order}")
        if left_out:
            names = ", ".join(printable(path.name) for path in left_out)
            say(f"left out, for their names: {names}")
    given = given_options(options)
    config = load_config(last, given, config_file)
    if origin := describe_origin(config, given):
        say(printable(origin))
    wanted = sorted(selected_audits(config.audits) | MULTI_CHECKPOINT_AUDITS)
    with collected_notes():
        audit, files = run_scan(last, earlier, config.updated({"audits": tuple(wanted)}), quiet, fresh)
    written = _write_samples(audit, files[0].parent)
    if not quiet:
        _show(audit, [*files, *written])
    annotate(audit, config.formats)
    ctx.exit(GATE_FAILED if any(gate.failed for gate in audit.gates) else OK)


def _ordered(named: tuple[Path, ...]) -> tuple[list[Path], list[Path]]:
    """Return the checkpoints, oldest first, and the files of a folder that were left out.

    In a folder, the largest group of files whose names differ in numbers alone is used. A best.pt beside
    epoch-1.pt, epoch-2.pt … is one of these under another name, and its place in the order is unknown.

    Raises:
        CheckpointError: If there are too few for a trajectory, or their order is unknown.
    """
    if len(named) > 1 or not named[0].is_dir():
        return in_training_order(_several(list(named), named[0])), []
    # sorted: of groups of equal size the first is taken, and folders list files in any order
    files = sorted(p for p in named[0].iterdir() if p.suffix in SUFFIXES and p.is_file())
    if not files:  # a folder for each checkpoint, as Hugging Face's trainer writes them
        files = sorted(p for name in NAMES_IN_SUBFOLDERS for p in named[0].glob(f"*/{name}"))
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path in files:
        groups.setdefault(tuple(words_of(path)), []).append(path)
    largest = max(groups.values(), key=len, default=[])
    # names that differ in words, such as early.pt and late.pt: the checkpoints themselves may hold the step
    by_step = _by_stored_step(files) if len(largest) < MIN_CHECKPOINTS <= len(files) else []
    if by_step:
        return by_step, []
    return by_first_rising_number(_several(largest, named[0])), [p for p in files if p not in largest]


def _by_stored_step(files: list[Path]) -> list[Path]:
    """Return checkpoints in the order of the steps stored in them; none if one of them stores no step.

    Raises:
        CheckpointError: If one cannot be read.
    """
    from cohaudit.audits.optimizer_state import progress_of
    from cohaudit.loading.checkpoint import load_checkpoint

    steps: dict[Path, int] = {}
    for path in files:
        loaded = load_checkpoint(path)
        steps[path] = progress_of(loaded.optimizer, loaded.metadata).steps
    # −1 stands for an unknown step, and equal steps give no order
    if min(steps.values()) < 0 or len({*steps.values()}) < len(files):
        return []
    return sorted(files, key=steps.__getitem__)


def _several(paths: list[Path], named: Path) -> list[Path]:
    if len(paths) >= MIN_CHECKPOINTS:
        return paths
    if not named.exists():
        raise CheckpointError(str(named), "there is no such file or folder", "check the path")
    raise CheckpointError(
        str(named),
        f"found {len(paths)} checkpoint{'s' * (len(paths) != 1)} of one training run ({', '.join(SUFFIXES)}, "
        "names that differ in numbers)",
        "name at least two checkpoints of one training run, oldest first, or their folder",
    )


def _write_samples(audit: Audit, folder: Path) -> list[Path]:
    """Write a table of when each sample was learned, and how often it was forgotten."""
    from cohaudit.results import Skipped
    from cohaudit.results.files import write_file
    from cohaudit.results.tables import table_to_csv

    result = audit.audits.trajectory
    if isinstance(result, Skipped):
        return []
    names = [point.checkpoint for point in result.points]
    table = audit.samples[["id", "label"]].assign(
        learned_at=["" if k < 0 else names[k] for k in result.learned_at], forgotten=result.forgotten
    )
    return [write_file(folder / "trajectory.csv", table_to_csv(table))]


def _show(audit: Audit, files: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cohaudit.results import Skipped
    from cohaudit.results.wording import percent

    result = audit.audits.trajectory
    console = Console()
    with console.capture() as captured:
        if isinstance(result, Skipped):
            console.print(Text(f"No trajectory: {printable(result.reason)}"))
        else:
            table = Table(box=None, pad_edge=False, header_style="bold")
            table.add_column("Checkpoint", no_wrap=True, overflow="ellipsis", max_width=32)
            for name in ("rating", "training", "corrected", "agreement", "learned", "forgotten"):
                table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
            for k, point in enumerate(result.points):
                mark = "bold" if k == result.advised else ""
                shares = (point.rating, point.accuracy, point.corrected, point.agreement)
                counts = (f"{point.learned:,}", f"{point.forgotten:,}")
                row = (*(percent(share) for share in shares), *counts)
                table.add_row(Text(printable(point.checkpoint, 60)), *row, style=mark)
            console.print(table, highlight=False)
            console.print(Text(f"\n{printable(result.advice)}"))
        console.print(Text(f"Report: {printable(', '.join(map(str, files)))}"))
    write_out(without_padding(captured.get()).encode())
