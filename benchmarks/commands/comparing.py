"""What does `cohaudit diff` say of training runs that differ in their seed, their data, or their width?

    python -m benchmarks.commands.comparing          train, audit, compare, write results/comparing.json
    python -m benchmarks.commands.comparing --show   show the saved results

The networks of both fixtures, with 10 % wrong labels in their training data, are trained from several seeds
(weights and order of the samples). Then, from other seeds: with 2 or 5 % more wrong labels, with half of the
wrong labels corrected, and on half of the samples. Every audit of one kind is compared, as head, with every
audit of the unchanged data as base, but never with itself. The digits' network is also trained at three
widths, with the audit of its width. Audits are saved in benchmarks/.cache/comparing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch

import cohaudit
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.files import module_at
from benchmarks.shared.results import Row, read_json, write_json
from cohaudit.results.files import write_file
from cohaudit.results.json_encode import audit_to_json
from cohaudit.review.diff.compare import compare
from cohaudit.review.diff.difference import Difference, EstimateChange

RESULTS = paths.RESULTS / "comparing.json"
CACHE = paths.CACHE / "comparing"
UNCHANGED = "unchanged"
LATER = "unchanged, later seeds"
"""Seeds that were trained after the rules were settled on the first ones; compared among themselves."""
SEEDS = {
    UNCHANGED: range(5),
    LATER: range(5, 9),
    **{kind: range(3) for kind in ("2% more wrong", "5% more wrong", "half put right", "half the samples")},
}
"""Kind of change → seeds."""
EPOCHS = {"digits": 60, "tumors": 400}
"""Fixture → passes over all of its samples."""
NETWORKS = {"digits": "DigitsNet", "tumors": "TumorNet"}
"""Fixture → class of its network."""
WIDTHS = ((8, 32), (16, 64), (32, 128))
"""Channels of the first convolution, units of the dense layer."""


def samples(name: str) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Return the inputs, given labels and true ones of a fixture."""
    folder = paths.FIXTURES / name
    truth = pd.read_csv(folder / "truth.csv")
    codes = {value: k for k, value in enumerate(sorted(truth["true"].unique()))}
    labels, true = (truth[column].map(codes).to_numpy(copy=True) for column in ("given", "true"))
    if name == "digits":
        images = torch.from_numpy(np.load(folder / "train.npz")["images"])
        return images.float().div(255).unsqueeze(1), labels, true
    table = pd.read_csv(folder / "train.csv").drop(columns=["id", "diagnosis"])
    return torch.tensor(table.to_numpy(), dtype=torch.float32), labels, true


