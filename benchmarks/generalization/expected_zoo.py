"""The expected score of networks of other recipes: dropout, augmentation, weight decay, few samples.

    python -m benchmarks.generalization.expected_zoo          train what is missing (20 minutes), and judge
    python -m benchmarks.generalization.expected_zoo --show   show the saved results

Every ninth network of each walk through the zoo, but for the longest runs, judged by the constants that ship.
Their recipes had no part in the choice of these constants, but their data sets did: digits, Fashion-MNIST,
CIFAR-10 and Adult. The zoo's own figures (`benchmarks.generalization`) are of the former formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.generalization import zoo
from benchmarks.generalization.expected import ZOO, gap_figures
from benchmarks.generalization.zoo import Member
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import measure_model, source_of
from benchmarks.shared.results import Row, read_json, read_rows, write_rows
from cohaudit.analysis.expected_score import ExpectedScore, expect_score
from cohaudit.analysis.leave_one_out import suspect_labels
from cohaudit.analysis.sanity import is_skilled
from cohaudit.pipeline.outside import predict_from_inputs

FIRST = 4
"""Place of the first network of a walk that is judged: the ends of a walk have one neighbor only."""
EVERY = 9
"""Every so many networks of a walk are judged."""
MAX_SEEN = 100_000
"""Samples that a network sees in training, at most, repeats included: the few longest runs are left out."""
BATCH = 256
"""Samples that are read at once for the outside predictions."""


def members() -> list[Member]:
    """Return the networks that are judged, up to three of each family."""
    chosen = [member for family in zoo.FAMILIES for member in zoo.walk(family)[FIRST::EVERY]]
    return [member for member in chosen if seen(member) <= MAX_SEEN]


def seen(member: Member) -> int:
    """Return how many samples a network sees in training, repeats included."""
    family = zoo.family_of(member)
    return member.epochs * max(family.samples[member.samples], family.least_pass)


def row_of(member: Member, folder: Path) -> Row | None:
    """Return the row of a trained network; None for one at chance, which gets no verdict.

    Args:
        member: Network of the zoo.
        folder: Folder of the data.
    """
    facts = read_json(zoo.CACHE / f"{member.key}.json")
    data = zoo.given(member, folder)
    labels = data.labels.numpy()
    model = zoo.load(member, tuple(data.train.shape[1:]), data.classes)
    measured = measure_model(model, data.train, data.labels, data.classes)
    if not is_skilled(measured.predicted, labels, data.classes):
        return None
    outside = predict_from_inputs(source_of(data.train, data.labels, data.classes), BATCH, 0)
    views = [view.rows for view in measured.views]
    found = suspect_labels(views, labels, measured.probability, (), [outside.probability])
    score = expect_score(measured.predicted, found.noise, outside=True)
    assert isinstance(score, ExpectedScore)
    trained = float(np.mean(measured.predicted == labels))
    return {
        "model": member.key,
        "dataset": zoo.family_of(member).data,
        "family": member.family,
        "samples": len(labels),
        "noise": member.noise,
        "augment": member.augment,
        "train_accuracy": trained,
        **gap_figures(trained, score.right, facts["test_accuracy"]),
        "true_accuracy": facts["test_accuracy"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    args = make_parser(__doc__, data=True, show=True).parse_args(arguments)
    if not args.show:
        torch.set_num_threads(1)
        rows = []
        for member in members():
            zoo.make(member, args.data_dir)
            if row := row_of(member, args.data_dir):
                rows.append(row)
        write_rows(ZOO, rows)
    for row in read_rows(ZOO):
        off = 100 * (row["expected"] - row["true_accuracy"])
        print(
            f"{row['model']:32} {row['samples']:5} expected {row['expected']:.3f}, off by {off:+.1f} points"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
