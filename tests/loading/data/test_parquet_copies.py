"""A corrected copy of a Parquet file is stored as the file itself is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cohaudit.loading.data import open_original

pq = pytest.importorskip("pyarrow.parquet")


@pytest.mark.parametrize("codec", [None, "zstd", "gzip", "lz4"])
def test_a_parquet_keeps_its_compression_and_its_groups(codec: str | None, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(9), "label": ["cat", "dog", "cat"] * 3, "more": [[1]] * 9})
    old, new = tmp_path / "data.parquet", tmp_path / "new.parquet"
    frame.to_parquet(old, compression=codec, row_group_size=4)
    open_original(old, "", "", ["cat", "dog"]).write(new, {0: "dog"}, ())
    before, after = (pq.ParquetFile(path).metadata for path in (old, new))
    assert after.num_row_groups == before.num_row_groups == 3
    stored = [[one.row_group(0).column(i).compression for i in range(3)] for one in (before, after)]
    assert stored[0] == stored[1]
    assert pd.read_parquet(new)["label"].tolist() == ["dog", *frame["label"][1:]]
