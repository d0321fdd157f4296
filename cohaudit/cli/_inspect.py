"""`cohaudit inspect`: shows what a checkpoint tells without data or model code."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cohaudit.cli._memory import require_address_space
from cohaudit.cli._options import given_options, reading_options
from cohaudit.cli._output import write_out
from cohaudit.errors import printable, without_padding

if TYPE_CHECKING:
    from cohaudit.audits.checkpoint_inspection import Inspection

MAX_TENSOR_ROWS = 40
"""Tensors shown in the terminal; --json has all."""


@click.command(short_help="Show what a checkpoint tells without data.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--weights", default="", help="Which state dict to use if the checkpoint holds several, e.g. ema."
)
@click.option("--trust-checkpoint", is_flag=True, help="Allow formats that can run code when opened.")
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(
    *,
    checkpoint: Path,
    weights: str,
    trust_checkpoint: bool,
    read_memory: int | None,
    read_seconds: float | None,
    as_json: bool,
) -> None:
    """Show the tensors of CHECKPOINT, and what its optimizer remembers of the gradients.

    Needs neither data nor the model's code. A training checkpoint of Adam or AdamW also shows, per layer, how
    much of the gradients over the last steps was one steady direction, and how much was noise.
    """
    require_address_space()
    from cohaudit.audits.checkpoint_inspection import inspect as inspect_checkpoint
    from cohaudit.config import Config
    from cohaudit.config.file import option_name
    from cohaudit.loading.checkpoint import load_checkpoint
    from cohaudit.untrusted import limiting

    given = given_options({"read_memory": read_memory, "read_seconds": read_seconds})
    config = Config().updated(given, option_name)
    with limiting(config.read_memory, config.read_seconds):
        loaded = load_checkpoint(checkpoint, weights=weights, trust=trust_checkpoint)
    inspection = inspect_checkpoint(loaded)
    if as_json:
        write_out((json.dumps(asdict(inspection), indent=1, allow_nan=False) + "\n").encode())
    else:
        _show(inspection)


def _show(inspection: Inspection) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    with console.capture() as captured:
        console.print(Text(f"{printable(inspection.path, 60)} ({printable(inspection.format, 60)})", "bold"))
        if inspection.optimizer:
            console.print(f"Optimizer's memory: {inspection.optimizer}", highlight=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("Tensor", no_wrap=True, overflow="ellipsis", max_width=24)
        for name in ("shape", "norm", "spectral", "rank", "steady"):
            table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
        for one in inspection.tensors[:MAX_TENSOR_ROWS]:
            shape = "×".join(map(str, one.shape)) or "1"
            figures = (_number(one.norm), _number(one.spectral_norm), _number(one.stable_rank))
            table.add_row(Text(printable(one.name, 60)), shape, *figures, _share(one.coherence))
        console.print(table, highlight=False)
        if len(inspection.tensors) > MAX_TENSOR_ROWS:
            console.print(
                f"and {len(inspection.tensors) - MAX_TENSOR_ROWS:,} more (--json has all)", highlight=False
            )
        for finding in inspection.findings:
            console.print(Text(f"  - {printable(finding)}"))
    write_out(without_padding(captured.get()).encode())


def _number(value: float | None) -> str:
    from cohaudit.results.wording import number

    return "–" if value is None or not math.isfinite(value) else number(value)


def _share(value: Any) -> str:
    from cohaudit.results.wording import percent

    # an estimate, which chance can take a little below 0
    return "–" if value is None else percent(max(0.0, value))
