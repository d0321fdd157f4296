"""Measures by networks trained again: out of fold, against another seed, against earlier checkpoints.

All of them look at training samples alone, but for two rows that have the test samples without their labels:
the disagreement of two runs on new data is about their error there (Jiang et al., arXiv 2106.13799), which a
scan has no data for. On its training samples two fitted networks hardly disagree; on disturbed ones they do.

N samples, C classes; larger is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.same_data.measures import Shared, softmax
from benchmarks.same_data.ranking import Pair, combined, differences, interval, tau
from benchmarks.shared.results import Row, read_json

Array = NDArray[np.float64]
Classes = NDArray[np.int64]
DISTURBED = ("mix same", "mix other", "mix near", "mix half", "natural", "noise 0.1", "noise 0.3")
"""Disturbances of the inputs, which are the same for all networks of a cell."""
FOLDS = 5
"""Folds of the refitted head."""
RIDGE = 0.1
"""Regularization of the refitted head, on rows of length 1."""
OURS = "flatness"
"""Measure that a scan takes, which the others are compared with on the same pairs."""
OUT_OF_FOLD = "out of fold, label"
"""Measure: share of the labels that networks trained on the other half of the samples answer."""
TRAINED_AGAIN = ("out of fold", "second seed", "earlier checkpoint", "refitted head", "discrepancy")
"""Beginnings of the measures' names."""
COMBINED = (
    (OURS, OUT_OF_FOLD),
    (OURS, OUT_OF_FOLD, "leave-one-out, first hidden layer"),
    (OURS, "second seed, all disturbances"),
    (OURS, "earlier checkpoint (three quarters), all disturbances"),
)
"""Measures that are combined by logistic regression."""


def measures_again(folder: Path, place: int, arrays: dict[str, NDArray[Any]], shared: Shared) -> Row:
    """Return the measures of a network, as far as it was trained again.

    Args:
        folder: Folder of its cell.
        place: Its place among the recipes.
        arrays: What `evidence.arrays_of` returned.
        shared: What the networks of the cell have in common.
    """
    found: Row = {
        "refitted head, five folds": folds_of_head(arrays["features"].astype(np.float64), shared.labels)
    }
    halves, second, earlier = (
        _saved(folder / f"{place}.{kind}.npz") for kind in ("halves", "second", "earlier")
    )
    if halves:
        probability = softmax(halves["logits"])
        own = probability[np.arange(len(shared.labels)), shared.labels]
        found[OUT_OF_FOLD] = float(np.mean(probability.argmax(1) == shared.labels))
        found["out of fold, log-probability of the label"] = float(np.log(own + 1e-3).mean())
        found["out of fold, raw data"] = float(np.mean(probability.argmax(1) == shared.outside.argmax(1)))
    if second:
        found |= _agreement("second seed", arrays, second)
    if earlier and bool(earlier["same run"]):
        for name in ("half", "three quarters"):
            part = {key.removeprefix(f"{name}: "): value for key, value in earlier.items()}
            found |= _agreement(f"earlier checkpoint ({name})", arrays, part)
    discrepancy = folder / f"{place}.discrepancy.json"
    if discrepancy.exists():
        found |= {f"discrepancy, {name}": -value for name, value in read_json(discrepancy).items()}
    return found


def _saved(path: Path) -> dict[str, NDArray[Any]]:
    if not path.exists():
        return {}
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _agreement(name: str, own: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> Row:
    """Return how often two networks give the same answer to disturbed samples, and to new ones."""
    found: Row = {
        f"{name}, {disturbance}": float(
            np.mean(own[f"on {disturbance}"].argmax(1) == other[f"on {disturbance}"].argmax(1))
        )
        for disturbance in DISTURBED
    }
    found[f"{name}, all disturbances"] = float(np.mean(list(found.values())))
    found[f"{name}, new samples"] = float(np.mean(own["test predicted"] == other["test predicted"]))
    return found


def folds_of_head(features: Array, labels: Classes) -> float:
    """Return the accuracy of a head that is fitted to four fifths of the samples, on the others.

    It is a ridge regression on the last layer's input, centered and scaled to length 1. The layers below have
    seen all labels.

    Args:
        features: Input of the last layer, [N, F].
        labels: As given, [N].
    """
    order = np.random.default_rng(0).permutation(len(labels))
    classes = int(labels.max()) + 1
    right = 0
    for fold in np.array_split(order, FOLDS):
        rest = np.setdiff1d(order, fold)
        mean = features[rest].mean(0)
        x, held = (features[some] - mean for some in (rest, fold))
        x, held = (
            rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (x, held)
        )
        y = np.eye(classes)[labels[rest]]
        share = y.mean(0)
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (y - share))
        right += int(np.sum((held @ weights + share).argmax(1) == labels[fold]))
    return right / len(labels)


def rows_again(pairs: Sequence[Pair]) -> list[Row]:
    """Return each measure's τ where it is known, with that of flatness on the same pairs.

    Args:
        pairs: All pairs of fitted networks.
    """
    names = dict.fromkeys(
        name for pair in pairs for name in pair.first.measures if name.startswith(TRAINED_AGAIN)
    )
    rows = [_row(name, differences(pairs, name), pairs) for name in names]
    for together in COMBINED:
        columns = np.stack([differences(pairs, name) for name in together], 1)
        known = np.flatnonzero(np.isfinite(columns).all(1))
        if len(known):
            some = [pairs[place] for place in known.tolist()]
            scores = np.full(len(pairs), np.nan)
            scores[known] = combined(columns[known], some) - 0.5
            rows.append(_row(" and ".join(together), scores, pairs))
    return rows


def _row(name: str, scores: Array, pairs: Sequence[Pair]) -> Row:
    known = np.flatnonzero(np.isfinite(scores))
    some = [pairs[place] for place in known.tolist()]
    own = scores[known]
    flat = differences(some, OURS)
    low, high = interval(own, some)
    better_low, better_high = interval(np.sign(own), some, minus=np.sign(flat))
    return {
        "measure": name,
        "pairs": len(some),
        "cells": len({pair.first.cell for pair in some}),
        "families": len({pair.first.family for pair in some}),
        "tau": tau(own, some),
        "low": low,
        "high": high,
        "flatness": tau(flat, some),
        "better_low": better_low,
        "better_high": better_high,
    }
