"""Which labels are wrong? cohaudit beside other label cleaners, on the same checkpoints.

    python -m benchmarks.detection --data-dir DIR          train and judge what is missing, and show
    python -m benchmarks.detection --seeds 1 --workers 2   the first seed only, in two processes
    python -m benchmarks.detection --show                  show the saved results

Networks are trained on data whose wrong labels are known. At four stages of each training run, every method
ranks the labels: from the checkpoint alone, from five evenly spaced checkpoints up to it, from the whole run
(AUM, CSL, forgetting), or from five more training runs (cleanlab, out of sample). A case is judged once; with
--again, cohaudit and the methods that see five checkpoints judge it anew. Networks and rankings are saved in
benchmarks/.cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from benchmarks.detection.detectors import checkpoint_scores, cleanlab, from_trajectory
from benchmarks.detection.processes import judge_cases
from benchmarks.detection.ranking import FIVE_CHECKPOINTS, OURS, draw, show
from benchmarks.detection.runs import CASE_KEYS, STAGES, Case, Run, cases, train_case
from benchmarks.detection.scores import Array, Scores
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import SUSPICION_THRESHOLD, measure_model
from benchmarks.shared.results import Row, read_rows, replace_rows, write_json
from cohaudit.analysis.leave_one_out import Suspicion, suspect_labels
from cohaudit.gradients import Measurement

RESULTS = paths.RESULTS / "detection.json"


def by_us(run: Run, stage: str, cold: Measurement) -> list[Row]:
    """Return cohaudit's row for a run at a stage."""
    labels = run.data.labels.numpy()
    wrong = run.data.wrong.numpy()
    found = suspect_labels([view.rows for view in cold.views], labels, cold.probability)
    row = {"method": OURS, "family": "single"} | ranked(-found.evidence, wrong)
    return [about(run, stage) | row | verdict(found, wrong, run.data.truth.numpy())]


def by_few(run: Run, stage: str, cold: Measurement) -> list[Row]:
    """Return a row per method that sees five even checkpoints up to a stage; their logits were saved."""
    wrong = run.data.wrong.numpy()
    labels = run.data.labels.numpy()
    logits = run.logits[[epoch - 1 for epoch in run.even(stage)]]
    earlier = [torch.from_numpy(z.astype(np.float32)).softmax(1).numpy() for z in logits[:-1]]
    found = suspect_labels([view.rows for view in cold.views], labels, cold.probability, earlier)
    ours = ranked(-found.evidence, wrong) | verdict(found, wrong, run.data.truth.numpy())
    scores = from_trajectory(logits, run.data.labels)
    rows = {OURS: ours} | {name: ranked(scores[name], wrong) for name in ("CSL", "AUM")}
    return [
        about(run, stage) | {"method": name + FIVE_CHECKPOINTS, "family": "trajectory"} | row
        for name, row in rows.items()
    ]


def by_peers(run: Run, stage: str, cold: Measurement, model: nn.Module) -> list[Row]:
    """Return a row per peer for a run at a stage."""
    data = run.data
    refit = cleanlab(run.out_of_fold, data.labels.numpy())
    families: dict[str, Scores] = {
        "single": checkpoint_scores(data, model, cold),
        "trajectory": from_trajectory(run.logits[: run.epochs[stage]], data.labels),
        "refit": {f"cleanlab, 5 folds, {name}": score for name, score in refit.items()},
    }
    return [
        about(run, stage) | {"method": name, "family": family} | ranked(score, data.wrong.numpy())
        for family, scores in families.items()
        for name, score in scores.items()
    ]


def about(run: Run, stage: str) -> Row:
    """Return what every row says of its run."""
    epoch = run.epochs[stage]
    case = run.case
    return {
        "data": case.data,
        "noise": case.noise,
        "stage": stage,
        "model": case.model,
        "seed": case.seed,
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
    suspect = found.probability >= SUSPICION_THRESHOLD
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
    """Train a case unless that was done before, and judge all its stages.

    Args:
        case: Case to judge.
        folder: Folder of the data.
        again: Whether cohaudit and the methods that see five checkpoints judge again; the other rows stay.
    """
    torch.set_num_threads(1)
    cached = case.folder / "rows.json"
    rows = read_rows(cached)
    peers = [row for row in rows if row["method"] != OURS and not row["method"].endswith(FIVE_CHECKPOINTS)]
    if rows and not again:
        return rows
    train_case(case, folder)
    run = Run(case, folder)
    found = []
    for stage in (stage for stage in STAGES if stage in run.epochs):
        model = run.checkpoint(run.epochs[stage])
        cold = measure_model(model, run.data.train, run.data.labels, run.data.classes)
        found += by_us(run, stage, cold) + by_few(run, stage, cold)
        found += [row for row in peers if row["stage"] == stage] or by_peers(run, stage, cold, model)
    cached.write_text(json.dumps(found), encoding="utf-8")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: all)")
    parser.add_argument("--data", nargs="+", help="only these data sets")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    again = "let cohaudit judge again; the other methods' rankings stay"
    parser.add_argument("--again", action="store_true", help=again)
    args = parser.parse_args(arguments)
    console = Console(width=150)
    rows = read_rows(RESULTS)
    if not args.show:
        chosen = [c for c in cases() if c.seed < args.seeds and (not args.data or c.data in args.data)]
        jobs = {case: partial(judge_case, case, args.data_dir, args.again) for case in chosen}
        for new in judge_cases(jobs, args.workers, console):
            rows = replace_rows(rows, new, CASE_KEYS)
            rows.sort(key=lambda row: [row[key] for key in CASE_KEYS])
            write_json(RESULTS, rows)
        draw(rows, RESULTS)
    show(rows, console)
    return 0
