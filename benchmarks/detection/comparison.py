"""Which labels are wrong? cohaudit beside every label cleaner, from the same checkpoints.

    python -m benchmarks.detection --data-dir DIR          train what is not trained yet, judge, and show
    python -m benchmarks.detection --seeds 1 --workers 2   the first seed only, two processes
    python -m benchmarks.detection --show                  show what was judged before

Networks are trained on data whose wrong labels are known (see noisy.py and runs.py). At four stages of each
training every method ranks the labels: from the checkpoint alone, from five even checkpoints up to it, from
the whole run (AUM, CSL, forgetting), or from five more trainings (cleanlab out of sample). A case that was
judged is not judged again; with --again cohaudit, and whoever sees five checkpoints, is asked anew. Networks
and answers are kept in benchmarks/.cache.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from rich.console import Console
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from benchmarks.detection.detectors import (
    Array,
    Scores,
    cleanlab,
    from_features,
    from_gradients,
    from_logits,
    from_trajectory,
    weight_alignment,
)
from benchmarks.detection.ranking import FEW, OURS, show
from benchmarks.detection.runs import STAGES, Case, Run, cases, train
from benchmarks.shared import paths
from benchmarks.shared.datasets import Noisy
from cohaudit.analysis.leave_one_out import Suspicion, suspect_labels
from cohaudit.config import Config
from cohaudit.gradients import Measurement, Source, measure
from cohaudit.pipeline.scan import options_of

RESULTS = paths.RESULTS / "detection.json"
HOT = 10.0
"""Temperature of the second leave-one-out alignment."""
SUSPECT = Config().suspicion_threshold

Row: TypeAlias = dict[str, Any]


def scanned(data: Noisy, model: nn.Module, temperature: float) -> Measurement:
    """Return what a scan measures of a checkpoint."""
    names = [str(c) for c in range(data.classes)]
    ids = [str(i) for i in range(len(data.labels))]
    source = Source(lambda i: data.train[list(i)], data.labels.numpy(), ids, names)
    options = replace(options_of(Config()), temperature=temperature, certificate_samples=1)
    return measure(model, source, options, torch.device("cpu"), lambda done: None)


def by_us(run: Run, stage: str, cold: Measurement) -> list[Row]:
    """Return cohaudit's row for a run at a stage."""
    labels, wrong = run.data.labels.numpy(), run.data.wrong.numpy()
    found = suspect_labels([view.rows for view in cold.views], labels, cold.probability)
    row = {"method": OURS, "family": "single"} | ranked(-found.evidence, wrong)
    return [about(run, stage) | row | verdict(found, wrong, run.data.truth.numpy())]


def by_few(run: Run, stage: str, cold: Measurement) -> list[Row]:
    """Return a row per method that sees five even checkpoints up to a stage; their logits were kept."""
    wrong, labels = run.data.wrong.numpy(), run.data.labels.numpy()
    logits = run.logits[[epoch - 1 for epoch in run.even(stage)]]
    earlier = [torch.from_numpy(z.astype(np.float32)).softmax(1).numpy() for z in logits[:-1]]
    found = suspect_labels([view.rows for view in cold.views], labels, cold.probability, earlier)
    ours = ranked(-found.evidence, wrong) | verdict(found, wrong, run.data.truth.numpy())
    scores = from_trajectory(logits, run.data.labels)
    rows = {OURS: ours} | {name: ranked(scores[name], wrong) for name in ("CSL", "AUM")}
    return [
        about(run, stage) | {"method": name + FEW, "family": "trajectory"} | row for name, row in rows.items()
    ]


def by_peers(run: Run, stage: str, cold: Measurement, model: nn.Module) -> list[Row]:
    """Return a row per peer for a run at a stage."""
    data = run.data
    refit = cleanlab(run.out_of_fold, data.labels.numpy())
    families: dict[str, Scores] = {
        "single": peers_of(data, model, cold),
        "trajectory": from_trajectory(run.logits[: run.epochs[stage]], data.labels),
        "refit": {f"cleanlab, 5 folds, {name}": score for name, score in refit.items()},
    }
    return [
        about(run, stage) | {"method": name, "family": family} | ranked(score, data.wrong.numpy())
        for family, scores in families.items()
        for name, score in scores.items()
    ]


