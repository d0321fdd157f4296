"""How much is each sample memorized? One checkpoint's answer beside many retrained networks.

    python -m benchmarks.detection.memorized --data-dir DIR   train what is missing, and show
    python -m benchmarks.detection.memorized --show           show the saved results

Feldman & Zhang (NeurIPS 2020, "What Neural Networks Memorize and Why", eq. 2) call a sample memorized as far
as networks trained with it predict its label and networks trained without it do not. Each network here is
trained on seven tenths of the samples, drawn at random, and asked for all labels after several numbers of
epochs, from the first to long after it fits them. A sample's memorization at a stage is the share of the
networks that saw it and give its label, minus that share of the networks that did not see it. The methods see
one network, trained on all samples for as many epochs; cohaudit also has predictions from the raw data, as in
a scan. What the networks answer, and what a scan measures of the one, is saved in benchmarks/.cache: another
formula is judged in seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.detection.detectors import checkpoint_scores
from benchmarks.detection.runs import Case
from benchmarks.shared import measuring, paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import NoisyData, load_noisy
from benchmarks.shared.recipes import RECIPES
from benchmarks.shared.results import Row, read_rows, replace_rows, write_rows
from benchmarks.shared.stacked_training import train_stacked
from benchmarks.shared.training import logits_of
from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.analysis.memorization import memorization

RESULTS = paths.RESULTS / "memorized.json"
CACHE = paths.CACHE / "memorized"
"""Folder of the networks' answers, and of what is measured of the audited ones."""
TRAINED_ON = 0.7
"""Share of the samples that each network sees."""
TOGETHER = 20
"""Networks trained together; each case's numbers of networks are multiples of it."""
AUDITED = 2
"""Networks trained on all samples, of each case; figures are their mean."""

CEILING = "a perfect method"
"""Name of the row that says how far the truth is itself known."""
ALONE = "cohaudit, network alone"
"""Name of the row without what is predicted from the raw data."""

Array: TypeAlias = np.ndarray


@dataclass(frozen=True)
class Experiment:
    """Networks trained with and without each sample.

    Attributes:
        case: Data, noise and recipe.
        samples: Number of samples: the first ones.
        networks: Number of networks asked at each stage, falling: early stages are cheap, and as the networks
            differ little there by what they saw, it takes more of them to see how much.
        stages: Numbers of epochs after which networks are asked, rising.
    """

    case: Case
    samples: int
    networks: tuple[int, ...]
    stages: tuple[int, ...]

    @property
    def folder(self) -> Path:
        """Folder in which its answers are saved; another one for other stages."""
        stages = "-".join(map(str, self.stages))
        return CACHE / f"{self.case.folder.name}-{self.samples}-at-{stages}"

    def data(self, folder: Path) -> NoisyData:
        """Return its samples, from the folder of the data."""
        case = self.case
        return load_noisy(case.data, case.noise, case.seed, folder).first(self.samples)


TABLE = (
    Experiment(Case("digits", "20 %", "small MLP, SGD", 0), 1000, (120, 120, 80, 80, 80), (3, 8, 16, 30, 60)),
    Experiment(Case("digits", "0 %", "small MLP, SGD", 0), 1000, (120, 120, 60), (3, 8, 30)),
    Experiment(
        Case("digits", "random", "small MLP, SGD", 0), 1000, (80, 80, 60, 60, 60), (8, 16, 30, 60, 100)
    ),
    Experiment(Case("labelme", "majority", "small MLP, Adam", 0), 1000, (120, 120, 60, 60), (1, 3, 10, 50)),
    Experiment(Case("labelme", "random", "small MLP, Adam", 0), 1000, (20, 20, 20), (5, 15, 60)),
    Experiment(Case("fashion", "20 %", "small MLP, SGD", 0), 1000, (40, 40, 40, 40), (2, 5, 12, 30)),
    Experiment(Case("trec", "20 %", "word average, Adam", 0), 1000, (80, 80, 60, 60), (4, 8, 15, 40)),
)
"""Data, label noise and network, from its first epochs to where it fits all labels, or nearly so."""


def trained(experiment: Experiment, data: NoisyData, members: Tensor, seed: int) -> Iterator[list[nn.Module]]:
    """Train networks together, as if each was alone; yield them in eval mode at each stage.

    Args:
        experiment: What is trained, and when it is asked.
        data: All samples.
        members: Samples that each network sees, [networks, any].
        seed: Seed of the weights and of the order of the batches.
    """
    torch.manual_seed(seed)
    recipe = RECIPES[experiment.case.model]
    models = [recipe.build(data).eval() for _ in members]
    yield from train_stacked(
        models, recipe.optimizer, data, members, batch_size=recipe.batch, stages=experiment.stages
    )


