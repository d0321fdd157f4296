"""The order of several checkpoints on the command line: that of their training."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.cli._order import in_training_order
from cohaudit.errors import CheckpointError

numbers = st.lists(st.integers(0, 10**12), min_size=2, max_size=8, unique=True)
words = st.text(st.sampled_from("abck-_=é "), min_size=1, max_size=6)


def ordered(*names: str) -> list[str]:
    return [str(path) for path in in_training_order([Path(name) for name in names])]


@given(numbers, words, words, st.integers(0, 14), st.randoms())
def test_names_equal_apart_from_a_number_are_in_its_order(
    steps: list[int], before: str, after: str, width: int, shuffle: random.Random
) -> None:
    expected = [f"run/{before}{step:0{width}}{after}.pt" for step in sorted(steps)]
    given_names = expected[:]
    shuffle.shuffle(given_names)
    assert ordered(*given_names) == expected
    assert ordered(*given_names, "run/final.pt") == [*expected, "run/final.pt"]


@given(st.lists(st.integers(0, 99).map(lambda i: f"{chr(97 + i % 7)}{i}.pt"), min_size=1, unique=True))
def test_no_checkpoint_is_lost(names: list[str]) -> None:
    assert sorted(ordered(*names)) == sorted(names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ckpt-10.pt", "ckpt-2.pt"], ["ckpt-2.pt", "ckpt-10.pt"]),
        (["r/step-1000/model.pt", "r/step-500/model.pt"], ["r/step-500/model.pt", "r/step-1000/model.pt"]),
        (["a=10-b=90.pt", "a=2-b=18.pt", "a=2-b=9.pt"], ["a=2-b=9.pt", "a=2-b=18.pt", "a=10-b=90.pt"]),
        (["run1/e10.pt", "run1/e9.pt"], ["run1/e9.pt", "run1/e10.pt"]),
        (["epoch1.5.pt", "epoch1.25.pt"], ["epoch1.25.pt", "epoch1.5.pt"]),
        (["e10.pt", "e2.pt", "last.pt"], ["e2.pt", "e10.pt", "last.pt"]),
    ],
    ids=lambda names: names[0],
)
def test_numbers_tell_the_order(names: list[str], expected: list[str]) -> None:
    assert ordered(*names) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["model.pt"],
        ["late.pt", "early.pt"],
        ["last.pt", "e10.pt", "e2.pt"],
        ["e10.pt", "e2.pth", "e3.pt"],
        ["e=10-loss=0.2.pt", "e=2-loss=0.9.pt"],  # one number rises as the other falls: which is it?
        ["e02.pt", "e2.pt"],
        ["e10-b5.pt", "e2-b4.pt", "e3-b3.pt"],  # without the last one, an order there would be
    ],
    ids=lambda names: names[0],
)
def test_where_numbers_tell_nothing_the_order_is_as_given(names: list[str]) -> None:
    assert ordered(*names) == names


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.pt").symlink_to("e2.pt")
    for again, found in (("e2.pt", "named twice"), ("best.pt", f"the same file as {tmp_path / 'e2.pt'}")):
        with pytest.raises(CheckpointError) as caught:
            in_training_order([tmp_path / "e2.pt", tmp_path / "e3.pt", tmp_path / again])
        assert (caught.value.where, caught.value.found) == (str(tmp_path / again), found)