def peers_of(data: Noisy, model: nn.Module, cold: Measurement) -> Scores:
    """Return the scores of all who see one checkpoint, as cohaudit does."""
    with torch.no_grad():
        logits = torch.cat([model(x) for x in data.train.split(500)])
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    features = torch.from_numpy(cold.views[-1].rows)
    return (
        from_logits(logits, data.labels)
        | from_gradients(cold, scanned(data, model, HOT))
        | {"GWA": weight_alignment(logits, head.bias.detach(), features, head.weight.detach(), data.labels)}
        | from_features(cold.views, data.labels.numpy())
    )


def about(run: Run, stage: str) -> Row:
    """Return what every row says of its run."""
    epoch = run.epochs[stage]
    return {
        "data": run.case.data,
        "noise": run.case.noise,
        "stage": stage,
        "model": run.case.model,
        "seed": run.case.seed,
        "train_accuracy": run.train_accuracy[epoch - 1],
        "test_accuracy": run.test_accuracy[epoch - 1],
    }


def ranked(score: Array, wrong: np.ndarray) -> Row:
    """Return how well a score ranks the wrong labels; nothing where none is wrong."""
    errors = int(wrong.sum())
    if not errors:
        return {"auroc": None, "ap": None, "p_at_errors": None}
    top = np.argsort(-score, kind="stable")[:errors]
    return {
        "auroc": float(roc_auc_score(wrong, score)),
        "ap": float(average_precision_score(wrong, score)),
        "p_at_errors": float(wrong[top].mean()),
    }


def verdict(found: Suspicion, wrong: np.ndarray, truth: np.ndarray) -> Row:
    """Return how true the default list of suspects is, and what it claims of itself."""
    suspect = found.probability >= SUSPECT
    right = suspect & wrong
    return {
        "wrong": float(wrong.mean()),
        "share": found.share.estimate,
        "suspects": float(suspect.mean()),
        "claim": float(found.probability[suspect].mean()) if suspect.any() else None,
        "precision": float(wrong[suspect].mean()) if suspect.any() else None,
        "recall": float(suspect[wrong].mean()) if wrong.any() else None,
        "suggested_right": float((found.suggested == truth)[right].mean()) if right.any() else None,
    }


def judge_case(case: Case, folder: Path, again: bool) -> list[Row]:
    """Train a case where that was not done, and judge all its stages.

    Args:
        case: Which.
        folder: Of the data.
        again: Whether to ask cohaudit again, and all that see five checkpoints; what else was said is kept.
    """
    torch.set_num_threads(1)
    kept = case.folder / "rows.json"
    rows: list[Row] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    peers = [row for row in rows if row["method"] != OURS and not row["method"].endswith(FEW)]
    if rows and not again:
        return rows
    train(case, folder)
    run, found = Run(case, folder), []
    for stage in (stage for stage in STAGES if stage in run.epochs):
        model = run.checkpoint(run.epochs[stage])
        cold = scanned(run.data, model, 1.0)
        found += by_us(run, stage, cold) + by_few(run, stage, cold)
        found += [row for row in peers if row["stage"] == stage] or by_peers(run, stage, cold, model)
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("COHAUDIT_DATA_DIR", "../shared/data")
    parser.add_argument("--data-dir", type=Path, default=Path(default))
    parser.add_argument("--seeds", type=int, default=3, help="seeds to run (default: all)")
    parser.add_argument("--data", nargs="+", help="only these data")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--again", action="store_true", help="ask cohaudit again; the peers' answers are kept"
    )
    parser.add_argument("--show", action="store_true", help="show the results, and do nothing else")
    args, console = parser.parse_args(arguments), Console(width=150)
    rows: list[Row] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    if not args.show:
        wanted = [c for c in cases() if c.seed < args.seeds and (not args.data or c.data in args.data)]
        rows = _run(wanted, args.data_dir, args.again, args.workers, rows, console)
    show(rows, RESULTS.parent, console)
    return 0


def _run(
    wanted: list[Case], folder: Path, again: bool, workers: int, rows: list[Row], console: Console
) -> list[Row]:
    def key(row: Row) -> tuple[Any, ...]:
        return row["data"], row["noise"], row["model"], row["seed"]

    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = {pool.submit(partial(judge_case, case, folder, again)): case for case in wanted}
        for job in as_completed(jobs):
            case = jobs[job]
            try:
                found = job.result()
            except FileNotFoundError as error:
                console.print(f"{case.data}: left out, there is no {error.filename}")
                continue
            console.print(f"[dim]{case.data}, {case.noise}, {case.model}, seed {case.seed}[/dim]")
            this = case.data, case.noise, case.model, case.seed
            rows = sorted([row for row in rows if key(row) != this] + found, key=key)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