def answers(experiment: Experiment, part: int, folder: Path) -> None:
    """Train some networks; save which samples each saw, and which labels it gives at each stage."""
    torch.set_num_threads(1)
    file = _file(experiment, part)
    if file.exists():
        return
    data = experiment.data(folder)
    generator = torch.Generator().manual_seed(part)
    count = experiment.samples
    members = torch.rand(TOGETHER, count, generator=generator).argsort(1)[:, : round(TRAINED_ON * count)]
    saw = torch.zeros(TOGETHER, count, dtype=torch.bool).scatter_(1, members, True)
    asked = sum(TOGETHER * part < networks for networks in experiment.networks)
    given = [
        torch.stack([logits_of(model, data.train).argmax(1) for model in models]).byte()
        for models in itertools.islice(trained(experiment, data, members, part), asked)
    ]
    experiment.folder.mkdir(parents=True, exist_ok=True)
    np.savez(file, saw=saw.numpy(), given=torch.stack(given).numpy())


def _file(experiment: Experiment, part: int) -> Path:
    return experiment.folder / f"{part:03}.npz"


def audit(experiment: Experiment, folder: Path) -> None:
    """Train the audited networks; save what a scan measures of each at each stage, and every peer's score."""
    torch.set_num_threads(1)
    if _audited(experiment, len(experiment.stages) - 1).exists():
        return
    data = experiment.data(folder)
    labels = data.labels.numpy()
    members = torch.arange(experiment.samples).expand(AUDITED, -1)
    experiment.folder.mkdir(parents=True, exist_ok=True)
    for stage, models in enumerate(trained(experiment, data, members, 10_000)):
        measured = [measuring.measure_model(model, data.train, data.labels, data.classes) for model in models]
        views = [
            [leave_one_out(view.rows, labels, data.classes).scores for view in one.views] for one in measured
        ]
        own = [F.softmax(logits_of(model, data.train).double(), 1).numpy() for model in models]
        # one of them is enough to see how far the peers are
        peers = checkpoint_scores(data, models[0], measured[0])
        np.savez(
            _audited(experiment, stage),
            allow_pickle=False,
            views=np.array(views),
            own=np.stack(own),
            labels=labels,
            **{f"peer {name}": score for name, score in peers.items()},
        )


def _audited(experiment: Experiment, stage: int) -> Path:
    return experiment.folder / f"audited-{stage}.npz"


def predict_outside(experiment: Experiment, folder: Path) -> None:
    """Predict the labels from the raw data as a scan does, and save that, unless it was done before."""
    torch.set_num_threads(1)
    if _outside(experiment).exists():
        return
    data = experiment.data(folder)
    found = measuring.predict_outside(data.train, data.labels, data.classes)
    experiment.folder.mkdir(parents=True, exist_ok=True)
    np.save(_outside(experiment), found.probability)


def _outside(experiment: Experiment) -> Path:
    return experiment.folder / "outside.npy"


def measured_memorization(saw: Array, right: Array) -> Array:
    """Return how much more often the networks that saw a sample give its label, [samples].

    NaN where all saw it, or none did.

    Args:
        saw: Whether a network was trained on a sample, bool [networks, samples].
        right: Whether it gives the sample's label, bool [networks, samples].
    """
    with_it, without = shares(saw, right)
    difference: Array = with_it - without
    return difference


def shares(saw: Array, right: Array) -> tuple[Array, Array]:
    """Return how many of the networks that saw a sample give its label, and of the others; NaN of none."""
    with np.errstate(invalid="ignore"):
        return (saw & right).sum(0) / saw.sum(0), (~saw & right).sum(0) / (~saw).sum(0)


