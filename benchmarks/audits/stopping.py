"""At which checkpoint should training have stopped? Rules that need no holdout, and patience on a holdout.

    python -m benchmarks.audits.stopping          train and measure what is missing, write results
    python -m benchmarks.audits.stopping --judge  judge the runs that are there, write results
    python -m benchmarks.audits.stopping --show   show the saved results

Training runs (see `stopping_plan`) on data sets of thirteen families, with constant, cosine, step and warm-up
schedules, with and without augmentation and BatchNorm, by SGD and AdamW, with 0 to 50 % wrong labels of
several kinds, fine-tuning among them. Each rule picks a checkpoint; its regret is how far the test accuracy
of that checkpoint is below the best checkpoint's.

- `trajectory`: as `cohaudit trajectory` advises. Nothing in it is fitted. Its form was chosen on the runs
  that are marked as `seen`; the others were trained or judged afterwards.
- `answers alone`, `crossed alone`: its two kinds of evidence; `agreement alone`, `true labels alone`: the two
  parts of the first one.
- `former rating`, `expected accuracy`: what it advised once, and the best predicted accuracy on new data.
- `patience`: the best epoch on a tenth of the samples held out, with as many wrong labels as the rest, of a
  run on the other nine tenths. The others need no holdout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.audits.stopping_crossed import crossed_accuracy
from benchmarks.audits.stopping_plan import SCHEDULES, plans
from benchmarks.audits.stopping_rules import PEERS, by_crossed, by_rating, former_rules
from benchmarks.audits.stopping_runs import Run, carry_out, load_run
from benchmarks.shared import paths
from benchmarks.shared.command_line import check_data_dir, make_parser
from benchmarks.shared.results import Row, read_rows, write_rows
from cohaudit.audits.training.rating import CrossedAccuracy

RESULTS = paths.RESULTS / "stopping.json"
OURS = "trajectory"
"""Name of our rule."""
PATIENCE = "patience on a holdout"
"""Name of the rule that needs a holdout."""
DRAWS = 4000
"""Times that the families are drawn anew for an interval."""
LEVEL = 0.9
"""Level of the intervals."""


def regret(test: Sequence[float], place: int) -> float:
    """Return by how many points a checkpoint is below the best one."""
    return 100 * (max(test) - test[place])


def judged(run: Run, crossed: CrossedAccuracy) -> Row:
    """Return what every rule picks, its regret, and the accuracies on the test set.

    Args:
        run: A finished run.
        crossed: How its checkpoints classify crossed samples.
    """
    former, expected = former_rules(run)
    plan = run.plan
    picks = {
        OURS: by_rating(run, crossed),
        "answers alone": by_rating(run, None),
        "crossed alone": by_crossed(crossed),
        "former rating": former,
        "expected accuracy": expected,
    }
    picks |= {name: rule(run) for name, rule in PEERS.items()}
    test = run.test.tolist()
    regrets = {name: regret(test, place) for name, place in picks.items()}
    return {
        "training": plan.name,
        "dataset": plan.data,
        "family": plan.family,
        "seed": plan.seed,
        "seen": plan.seen,
        "network": plan.network,
        "optimizer": "AdamW" if plan.adamw else "SGD",
        "schedule": plan.schedule,
        "augmentation": plan.augmentation,
        "noise": plan.noise,
        "wrong labels": float((run.labels != run.truth).mean()),
        "checkpoints": list(plan.checkpoints),
        "test": test,
        "picks": picks,
        "patience": run.patience,
        "regret": regrets | {PATIENCE: 100 * (max(test) - run.patience)},
    }


def interval(rows: Sequence[Row], name: str) -> tuple[float, float]:
    """Return the interval of a rule's mean regret when the families are drawn anew, LEVEL of the draws."""
    families = sorted({row["family"] for row in rows})
    parts = [np.array([row["regret"][name] for row in rows if row["family"] == one]) for one in families]
    totals, sizes = np.array([part.sum() for part in parts]), np.array([len(part) for part in parts])
    drawn = np.random.default_rng(0).integers(0, len(families), (DRAWS, len(families)))
    means = totals[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def show(rows: list[Row]) -> None:
    """Print every rule's mean and worst regret, by schedule, augmentation and noise, then every run."""
    families = sorted({row["family"] for row in rows})
    print(f"{len(rows)} runs of {len(families)} families: points below the best checkpoint")
    groups: list[tuple[str, Callable[[Row], bool]]] = [("all", lambda _: True)]
    groups += [("seen", lambda row: row["seen"]), ("unseen", lambda row: not row["seen"])]
    groups += [(schedule, _of_schedule(schedule)) for schedule in SCHEDULES]
    groups.append(("augmented", lambda row: row["augmentation"]))
    groups.append(("no wrong label", lambda row: row["wrong labels"] == 0))
    parts = [(title, [row for row in rows if belongs(row)]) for title, belongs in groups]
    titles = " ".join(f"{title} ({len(own)})".rjust(19) for title, own in parts if own)
    print(f"{'rule':28} {'90%':>12} {'worst':>6} {titles}")
    for name in rows[0]["regret"]:
        low, high = interval(rows, name)
        worst = max(row["regret"][name] for row in rows)
        means = " ".join(f"{np.mean([row['regret'][name] for row in own]):19.2f}" for _, own in parts if own)
        print(f"{name:28} {low:5.2f} to {high:4.2f} {worst:6.1f} {means}")
    for family in families:
        own = [row["regret"][OURS] for row in rows if row["family"] == family]
        print(f"{family}: {np.mean(own):.2f}, worst {max(own):.1f}, {len(own)} runs")
    kept = sum(row["picks"][OURS] == len(row["test"]) - 1 for row in rows)
    clean = sum(row["wrong labels"] == 0 for row in rows)
    augmented = sum(row["augmentation"] for row in rows)
    print(f"{OURS} keeps the last checkpoint in {kept} of {len(rows)} runs")
    print(f"{clean} runs have no wrong label, {augmented} are augmented")
    for row in rows:
        place = row["picks"][OURS]
        print(
            f"{row['training']}: epoch {row['checkpoints'][place]} {row['test'][place]:.1%}, best "
            f"{max(row['test']):.1%}, last {row['test'][-1]:.1%}, {row['regret'][OURS]:.1f} points below"
        )


def _of_schedule(schedule: str) -> Callable[[Row], bool]:
    return lambda row: bool(row["schedule"] == schedule)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--judge", action="store_true", help="judge the finished runs; train nothing")
    args = parser.parse_args(arguments)
    if not args.show:
        check_data_dir(parser, args.data_dir)
        if not args.judge:
            for plan in plans():
                carry_out(plan, args.data_dir)
        rows = [
            judged(load_run(plan), crossed_accuracy(plan, args.data_dir))
            for plan in plans()
            if plan.file.exists()
        ]
        write_rows(RESULTS, rows)
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
