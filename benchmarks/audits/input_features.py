"""Does the audit of the inputs find columns of pure noise, and does dropping them help?

    python -m benchmarks.audits.input_features --data-dir ../shared/data

Adult and the digits get 10, 30 or 50 columns of noise (normal numbers, or columns of their own in shuffled
order) and ten duplicated columns. Networks are judged early in training and when they have fitted their
samples, by the audit, by scikit-learn's permutation importance (on the training samples and on a holdout)
and mutual information, and by plainer coherences. Then as many columns are dropped as the audit calls noise,
by each method its own, and the network is trained again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.feature_selection import mutual_info_classif
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.datasets import adult_rows
from cohaudit.audits.input_features import input_features
from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.gradients.passes.inputs import input_sums
from cohaudit.pipeline.scan import options_of
from cohaudit.results import Inputs

RESULTS = paths.RESULTS
Array = NDArray[np.float64]
Row = dict[str, Any]

DUPLICATES = 10
CASES = (
    *((30, "normal", "Adam"), (30, "shuffled", "Adam"), (30, "normal", "SGD")),
    *((50, "normal", "Adam"), (10, "normal", "Adam")),
)
"""Noise columns, their kind, and the optimizer."""
SEEDS = 2
STAGES = {"adult": (2, 60), "digits": (4, 60)}
"""Epochs after which a network is judged: early, and fitted."""
REPEATS = 2
"""Of permutation importance."""
FREQUENT = 0.1
"""A column is frequent where (Σ|x|)² / Σx² of its deviations is more than this share of the samples."""


@dataclass(frozen=True)
class Table:
    """Rows in three parts, and which of their columns are noise that was added."""

    x: dict[str, Tensor]
    y: dict[str, Tensor]
    noise: NDArray[np.bool_]
    varies: NDArray[np.bool_]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.y["train"].max()) + 1

    def without(self, dropped: list[int]) -> Table:
        """Return the table without some of its columns."""
        kept = [j for j in range(len(self.noise)) if j not in dropped]
        x = {part: rows[:, kept] for part, rows in self.x.items()}
        return Table(x, self.y, self.noise[kept], self.varies[kept])


def table(data: str, noise: int, kind: str, seed: int, folder: Path) -> Table:
    """Return a data set with columns added: duplicated ones, then noise."""
    generator = np.random.default_rng(seed)
    if data == "adult":
        rows, labels = adult_rows(folder)
        sizes = {"train": 4000, "holdout": 2000, "test": 4000}
    else:
        found = load_digits()
        rows, labels = torch.tensor(found.data / 16), torch.tensor(found.target)
        sizes = {"train": 1000, "holdout": 297, "test": 500}
    order = generator.permutation(len(rows))[: sum(sizes.values())]
    x, y = rows[order].double().numpy(), labels[order].long()
    train = x[: sizes["train"]]
    varying = np.flatnonzero(train.std(0) > 0)
    size = 1.0 if data == "adult" else float(np.sqrt(train[:, varying].var(0).mean()))
    x = (x - (0 if data == "adult" else train.mean(0))) / size
    if kind == "normal":
        added = generator.normal(size=(len(x), noise))
    else:
        added = np.stack([generator.permutation(x[:, j]) for j in generator.choice(varying, noise)], 1)
    x = np.concatenate([x, x[:, generator.choice(varying, DUPLICATES, replace=False)], added], 1)
    parts = torch.tensor(x, dtype=torch.float32).split(list(sizes.values()))
    is_noise = np.arange(x.shape[1]) >= x.shape[1] - noise
    return Table(
        dict(zip(sizes, parts, strict=True)),
        dict(zip(sizes, y.split(list(sizes.values())), strict=True)),
        is_noise,
        parts[0].numpy().std(0) > 1e-6,
    )


def trained(given: Table, optimizer: str, stages: tuple[int, ...], seed: int) -> list[nn.Module]:
    """Train a network and return it as it was after each of the stages."""
    torch.manual_seed(seed)
    x, y = given.x["train"], given.y["train"]
    model = nn.Sequential(
        *(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()),
        nn.Linear(64, given.classes),
    )
    step: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    if optimizer == "SGD":
        step = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    found = []
    for epoch in range(1, stages[-1] + 1):
        for batch in torch.randperm(len(x)).split(100):
            step.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            step.step()
        if epoch in stages:
            found.append(deepcopy(model).eval())
    return found


def accuracy(model: nn.Module, given: Table, part: str) -> float:
    """Return the share of a part of the table that a network gets right."""
    with torch.no_grad():
        right: Tensor = model(given.x[part]).argmax(1) == given.y[part]
    return float(right.float().mean())


def audited(model: nn.Module, given: Table) -> Inputs:
    """Return the audit of the inputs."""
    x, y = given.x["train"], given.y["train"].numpy()
    ids, classes = [str(i) for i in range(len(y))], [str(c) for c in range(given.classes)]
    source = Source(lambda indices: x[list(indices)], y, ids, classes)
    sums = input_sums(model, source, options_of(Config()), torch.device("cpu"), lambda done: None)
    names = [str(j) for j in range(x.shape[1])]
    found = input_features(
        names,
        sums.layer,
        squared_sum=sums.squared_sum,
        squares=sums.squares,
        norms=sums.norms,
        constant=sums.constant,
    )
    assert isinstance(found, Inputs)
    return found


def of_columns(found: Inputs, field: str, columns: int) -> Array:
    """Return a field of the audit by column; those that it does not tell come last."""
    told = {int(column.name): getattr(column, field) for column in found.columns}
    return np.array([told.get(j, np.inf) for j in range(columns)])


def plain(model: nn.Module, given: Table, temperature: float) -> Array:
    """Return α_u of each column's weights, by the gradients of the loss of logits / temperature."""
    x, y = given.x["train"], given.y["train"]
    assert isinstance(model, nn.Sequential)
    output = model[0](x).detach().requires_grad_()
    loss = F.cross_entropy(model[1:](output) / temperature, y, reduction="sum")
    (delta,) = torch.autograd.grad(loss, output)
    delta, wide = delta.double(), x.double()
    squares = delta.square().sum(1) @ wide.square()
    total = (delta.mT @ wide).square().sum(0)
    return ((total - squares) / ((len(x) - 1) * squares.clamp_min(1e-300))).numpy()


