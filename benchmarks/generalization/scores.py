"""How well a measure ranks networks by their generalization gap: the scores of the literature.

A table has one row per network: `family`, `gap`, the levels of all factors, and one column per measure,
larger for a larger expected gap. Missing measures are left out pair by pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

Array = NDArray[np.float64]


def kendall(table: pd.DataFrame, measure: str, gap: str = "gap") -> float:
    """Return Kendall's τ-b with the gap."""
    known = table[[measure, gap]].dropna()
    return float(kendalltau(known[measure], known[gap]).statistic) if len(known) > 2 else float("nan")


def spearman(table: pd.DataFrame, measure: str, gap: str = "gap") -> float:
    """Return Spearman's rank correlation with the gap."""
    known = table[[measure, gap]].dropna()
    return float(spearmanr(known[measure], known[gap]).statistic) if len(known) > 2 else float("nan")


def granulated(table: pd.DataFrame, measure: str, factors: Sequence[str]) -> dict[str, float]:
    """Return Kendall's τ per factor, over the pairs of a family that differ in this factor alone.

    Their mean is Ψ of Jiang et al. (arXiv 1912.02178, eq. 5). A factor without pairs is left out.
    """
    signs: dict[str, list[float]] = {factor: [] for factor in factors}
    for _, family in table.dropna(subset=[measure]).groupby("family"):
        levels = family[list(factors)].to_numpy()
        for i, j in combinations(range(len(family)), 2):
            different = [f for f, a, b in zip(factors, levels[i], levels[j], strict=True) if a != b]
            if len(different) == 1:
                difference = family[[measure, "gap"]].iloc[i] - family[[measure, "gap"]].iloc[j]
                signs[different[0]].append(float(np.sign(difference[measure] * difference["gap"])))
    return {factor: float(np.mean(found)) for factor, found in signs.items() if found}


def conditional_information(table: pd.DataFrame, measure: str, factors: Sequence[str]) -> float:
    """Return PGDL's score in percent: what a measure tells about the gap whatever factors are known.

    Of two networks of a family, let V be the sign of the measure's difference and G that of the gap's. The
    score is the smallest I(V; G | U) / H(G | U) over all sets of at most two factors in which the two agree,
    U their levels (Jiang et al., NeurIPS 2020 Competition Track, section 3).
    """
    pairs = list(_pairs(table.dropna(subset=[measure]), measure, factors))
    if not pairs:
        return float("nan")
    rises = np.array([[v, g] for v, g, _ in pairs])
    levels = [common for *_, common in pairs]
    sets = [(), *combinations(range(len(factors)), 1), *combinations(range(len(factors)), 2)]
    return 100 * min(_information(rises, levels, chosen) for chosen in sets)


def _pairs(
    table: pd.DataFrame, measure: str, factors: Sequence[str]
) -> Iterator[tuple[bool, bool, tuple[object, ...]]]:
    """Yield for each pair of a family both signs, and each factor's level, None where the two differ."""
    for _, family in table.groupby("family"):
        values = family[measure].to_numpy()
        gaps = family["gap"].to_numpy()
        levels = family[list(factors)].to_numpy()
        for i, j in combinations(range(len(family)), 2):
            if values[i] != values[j] and gaps[i] != gaps[j]:
                common = tuple(a if a == b else None for a, b in zip(levels[i], levels[j], strict=True))
                yield bool(values[i] > values[j]), bool(gaps[i] > gaps[j]), common


def _information(
    rises: NDArray[np.bool_], levels: Sequence[tuple[object, ...]], chosen: Sequence[int]
) -> float:
    """Return I(V; G | U) / H(G | U) for one set of factors."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for row, common in enumerate(levels):
        key = tuple(common[f] for f in chosen)
        if None not in key:
            groups.setdefault(key, []).append(row)
    shared = entropy = 0.0
    for rows in groups.values():
        joint = np.zeros((2, 2))
        for v, g in rises[rows]:
            # each pair is also its mirror image: which of the two comes first means nothing
            joint[int(v), int(g)] += 1
            joint[1 - int(v), 1 - int(g)] += 1
        joint /= joint.sum()
        both, first, second = (_entropy(p) for p in (joint.ravel(), joint.sum(1), joint.sum(0)))
        shared += len(rows) * (first + second - both)
        entropy += len(rows) * second
    return shared / entropy if entropy else float("nan")


def _entropy(probability: Array) -> float:
    positive = probability[probability > 0]
    return float(-(positive * np.log2(positive)).sum())


def coverage(gap: Array, low: Array, high: Array) -> float:
    """Return the share of gaps inside their intervals."""
    return float(np.mean((gap >= low) & (gap <= high)))