def changed(name: str, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the inputs and labels of a kind."""
    x, labels, true = samples(name)
    rng = np.random.default_rng(7)
    if kind.endswith("more wrong"):
        count = round(float(kind.split("%")[0]) / 100 * len(labels))
        chosen = rng.choice(np.flatnonzero(labels == true), count, replace=False)
        classes = true.max() + 1
        labels[chosen] = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
    if kind == "half put right":
        wrong = np.flatnonzero(labels != true)
        chosen = rng.choice(wrong, len(wrong) // 2, replace=False)
        labels[chosen] = true[chosen]
    count = len(labels) // 2 if kind == "half the samples" else len(labels)
    return x[:count], torch.from_numpy(labels[:count])


def train(name: str, x: torch.Tensor, y: torch.Tensor, seed: int, **sizes: int) -> torch.nn.Module:
    """Train the network of a fixture, for the same number of steps whatever the number of samples."""
    torch.manual_seed(seed)
    model = getattr(module_at(paths.FIXTURES / name / "net.py"), NETWORKS[name])(**sizes)
    if name == "tumors":
        model.get_buffer("mean").copy_(x.mean(0))
        model.get_buffer("scale").copy_(x.std(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(EPOCHS[name] * len(samples(name)[1]) // len(x)):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


@cache
def audit(name: str, kind: str, seed: int) -> cohaudit.Audit:
    """Train and audit, unless that was done before."""
    return saved_audit(f"{name}-{kind}-{seed}", lambda: _audited(name, *changed(name, kind), seed))


def _audited(name: str, x: torch.Tensor, y: torch.Tensor, seed: int, **settings: Any) -> cohaudit.Audit:
    return cohaudit.scan(train(name, x, y, seed), (x, y), class_names=_names(y), **settings)


def saved_audit(title: str, make: Callable[[], cohaudit.Audit]) -> cohaudit.Audit:
    """Read an audit; make and save it if it does not exist."""
    path = CACHE / f"{title.replace(' ', '-').replace('%', '').replace(',', '')}.json"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = make()
        write_file(path, audit_to_json(made))
        print(f"audited {path.stem}: accuracy {made.sanity.accuracy:.3f}", flush=True)
    return cohaudit.read_audit(path)


def _names(y: torch.Tensor) -> list[str]:
    return [str(i) for i in range(int(y.max()) + 1)]


def pairs(name: str, kind: str) -> Iterator[Difference]:
    """Compare each audit of a kind, as head, with each of the unchanged data."""
    base = LATER if kind == LATER else UNCHANGED
    for before, after in itertools.product(SEEDS[base], SEEDS[kind]):
        if kind != base or before != after:
            yield compare(audit(name, base, before), audit(name, kind, after))


def measure(name: str, kind: str) -> Row:
    """Return how often each outcome occurs among the differences of a kind, and by how much."""
    found = list(pairs(name, kind))
    layers = [layer.coherence.outcome in {"higher", "lower"} for one in found for layer in one.layers]
    classes = [c.coherence.outcome in {"higher", "lower"} for one in found for c in one.classes]
    suspects = [one.suspects for one in found if one.suspects]
    return {
        "data": name,
        "change": kind,
        "pairs": len(found),
        "score moved": moved(one.score for one in found),
        "gap moved": moved(one.gap for one in found),
        "new": float(np.mean([len(one.new) for one in suspects])),
        "fixed": float(np.mean([len(one.fixed) for one in suspects])),
        "worse": sum(one.headline == "worse" for one in found),
        "better": sum(one.headline == "better" for one in found),
        "layers changed": float(np.mean(layers)),
        "classes changed": float(np.mean(classes)),
    }


def moved(changes: Iterable[EstimateChange]) -> list[float]:
    """Return by how much estimates moved: the mean, the smallest and the largest, as shares."""
    rises = [one.head.value - one.base.value for one in changes if one.base and one.head]
    return [float(np.mean(rises)), min(rises), max(rises)]


def widths() -> list[Row]:
    """Return what the network of the digits uses of its units at three widths."""
    x, y = changed("digits", UNCHANGED)

    def at(width: int, hidden: int) -> cohaudit.Audit:
        model = train("digits", x, y, 0, width=width, hidden=hidden)
        return cohaudit.scan(model, (x, y), class_names=_names(y), audits=("width",))

    audits = [saved_audit(f"width-{w}-{h}", lambda w=w, h=h: at(w, h)) for w, h in WIDTHS]
    rows = []
    for found, (width, hidden) in zip(audits, WIDTHS, strict=True):
        used = compare(audits[0], found).width
        assert used is not None
        score = found.risk.expected.value if isinstance(found.risk, cohaudit.results.Risk) else None
        rows.append(
            {"width": width, "hidden": hidden, "units": used.head.units, "kept": used.head.kept}
            | {"participation": used.head.participation, "accuracy": used.head.accuracy}
            | {"alone": used.head.alone, "random": used.head.random, "expected": score}
        )
    return rows


def show(results: dict[str, list[Row]]) -> None:
    """Print the tables."""
    for row in results["changes"]:
        figures = {name: [round(100 * one, 1) for one in row[name]] for name in ("score moved", "gap moved")}
        print(row | figures)
    print(pd.DataFrame(results["widths"]).round(3).to_string(index=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    if not parser.parse_args(arguments).show:
        torch.set_num_threads(1)
        changes = [measure(name, kind) for name in EPOCHS for kind in SEEDS]
        write_json(RESULTS, {"changes": changes, "widths": widths()})
    show(read_json(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