def read_answers(experiment: Experiment, stage: int, labels: Array) -> tuple[Array, Array]:
    """Return which samples each network saw, and whose labels it gives, bool [networks, samples] each."""
    saw = []
    right = []
    for part in range(experiment.networks[stage] // TOGETHER):
        with np.load(_file(experiment, part)) as arrays:
            saw.append(arrays["saw"])
            right.append(arrays["given"][stage] == labels)
    return np.concatenate(saw), np.concatenate(right)


def judge(experiment: Experiment) -> list[Row]:
    """Return a row per stage and method, and one of how well a perfect method could do."""
    return [row for stage in range(len(experiment.stages)) for row in _judge_stage(experiment, stage)]


def _judge_stage(experiment: Experiment, stage: int) -> list[Row]:
    with np.load(_audited(experiment, stage)) as arrays:
        saw, right = read_answers(experiment, stage, arrays["labels"])
    truth = measured_memorization(saw, right)
    case = experiment.case
    about: Row = {"data": case.data, "noise": case.noise, "model": case.model}
    about |= {"samples": experiment.samples, "networks": len(saw), "epochs": experiment.stages[stage]}
    about |= {"fitted": float(np.nanmean(shares(saw, right)[0]))}
    about |= {"mean": float(np.nanmean(truth)), "above_half": float(np.nanmean(truth >= 0.5))}
    rows = [about | {"method": CEILING} | ceiling(saw, right)]
    for name, scores in scored(experiment, stage).items():
        each = [
            agreement(score, truth)
            | {"found_mean": float(score.mean()), "found_above_half": float((score >= 0.5).mean())}
            for score in scores
        ]
        mean = {key: float(np.mean([row[key] for row in each])) for key in each[0]}
        rows.append(about | {"method": name} | mean)
    return rows


def ceiling(saw: Array, right: Array) -> Row:
    """Return how well the measured memorization agrees with what infinitely many networks would measure.

    If one half of the networks correlates with the other by r, that is √(2r / (1 + r)): the reliability of
    them all by Spearman and Brown (1910), whose root is the largest correlation of anything with what they
    measure. For ranks it is taken in the same way.
    """
    halves = [measured_memorization(saw[part::2], right[part::2]) for part in range(2)]
    return {
        kind: float(np.sqrt(2 * max(r, 0.0) / (1 + max(r, 0.0)))) for kind, r in agreement(*halves).items()
    }


def scored(experiment: Experiment, stage: int) -> dict[str, list[Array]]:
    """Return every method's scores of the audited networks, [samples] each; the peers' of one network."""
    with np.load(_audited(experiment, stage)) as arrays:
        each = zip(arrays["views"], arrays["own"], strict=True)
        labels = arrays["labels"]
        outside = np.load(_outside(experiment))
        networks = [[*views, own] for views, own in each]
        found = {
            "cohaudit": [memorization([outside, *network], labels) for network in networks],
            ALONE: [memorization(network, labels) for network in networks],
        }
        peers = {
            name.removeprefix("peer "): [arrays[name]] for name in arrays.files if name.startswith("peer ")
        }
    return found | peers


def agreement(score: Array, truth: Array) -> Row:
    """Return the correlations of a score with the truth, where both are known; 0 of a constant score."""
    known = np.isfinite(score) & np.isfinite(truth)
    score = score[known]
    truth = truth[known]
    if np.ptp(score) == 0 or np.ptp(truth) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": float(pearsonr(score, truth).statistic),
        "spearman": float(spearmanr(score, truth).statistic),
    }


def show(rows: Sequence[Row], console: Console) -> None:
    """Print each method's correlation with the measured memorization, case by case, and the mean of all."""
    table = pd.DataFrame(list(rows))
    for (data, model, noise), case in table.groupby(["data", "model", "noise"], sort=False):
        stages = list(dict.fromkeys(case["epochs"]))
        printed = Table(
            "Pearson / Spearman after … epochs",
            *map(str, stages),
            "mean",
            title=f"{data}, {model}, {noise}: {case['samples'].iloc[0]:,} samples",
        )
        pivots = [case.pivot_table(kind, "method", "epochs")[stages] for kind in ("pearson", "spearman")]
        for method in pivots[0].mean(axis=1).sort_values(ascending=False).index:
            pairs = list(zip(*(pivot.loc[method] for pivot in pivots), strict=True))
            pairs.append(tuple(np.mean(pairs, axis=0)))
            printed.add_row(str(method), *(f"{a:.2f} / {b:.2f}" for a, b in pairs))
        own = case[case["method"] == "cohaudit"]
        printed.add_row("networks", *map(str, own["networks"]), "")
        for title, key in (
            ("labels given by networks that saw them", "fitted"),
            ("mean memorization, measured", "mean"),
            ("mean memorization, by cohaudit", "found_mean"),
            ("one half and more, measured", "above_half"),
            ("one half and more, by cohaudit", "found_above_half"),
        ):
            printed.add_row(title, *(f"{value:.1%}" for value in own[key]), "")
        console.print(printed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--data", nargs="+", help="only these data sets")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    args = parser.parse_args(arguments)
    console = Console(width=170)
    rows = read_rows(RESULTS)
    if not args.show:
        for experiment in TABLE:
            if args.data and experiment.case.data not in args.data:
                continue
            train_networks(experiment, args.data_dir, args.workers)
            rows = replace_rows(rows, judge(experiment), ("data", "noise", "model"))
            write_rows(RESULTS, rows)
    show(rows, console)
    return 0


def train_networks(experiment: Experiment, folder: Path, workers: int) -> None:
    """Train what is missing of an experiment's networks, and predict from the raw data, in processes."""
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        parts = range(experiment.networks[0] // TOGETHER)
        tasks = [pool.submit(partial(work, experiment, folder)) for work in (audit, predict_outside)]
        tasks.extend(pool.submit(partial(answers, experiment, part, folder)) for part in parts)
        for done in tasks:
            done.result()


if __name__ == "__main__":
    raise SystemExit(main())
