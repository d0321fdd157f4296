"""Tables as spreadsheets and other programs write them, read and corrected."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohaudit.errors import DataError
from cohaudit.loading.data import open_original
from cohaudit.loading.data._table_files import first_lines, read_table

ROWS = "id,a,label\nx,1.5,cat\ny,-2.25,dog\nz,3,cat\n"
FORMS = {
    "semicolons": ROWS.replace(",", ";").encode(),
    "decimal commas": ROWS.replace(",", ";").replace(".", ",").encode(),
    "tabs": ROWS.replace(",", "\t").encode(),
    "a line that names the separator": b"sep=;\r\n" + ROWS.replace(",", ";").replace("\n", "\r\n").encode(),
    "comments": b"# written by a tool, today\n# and more\n" + ROWS.encode(),
    "a byte order mark": b"\xef\xbb\xbf" + ROWS.encode(),
    "UTF-16": ROWS.encode("utf-16"),
    "UTF-16 of another byte order": b"\xfe\xff" + ROWS.replace(",", ";").encode("utf-16-be"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_table(form: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(FORMS[form])
    table = read_table(tmp_path / "x.csv")
    assert table.columns.tolist() == ["id", "a", "label"]
    assert table["label"].tolist() == ["cat", "dog", "cat"]
    assert table["a"].astype(float).tolist() == [1.5, -2.25, 3.0]
    above = 1 if "separator" in form else 2 if form == "comments" else 0
    assert first_lines(tmp_path / "x.csv") == [2 + above, 3 + above, 4 + above]


@pytest.mark.parametrize("form", [name for name in FORMS if name != "decimal commas"])
def test_every_form_is_corrected_in_place(form: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(FORMS[form])
    open_original(tmp_path / "x.csv", "label", "", ()).write(tmp_path / "y.csv", {0: "dog"}, {2})
    # nothing but the cell and the row changes
    encoding = "utf-16-be" if "another" in form else "utf-16-le" if "16" in form else "utf-8"
    before = FORMS[form].decode(encoding)
    expected = before.replace("cat", "dog", 1)[: before.index("z")]
    assert (tmp_path / "y.csv").read_bytes().decode(encoding) == expected


def test_a_header_that_begins_with_a_hash_is_a_header(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("#id,label\na,1\nb,2\n")
    assert read_table(tmp_path / "x.csv").columns.tolist() == ["#id", "label"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a,label\n" + b"x" * 20_000_000, "is longer than 16 MB"),
        (b"," * 50_000 + b"label\n" + b"1\n" * 50_000, "lines that are mostly shorter"),
        (b"," * 500_000, "columns, and up to"),
    ],
)
def test_a_table_that_would_fill_the_memory(content: bytes, found: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError, match=found):
        read_table(tmp_path / "x.csv")
