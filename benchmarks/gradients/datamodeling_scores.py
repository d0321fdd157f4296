"""Scores of how much one sample's training helps another's margin, and how well they predict retraining.

Arrays: T targets, N training samples, S subsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pandas as pd

Array: TypeAlias = np.ndarray


def datamodeling_scores(scores: Array, subsets: Array, outcomes: Array, usable: Array) -> Array:
    """Return the linear datamodeling score of each target, [T]; NaN where no two subsets are usable.

    Park et al. (ICML 2023, "TRAK", definition 2.3): the rank correlation, over random subsets of the training
    samples, of a target's outcome after retraining on the subset with the sum of the subset's scores.

    Args:
        scores: What each training sample adds to each target's outcome, [T, N].
        subsets: Which training samples each network saw, bool [S, N].
        outcomes: The targets' outcomes, the mean of networks with different seeds, [S, T].
        usable: Which subsets count for a target, bool [S, T]; those that do not contain it, if it is itself a
            training sample, as its own presence would outweigh all others.
    """
    predicted = subsets.astype(np.float64) @ scores.T
    return rank_correlations(np.where(usable, predicted, np.nan), np.where(usable, outcomes, np.nan))


def rank_correlations(a: Array, b: Array) -> Array:
    """Return Spearman's correlation of each pair of columns, over the rows where neither is NaN, [columns].

    It is NaN where fewer than two rows are left, and 0 where a column is constant.
    """
    known = np.isfinite(a) & np.isfinite(b)
    ranks = [pd.DataFrame(np.where(known, one, np.nan)).rank().to_numpy() for one in (a, b)]
    middle = (known.sum(0) + 1) / 2
    first, second = (np.where(known, one - middle, 0.0) for one in ranks)
    size = np.sqrt((first**2).sum(0) * (second**2).sum(0))
    found: Array = np.where(size > 0, (first * second).sum(0) / np.where(size > 0, size, 1), 0.0)
    return np.where(known.sum(0) >= 2, found, np.nan)


def presence_effects(subsets: Array, outcomes: Array, usable: Array) -> Array:
    """Return how much each training sample's presence raises each target's outcome, [T, N].

    It is the mean over the usable subsets with the sample minus that without it, in standard deviations of
    the target's outcome. A single one is mostly chance; the mean over many pairs is not, as no score has a
    part in it. NaN where a sample is in all usable subsets, or in none, as a target itself.

    Args:
        subsets: Which training samples each network saw, bool [S, N].
        outcomes: The targets' outcomes, the mean of networks with different seeds, [S, T].
        usable: Which subsets count for a target, bool [S, T].
    """
    count = usable.sum(0)
    centered = np.where(usable, outcomes - (usable * outcomes).sum(0) / count, 0.0)
    centered /= np.sqrt(np.square(centered).sum(0) / count)
    seen = subsets.astype(np.float64)
    with_it = usable.T.astype(np.float64) @ seen
    without = count[:, None] - with_it
    sums = centered.T @ seen
    # the centered outcomes sum to zero: those without the sample to the opposite of those with it
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = sums / with_it + sums / without
    return np.where((with_it > 0) & (without > 0), found, np.nan)


def named_effects(scores: Array, effects: Array, named: int) -> tuple[Array, Array]:
    """Return the mean effect of each target's strongest supporters, and of its strongest opponents, [T] each.

    Args:
        scores: What each training sample adds to each target's outcome, [T, N]; training samples first.
        effects: See `presence_effects`.
        named: Supporters, and opponents.
    """
    others = scores.copy()
    # no sample is its own supporter
    np.fill_diagonal(others, 0.0)
    order = np.argsort(others, 1)
    known = np.take_along_axis(effects, order, 1)
    return np.nanmean(known[:, -named:], 1), np.nanmean(known[:, :named], 1)


def cosines(products: Array) -> Array:
    """Return the cosines of vectors whose inner products are given, [any, any]."""
    lengths = np.sqrt(np.maximum(np.diag(products), np.finfo(np.float32).tiny))
    found: Array = products / np.outer(lengths, lengths)
    return found


def cosines_of(rows: Array) -> Array:
    """Return the cosines of rows, [any, any]."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    found: Array = unit @ unit.T
    return found


