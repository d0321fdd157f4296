"""Gradient sums per class: the error of cosines between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cases import make
from support.oracle import (
    run,
)

from cohaudit.gradients.passes import reading
from cohaudit.gradients.passes.blocks import NO_CLASS
from cohaudit.gradients.passes.layout import Layout
from cohaudit.gradients.passes.sums import make_class_sums
from cohaudit.gradients.sketch import make_projections


def cosines(gram: np.ndarray) -> np.ndarray:
    return gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))


def test_class_cosines_from_sketches_say_how_sure_they_are() -> None:
    model, inputs = make("perceptron")
    exact, coarse = run(model, inputs), run(model, inputs, class_memory=0)
    assert exact.class_gram_error == 0
    error = np.abs(cosines(coarse.class_gram) - cosines(exact.class_gram)).max()
    assert coarse.class_gram_error > 0
    assert error < 6 * coarse.class_gram_error + 0.05


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_class_cosines_err_like_sketches_of_the_size_that_fits(alike: float) -> None:
    """With 401 numbers a class the error is about 1/√401 = 0.05, also where all classes share a part."""
    torch.manual_seed(0)
    classes, weight = 40, torch.zeros(60, 48)
    projection = {"w": make_projections({"w": weight}, 100, 0)["w"]}
    layout = Layout(projection, {"w": slice(0, projection["w"].size)}, {"layer": ("w",)}, {"w": 0})
    sums = make_class_sums({"w": weight}, layout, classes, 4 * classes * 401)
    common = torch.rand(1, 48)
    gradients = [
        torch.randn(60, 1) * common * alike + torch.randn(60, 48) * (1 - alike) for _ in range(classes)
    ]
    for label, gradient in enumerate(gradients):
        sums.add("w", reading.ClassSlice(label, 0, 1, 1.0, torch.ones(1)), gradient)
    sums.end_block(NO_CLASS)
    gram, stated = sums.gram()
    flat = torch.stack(gradients).flatten(1).double()
    error = cosines(gram) - cosines((flat @ flat.T).numpy())
    measured = np.sqrt(np.mean(error[~np.eye(classes, dtype=bool)] ** 2))
    assert 0.5 / np.sqrt(401) < measured < 2 / np.sqrt(401)
    assert 0.4 < stated / measured < 2.5
