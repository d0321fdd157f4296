"""What the benchmarks' command lines have in common."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

DATA_DIR_VARIABLE = "COHAUDIT_DATA_DIR"
"""Environment variable that names the folder of the data, in place of `--data-dir`."""


def make_parser(text: str | None, *, data: bool = False, show: bool = False) -> argparse.ArgumentParser:
    """Return a parser whose help is a module's docstring.

    Args:
        text: Docstring.
        data: Whether the benchmark reads data from a folder: adds `--data-dir`.
        show: Whether it can print what was measured before: adds `--show`.
    """
    parser = argparse.ArgumentParser(
        prog=_program(), description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if data:
        folder = Path(os.environ.get(DATA_DIR_VARIABLE, "data"))
        words = f"folder of the data (default: ${DATA_DIR_VARIABLE}, or else data)"
        parser.add_argument("--data-dir", type=Path, default=folder, metavar="DIR", help=words)
    if show:
        parser.add_argument("--show", action="store_true", help="print the saved results; measure nothing")
    return parser


def check_data_dir(parser: argparse.ArgumentParser, folder: Path) -> None:
    """End the process with a message of the parser if the folder of the data does not exist."""
    if not folder.is_dir():
        parser.error(f"{folder} does not exist: name the folder of the data with --data-dir")


def _program() -> str:
    """Return the command that runs this process; argparse before Python 3.14 would name the file alone."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else "python -m benchmarks"
