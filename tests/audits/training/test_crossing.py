"""Crossed samples: who is paired with whom, what comes from whom, and what memory makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cohaudit.audits.training.crossing import MAX_CROSSED, MAX_PARTNERS, cross, cross_samples, pair_up
from cohaudit.gradients import Source
from cohaudit.results import Skipped


def source_of(inputs: Any, labels: np.ndarray) -> Source:
    def load(indices: Sequence[int]) -> Any:
        places = list(indices)
        if isinstance(inputs, Mapping):
            return {name: value[places] for name, value in inputs.items()}
        return inputs[places]

    return Source(load, labels, [str(i) for i in range(len(labels))], ["0", "1", "2"])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_partners_are_others_of_the_same_class(classes: list[int], seed: int) -> None:
    of = np.array(classes)
    samples, partners = pair_up(of, seed)
    sizes = np.bincount(of)
    assert sorted(samples) == [i for i, c in enumerate(classes) if sizes[c] > 1]
    assert (of[partners] == of[samples][:, None]).all()
    assert (partners != samples[:, None]).all()
    for sample, own in zip(samples, partners, strict=True):
        assert len(set(own)) == min(MAX_PARTNERS, sizes[of[sample]] - 1)


def test_of_many_samples_some_are_crossed_with_one_partner_each() -> None:
    samples, partners = pair_up(np.arange(3 * MAX_CROSSED) % 3, 0)
    assert len(set(samples)) == MAX_CROSSED
    assert partners.shape == (MAX_CROSSED, 1)


INPUTS = {
    "channels first": torch.arange(8.0)[:, None, None, None].expand(8, 3, 9, 8),
    "channels last": torch.arange(8.0)[:, None, None, None].expand(8, 20, 20, 3),
    "gray": torch.arange(8.0)[:, None, None].expand(8, 6, 6),
    "table": torch.arange(8.0)[:, None].expand(8, 500),
    "text": torch.arange(8)[:, None].expand(8, 500),
}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS.keys())
def test_half_of_a_crossed_sample_comes_from_each(inputs: Tensor) -> None:
    before = inputs.clone()
    found = cross(inputs, [(0, k) for k in range(4)])
    assert found.shape == (4, *inputs.shape[1:])
    for k, one in enumerate(found):
        values, counts = one.unique(return_counts=True)
        assert values.tolist() == [k, k + 4]
        assert (counts / counts.sum()).tolist() == pytest.approx([0.5, 0.5], abs=0.1)
    assert torch.equal(inputs, before), "the dataset's own memory is not written to"


def test_the_mask_of_a_text_goes_with_its_words() -> None:
    words = torch.arange(6)[:, None].expand(6, 40)
    inputs = {"input_ids": words, "attention_mask": words % 2, "use_cache": False}
    found = cross(inputs, [(3, k) for k in range(3)])
    assert torch.equal(found["attention_mask"], found["input_ids"] % 2)
    assert found["use_cache"] is False


def test_a_crossed_sample_does_not_depend_on_its_batch() -> None:
    rng = np.random.default_rng(0)
    source = source_of(torch.from_numpy(rng.normal(size=(30, 7))), np.zeros(30, dtype=int))
    crossed = cross_samples(source, np.arange(30) % 3, 5)
    assert not isinstance(crossed, Skipped)
    together = crossed.source.load(range(20))
    alone = torch.cat([crossed.source.load([place]) for place in range(20)])
    assert torch.equal(together, alone)


def test_memory_of_wrong_labels_does_not_classify_crossed_samples() -> None:
    """One nearest neighbor knows every label by heart; the mean of each class has learned the rule alone."""
    rng = np.random.default_rng(0)
    truth = np.arange(600) % 3
    x = torch.from_numpy(rng.normal(size=(600, 20)) + 3 * np.eye(3, 20)[truth])
    given = np.where(rng.random(600) < 0.3, (truth + 1) % 3, truth)
    crossed = cross_samples(source_of(x, given), truth, 0)
    assert not isinstance(crossed, Skipped)
    new = crossed.source.load(range(len(crossed.source.labels)))
    by_heart = given[torch.cdist(new, x).argmin(1).numpy()]
    means = torch.stack([x[given == c].mean(0) for c in range(3)])
    by_rule = torch.cdist(new, means).argmin(1).numpy()
    assert crossed.accuracy(by_rule).mean() > crossed.accuracy(by_heart).mean() + 0.15


def test_what_cannot_be_crossed_is_skipped_with_the_reason() -> None:
    labels = np.zeros(4, dtype=int)
    sounds = cross_samples(source_of(torch.zeros(4, 9000), labels), labels, 0)
    assert isinstance(sounds, Skipped)
    assert "neither a table nor an image" in sounds.reason
    alone = cross_samples(source_of(torch.zeros(4, 5), labels), np.arange(4), 0)
    assert isinstance(alone, Skipped)
    assert "no two samples" in alone.reason