class Fitted(ClassifierMixin, BaseEstimator):
    """A trained network as scikit-learn takes it."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        self.model, self.classes_ = model, np.arange(classes)

    def fit(self, x: Any, y: Any) -> Fitted:
        """Return it as it is."""
        return self

    def predict(self, x: Any) -> Any:
        """Return the classes that the network gives."""
        with torch.no_grad():
            return self.model(torch.from_numpy(np.ascontiguousarray(x))).argmax(1).numpy()


def importance(model: nn.Module, given: Table, part: str, seed: int) -> Array:
    """Return the permutation importance of each column."""
    x, y = given.x[part].numpy(), given.y[part].numpy()
    fitted = Fitted(model, given.classes)
    found = permutation_importance(fitted, x, y, n_repeats=REPEATS, random_state=seed)
    return np.asarray(found.importances_mean)


def scores(model: nn.Module, given: Table, told: Inputs, seed: int) -> dict[str, Array]:
    """Return what each method gives a column; noise ought to have least."""
    count = len(given.noise)
    assert isinstance(model, nn.Sequential)
    return {
        "audit": of_columns(told, "most", count),
        "audit, z": of_columns(told, "score", count),
        "audit, coherence": of_columns(told, "coherence", count),
        "samples": -of_columns(told, "samples", count),
        "permutation, train": importance(model, given, "train", seed),
        "permutation, holdout": importance(model, given, "holdout", seed),
        "alpha_u, T = 1": plain(model, given, 1.0),
        "alpha_u, T = 100": plain(model, given, 100.0),
        "weight norm": model[0].weight.detach().norm(dim=0).double().numpy(),
    }


def compare(folder: Path) -> Iterator[Row]:
    """Train, judge, drop and train again; yield a row for each network judged."""
    for seed, (noise, kind, optimizer), data in itertools.product(range(SEEDS), CASES, STAGES):
        given = table(data, noise, kind, seed, folder)
        x = given.x["train"].double().numpy()
        spread = np.abs(x - x.mean(0))
        samples = spread.sum(0) ** 2 / np.maximum((spread**2).sum(0), 1e-12)
        frequent = given.varies & (samples > FREQUENT * len(x))
        mutual = mutual_info_classif(x, given.y["train"].numpy(), random_state=seed)
        models = trained(given, optimizer, STAGES[data], seed)
        lists: dict[tuple[str, int], list[int]] = {}
        rows = []
        for stage, model in enumerate(models):
            told = audited(model, given)
            by = scores(model, given, told, seed) | {"mutual information": mutual}
            called = [int(column.name) for column in told.columns if column.verdict == "noise"]
            lists["audit", stage] = called
            for name in ("permutation, train", "permutation, holdout", "mutual information"):
                order = np.argsort(np.where(given.varies, by[name], np.inf), kind="stable")
                lists[name, stage] = order[: len(called)].tolist()
            parts = {"": given.varies, " frequent": frequent}
            rows.append(
                {
                    **{"data": data, "seed": seed, "noise": noise, "kind": kind, "optimizer": optimizer},
                    "stage": ("early", "fitted")[stage],
                    "train": accuracy(model, given, "train"),
                    "test": {"all columns": accuracy(model, given, "test")},
                    "columns": int(given.varies.sum()),
                    "frequent": int(frequent.sum()),
                    "called": len(called),
                    "called that are": int(given.noise[called].sum()),
                    **{
                        "auroc" + part: {
                            name: float(roc_auc_score(given.noise[some], -np.minimum(score, 1e9)[some]))
                            for name, score in by.items()
                        }
                        for part, some in parts.items()
                    },
                }
            )
        lists["the noise itself", 1] = np.flatnonzero(given.noise).tolist()
        for (name, stage), dropped in lists.items():
            again = trained(given.without(dropped), optimizer, STAGES[data][: stage + 1], seed)
            rows[stage]["test"][name] = accuracy(again[stage], given.without(dropped), "test")
            if name == "the noise itself":
                rows[0]["test"][name] = accuracy(again[0], given.without(dropped), "test")
        yield from rows
        print(rows[0]["data"], seed, noise, kind, optimizer, flush=True)


def show(rows: list[Row]) -> None:
    """Print means over the seeds."""
    keys = ("data", "kind", "noise", "optimizer", "stage")
    for key in dict.fromkeys(tuple(row[k] for k in keys) for row in rows):
        some = [row for row in rows if tuple(row[k] for k in keys) == key]
        called, right = (np.mean([row[k] for row in some]) for k in ("called", "called that are"))
        print(
            f"\n{' '.join(map(str, key))}: {called:.1f} columns called noise, {right:.1f} of them were added"
        )
        for part in ("auroc", "auroc frequent", "test"):
            told = {name: np.mean([row[part][name] for row in some]) for name in some[0][part]}
            print(f"  {part}: " + ", ".join(f"{name} {value:.3f}" for name, value in told.items()))


def main() -> int:
    """Run the comparison from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--show", action="store_true", help="print what was written")
    args = parser.parse_args()
    path = RESULTS / "input_features.json"
    if not args.show:
        rows: list[Row] = []
        for row in compare(args.data_dir):
            rows.append(row)
            path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")
    show(json.loads(path.read_text()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
