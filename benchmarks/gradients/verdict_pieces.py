"""What does the verdict on labels cost a sample, by the width of a view and the number of classes?

    python -m benchmarks.gradients.verdict_pieces           measure: a minute on one core
    python -m benchmarks.gradients.verdict_pieces --show    show the saved results

A piece is timed on two numbers of random samples, and is the slope between both: what is done once, such as
the choice of the ridge by some of the samples, drops out. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, row_lines, write_rows
from cohaudit.analysis.leave_one_out import leave_one_out, suspect_labels_by
from cohaudit.analysis.near_duplicates import compare_views

RESULTS = paths.RESULTS / "verdict_pieces.json"
LEAVE_ONE_OUT = "leave-one-out prediction by a view"
"""Piece that is done once for each view."""
POOL = "pooling and judging a prediction"
"""Piece that is done once for each view and once for the network's own answer."""
DUPLICATES = "near-duplicates by the joined views"
"""Piece that is done once: the views are joined to one, as wide as the widest."""
WIDTH = 1024
"""Most numbers kept of a view by default."""
SAMPLES = (40_000, 60_000)
"""Numbers of samples: from 2 ** 25 numbers of a view on, the ridge is chosen by some of the samples."""


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _random(samples: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return a view, labels and answers."""
    generator = np.random.default_rng(0)
    labels = generator.integers(classes, size=samples)
    view = generator.standard_normal((samples, WIDTH), dtype=np.float32)
    view[np.arange(samples), labels % WIDTH] += 4
    answers = generator.random((samples, classes), dtype=np.float32)
    answers[np.arange(samples), labels] += 10
    return view, labels, answers / answers.sum(1, keepdims=True)


def measure(classes: int) -> list[Row]:
    """Time the pieces.

    Args:
        classes: Number of classes.
    """
    seconds: dict[str, list[float]] = {LEAVE_ONE_OUT: [], POOL: [], DUPLICATES: []}
    for samples in SAMPLES:
        view, labels, answers = _random(samples, classes)
        found = leave_one_out(view, labels, classes)
        seconds[LEAVE_ONE_OUT].append(_seconds(partial(leave_one_out, view, labels, classes)))
        # one view and the network's own answer
        seconds[POOL].append(_seconds(partial(suspect_labels_by, [found], labels, answers)) / 2)
        seconds[DUPLICATES].append(_seconds(partial(compare_views, [view])))
    return [
        {
            "piece": piece,
            "width": WIDTH,
            "classes": classes,
            "seconds_per_sample": (large - small) / (SAMPLES[1] - SAMPLES[0]),
        }
        for piece, (small, large) in seconds.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    args = make_parser(__doc__, show=True).parse_args(arguments)
    if not args.show:
        torch.set_num_threads(1)
        write_rows(RESULTS, [row for classes in (10, 1000) for row in measure(classes)])
    print(row_lines(read_rows(RESULTS)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
