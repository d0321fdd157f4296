"""Counts of tokens and pairs, against counting by hand; padding is not counted."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.analysis.outside_views import count_ngrams

texts = st.lists(st.integers(0, 5), min_size=1, max_size=9)


def trimmed(text: list[int]) -> list[int]:
    """Return a text without runs of two and more equal tokens at its end and at its beginning."""
    end = len(text)
    while end and text[end - 1] == text[-1]:
        end -= 1
    start = 0
    while start < len(text) and text[start] == text[0]:
        start += 1
    kept = range(start if start > 1 else 0, end if len(text) - end > 1 else len(text))
    return [text[i] for i in kept]


def occurrences(text: list[int]) -> list[int]:
    """Return how often each token and each pair occurs in a text, sorted."""
    return sorted(Counter([*text, *pairwise(text)]).values())


@given(texts)
@settings(deadline=None, max_examples=200)
def test_counts_are_those_by_hand(text: list[int]) -> None:
    counts = count_ngrams(np.array([text]))
    assert sorted(counts.data.tolist()) == occurrences(trimmed(text))


def same(first: NDArray[np.int64], second: NDArray[np.int64]) -> bool:
    return bool((count_ngrams(first) != count_ngrams(second)).nnz == 0)


def test_a_text_is_the_same_with_padding_of_any_kind_on_either_side() -> None:
    text = [5, 6, 7, 5]
    assert same(np.array([text]), np.array([[*text, 0, 0, 0]]))
    assert same(np.array([text]), np.array([[*text, 9, 9]]))
    assert same(np.array([text]), np.array([[0, 0, *text]]))
    assert not same(np.array([text]), np.array([[5, 7, 6, 5]]))


def test_ids_of_any_size_and_sign_are_told_apart() -> None:
    ids = np.array([[-1, 2**31, -(2**62), 2**62, 7]])
    assert sorted(count_ngrams(ids).data.tolist()) == [1] * 9


def test_a_hundred_thousand_tokens_rarely_share_a_column() -> None:
    used = count_ngrams(np.arange(0, 100_000).reshape(-1, 1)).indices
    assert len(np.unique(used)) >= 95_000
