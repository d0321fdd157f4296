"""At which checkpoint should training have stopped? Rules that need no holdout, and patience on a holdout.

    python -m benchmarks.audits.stopping          train and measure what is missing, write results
    python -m benchmarks.audits.stopping --show   show the saved results

40 training runs (see `stopping_runs`): digits, Fashion-MNIST and CIFAR-10 with 0 to 40 % wrong labels, by SGD
and Adam, until the wrong labels are largely fitted. Each rule picks a checkpoint; its loss is how far the
test accuracy of that checkpoint is below the best checkpoint's.

- `trajectory`: as `cohaudit trajectory` advises.
- `corrected`, `agreement`: each of the two shares that its rating is made of, alone.
- `expected`: the best accuracy expected on new data (the predicted risk) alone.
- `coherence peak`: the largest coherence of all gradients.
- `disparity, n`: gradient disparity (Forouzesh & Thiran, arXiv 2107.06665), the distance between mean
  gradients of batches; stops when it has risen n times. `scaled`: over the spread of the losses, as in the
  paper. Measured at checkpoints rather than after every epoch.
- `patience`: the epoch with the best accuracy on a tenth of the samples held out, with as many wrong labels
  as the rest, of a run on the other nine tenths.
- `true labels`: the most right labels predicted, which nobody could know: the result of `trajectory` if its
  judge made no mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.audits.stopping_runs import Training, build, samples, train, trainings
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import CPU, default_options, silent, source_of
from benchmarks.shared.results import Row, read_rows, write_rows
from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.audits.training.snapshot import peer_prediction
from cohaudit.audits.training.trajectory import TrainingHistory
from cohaudit.gradients import measure

RESULTS = paths.RESULTS / "stopping.json"
RISES = (1, 2, 3, 5)
"""Rises of the disparity after which training stops."""

Arrays = Mapping[str, NDArray[Any]]


def measure_checkpoints(training: Training, folder: Path) -> list[Arrays]:
    """Measure each checkpoint of a training run, unless that was done before; return the arrays of each."""
    data = samples(training, folder)
    model = build(training, data)
    labels = data.labels.numpy()
    source = source_of(data.train, data.labels, data.classes)
    found = []
    for path in training.checkpoints():
        cached = path.with_suffix(".npz")
        if not cached.exists():
            model.load_state_dict(training.state(path))
            model.eval()
            measured = measure(model, source, default_options(), CPU, silent)
            scores = [leave_one_out(view.rows, labels, data.classes).scores for view in measured.views]
            np.savez(
                cached,
                prob=measured.probability,
                each=np.stack(scores).astype(np.float32),
                sq=measured.squared_norms,
                tot=measured.total_squares,
                loss=measured.loss,
                pred=measured.predicted,
            )
        with np.load(cached) as arrays:
            found.append(dict(arrays))
    return found


def judged(training: Training, folder: Path) -> Row:
    """Return what every rule picks, and the accuracies on the test set."""
    data = samples(training, folder)
    found = measure_checkpoints(training, folder)
    labels = data.labels.numpy()
    truth = data.truth.numpy()
    words = [
        peer_prediction(
            [scores.astype(float) for scores in own["each"]],
            labels,
            own["prob"],
        )
        for own in found
    ]
    predicted = np.stack([own["pred"] for own in found])
    names = [path.stem for path in training.checkpoints()]
    even = np.full(predicted.shape, 1 / len(labels))
    coherence = [float(own["tot"].sum() / own["sq"].sum()) for own in found]
    losses = [float(own["loss"].mean()) for own in found]
    history = TrainingHistory(
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
        "trajectory": history.advised,
        "corrected": int(np.argmax(history.corrected)),
        "agreement": int(np.argmax(history.agreement)),
        "expected": history.judge,
        "coherence peak": int(np.argmax(coherence)),
        **_disparity(found, len(labels)),
        "last": len(found) - 1,
        "true labels": int(np.argmax((predicted == truth).mean(1))),
    }
    about: Any = training.about()
    test = [row["test"] for row in about["checkpoints"]]
    wrong = labels != truth
    corrected = words[history.judge].corrected
    return {
        "training": training.name,
        "checkpoints": names,
        "test": test,
        "picks": picks,
        "patience": about["patience"]["test"],
        "wrong labels": float(wrong.mean()),
        "wrong labels found": float((corrected != labels)[wrong].mean()) if wrong.any() else None,
        "right labels taken for wrong": float((corrected != labels)[~wrong].mean()),
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
    """Return by how many points each rule is below the best checkpoint, for every training run."""
    rules: dict[str, list[float]] = {}
    for row in rows:
        best = max(row["test"])
        for name, place in row["picks"].items():
            rules.setdefault(name, []).append(100 * (best - row["test"][place]))
        rules.setdefault("patience", []).append(100 * (best - row["patience"]))
    return rules


def show(rows: list[Row]) -> None:
    """Print the rules, and the trajectory's advice for every training run."""
    print("points below the best checkpoint's test accuracy")
    for seed in (0, 1):
        own = [row for row in rows if row["training"].endswith(f"seed {seed}")]
        print(f"\nseed {seed}: {len(own)} training runs")
        _show_rules(own)
    print(f"\nall: {len(rows)} training runs")
    _show_rules(rows)
    for row in rows:
        place = row["picks"]["trajectory"]
        best = int(np.argmax(row["test"]))
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        if not args.data_dir.is_dir():
            parser.error(f"{args.data_dir} does not exist: name the folder of the data with --data-dir")
        rows = []
        for training in trainings():
            train(training, args.data_dir)
            rows.append(judged(training, args.data_dir))
        write_rows(RESULTS, rows)
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
