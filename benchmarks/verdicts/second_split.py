"""Second-split forgetting of a cell's labels: it needs two training runs of its own, saved beside the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.detection.peers.second_split import second_split_forgetting
from benchmarks.detection.scores import Scores
from benchmarks.verdicts.cells import Cell
from benchmarks.verdicts.networks import NETWORKS
from benchmarks.verdicts.runs import noisy

NAME = "second-split forgetting"
AFFORDABLE = ("MLP", "MLP, SGD", "text CNN", "word window")
"""Networks that are trained in a minute: each is trained until it fits one half, and then on the other."""


def is_wanted(cell: Cell) -> bool:
    """Tell whether a cell has this row: among those that every peer judges, where training is cheap."""
    return cell.every_peer and cell.model in AFFORDABLE


def train_second_split(cell: Cell, folder: Path) -> None:
    """Train what a cell's row needs and save its scores, unless that was done before."""
    file = _file(cell)
    if file.exists():
        return
    score = second_split_forgetting(noisy(cell, folder), NETWORKS[cell.model], cell.seed)
    unfinished = file.with_suffix(".part.npy")
    np.save(unfinished, score.astype(np.float32))
    unfinished.replace(file)


def second_split_scores(cell: Cell) -> Scores:
    """Return the saved score of each label, [N], by the method's name; nothing if there is none."""
    file = _file(cell)
    return {NAME: np.load(file).astype(np.float64)} if file.exists() else {}


def _file(cell: Cell) -> Path:
    return cell.file.with_name(f"{cell.file.stem}-second-split.npy")
