"""Arrays in temporary files, and blocks of rows."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.arrays import allocate, blocks_of, release
from cohaudit.errors import EngineError


@given(st.integers(0, 50), st.integers(0, 9), st.integers(1, 40))
def test_blocks_cover_every_row_once_and_hold_no_more_than_asked(
    rows: int, columns: int, numbers: int
) -> None:
    blocks = list(blocks_of(rows, columns, numbers))
    assert [i for block in blocks for i in range(block.start, block.stop)] == list(range(rows))
    assert all(0 < block.stop - block.start <= max(1, numbers // max(columns, 1)) for block in blocks)


def test_a_large_array_lies_in_a_file_and_keeps_what_it_holds_when_released() -> None:
    small, large = allocate(3, 4, "numbers"), allocate(300, 400, "numbers", memory=1000)
    assert type(small) is np.ndarray
    assert isinstance(large, np.memmap)
    assert not large.any()
    for array in (small, large):
        array[1] = 7
        release(array)
        assert array[1].tolist() == [7] * array.shape[1]
        assert not array[0].any()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="other systems fill a file as it is written")
def test_a_disk_without_room_is_an_error_that_names_the_folder_and_what_to_do() -> None:
    with pytest.raises(EngineError, match="no room for the answers") as found:
        allocate(2**40, 2**18, "the answers", ", or fewer samples", memory=0)
    assert found.value.remedy == "set TMPDIR to a folder with more room, or fewer samples"
