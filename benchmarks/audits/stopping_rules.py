"""The rules of the stopping benchmark: each picks a checkpoint of a finished run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kurtosis

from benchmarks.audits.stopping_runs import Run
from benchmarks.generalization import former
from cohaudit.analysis.combined_prediction import combine_predictions
from cohaudit.analysis.label_noise import as_probabilities
from cohaudit.audits.training.rating import CrossedAccuracy, believe, latest_as_good, rate
from cohaudit.audits.training.snapshot import peer_prediction

Array = NDArray[np.float64]
Rule = Callable[[Run], int]

MOVING_AVERAGE = 3
"""Epochs that Label Wave averages over."""
WAVE_PATIENCE = 3
"""Epochs without a new minimum after which Label Wave takes the last one for its first local minimum."""
RISES = 5
"""Rises of the gradient disparity after which training stops."""
FORMER_POWER = 2
"""Power of the layers' weights in the agreement of the former rule."""
PLATYKURTIC = 1.2
"""Least excess kurtosis is −1.2: what gradient-weight alignment adds so that it divides by no negative."""


def answers_of(run: Run) -> NDArray[np.int64]:
    """Return the network's answers at every checkpoint, [K, N]."""
    answers: NDArray[np.int64] = run.own.argmax(2)
    return answers


def by_rating(run: Run, crossed: CrossedAccuracy | None) -> int:
    """Pick what `cohaudit trajectory` advises, with crossed samples or without."""
    return latest_as_good(rate(believe([run.outside], run.labels), answers_of(run), crossed))


def by_crossed(crossed: CrossedAccuracy) -> int:
    """Pick the latest that cannot be told from the best one at crossed samples alone."""
    return latest_as_good(crossed.share)


def by_expected(run: Run) -> int:
    """Pick the checkpoint that the other samples' labels agree with most, by models of the raw data alone."""
    return _likeliest(run, believe([run.outside], run.labels).expected)


def by_true_label(run: Run) -> int:
    """Pick the checkpoint whose answers are most probably the true labels."""
    return _likeliest(run, believe([run.outside], run.labels).true_label)


def _likeliest(run: Run, probability: Array) -> int:
    answers = answers_of(run)
    return int(probability[np.arange(answers.shape[1]), answers].mean(1).argmax())


def last(run: Run) -> int:
    """Pick the last checkpoint."""
    return len(run.own) - 1


def former_rules(run: Run) -> tuple[int, int]:
    """Return the picks of the former rating by the network's own layers, and of the expected accuracy."""
    answers = answers_of(run)
    count = len(run.labels)
    expected, former_expected, corrected, agreement = [], [], [], []
    for k, own in enumerate(run.own):
        scores = [view.astype(np.float64) for view in run.views[k]]
        peers = peer_prediction(scores, run.labels, own)
        combined = combine_predictions([*scores, own.astype(np.float64)], peers.corrected, FORMER_POWER)
        given = as_probabilities(combined.scores, peers.corrected)
        agreement.append(float(given[np.arange(count), answers[k]].mean()))
        corrected.append(peers.corrected)
        expected.append(peers.expected)
        agreed = former.agreement(scores, own.astype(np.float64), run.labels)
        loss = float(run.loss[k].mean())
        former_expected.append(former.expected_accuracy(agreed, loss, count, own.shape[1]))
    judge = int(np.argmax(former_expected))
    d = np.mean(answers == corrected[judge], axis=1)
    a = np.array(agreement)
    best = int(np.argmax(d))
    weight = min(1.0, float(a[best] / d[best]))
    return int(np.argmax(weight * d + (1 - weight) * a)), int(np.argmax(expected))


def label_wave(run: Run) -> int:
    """Pick where the moving average of prediction changes has its first local minimum.

    Yuan, Feng & Liu, ICLR 2025, arXiv 2502.07551. Changes are counted after every epoch; the checkpoint is
    the one nearest to the epoch.
    """
    changes = (run.answers[1:] != run.answers[:-1]).mean(1)
    smooth = np.convolve(changes, np.ones(MOVING_AVERAGE) / MOVING_AVERAGE, mode="valid")
    place = 0
    for k, value in enumerate(smooth):
        if value < smooth[place]:
            place = k
        elif k - place >= WAVE_PATIENCE:
            break
    # changes[0] are those of epoch 2, and an average belongs to its last epoch
    epoch = place + MOVING_AVERAGE + 1
    return int(np.argmin(np.abs(np.array(run.plan.checkpoints) - epoch)))


def gradient_weight_alignment(run: Run) -> int:
    """Pick the largest mean alignment over excess kurtosis (Hölzl et al., NeurIPS 2025, arXiv 2510.25480)."""
    score = run.alignment.mean(1) / (kurtosis(run.alignment, axis=1) + PLATYKURTIC)
    return int(np.argmax(np.nan_to_num(score, nan=-np.inf)))


def coherence_peak(run: Run) -> int:
    """Pick the largest coherence of all gradients."""
    return int(np.argmax(run.layer_totals.sum(1) / np.maximum(run.layer_squares.sum(1), 1e-300)))


def gradient_disparity(run: Run) -> int:
    """Pick where gradient disparity has risen a number of times (Forouzesh & Thiran, arXiv 2107.06665)."""
    count = len(run.labels)
    spread = run.layer_squares.sum(1) / count - run.layer_totals.sum(1) / count**2
    rises = np.flatnonzero(np.diff(spread) > 0) + 1
    return int(rises[RISES - 1]) if len(rises) >= RISES else last(run)


PEERS: dict[str, Rule] = {
    "agreement alone": by_expected,
    "true labels alone": by_true_label,
    "last checkpoint": last,
    "Label Wave": label_wave,
    "gradient-weight alignment": gradient_weight_alignment,
    "gradient disparity": gradient_disparity,
    "coherence peak": coherence_peak,
}
"""Rules that need no crossed samples, by name."""
