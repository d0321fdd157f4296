"""What do a few dozen reviewed labels tell, if the scan is right, and if it is wrong?

    python -m benchmarks.detection.reviews           simulate reviews, save and show
    python -m benchmarks.detection.reviews --show    show the saved results

Each world has a share of wrong labels, evidence that separates them from the right ones by some standard
deviations or not at all, and a part of the wrong labels that no evidence finds. The scan's probabilities are
the right ones, or ten times too large or too small in their odds, too sure, zero, or unrelated to the truth.
A simulated person answers the questions of `cohaudit.analysis.review_design` truthfully, and
`cohaudit.analysis.review_calibration` does the rest; three simpler ways use the same answers. No data and no
training are needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import isotonic_regression

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, read_rows, write_rows
from cohaudit.analysis.review_calibration import Reviews, calibrate_by_reviews
from cohaudit.analysis.review_design import design_review

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

RESULTS = paths.RESULTS / "reviews.json"
SAMPLES = 2000
COUNTS = (30, 50)
"""Numbers of reviewed labels."""
SHARES = (0.0, 0.02, 0.1, 0.3, 0.5)
"""Shares of wrong labels."""
SEPARATIONS = ((4.0, 0.0), (1.5, 0.0), (4.0, 0.5), (1.5, 0.5), (0.0, 0.0))
"""Standard deviations between the evidence of right and of wrong labels, and the share of the wrong labels
whose evidence is that of right ones."""
THRESHOLD = 0.5
"""Suspicion from which a sample is a suspect: the default."""
SMALLEST_LIST = 30
"""Suspects from which on a list's precision is compared with the claimed one."""
BINS = 10
"""Bins of equal size of the expected calibration error."""


@dataclass(frozen=True)
class World:
    """A simulated data set, N samples."""

    wrong: Bools
    """Which labels are wrong, [N]."""
    evidence: Array
    """Evidence for each label: the lower, the more suspicious, [N]."""
    posterior: Array
    """Probability that each label is wrong, given the evidence, [N]."""


def make_world(share: float, separation: float, hidden: float, seed: int) -> World:
    """Return a world; see `SHARES` and `SEPARATIONS`."""
    generator = np.random.default_rng([seed, int(1000 * share), int(10 * separation), int(10 * hidden)])
    wrong = generator.random(SAMPLES) < share
    found = wrong & (generator.random(SAMPLES) >= hidden)
    doubt = generator.normal(size=SAMPLES) + separation * found
    ratio = (1 - hidden) * np.exp(separation * doubt - separation**2 / 2) + hidden
    return World(wrong, -doubt, share * ratio / (share * ratio + 1 - share))


def scans(world: World, seed: int) -> Iterator[tuple[str, Array, Array]]:
    """Yield name, probabilities and evidence of each scan of a world."""
    generator = np.random.default_rng([seed, 1])
    p = np.clip(world.posterior, 1e-6, 1 - 1e-6)
    odds = p / (1 - p)
    yield "right", p, world.evidence
    for name, factor in (("odds × 10", 10.0), ("odds / 10", 0.1)):
        yield name, factor * odds / (1 + factor * odds), world.evidence
    center = p.mean() / (1 - p.mean())
    sharp = center * (odds / center) ** 3
    yield "too sure", np.minimum(sharp / (1 + sharp), 1.0), world.evidence
    yield "zero", np.zeros(SAMPLES), world.evidence
    # as many high probabilities as if half of the labels could be told, for the wrong samples
    loose = np.exp(2 * generator.normal(size=SAMPLES)) * 0.2
    yield "unrelated", loose / (1 + loose), generator.normal(size=SAMPLES)


def calibration_error(probability: Array, wrong: Bools) -> float:
    """Return the expected calibration error over bins of equal size.

    Args:
        probability: Probability that each label is wrong, [N].
        wrong: Whether it is, [N].
    """
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, BINS)
    return sum(abs(probability[b].mean() - wrong[b].mean()) * len(b) for b in parts) / len(order)


@dataclass(frozen=True)
class Estimated:
    """What a way of using the answers says."""

    probability: Array
    """Of each label, [N]."""
    low: float
    """Lower end of the share's interval."""
    high: float
    """Its upper end."""


Method = Callable[[Array, Array, Reviews, int], Estimated]
"""Takes probabilities, evidence, answers and a seed."""


def calibrated(probability: Array, evidence: Array, reviews: Reviews, seed: int) -> Estimated:
    """Calibrate as a scan does."""
    found = calibrate_by_reviews(probability, evidence, reviews, THRESHOLD, seed)
    return Estimated(found.probability, found.share.low, found.share.high)


def platt(probability: Array, evidence: Array, reviews: Reviews, seed: int) -> Estimated:
    """Fit offset and slope of the log-odds with a weak ridge, by Newton's method; there is no interval."""
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    x = np.stack([np.ones(len(p)), np.log(p / (1 - p))], axis=1)
    at, y = x[reviews.samples], reviews.wrong
    start = np.array([0.0, 1.0])
    ridge = np.array([0.1, 0.5])
    weights = start.copy()
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(at @ weights, -30, 30)))
        gradient = at.T @ (y - fitted) - ridge * (weights - start)
        curvature = (at * (fitted * (1 - fitted))[:, None]).T @ at + np.diag(ridge)
        weights = weights + np.clip(np.linalg.solve(curvature, gradient), -1, 1)
    return Estimated(1 / (1 + np.exp(-np.clip(x @ weights, -30, 30))), np.nan, np.nan)


