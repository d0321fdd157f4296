"""Blocks of a pass: measured apart and put together, they give the bits of one process."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cohaudit.gradients import Options, Source, measure, observe
from cohaudit.gradients.passes.alone import measure_blocks
from cohaudit.gradients.passes.blocks import (
    MAX_BLOCKS,
    NO_CLASS,
    BlockRequest,
    BlockState,
    PassKind,
    pass_order,
)

CPU = torch.device("cpu")
OPTIONS = Options(
    batch_size=5,
    temperature=1.0,
    sketch_size=64,
    sketch_memory=0,
    feature_size=16,
    class_memory=64,
    certificate_samples=4,
    certificate_tolerance=1e-3,
    seed=0,
)


class Branching(nn.Module):
    """Reaches other parameters, by another path, where a batch has a large input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.side, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x.abs() > 5).any()):
            parts = zip(self.first.weight.split(4), self.first.bias.split(4), strict=True)
            hidden = torch.cat([F.linear(x, weight, bias) for weight, bias in parts], 1)
        else:
            hidden = self.first(x) + self.side(x)
        logits: torch.Tensor = self.last(F.relu(hidden))
        return logits


def source_with(labels: np.ndarray) -> Source:
    inputs = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0))
    inputs[7] = 6
    ids = [str(i) for i in range(len(labels))]
    return Source(lambda chosen: inputs[list(chosen)], labels, ids, ["a", "b", "c", "d"])


def whole(kind: PassKind, model: nn.Module, source: Source, blocks: Any = None) -> Any:
    if kind == "gradients":
        return measure(model, source, OPTIONS, CPU, lambda _: None, blocks=blocks)
    seen = observe(model, source, OPTIONS, CPU, lambda _: None, sums=kind == "sums", blocks=blocks)
    return {**vars(seen.forward), **(vars(seen.sums) if seen.sums else {})}


@pytest.mark.parametrize("kind", ["gradients", "sums", "forward"])
@pytest.mark.parametrize("share", [(0.25, 0.25, 0.25, 0.25), (0.02, 0.9, 0.0, 0.08)])
def test_blocks_measured_apart_give_the_bits_of_one_process(kind: PassKind, share: tuple[float, ...]) -> None:
    labels = np.random.default_rng(0).choice(4, 240, p=share)
    source, model = source_with(labels), Branching().eval()
    kept: dict[int, BlockState] = {}

    def apart(request: BlockRequest) -> list[BlockState]:
        blocks = range(len(request.steps))
        assert len(blocks) > 8
        # in any order, and each by a process that knows nothing of the others
        for block in reversed(blocks):
            measure_blocks(request, [block], lambda block, state: kept.update({block: copied(state)}))
        return [kept[block] for block in blocks]

    expected, found = whole(kind, model, source), whole(kind, model, source, apart)
    values = expected if isinstance(expected, dict) else vars(expected)
    for name, value in values.items():
        assert equal(value, found[name] if isinstance(found, dict) else getattr(found, name)), name


def copied(state: BlockState) -> BlockState:
    rows, sums = ({k: v.copy() for k, v in part.items()} for part in (state.rows, state.sums))
    return BlockState(rows, sums, state.metadata)


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, tuple) and first and hasattr(first[0], "rows"):
        return all(equal(a.rows, b.rows) and a.layer == b.layer for a, b in zip(first, second, strict=True))
    return bool(first == second)


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=12).filter(any),
    st.integers(1, 64),
    st.sampled_from(["gradients", "sums", "forward"]),
)
def test_blocks_cut_the_pass_at_batches_and_name_every_class_once(
    sizes: list[int], batch_size: int, kind: PassKind
) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    steps = pass_order(labels, batch_size, kind)
    assert 1 <= len(steps) <= MAX_BLOCKS
    assert steps.blocks[0] == 0
    assert steps.blocks[-1] == len(labels)
    assert (np.diff(steps.blocks) > 0).all()
    assert np.isin(steps.blocks, steps.bounds).all()
    if kind == "forward":
        return
    classes = [steps.classes(block) for block in range(len(steps))]
    for before, after in pairwise(classes):
        assert before.unfinished == after.continued
    assert classes[0].continued == classes[-1].unfinished == NO_CLASS
    begun = [c.unfinished for c in classes if c.unfinished not in (NO_CLASS, c.continued)]
    assert sorted([*begun, *(int(label) for c in classes for label in c.finished)]) == sorted(
        {*labels.tolist()}
    )
