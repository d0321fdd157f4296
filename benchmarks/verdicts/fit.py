"""The constants of the labels verdict, chosen by some data sets.

    python -m benchmarks.verdicts.fit    what all data sets together choose, and how far one of them moves it

Four choices, one after the other: weight and power of the pool by the mean of AUROC and average precision;
how much of the disputed labels must be wrong for a list; what is added to the log-odds; the bounds of the
share. Families of data sets count the same, or by the root of their size where a choice needs many lists.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.shared.command_line import make_parser
from benchmarks.verdicts.cells import cells
from benchmarks.verdicts.opinions import OURS, Opinions, log_odds, opinions_of, ranking
from benchmarks.verdicts.runs import load_run
from cohaudit.analysis.label_verdict import (
    MAX_LOG_ODDS,
    SHARE_SLACK,
    Calibration,
    LabelVerdict,
    judge_labels,
)

Array = NDArray[np.float64]

WEIGHTS = (1.0, 2.0, 4.0)
"""Weights of outside predictions to choose from."""
POWERS = (1.0, 2.0, 4.0)
"""Powers of 1 − r to choose from."""
DETERMINED = (0.3, 0.4, 0.5, 0.6)
"""Smallest parts of the disputed labels that have to be wrong, to choose from."""
RIGHT_LISTS = 0.8
"""Share of the lists whose claimed precision should be right."""
CLAIM_ERROR = 0.05
"""Error up to which a claimed precision is right."""
LONG_LIST = 30
"""Suspects from which on a list's precision can be compared with the claimed one."""
TAIL = 0.05
"""Probability beyond each bound of the share."""
OFFSETS = tuple(round(0.05 * step, 2) for step in range(31))
"""Offsets of the log-odds to choose from, in nats."""
NOTHING_KNOWN = Calibration(0.0, 0.0, (0.0, 1.0), 1.0)
"""Calibration that leaves the fit as it is."""


@dataclass(frozen=True)
class Constants:
    """What is chosen.

    Attributes:
        weight: Weight of outside predictions.
        power: Power of 1 − r.
        calibration: Calibration of the verdict.
    """

    weight: float
    power: float
    calibration: Calibration


class Chooser:
    """Chooses constants; what does not depend on the choice is computed once.

    Args:
        judged: Checkpoints with known wrong labels.
        variant: What the pool is made from.
    """

    def __init__(self, judged: Sequence[Opinions], variant: str) -> None:
        self._judged = judged
        self._variant = variant
        self._qualities: dict[tuple[float, float], list[float]] = {}
        self._verdicts: dict[tuple[float, float], list[LabelVerdict]] = {}

    def choose(self, family: str | None) -> Constants:
        """Return what all families but one choose; all of them for None."""
        known = [i for i, one in enumerate(self._judged) if one.family != family]
        grid = list(itertools.product(WEIGHTS, POWERS))
        best = max(grid, key=lambda pair: self._mean_by_family(known, self._quality(pair)))
        verdicts = self._verdicts_by(best)
        chosen = [(self._judged[i], verdicts[i]) for i in known]
        options = [(least, _offset(chosen, least)) for least in DETERMINED]
        good = [pair for pair in options if _right_claims(chosen, *pair) >= RIGHT_LISTS]
        least, offset = good[0] if good else options[-1]
        return Constants(*best, Calibration(offset, least, *_share_bounds(chosen, least)))

    def _mean_by_family(self, known: Iterable[int], values: Sequence[float]) -> float:
        by_family: dict[str, list[float]] = {}
        for i in known:
            if not np.isnan(values[i]):
                by_family.setdefault(self._judged[i].family, []).append(values[i])
        return float(np.mean([np.mean(own) for own in by_family.values()]))

    def _quality(self, pair: tuple[float, float]) -> list[float]:
        """Return the sum of AUROC and average precision of each checkpoint; NaN where no label is wrong."""
        if pair not in self._qualities:
            self._qualities[pair] = []
            for one in self._judged:
                score = log_odds(one.pool(self._variant, *pair), one.labels)
                found = ranking(score, one.wrong)
                values = [float("nan") if value is None else value for value in found.values()]
                self._qualities[pair].append(sum(values))
        return self._qualities[pair]

    def _verdicts_by(self, pair: tuple[float, float]) -> list[LabelVerdict]:
        if pair not in self._verdicts:
            self._verdicts[pair] = [
                judge_labels(one.pool(self._variant, *pair), one.labels, NOTHING_KNOWN)
                for one in self._judged
            ]
        return self._verdicts[pair]


