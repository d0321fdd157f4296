"""`cohaudit init`: writes a first configuration file."""

from __future__ import annotations

from pathlib import Path

import click

from cohaudit.cli._output import write_out
from cohaudit.errors import printable


@click.command(short_help="Write a cohaudit.toml for the files of a folder.")
@click.argument("folder", type=click.Path(path_type=Path), default=".", metavar="[DIR]")
@click.option("--force", is_flag=True, help="Replace an existing cohaudit.toml.")
def init(folder: Path, force: bool) -> None:
    """Write a commented cohaudit.toml for the files in DIR, by default the working directory.

    Looks for a checkpoint, for training data and for the code of the model. Nothing is imported or run.
    """
    from cohaudit.loading.init_config import write_starter

    for line in write_starter(folder, force=force):
        write_out(f"{printable(line)}\n")