def isotonic(probability: Array, evidence: Array, reviews: Reviews, seed: int) -> Estimated:
    """Fit a falling step function of the rank to the answers; there is no interval."""
    order = np.lexsort((evidence, -probability))
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order))
    asked = np.argsort(rank[reviews.samples])
    steps = isotonic_regression(reviews.wrong[asked].astype(np.float64), increasing=False)
    found = np.interp(rank, rank[reviews.samples][asked], steps.x)
    return Estimated(found, np.nan, np.nan)


def unreviewed(probability: Array, evidence: Array, reviews: Reviews, seed: int) -> Estimated:
    """Believe the scan."""
    return Estimated(probability, np.nan, np.nan)


METHODS: dict[str, Method] = {
    "no review": unreviewed,
    "Platt scaling": platt,
    "isotonic": isotonic,
    "cohaudit": calibrated,
}


def review(method: str, wrong: Bools, scan: tuple[Array, Array], count: int, seed: int) -> Row:
    """Review some labels, and return how right the method's conclusions are.

    Args:
        method: One of `METHODS`.
        wrong: Which labels are wrong, [N].
        scan: Probability and evidence of each label, [N] each.
        count: Labels to review.
        seed: Seed of the questions.
    """
    probability, evidence = scan
    asked = design_review(probability, evidence, count, seed).samples
    found = METHODS[method](probability, evidence, Reviews(asked, wrong[asked]), seed)
    suspects = found.probability >= THRESHOLD
    listed = int(suspects.sum())
    off = abs(found.probability[suspects].mean() - wrong[suspects].mean()) if listed else 0.0
    return {
        "ece": calibration_error(found.probability, wrong),
        "covered": float(found.low <= wrong.mean() <= found.high),
        "width": found.high - found.low,
        "suspects": listed,
        "precision_error": off if listed >= SMALLEST_LIST else np.nan,
    }


def simulate(repeats: int) -> Iterator[Row]:
    """Yield the means over some repeats, for each world, scan, number of answers and method."""
    for share, (separation, hidden) in itertools.product(SHARES, SEPARATIONS):
        if share == 0 and (separation, hidden) != SEPARATIONS[-1]:
            continue
        about = {"share": share, "separation": separation, "hidden": hidden}
        found = []
        for seed in range(repeats):
            world = make_world(share, separation, hidden, seed)
            for scan, *claims in scans(world, seed):
                for count, method in itertools.product(COUNTS, METHODS):
                    figures = review(method, world.wrong, (claims[0], claims[1]), count, seed)
                    found.append({"scan": scan, "answers": count, "method": method} | figures)
        means = pd.DataFrame(found).groupby(["scan", "answers", "method"], sort=False).mean().round(4)
        for row in means.reset_index().to_dict("records"):
            yield about | {str(k): None if v != v else v for k, v in row.items()} | {"repeats": repeats}


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the calibration error by method, and the intervals' coverage."""
    table = pd.DataFrame(rows)
    printed = Table("answers", "method", title="calibration error, mean (worst world)")
    for share in SHARES:
        printed.add_column(f"{share:.0%} wrong", justify="right")
    printed.add_column("worlds ≤ .05", justify="right")
    for count, method in itertools.product(COUNTS, METHODS):
        own = table[(table["answers"] == count) & (table["method"] == method)]
        by_share = own.groupby("share")["ece"]
        cells = [f"{by_share.mean()[s]:.3f} ({by_share.max()[s]:.3f})" for s in SHARES]
        printed.add_row(str(count), method, *cells, f"{(own['ece'] <= 0.05).mean():.0%}")
    console.print(printed)
    printed = Table("answers", title="90 % interval of the share: coverage (worst world), mean width")
    for share in SHARES:
        printed.add_column(f"{share:.0%} wrong", justify="right")
    for count in COUNTS:
        own = table[(table["answers"] == count) & (table["method"] == "cohaudit")].groupby("share")
        covered, width = own["covered"], own["width"].mean()
        cells = [f"{covered.mean()[s]:.2f} ({covered.min()[s]:.2f}), {width[s]:.3f}" for s in SHARES]
        printed.add_row(str(count), *cells)
    console.print(printed)
    lists = table[table["precision_error"].notna()].groupby(["answers", "method"])["precision_error"]
    for (count, method), error in lists.mean().items():
        console.print(f"{count} answers, {method}: claimed precision of a list off by {error:.3f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    parser.add_argument("--repeats", type=int, default=12, help="simulated reviews of each world")
    args = parser.parse_args(arguments)
    rows = read_rows(RESULTS) if args.show else list(simulate(args.repeats))
    if not args.show:
        write_rows(RESULTS, rows)
    show(rows, Console(width=130))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