def kernel_weights(products: Array, train: int, ridge: float) -> Array:
    """Return the weight of each training sample in the kernel prediction of each target, [targets, train].

    With the training samples' kernel K, a new target's weights are k (K + λI)⁻¹. A target that is itself a
    training sample is predicted from the others alone, which in closed form is −A_ij / A_ii for A = (K +
    λI)⁻¹ (block inverse). For inner products of sketches this is TRAK's φ_t (ΦᵀΦ + λI)⁻¹ φ_j.

    Args:
        products: Inner products of all samples, training samples first, [targets, targets].
        train: Number of training samples.
        ridge: λ, in units of the mean squared length of a training sample.
    """
    inverse, _ = _inverse(products, train, ridge)
    own = -inverse / np.diag(inverse)[:, None]
    np.fill_diagonal(own, 0.0)
    return np.concatenate([own, products[train:, :train].astype(np.float64) @ inverse])


def whitened_cosines(products: Array, train: int, ridge: float) -> Array:
    """Return the cosines of whitened vectors, but for each target's own length, [targets, train].

    Whitening multiplies a vector by (ΦᵀΦ + λI)^(−1/2): the inner products are those of `kernel_weights`, and
    those of the training samples are K (K + λI)⁻¹.

    Args:
        products: As for `kernel_weights`.
        train: Number of training samples.
        ridge: λ, likewise.
    """
    inverse, strength = _inverse(products, train, ridge)
    lengths = np.sqrt(np.maximum(1 - strength * np.diag(inverse), 1e-12))
    found: Array = kernel_weights(products, train, ridge) / lengths
    return found


def _inverse(products: Array, train: int, ridge: float) -> tuple[Array, float]:
    """Return (K + λI)⁻¹ of the training samples, [train, train], and λ."""
    kernel = products[:train, :train].astype(np.float64)
    strength = float(ridge * np.trace(kernel) / train)
    return np.linalg.inv(kernel + strength * np.eye(train)), strength


def scores_of(
    measured: Mapping[str, Array], train: int, ridges: tuple[float, ...]
) -> dict[tuple[str, float | None], Array]:
    """Return every method's scores, [targets, train] each, all samples as targets; method and λ → scores.

    Signs are such that a positive score raises the target's margin. Factors that a target's scores share are
    left out: they change no rank.

    Args:
        measured: What was saved of an audited network; see `datamodeling_runs.audit`.
        train: Number of training samples.
        ridges: λ to try, in units of a sample's mean squared length.
    """
    labels = measured["labels"]
    sketches = measured["sketches"].astype(np.float64)
    # 1 − p of each label: ∇ log(p / (1 − p)) = −∇ loss / (1 − p)
    residual = 1 / (1 + np.exp(np.clip(measured["log_odds"], -500, 500)))
    residual = np.maximum(residual, np.finfo(np.float32).tiny)
    lengths = np.linalg.norm(sketches, axis=1)
    cosine = cosines_of(sketches)
    margin = sketches / residual[:, None]
    margins = margin @ margin.T
    adapted = measured["adapted"].astype(np.float64)
    hot = measured["hot"].astype(np.float64)
    same = np.where(labels[:, None] == labels, 1.0, -1 / labels.max())
    alike = measured["views"].astype(np.float64)
    # the gradient of the last layer's bias is the residual; sketches end with it, and keep it whole
    residual_alike = cosines_of(sketches[:, -(int(labels.max()) + 1) :])
    forward = residual_alike * alike.mean(0)
    last = residual_alike * alike[-1]
    found = {
        "cosine": cosine,
        "cosine, whole gradients": cosines(measured["plain"].astype(np.float64)),
        "cosine, logits / 10": cosines(hot @ hot.T),
        "cosine, AdamW": cosines(adapted),
        "product": cosine * (lengths / lengths.max()),
        "product, AdamW": adapted,
        "product of margins' gradients": margins,
        "forward pass": forward,
        "last layer's gradient": last,
        "last layer's input": alike[-1],
        "last layer's input, same label or not": alike[-1] * same,
        "all layers' inputs, same label or not": alike.mean(0) * same,
        "same label or not": same,
        "random": np.random.default_rng(0).standard_normal(cosine.shape),
    }
    scores: dict[tuple[str, float | None], Array] = {
        (name, None): score[:, :train] for name, score in found.items()
    }
    for ridge in ridges:
        scores["TRAK", ridge] = kernel_weights(margins, train, ridge) * residual[:train]
        scores["kernel of cosines", ridge] = kernel_weights(cosine, train, ridge)
        scores["kernel of cosines, AdamW", ridge] = kernel_weights(cosines(adapted), train, ridge)
        scores["whitened cosine", ridge] = whitened_cosines(cosine, train, ridge)
        scores["forward pass, whitened", ridge] = whitened_cosines(forward, train, ridge)
        scores["last layer's gradient, whitened", ridge] = whitened_cosines(last, train, ridge)
    return scores
