"""At which checkpoint should training have stopped? Rules that need no holdout, and patience on a holdout.

    python -m benchmarks.audits.stopping          train and measure what is missing, write results
    python -m benchmarks.audits.stopping --judge  judge the runs that are there, write results
    python -m benchmarks.audits.stopping --show   show the saved results

Training runs (see `stopping_plan`) on data sets of twelve families, with constant, cosine, step and warm-up
schedules, with and without augmentation and BatchNorm, by SGD and AdamW, with 0 to 50 % wrong labels of
several kinds, fine-tuning among them. Each rule picks a checkpoint; its regret is how far the test accuracy
of that checkpoint is below the best checkpoint's.

- `trajectory`: as `cohaudit trajectory` advises, with `TRUST_POWER` chosen on the other families.
- `former rating`, `expected accuracy`: what it advised before, and the best predicted accuracy on new data.
- `agreement alone`, `true labels alone`: each of the two parts of the rating.
- `patience`: the best epoch on a tenth of the samples held out, with as many wrong labels as the rest, of a
  run on the other nine tenths. The others need no holdout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.audits.stopping_plan import SCHEDULES, Plan, plans
from benchmarks.audits.stopping_rules import PEERS, by_rating, former_rules
from benchmarks.audits.stopping_runs import Run, carry_out, load_run
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, write_rows

RESULTS = paths.RESULTS / "stopping.json"
OURS = "trajectory"
"""Name of our rule."""
PATIENCE = "patience on a holdout"
"""Name of the rule that needs a holdout."""
POWERS = (0.25, 0.35, 0.5, 0.6, 0.75, 1.0)
"""Values of `TRUST_POWER` that are tried."""


def regret(test: Sequence[float], place: int) -> float:
    """Return by how many points a checkpoint is below the best one."""
    return 100 * (max(test) - test[place])


def judged(run: Run) -> Row:
    """Return what every rule picks, and the accuracies on the test set; ours for every constant tried."""
    former, expected = former_rules(run)
    plan = run.plan
    picks = {f"{OURS}, {power}": by_rating(power)(run) for power in POWERS}
    picks |= {"former rating": former, "expected accuracy": expected}
    picks |= {name: rule(run) for name, rule in PEERS.items()}
    return {
        "training": plan.name,
        "dataset": plan.data,
        "family": plan.family,
        "network": plan.network,
        "optimizer": "AdamW" if plan.adamw else "SGD",
        "schedule": plan.schedule,
        "augmentation": plan.augmentation,
        "noise": plan.noise,
        "wrong labels": float((run.labels != run.truth).mean()),
        "checkpoints": list(plan.checkpoints),
        "test": run.test.tolist(),
        "picks": picks,
        "patience": run.patience,
    }


def with_left_out(rows: list[Row]) -> list[Row]:
    """Add what our rule picks with the constant that the other families choose, and every rule's regret."""
    chosen = {family: _best_power(rows, family) for family in {row["family"] for row in rows}}
    out = []
    for row in rows:
        power = chosen[row["family"]]
        picks = {OURS: row["picks"][f"{OURS}, {power}"]} | row["picks"]
        regrets = {name: regret(row["test"], place) for name, place in picks.items()}
        regrets[PATIENCE] = 100 * (max(row["test"]) - row["patience"])
        out.append(
            row | {"picks": picks, "left_out": {"family": row["family"], "power": power}, "regret": regrets}
        )
    return out


def _best_power(rows: list[Row], family: str) -> float:
    others = [row for row in rows if row["family"] != family]

    def cost(power: float) -> float:
        return float(np.mean([regret(row["test"], row["picks"][f"{OURS}, {power}"]) for row in others]))

    return min(POWERS, key=cost)


def show(rows: list[Row]) -> None:
    """Print every rule's mean and worst regret, by schedule, augmentation and noise, then every run."""
    names = [name for name in rows[0]["regret"] if not name.startswith(f"{OURS}, ")]
    families = {row["family"] for row in rows}
    print(f"{len(rows)} runs of {len(families)} families: points below the best checkpoint")
    groups: list[tuple[str, Callable[[Row], bool]]] = [("all", lambda _: True)]
    groups += [(schedule, _of_schedule(schedule)) for schedule in SCHEDULES]
    groups.append(("augmented", lambda row: row["augmentation"]))
    groups.append(("no wrong label", lambda row: row["wrong labels"] == 0))
    parts = [(title, [row for row in rows if belongs(row)]) for title, belongs in groups]
    print(f"{'rule':28} {'worst':>6} " + " ".join(f"{title} ({len(own)})".rjust(19) for title, own in parts))
    for name in names:
        worst = max(row["regret"][name] for row in rows)
        means = " ".join(f"{np.mean([row['regret'][name] for row in own]):19.2f}" for _, own in parts if own)
        print(f"{name:28} {worst:6.1f} {means}")
    for power in POWERS:
        regrets = [row["regret"][f"{OURS}, {power}"] for row in rows]
        print(f"power {power}: mean {np.mean(regrets):.2f}, worst {max(regrets):.1f} (chosen on all runs)")
    for row in rows:
        place = row["picks"][OURS]
        print(
            f"{row['training']}: epoch {row['checkpoints'][place]} {row['test'][place]:.1%}, best "
            f"{max(row['test']):.1%}, last {row['test'][-1]:.1%}, power {row['left_out']['power']}"
        )


def _of_schedule(schedule: str) -> Callable[[Row], bool]:
    return lambda row: bool(row["schedule"] == schedule)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--judge", action="store_true", help="judge the finished runs; train nothing")
    args = parser.parse_args(arguments)
    if not args.show:
        if not args.judge:
            if not args.data_dir.is_dir():
                parser.error(f"{args.data_dir} does not exist: name the folder of the data with --data-dir")
            for plan in plans():
                carry_out(plan, args.data_dir)
        write_rows(RESULTS, with_left_out([judged(load_run(plan)) for plan in _finished()]))
    show(read_rows(RESULTS))
    return 0


def _finished() -> list[Plan]:
    return [plan for plan in plans() if plan.file.exists()]


if __name__ == "__main__":
    raise SystemExit(main())
