"""Labels predicted from the tokens of texts: ridge regression on TF-IDF of single tokens and pairs.

Arrays: N samples, L tokens, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cohaudit.analysis.outside_views.folds import random_folds
from cohaudit.analysis.outside_views.view import Array, Integers, OutsideView, fit_sharpness, soften, softmax
from cohaudit.analysis.score_rows import Even, blank, fitted_sample, stored
from cohaudit.arrays import blocks_of, release

BUCKETS = 2**20
"""Columns that tokens and pairs are hashed to: memory is bounded whatever the vocabulary, and of 100,000
different ones a tenth share a column."""
MIN_TEXTS = 2
"""Texts that a token or pair must be in: one that is in a single text predicts no other."""
MAX_LENGTH = 1024
"""First tokens of each text that are used."""
RIDGE = 2.0
"""Strength of the regularization, in units of one text's squared length. 3 was best on flipped labels of
questions and headlines, 0.3 to 1 on headlines labeled by keywords."""
STEPS = 12
"""Steps of conjugate gradients: 25 gave the same figures to 0.001."""
MAX_FOLDS = 20
"""Folds: with two left out at a time, 90 % of the texts are trained on. 5 folds were worse by 0.01 AUROC."""
MIN_FOLDS = 5
"""Folds at least, however much each costs."""
SMALLEST_FOLD = 50
"""Texts in a fold, if there are enough for more than the fewest folds: the sharpness is fitted
to one fold."""
WORK = 5_000_000_000
"""Multiplications in all folds that are affordable: a few seconds of one core. More make fewer folds."""
TRAINING_ROWS = 20_000
"""Texts that a fold is trained on at most."""
VOTES = 1000.0
"""Certainty of the prediction, in votes, see `view.soften`: a probability is at least about 0.001 / C."""


def count_ngrams(tokens: NDArray[np.integer]) -> sparse.csr_matrix:
    """Return how often each token and each pair of neighbors occurs in each text, float32 [N, BUCKETS].

    A text's last token repeated at its end, or its first one at its beginning, is padding and not counted.

    Args:
        tokens: Token ids, [N, L].
    """
    ids = np.asarray(tokens)[:, :MAX_LENGTH].astype(np.int64).astype(np.uint64)
    used = ~_padding(tokens)[:, :MAX_LENGTH]
    pairs = used[:, 1:] & used[:, :-1]
    row, column = np.nonzero(used)
    pair_row, pair_column = np.nonzero(pairs)
    first, second = ids[pair_row, pair_column], ids[pair_row, pair_column + 1]
    # multiplicative hashing (Knuth, vol. 3, 6.4) by large odd numbers; uint64 wraps around as meant
    keys = np.concatenate(
        [
            ids[row, column] * np.uint64(0x9E3779B97F4A7C15),
            (first * np.uint64(0xC2B2AE3D27D4EB4F) ^ (second + np.uint64(1)) * np.uint64(0x165667B19E3779F9))
            * np.uint64(0xD6E8FEB86659FD93),
        ]
    )
    buckets = (keys >> np.uint64(64 - 20)).astype(np.int64)
    counts = sparse.csr_matrix(
        (np.ones(len(buckets), dtype=np.float32), (np.concatenate([row, pair_row]), buckets)),
        shape=(len(ids), BUCKETS),
    )
    counts.sum_duplicates()
    return counts


def _padding(tokens: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which tokens are padding, bool [N, L]: runs of two and more equal ones at either end."""

    def run_at_end(ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        same = np.logical_and.accumulate(ids[:, ::-1] == ids[:, -1:], axis=1)[:, ::-1]
        run: NDArray[np.bool_] = same & (same.sum(1, keepdims=True) > 1)
        return run

    ids = np.asarray(tokens)
    if not ids.shape[1]:
        return np.zeros(ids.shape, dtype=bool)
    return run_at_end(ids) | run_at_end(ids[:, ::-1])[:, ::-1]


def predict_from_ngrams(counts: sparse.csr_matrix, labels: Integers, classes: int, seed: int) -> OutsideView:
    """Predict each text's label from other texts; never from its own label.

    Ridge regression of one-hot labels, by conjugate gradients, in up to 20 folds. The fold after the one to
    predict is left out too, and gives the sharpness of the probabilities.

    Args:
        counts: Counts as `count_ngrams` returns them, [N, BUCKETS].
        labels: Given labels, [N].
        classes: C.
        seed: Seed of the folds.
    """
    texts = _tfidf(counts)
    name = f"ridge regression on TF-IDF of {texts.shape[1]:,} tokens and pairs"
    if len(labels) < 3 or not texts.shape[1]:
        return OutsideView(name, stored(Even(np.full(classes, 1 / classes), len(labels)), "even chances"))
    probability: Array = blank((len(labels), classes), "the labels predicted from tokens")
    for fold in random_folds(len(labels), _folds(texts, classes), TRAINING_ROWS, seed, spare=True):
        targets = np.zeros((len(fold.train), classes))
        targets[np.arange(len(fold.train)), labels[fold.train]] = 1
        share = targets.mean(0)
        weights = _ridge(texts[fold.train], targets - share)
        # one number is fitted to them: some will do
        other = fold.other[fitted_sample((len(fold.other), classes))]
        sharpness = fit_sharpness(texts[other] @ weights + share, labels[other])
        for rows in blocks_of(len(fold.held), classes):
            held = fold.held[rows]
            predicted = softmax(texts[held] @ weights + share, sharpness)
            probability[held] = soften(predicted, VOTES)
        release(probability)
    return OutsideView(name, probability)


def _tfidf(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return rows of length 1: (1 + log count) · idf, of what several texts have, [N, any]."""
    texts = np.bincount(counts.indices, minlength=counts.shape[1])
    kept = np.flatnonzero(texts >= MIN_TEXTS)
    chosen = counts[:, kept].astype(np.float64).tocsr()
    chosen.data = 1 + np.log(chosen.data)
    # smoothed as if one more text had every token, so that no weight is infinite
    chosen = chosen @ sparse.diags(np.log((1 + len(counts.indptr) - 1) / (1 + texts[kept])) + 1)
    length = np.sqrt(np.asarray(chosen.multiply(chosen).sum(1)).ravel())
    return (sparse.diags(1 / np.where(length > 0, length, 1)) @ chosen).tocsr()


def _folds(texts: sparse.csr_matrix, classes: int) -> int:
    # each step multiplies by the texts and by their transpose
    each = 2 * texts.nnz * classes * STEPS
    affordable = min(WORK // max(each, 1), texts.shape[0] // SMALLEST_FOLD)
    return int(np.clip(affordable, MIN_FOLDS, MAX_FOLDS))


def _ridge(x: sparse.csr_matrix, y: Array) -> Array:
    """Return W that solves (XᵀX + λI) W = XᵀY for all classes at once, by conjugate gradients, [any, C].

    Hestenes & Stiefel, Journal of Research of the National Bureau of Standards 1952.
    """
    transposed = x.T.tocsr()
    weights = np.zeros((x.shape[1], y.shape[1]))
    residual = transposed @ y
    direction = residual.copy()
    squares = np.square(residual).sum(0)
    for _ in range(STEPS):
        image = transposed @ (x @ direction) + RIDGE * direction
        curvature = (direction * image).sum(0)
        # a class without samples has a residual of 0 from the start
        step = np.divide(squares, curvature, out=np.zeros_like(squares), where=curvature > 0)
        weights += step * direction
        residual -= step * image
        updated = np.square(residual).sum(0)
        direction = residual + direction * np.divide(
            updated, squares, out=np.zeros_like(squares), where=squares > 0
        )
        squares = updated
    return weights
