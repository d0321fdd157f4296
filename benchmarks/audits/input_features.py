"""Does the audit of the inputs find columns of pure noise, and does dropping them help?

    python -m benchmarks.audits.input_features --data-dir DIR   train what is missing (five minutes),
                                                                and write results/input_features.json
    python -m benchmarks.audits.input_features --show           show the saved results

Adult and the digits get 10, 30 or 50 columns of noise (normal numbers, or columns of their own in shuffled
order) and ten duplicated columns. Networks are judged early in training and once they fit their samples: by
the audit, by scikit-learn's permutation importance (on the training samples and on a holdout) and mutual
information, and by simpler coherences. Then as many columns are dropped as the audit calls noise, by each
method its own, and the network is trained again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_selection import mutual_info_classif
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.datasets import adult_rows, digits
from benchmarks.shared.measuring import CPU, default_options, silent, source_of
from benchmarks.shared.results import Row, read_rows, write_rows
from benchmarks.shared.training import accuracy, train_epoch
from cohaudit.audits.input_features import features_of
from cohaudit.gradients.passes.inputs import input_sums
from cohaudit.results import Inputs

RESULTS = paths.RESULTS / "input_features.json"
CACHE = paths.CACHE / "input_features"
"""Folder of the settings that are done; delete it to judge with a changed audit."""
Array = NDArray[np.float64]

DUPLICATES = 10
"""Number of duplicated columns."""
CASES = (
    *((30, "normal", "Adam"), (30, "shuffled", "Adam"), (30, "normal", "SGD")),
    *((50, "normal", "Adam"), (10, "normal", "Adam")),
)
"""Number of noise columns, their kind, and the optimizer."""
SEEDS = 2
"""Number of seeds."""
STAGES = {"adult": (2, 60), "digits": (4, 60)}
"""Epochs after which a network is judged: early, and fitted."""
REPEATS = 2
"""Repeats of permutation importance."""
FREQUENT = 0.1
"""A column is frequent where (Σ|x|)² / Σx² of its deviations is more than this share of the samples."""


@dataclass(frozen=True)
class Table:
    """Rows in three parts, and which of their columns are added noise.

    Attributes:
        x: Part (train, holdout, test) → rows, float32 [samples, columns].
        y: Part → labels, int64 [samples].
        noise: Which columns are added noise.
        varies: Which columns vary over the training samples.
    """

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
        remaining = [j for j in range(len(self.noise)) if j not in dropped]
        x = {part: rows[:, remaining] for part, rows in self.x.items()}
        return Table(x, self.y, self.noise[remaining], self.varies[remaining])


def table(data: str, noise: int, kind: str, seed: int, folder: Path) -> Table:
    """Return a data set with columns added: duplicated ones, then noise."""
    generator = np.random.default_rng(seed)
    if data == "adult":
        rows, labels = adult_rows(folder)
        sizes = {"train": 4000, "holdout": 2000, "test": 4000}
    else:
        rows, labels = digits()
        sizes = {"train": 1000, "holdout": 297, "test": 500}
    order = generator.permutation(len(rows))[: sum(sizes.values())]
    x = rows[order].double().numpy()
    y = labels[order].long()
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
    x = given.x["train"]
    y = given.y["train"]
    model = nn.Sequential(
        *(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()),
        nn.Linear(64, given.classes),
    )
    step: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    if optimizer == "SGD":
        step = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    found = []
    for epoch in range(1, stages[-1] + 1):
        train_epoch(model, step, x, y, 100)
        if epoch in stages:
            found.append(deepcopy(model).eval())
    return found


def audited(model: nn.Module, given: Table) -> Inputs:
    """Return the audit of the inputs."""
    x = given.x["train"]
    sums = input_sums(model, source_of(x, given.y["train"], given.classes), default_options(), CPU, silent)
    names = [str(j) for j in range(x.shape[1])]
    found = features_of(names, sums)
    assert isinstance(found, Inputs)
    return found


def of_columns(found: Inputs, field: str, columns: int) -> Array:
    """Return a field of the audit by column; infinite for columns that it does not list."""
    values = {int(column.name): getattr(column, field) for column in found.columns}
    return np.array([values.get(j, np.inf) for j in range(columns)])


def plain(model: nn.Module, given: Table, temperature: float) -> Array:
    """Return α_u of each column's weights, by the gradients of the loss of logits / temperature."""
    x = given.x["train"]
    y = given.y["train"]
    assert isinstance(model, nn.Sequential)
    output = model[0](x).detach().requires_grad_()
    loss = F.cross_entropy(model[1:](output) / temperature, y, reduction="sum")
    (delta,) = torch.autograd.grad(loss, output)
    delta = delta.double()
    wide = x.double()
    squares = delta.square().sum(1) @ wide.square()
    total = (delta.mT @ wide).square().sum(0)
    return ((total - squares) / ((len(x) - 1) * squares.clamp_min(1e-300))).numpy()


