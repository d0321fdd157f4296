"""Tables, texts and images are told apart by type and shape; of anything else the reason is given."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cohaudit.analysis.outside_views import InputKind, KnownInputs, kind_of

IDS = torch.zeros(2, 7, dtype=torch.int64)
MASK = torch.ones(2, 7, dtype=torch.int64)


@pytest.mark.parametrize(
    ("inputs", "kind", "shape"),
    [
        (torch.zeros(2, 5), InputKind.COLUMNS, (2, 5)),
        (torch.zeros(2, 5, dtype=torch.bool), InputKind.COLUMNS, (2, 5)),
        (IDS, InputKind.TOKENS, (2, 7)),
        ({"attention_mask": MASK, "input_ids": IDS}, InputKind.TOKENS, (2, 7)),
        (torch.zeros(2, 3, 20, 30), InputKind.IMAGES, (2, 3, 20, 30)),
        (torch.zeros(2, 20, 30, 3), InputKind.IMAGES, (2, 3, 20, 30)),
        (torch.zeros(2, 8, 8), InputKind.IMAGES, (2, 1, 8, 8)),
        (torch.zeros(2, 12, 9, 9), InputKind.IMAGES, (2, 12, 9, 9)),
    ],
)
def test_known_kinds(inputs: Any, kind: InputKind, shape: tuple[int, ...]) -> None:
    found = kind_of(inputs)
    assert isinstance(found, KnownInputs)
    assert found.kind is kind
    assert tuple(found.values.shape) == shape


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ((torch.zeros(2, 5), torch.zeros(2, 5)), "several inputs"),
        ({"nodes": torch.zeros(2, 5), "edges": IDS}, "none is called input_ids"),
        (torch.zeros(2, 16_000), "16,000 numbers"),
        (torch.zeros(2, 1, 16_000), "[1, 16000]"),
        (torch.zeros(2, 1, 20, 200), "[1, 20, 200]"),
        (torch.zeros(2, 64, 9, 9), "[64, 9, 9]"),
        (torch.zeros(2), "[]"),
        (torch.zeros(2, 5, 5, dtype=torch.int64), "[5, 5]"),
        (torch.zeros(2, 5, dtype=torch.complex64), "complex"),
    ],
)
def test_anything_else_gives_the_reason(inputs: Any, reason: str) -> None:
    found = kind_of(inputs)
    assert isinstance(found, str)
    assert reason in found
