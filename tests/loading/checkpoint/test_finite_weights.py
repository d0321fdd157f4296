"""Weights that are NaN or infinite are refused and counted."""

from __future__ import annotations

import pytest
import torch
from support.checkpoints import WEIGHTS

from cohaudit.errors import CheckpointError
from cohaudit.loading.checkpoint import check_finite


def test_weights_that_are_no_numbers_are_counted() -> None:
    bad = {
        "nan": torch.tensor([1.0, float("nan"), float("nan")]),
        "inf": torch.tensor([float("inf"), 0.0]),
        "minus": torch.tensor([float("-inf"), 1.0], dtype=torch.bfloat16),
        "f8": torch.tensor([float("nan")]).to(torch.float8_e4m3fn),
        "complex": torch.tensor([complex(float("nan"), 1.0)]),
    }
    with pytest.raises(CheckpointError) as caught:
        check_finite(WEIGHTS | bad, "model.pt")
    assert caught.value.where == "model.pt"
    assert "5 of 7 tensors" in caught.value.found
    assert "nan (2 NaN and 0 infinite of 3 values)" in caught.value.found
    assert "inf (0 NaN and 1 infinite of 2 values)" in caught.value.found


def test_the_list_of_bad_tensors_is_cut() -> None:
    bad = {f"layer{i}": torch.tensor(float("nan")) for i in range(30)}
    with pytest.raises(CheckpointError, match=r"layer2 .* and 27 more"):
        check_finite(bad, "model.pt")


def test_weights_that_are_numbers_pass() -> None:
    mask = torch.triu(torch.full((3, 3), float("-inf")), diagonal=1)
    check_finite(WEIGHTS | {"mask": mask, "steps": torch.tensor(3), "none": torch.ones(0)}, "model.pt")
