"""Labels predicted from the columns of a table: trees, which need no scaling and take missing values.

Arrays: N samples, D columns, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit.analysis.outside_views.features import predict_from_features, standardized
from cohaudit.analysis.outside_views.folds import random_folds
from cohaudit.analysis.outside_views.view import Array, Integers, OutsideView, PooledViews
from cohaudit.analysis.score_rows import ScoreRows, blank, stored
from cohaudit.arrays import blocks_of, release

TREES = 200
"""Trees of the forest: each sample is outside the bootstrap of about 74 of them; 100 were a little worse."""
MAX_FOREST_CLASSES = 400
"""Classes up to which there is a forest. With more, each tree has fewer samples of a class than a leaf takes,
and the most of the time of a scan: on 1,000 classes in 128 columns, ridge regression alone was better."""
LEAF = 5
"""Samples in a leaf at least: with wrong labels around, leaves of one sample were much worse (AUROC .88
instead of .94 on census rows)."""
TRAINING_ROWS = 10_000
"""Samples that a tree, or a fold's boosting, is trained on at most: the cost then grows with the
predictions alone."""
FOREST_WORK = 2_000_000
"""Samples times classes times columns tried at a split beyond which the forest's trees get fewer samples:
about 15 seconds of one core."""
SMALLEST_BOOTSTRAP = 2_000
"""Samples that a tree of the forest gets in any case."""
FOLDS = 5
"""Folds of the boosting."""
ITERATIONS = 60
"""Rounds of boosting: few and small trees, which cannot fit single wrong labels; 100 rounds of 31 leaves were
worse (AUROC .90 instead of .94 on census rows)."""
LEAVES = 8
"""Leaves of a tree of the boosting."""
SMALLEST_TREE = 200_000
"""Numbers below which a tree of the boosting takes no less time."""
BOOSTING_WORK = 2_000_000
"""Numbers times trees in a round of boosting beyond which it is left out: about ten seconds of one core."""
WIDE = 128
"""Columns from which rows are also compared as vectors, where boosting is left out: no single column of an
embedding says much."""


def predict_from_columns(
    columns: NDArray[np.floating], labels: Integers, classes: int, seed: int
) -> OutsideView:
    """Predict each sample's label from the rows of other samples.

    A random forest, where each sample is predicted by the trees that were not trained on it (out of bag;
    Breiman, Machine Learning 2001), and gradient-boosted trees in five folds. The result is their geometric
    mean. Boosting is left out where it would take long; if there are many columns, ridge regression stands
    in for it, and with very many classes for both. Bootstraps and folds do not depend on the labels, so that
    trees never see the sample's own label; for the ridge, see `predict_from_features`.

    Args:
        columns: Rows, [N, D]; NaN and infinity count as missing.
        labels: Given labels, [N].
        classes: C.
        seed: Seed of bootstraps and folds.
    """
    table = columns.astype(np.float32)
    table[~np.isfinite(columns)] = np.nan
    if len(table) < FOLDS or len(np.unique(labels)) < 2:
        return OutsideView(
            "no trees, as there is too little data", np.full((len(table), classes), 1 / classes)
        )
    parts: list[ScoreRows] = []
    votes: list[float] = []
    names = []
    if classes <= MAX_FOREST_CLASSES:
        parts.append(_forest(table, labels, classes, seed))
        votes.append(TREES * float(np.exp(-1)))
        names.append("a random forest")
    if _boosting_work(table.shape, classes) <= BOOSTING_WORK:
        parts.append(_boosting(table, labels, classes, seed))
        votes.append(TREES)
        names.append("gradient-boosted trees")
    elif table.shape[1] >= WIDE or not parts:
        parts.append(predict_from_features(standardized(table), labels, classes, "", seed).probability)
        votes.append(TREES)
        names.append("ridge regression")
    name = f"{' and '.join(names)} on the {table.shape[1]:,} input columns"
    return OutsideView(name, stored(PooledViews(parts, votes), "the labels predicted from columns"))


def _boosting_work(shape: tuple[int, ...], classes: int) -> int:
    rows = min(shape[0], TRAINING_ROWS)
    trees = 1 if classes == 2 else classes
    return trees * max(rows * shape[1], SMALLEST_TREE)


def _bootstrap(shape: tuple[int, ...], classes: int) -> int:
    """Return the number of samples that each tree of the forest is trained on."""
    affordable = int(FOREST_WORK / (classes * max(shape[1], 1) ** 0.5))
    return min(shape[0], max(SMALLEST_BOOTSTRAP, min(TRAINING_ROWS, affordable)))


def _forest(table: NDArray[np.float32], labels: Integers, classes: int, seed: int) -> Array:
    """Return the out-of-bag prediction of a random forest, [N, C]."""
    # imported here: it takes most of a second, which commands that measure nothing need not wait
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        TREES,
        # a leaf of five would blur the classes of a very small table
        min_samples_leaf=min(LEAF, max(1, len(table) // 50)),
        max_samples=_bootstrap(table.shape, classes),
        random_state=seed,
        n_jobs=torch.get_num_threads(),
    ).fit(table, labels)
    votes: Array = blank((len(table), classes), "the votes of a random forest")
    drawn = [np.unique(sampled) for sampled in forest.estimators_samples_]
    for rows in blocks_of(len(table), max(classes, table.shape[1])):
        votes[rows] = _out_of_bag(forest, table[rows], drawn, rows.start, classes)
        release(votes)
    return votes


def _out_of_bag(
    forest: Any, table: NDArray[np.float32], drawn: Sequence[Integers], start: int, classes: int
) -> Array:
    """Return the mean vote on some samples of the trees that were not trained on them, [n, C].

    scikit-learn has the same, of all samples at once: it takes N · C numbers a tree.

    Args:
        forest: The forest.
        table: Rows of the samples, [n, D].
        drawn: Samples that each tree was trained on, rising.
        start: Index of the first of the samples.
        classes: C.
    """
    total = np.zeros((len(table), len(forest.classes_)))
    trees = np.zeros((len(table), 1))
    for tree, sampled in zip(forest.estimators_, drawn, strict=True):
        first, last = np.searchsorted(sampled, (start, start + len(table)))
        outside = np.ones((len(table), 1))
        outside[sampled[first:last] - start] = 0
        leaves = tree.tree_.value[tree.tree_.apply(table), 0]
        total += outside * (leaves / leaves.sum(1, keepdims=True))
        trees += outside
    votes = np.zeros((len(table), classes))
    votes[:, forest.classes_] = total / np.maximum(trees, 1)
    return votes


def _boosting(table: NDArray[np.float32], labels: Integers, classes: int, seed: int) -> Array:
    """Return the out-of-fold prediction of gradient-boosted trees, [N, C]."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    probability = np.zeros((len(table), classes))
    # one thread: with more, sums are rounded in an order that depends on their number
    with threadpool_limits(1, user_api="openmp"):
        for fold in random_folds(len(table), FOLDS, TRAINING_ROWS, seed):
            given = labels[fold.train]
            if len(np.unique(given)) < 2:
                probability[fold.held, given[0]] = 1
                continue
            # boosting refuses a column without a single number, such as one that only other folds know
            rows = np.where(np.isfinite(table[fold.train]).any(0), table, 0)
            trees = HistGradientBoostingClassifier(
                max_iter=ITERATIONS,
                max_leaf_nodes=LEAVES,
                l2_regularization=1.0,
                early_stopping=False,
                random_state=seed,
            ).fit(rows[fold.train], given)
            probability[np.ix_(fold.held, trees.classes_)] = trees.predict_proba(rows[fold.held])
    return probability
