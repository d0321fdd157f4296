"""At which checkpoint should a training have stopped? Rules that need no holdout, and patience on one.

    python -m benchmarks.audits.stopping          train and measure what is missing, write results
    python -m benchmarks.audits.stopping --show   print what was written

40 trainings (see `stopping_runs`): digits, Fashion-MNIST and CIFAR-10 with 0 to 40 % wrong labels, by SGD and
Adam, until the wrong labels are largely fitted. Each rule picks a checkpoint; what counts is by how much its
accuracy on the test set is below that of the best checkpoint.

- `trajectory`: as `cohaudit trajectory` advises.
- `corrected`, `agreement`: the two shares that its rating is made of, each by itself.
- `expected`: the best accuracy to be expected on new data (the risk's prediction) by itself.
- `coherence peak`: the largest coherence of all gradients.
- `disparity, n`: gradient disparity (Forouzesh & Thiran, arXiv 2107.06665), the distance between mean
  gradients of batches; stops when it has risen n times. `scaled`: over the spread of the losses, as the paper
  does. From checkpoints rather than after every epoch.
- `patience`: the epoch with the best accuracy on a tenth of the samples held out, labels as wrong as the
  rest, of a training on nine tenths.
- `true labels`: the most right labels given, as nobody could know: what `trajectory` comes to when its judge
  makes no mistake.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.audits.stopping_runs import Training, build, samples, train, trainings
from benchmarks.shared import paths
from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.audits.training.snapshot import peer_prediction
from cohaudit.audits.training.trajectory import TrainingHistory
from cohaudit.config import Config
from cohaudit.gradients import Source, measure
from cohaudit.pipeline.scan import options_of

RESULTS = paths.RESULTS / "stopping.json"
RISES = (1, 2, 3, 5)

Arrays = Mapping[str, NDArray[Any]]
Row = dict[str, Any]


def measure_checkpoints(training: Training, folder: Path) -> list[Arrays]:
    """Measure each checkpoint of a training, unless that is done; return the arrays of each."""
    data = samples(training, folder)
    model, labels = build(training, data), data.labels.numpy()
    ids, names = [str(i) for i in range(len(labels))], [str(c) for c in range(data.classes)]
    source = Source(lambda chosen: data.train[chosen], labels, ids, names)
    found = []
    for path in training.checkpoints():
        kept = path.with_suffix(".npz")
        if not kept.exists():
            model.load_state_dict(training.state(path))
            model.eval()
            measured = measure(model, source, options_of(Config()), torch.device("cpu"), lambda _: None)
            scores = [leave_one_out(view.rows, labels, data.classes).scores for view in measured.views]
            np.savez(
                kept,
                prob=measured.probability,
                each=np.stack(scores).astype(np.float32),
                sq=measured.squared_norms,
                tot=measured.total_squares,
                loss=measured.loss,
                pred=measured.predicted,
            )
        with np.load(kept) as arrays:
            found.append(dict(arrays))
    return found


def judged(training: Training, folder: Path) -> Row:
    """Return what every rule picks, and the accuracies on the test set."""
    data, found = samples(training, folder), measure_checkpoints(training, folder)
    labels, truth = data.labels.numpy(), data.truth.numpy()
    words = [
        peer_prediction(
            [scores.astype(float) for scores in own["each"]],
            labels,
            own["prob"],
            float(own["loss"].mean()),
            len(labels),
        )
        for own in found
    ]
    predicted = np.stack([own["pred"] for own in found])
    names = [path.stem for path in training.checkpoints()]
    even = np.full(predicted.shape, 1 / len(labels))
    coherence = [float(own["tot"].sum() / own["sq"].sum()) for own in found]
    losses = [float(own["loss"].mean()) for own in found]
    course = TrainingHistory(
        names=names,
        predicted=predicted,
        corrected_labels=np.stack([word.corrected for word in words]),
        memorization=np.stack([word.memorization for word in words]),
        share=even,
        expected=[word.expected for word in words],
        agreement=np.array([word.agreement for word in words]),
        loss=losses,
        m_coherence=coherence,
    )
    picks = {
        "trajectory": course.advised,
        "corrected": int(np.argmax(course.corrected)),
        "agreement": int(np.argmax(course.agreement)),
        "expected": course.judge,
        "coherence peak": int(np.argmax(coherence)),
        **_disparity(found, len(labels)),
        "last": len(found) - 1,
        "true labels": int(np.argmax((predicted == truth).mean(1))),
    }
    about: Any = training.about()
    test = [row["test"] for row in about["checkpoints"]]
    wrong, told = labels != truth, words[course.judge].corrected
    return {
        "training": training.name,
        "checkpoints": names,
        "test": test,
        "picks": picks,
        "patience": about["patience"]["test"],
        "wrong labels": float(wrong.mean()),
        "wrong labels found": float((told != labels)[wrong].mean()) if wrong.any() else None,
        "right labels taken for wrong": float((told != labels)[~wrong].mean()),
    }


def _disparity(found: list[Arrays], count: int) -> dict[str, int]:
    """Return where training stops when the disparity has risen a number of times; else at the end."""
    energy = np.array([own["sq"].sum() / count for own in found])
    common = np.array([own["tot"].sum() / count**2 for own in found])
    plain = np.sqrt(np.maximum(energy - common, 0))
    scaled = plain / np.maximum([own["loss"].std() for own in found], 1e-12)
    picks = {}
    for name, values in (("disparity", plain), ("scaled disparity", scaled)):
        rises = np.flatnonzero(np.diff(values) > 0) + 1
        for n in RISES:
            picks[f"{name}, {n}"] = int(rises[n - 1]) if len(rises) >= n else len(found) - 1
    return picks


def losses_of(rows: list[Row]) -> dict[str, list[float]]:
    """Return by how many points each rule is below the best checkpoint, in every training."""
    rules: dict[str, list[float]] = {}
    for row in rows:
        best = max(row["test"])
        for name, place in row["picks"].items():
            rules.setdefault(name, []).append(100 * (best - row["test"][place]))
        rules.setdefault("patience", []).append(100 * (best - row["patience"]))
    return rules


def show(rows: list[Row]) -> None:
    """Print the rules, and the trajectory's advice in every training."""
    print("points below the best checkpoint's test accuracy")
    for seed in (0, 1):
        own = [row for row in rows if row["training"].endswith(f"seed {seed}")]
        print(f"\nseed {seed}: {len(own)} trainings")
        _show_rules(own)
    print(f"\nall: {len(rows)} trainings")
    _show_rules(rows)
    for row in rows:
        place, best = row["picks"]["trajectory"], int(np.argmax(row["test"]))
        print(
            f"{row['training']}: {row['checkpoints'][place]} {row['test'][place]:.1%}, best "
            f"{row['checkpoints'][best]} {row['test'][best]:.1%}, last {row['test'][-1]:.1%}, patience "
            f"{row['patience']:.1%}"
        )


def _show_rules(rows: list[Row]) -> None:
    for name, below in losses_of(rows).items():
        print(f"{name:24} mean {np.mean(below):5.2f}  worst {max(below):5.2f}  ", end="")
        parts = [
            (data, [b for b, r in zip(below, rows, strict=True) if r["training"].startswith(data)])
            for data in ("digits", "fashion", "cifar")
        ]
        print(", ".join(f"{data} {np.mean(own):.2f}" for data, own in parts if own))


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-dir", type=Path, default=os.environ.get("COHAUDIT_DATA_DIR", "../shared/data")
    )
    parser.add_argument("--show", action="store_true", help="print what was written")
    args = parser.parse_args()
    if not args.show:
        if not args.data_dir.is_dir():
            parser.error(f"no data in {args.data_dir}: name the folder with --data-dir")
        rows = []
        for training in trainings():
            train(training, args.data_dir)
            rows.append(judged(training, args.data_dir))
        RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
    show(json.loads(RESULTS.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