Judged = Sequence[tuple[Opinions, LabelVerdict]]


def _weights(chosen: Judged) -> Array:
    """Return the weight of each checkpoint: one over the root of the size of its family."""
    families = [one.family for one, _ in chosen]
    return np.array([families.count(name) ** -0.5 for name in families])


def _claim_errors(chosen: Judged, least: float, offset: float) -> tuple[Array, Array]:
    """Return claimed minus true precision of each long list, and the list's weight."""
    errors = []
    kept = []
    for weight, (one, verdict) in zip(_weights(chosen), chosen, strict=True):
        p = 1 / (1 + np.exp(np.clip(verdict.evidence, -MAX_LOG_ODDS, MAX_LOG_ODDS) - offset))
        listed = p >= 0.5
        if verdict.determined >= least and listed.sum() >= LONG_LIST:
            errors.append(float(p[listed].mean() - one.wrong[listed].mean()))
            kept.append(float(weight))
    return np.array(errors), np.array(kept)


def _offset(chosen: Judged, least: float) -> float:
    """Return what added to the log-odds makes the claimed precision of the lists truest, on average."""

    def mean_error(offset: float) -> float:
        errors, weights = _claim_errors(chosen, least, offset)
        return float(np.average(np.abs(errors), weights=weights)) if len(errors) else np.inf

    return min(OFFSETS, key=mean_error)


def _right_claims(chosen: Judged, least: float, offset: float) -> float:
    """Return the share of long lists whose claimed precision is right."""
    errors, _ = _claim_errors(chosen, least, offset)
    return float(np.mean(np.abs(errors) <= CLAIM_ERROR)) if len(errors) else 0.0


def _share_bounds(chosen: Judged, least: float) -> tuple[tuple[float, float], float]:
    """Return the factors that bound the share where it can be told, and the largest one elsewhere."""
    told = np.array([verdict.determined >= least for _, verdict in chosen])
    true = np.array([one.wrong.mean() for one, _ in chosen])
    fitted = np.array([verdict.fitted for _, verdict in chosen])
    disputed = np.array([max(verdict.disputed, SHARE_SLACK) for _, verdict in chosen])
    weights = _weights(chosen)
    ratio = (true + SHARE_SLACK) / (fitted + SHARE_SLACK)
    low = _quantile(ratio[told], weights[told], TAIL)
    high = _quantile(ratio[told], weights[told], 1 - TAIL)
    # planted noise says nothing of how often people are wrong where nobody can tell
    real = np.array([one.cell.human for one, _ in chosen]) & ~told
    # one-sided, so that both tails lie above it
    return (low, high), _quantile((true / disputed)[real], weights[real], 1 - 2 * TAIL)


def _quantile(values: Array, weights: Array, share: float) -> float:
    order = np.argsort(values)
    mass = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(mass, share)), len(values) - 1)])


def load_opinions() -> list[Opinions]:
    """Return what the finished runs say."""
    found = []
    for cell in cells():
        if cell.file.exists():
            run = load_run(cell)
            found += [opinions_of(run, name, stage) for name, stage in run.stages.items()]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the constants that all data sets choose, and those without each family; return the exit code."""
    make_parser(__doc__).parse_args(arguments)
    judged = load_opinions()
    chooser = Chooser(judged, OURS)
    for family in [None, *sorted({one.family for one in judged})]:
        print(f"{'without ' + family if family else 'by all'}: {chooser.choose(family)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