class Fitted(ClassifierMixin, BaseEstimator):
    """A trained network as scikit-learn takes it."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        self.model = model
        self.classes_ = np.arange(classes)

    def fit(self, x: Any, y: Any) -> Fitted:
        """Return it as it is."""
        return self

    def predict(self, x: Any) -> Any:
        """Return the classes that the network predicts."""
        with torch.no_grad():
            return self.model(torch.from_numpy(np.ascontiguousarray(x))).argmax(1).numpy()


def importance(model: nn.Module, given: Table, part: str, seed: int) -> Array:
    """Return the permutation importance of each column."""
    x = given.x[part].numpy()
    y = given.y[part].numpy()
    fitted = Fitted(model, given.classes)
    found = permutation_importance(fitted, x, y, n_repeats=REPEATS, random_state=seed)
    return np.asarray(found.importances_mean)


def scores(model: nn.Module, given: Table, found: Inputs, seed: int) -> dict[str, Array]:
    """Return each method's score of every column; noise should have the smallest."""
    count = len(given.noise)
    assert isinstance(model, nn.Sequential)
    return {
        "audit": of_columns(found, "most", count),
        "audit, z": of_columns(found, "score", count),
        "audit, coherence": of_columns(found, "coherence", count),
        "samples": -of_columns(found, "samples", count),
        "permutation, train": importance(model, given, "train", seed),
        "permutation, holdout": importance(model, given, "holdout", seed),
        "alpha_u, T = 1": plain(model, given, 1.0),
        "alpha_u, T = 100": plain(model, given, 100.0),
        "weight norm": model[0].weight.detach().norm(dim=0).double().numpy(),
    }


def accuracy_on(model: nn.Module, given: Table, part: str) -> float:
    """Return a network's accuracy on a part of the table."""
    return accuracy(model, given.x[part], given.y[part])


def compare(folder: Path) -> Iterator[list[Row]]:
    """Train, judge, drop columns and train again; yield the rows of each setting, one per stage."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for seed, (noise, kind, optimizer), data in itertools.product(range(SEEDS), CASES, STAGES):
        about = {"data": data, "seed": seed, "noise": noise, "kind": kind, "optimizer": optimizer}
        path = CACHE / f"{'-'.join(map(str, about.values()))}.json"
        if not path.exists():
            given = table(data, noise, kind, seed, folder)
            rows, dropped = judged(given, optimizer, STAGES[data], seed)
            retrain(given, optimizer, STAGES[data], seed, rows=rows, dropped=dropped)
            write_rows(path, [about | row for row in rows])
            print(*about.values(), flush=True)
        yield read_rows(path)


Dropped: TypeAlias = dict[tuple[str, int], list[int]]
"""Method and stage → columns to drop."""


def judged(given: Table, optimizer: str, stages: tuple[int, ...], seed: int) -> tuple[list[Row], Dropped]:
    """Train a network and judge it at each stage; return a row per stage, and what each method drops."""
    x = given.x["train"].double().numpy()
    spread = np.abs(x - x.mean(0))
    samples = spread.sum(0) ** 2 / np.maximum((spread**2).sum(0), 1e-12)
    parts = {"": given.varies, " frequent": given.varies & (samples > FREQUENT * len(x))}
    mutual = mutual_info_classif(x, given.y["train"].numpy(), random_state=seed)
    rows: list[Row] = []
    dropped: Dropped = {}
    for stage, model in enumerate(trained(given, optimizer, stages, seed)):
        found = audited(model, given)
        by_method = scores(model, given, found, seed) | {"mutual information": mutual}
        called = [int(column.name) for column in found.columns if column.verdict == "noise"]
        dropped["audit", stage] = called
        for name in ("permutation, train", "permutation, holdout", "mutual information"):
            order = np.argsort(np.where(given.varies, by_method[name], np.inf), kind="stable")
            dropped[name, stage] = order[: len(called)].tolist()
        row = {
            "stage": ("early", "fitted")[stage],
            "train": accuracy_on(model, given, "train"),
            "test": {"all columns": accuracy_on(model, given, "test")},
            "columns": int(given.varies.sum()),
            "frequent": int(parts[" frequent"].sum()),
            "called": len(called),
            "called that are": int(given.noise[called].sum()),
        }
        for part, some in parts.items():
            row["auroc" + part] = {
                name: float(roc_auc_score(given.noise[some], -np.minimum(score, 1e9)[some]))
                for name, score in by_method.items()
            }
        rows.append(row)
    return rows, dropped


def retrain(
    given: Table,
    optimizer: str,
    stages: tuple[int, ...],
    seed: int,
    *,
    rows: list[Row],
    dropped: Dropped,
) -> None:
    """Train again without the columns that each method drops, and add the test accuracies to the rows."""
    for (name, stage), columns in dropped.items():
        remaining = given.without(columns)
        again = trained(remaining, optimizer, stages[: stage + 1], seed)
        rows[stage]["test"][name] = accuracy_on(again[stage], remaining, "test")
    remaining = given.without(np.flatnonzero(given.noise).tolist())
    for row, model in zip(rows, trained(remaining, optimizer, stages, seed), strict=True):
        row["test"]["the noise itself"] = accuracy_on(model, remaining, "test")


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
            means = {name: np.mean([row[part][name] for row in some]) for name in some[0][part]}
            print(f"  {part}: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        torch.set_num_threads(1)
        # written once it is whole: a part of it would show means over fewer seeds as if they were all
        write_rows(RESULTS, [row for rows in compare(args.data_dir) for row in rows])
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
