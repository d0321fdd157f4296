"""What does `cohaudit diff` say of training runs that differ in their seed, their data, or their width?

    python -m benchmarks.commands.comparing          train, audit, compare, write results/comparing.json
    python -m benchmarks.commands.comparing --show   show the saved results

The networks of both fixtures, with 10 % wrong labels in their training data, are trained from several seeds
(weights and order of the samples). Then, from other seeds: with 2 or 5 % more wrong labels, with half of the
wrong labels corrected, and on half of the samples. Every audit of one kind is compared, as head, with every
audit of the unchanged data as base, but never with itself. The digits' network is also trained at three
widths, with the audit of its width. Finally, the rules for the gap are tried on all pairs, within families,
of the 167 networks of `benchmarks.generalization` that no constant was fitted to: their true gaps are known.
Audits are saved in benchmarks/.cache/comparing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
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
from cohaudit.results import LEVELS, Estimate
from cohaudit.results.files import write_file
from cohaudit.results.gap import risk_level
from cohaudit.results.json_encode import audit_to_json
from cohaudit.review.diff.compare import compare
from cohaudit.review.diff.difference import Difference, compare_estimates
from cohaudit.review.diff.suspects import SUSPECTS_SIGNIFICANCE, sign_test

RESULTS = paths.RESULTS / "comparing.json"
RISK = paths.RESULTS / "risk.json"
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
    gaps = [one.gap.head.value - one.gap.base.value for one in found if one.gap.base and one.gap.head]
    layers = [layer.coherence.outcome in {"higher", "lower"} for one in found for layer in one.layers]
    classes = [c.coherence.outcome in {"higher", "lower"} for one in found for c in one.classes]
    suspects = [one.suspects for one in found if one.suspects]
    return {
        "data": name,
        "change": kind,
        "pairs": len(found),
        "gap moved, points": [100 * float(np.mean(gaps)), 100 * min(gaps), 100 * max(gaps)],
        "gap larger": sum(one.gap.outcome == "higher" for one in found),
        "new": [len(one.new) for one in suspects],
        "fixed": [len(one.fixed) for one in suspects],
        "clear new": [one.clear_new for one in suspects],
        "clear fixed": [one.clear_fixed for one in suspects],
        "more suspects": sum(one.more for one in suspects),
        "more, all counted": sum(
            sign_test(len(s.new), len(s.fixed)) <= SUSPECTS_SIGNIFICANCE for s in suspects
        ),
        "fewer suspects": sum(one.fewer for one in suspects),
        "regressions": sum(bool(one.regressions) for one in found),
        "layers changed": float(np.mean(layers)),
        "classes changed": float(np.mean(classes)),
    }


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
        gap = found.risk.gap.value if isinstance(found.risk, cohaudit.results.Risk) else None
        rows.append(
            {"width": width, "hidden": hidden, "units": used.head.units, "kept": used.head.kept}
            | {"participation": used.head.participation, "accuracy": used.head.accuracy}
            | {"alone": used.head.alone, "random": used.head.random, "gap": gap}
        )
    return rows


def rules() -> list[Row]:
    """Return how reliable rules for 'the gap is larger' are where the true gaps are known."""
    known = read_json(RISK)
    networks = [one for one in known if one["half"] == "unseen" and one["auditable"]]
    estimates = {one["model"]: Estimate(one["predicted gap"], one["low"], one["high"]) for one in networks}
    levels = cohaudit.Config().risk_levels

    def level(one: Estimate) -> int:
        return LEVELS.index(risk_level(one.value, levels))

    candidates: dict[str, Callable[[Estimate, Estimate], bool]] = {
        "the intervals do not overlap": lambda a, b: compare_estimates(a, b).outcome == "higher",
        "each value lies outside the other's interval": lambda a, b: b.value > a.high and a.value < b.low,
        "the level has risen": lambda a, b: level(b) > level(a),
        "the first or the third": lambda a, b: (
            compare_estimates(a, b).outcome == "higher" or level(b) > level(a)
        ),
    }
    both = [(a, b) for a, b in itertools.permutations(networks, 2) if a["family"] == b["family"]]
    rises = np.array([b["gap"] - a["gap"] for a, b in both])
    rows = []
    for name, rule in candidates.items():
        said = np.array([rule(estimates[a["model"]], estimates[b["model"]]) for a, b in both])
        found = {f"found of rises by {n}": float(said[rises > n / 100].mean()) for n in (5, 10, 20)}
        right = {"truly larger": float(np.mean(rises[said] > 0))}
        rows.append({"rule": name, "pairs": len(both), "said": int(said.sum())} | right | found)
    return rows


def show(results: dict[str, list[Row]]) -> None:
    """Print the tables."""
    titles = ("larger", "risen", "new", "clear", "fixed", "clear", "more", "(all)", "fewer", "worse")
    print(f"{'change':30}{'pairs':>6}{'gap moved':>22}" + "".join(f"{title:>7}" for title in titles), end="")
    print(f"{'layers':>8}{'classes':>9}")
    for row in results["changes"]:
        mean, low, high = row["gap moved, points"]
        moved = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        counts = [np.mean(row[name]) for name in ("new", "clear new", "fixed", "clear fixed")]
        print(f"{row['data']} {row['change']:23}{row['pairs']:6}{moved:>22}", end="")
        print(f"{row['gap larger']:7}{row['level risen']:7}", end="")
        print("".join(f"{count:7.1f}" for count in counts), end="")
        print(f"{row['more suspects']:7}{row['more, all counted']:7}{row['fewer suspects']:7}", end="")
        print(f"{row['regressions']:7}{row['layers changed']:8.0%}{row['classes changed']:9.0%}")
    for title in ("widths", "rules"):
        print()
        print(pd.DataFrame(results[title]).round(3).to_string(index=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    if not parser.parse_args(arguments).show:
        torch.set_num_threads(1)
        changes = [measure(name, kind) for name in EPOCHS for kind in SEEDS]
        write_json(RESULTS, {"changes": changes, "widths": widths(), "rules": rules()})
    show(read_json(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
