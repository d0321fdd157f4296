"""Label noise planted on purpose, from the harmless kind to the kind that people make.

Uniform flips are what most benchmarks plant, and the easiest to find. Errors of people lie where classes look
alike: those are planted by what a weak model confuses, and on the samples that it finds hard.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor

from benchmarks.shared.datasets import CleanData
from benchmarks.shared.label_noise import flip_labels, flip_within_groups

COMPONENTS = 20
"""Principal components that the weak model sees of a sample: too few to be as good as a network."""
MIN_PER_FOLD = 3
"""Folds of the weak model; a class needs a sample in each."""


def plant(clean: CleanData, noise: str, seed: int) -> Tensor:
    """Return the labels that the network is given, int64 [samples].

    Args:
        clean: Samples with true labels; those of people by their name.
        noise: Name of people's labels, or a share and a kind: "20 % uniform"; "20 % by class", every class to
            the next one of its group; "20 % confused", any sample to what a weak model confuses it with;
            "20 % hard", the same on samples that the weak model finds hard; "20 % of class 1", members of the
            class to a random other one.
        seed: Seed of the choice.
    """
    if noise in clean.human:
        return clean.human[noise]
    share = float(noise.split()[0]) / 100
    if share == 0:
        return clean.truth
    kind = noise.partition("% ")[2]
    generator = torch.Generator().manual_seed(1000 + seed)
    if kind == "by class":
        return flip_within_groups(clean, share, generator)
    flipped = flip_labels(clean.truth, clean.classes, share, generator)
    if kind == "uniform":
        return flipped
    if kind.startswith("of class"):
        return torch.where(clean.truth == int(kind.split()[-1]), flipped, clean.truth)
    answers = weak_answers(clean, seed)
    rng = np.random.default_rng(1000 + seed)
    truth = clean.truth.numpy()
    rows = np.arange(len(truth))
    count = round(share * len(truth))
    # how hard the weak model finds the true label decides who is mislabeled
    weight = 1 - answers[rows, truth] + 1e-3 if kind == "hard" else np.ones(len(truth))
    chosen = rng.choice(len(truth), count, replace=False, p=weight / weight.sum())
    answers[rows, truth] = 0
    answers /= answers.sum(1, keepdims=True)
    drawn = (answers.cumsum(1) > rng.random(len(truth))[:, None]).argmax(1)
    labels = truth.copy()
    labels[chosen] = drawn[chosen]
    return torch.from_numpy(labels)


def weak_answers(clean: CleanData, seed: int) -> NDArray[np.float64]:
    """Return class probabilities of each sample by a weak model that was not fitted to it, [N, C]."""
    truth = clean.truth.numpy()
    folds = StratifiedKFold(MIN_PER_FOLD, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=300)
    answers = cross_val_predict(model, _weak_view(clean), truth, cv=folds, method="predict_proba")
    # a class must be possible wherever another is taken for it
    out = np.full((len(truth), clean.classes), 1e-6)
    out[:, np.unique(truth)] += answers
    return out / out.sum(1, keepdims=True)


def _weak_view(clean: CleanData) -> NDArray[np.float64]:
    """Return what the weak model sees of the samples, [N, at most COMPONENTS]."""
    x = clean.train.numpy()
    if not np.issubdtype(x.dtype, np.floating):
        counts = np.zeros((len(x), int(x.max()) + 1))
        np.add.at(counts, (np.arange(len(x))[:, None], x), 1)
        counts[:, 0] = 0
        x = TfidfTransformer().fit_transform(counts).toarray()
    flat = x.reshape(len(x), -1)
    parts = min(COMPONENTS, *flat.shape)
    return np.asarray(PCA(parts, random_state=0).fit_transform(flat))
