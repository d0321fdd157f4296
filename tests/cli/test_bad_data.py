"""`cohaudit scan` of data that cannot be audited: one message, and nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bad_scans import (
    Make,
    arrays,
    assert_refused,
    copy_of_digits,
    file,
    label,
    options,
    table,
    truncated,
    unreadable,
)
from support.scanning import scan

CASES: dict[str, tuple[Make, list[str]]] = {
    "missing data": (
        options("--data", "trian.npz"),
        ["trian.npz", "no such file or folder"],
    ),
    "data with a long name": (
        options("--data", "x" * 300 + ".npz"),
        ["x.npz", "File name too long", "check the path"],
    ),
    "random bytes as .npz": (
        file("train.npz", bytes(range(256))),
        ["train.npz", "not a .npz archive", "write it again"],
    ),
    "truncated .npz": (truncated("train.npz"), ["train.npz", "truncated", "check that the file is complete"]),
    "unreadable data": (unreadable("train.npz"), ["train.npz", "Permission denied", "permissions"]),
    "no rows": (
        arrays(lambda data: data.update({name: array[:0] for name, array in data.items()})),
        ["train.npz", "the dataset has no samples", "check that it is the training data"],
    ),
    "labels of another length": (
        arrays(lambda data: data.update(labels=data["labels"][:90])),
        ["train.npz", "100 samples, but 90 labels", "one label for each sample"],
    ),
    "negative label": (
        label(-1),
        ["train.npz", "digit-041", "the label -1 is negative", "give class numbers"],
    ),
    "gigantic label": (label(10**12), ["train.npz", "digit-041", "out of range", "give class numbers"]),
    "label above the outputs": (
        label(10),
        ["distinguishes 10 classes, the data has 11", "digit-041 has the label 10", "correct the labels"],
    ),
    "label that leaves a gap": (
        label(12),
        ["distinguishes 10 classes, the data has 13", "digit-041 has the label 12", "correct the labels"],
    ),
    "label that is no whole number": (
        label(2.5),
        ["digit-041", "2.5 is not an integer", "give class numbers"],
    ),
    "label NaN": (label(np.nan), ["digit-041", "missing", "label the sample, or drop it"]),
    "NaN among the inputs": (
        arrays(
            lambda data: data.update(
                images=np.where(data["ids"][:, None, None] == "digit-041", np.nan, data["images"])[:, None]
            )
        ),
        ["train.npz", "digit-041", "holds nan at position [0, 0, 0]", "correct the sample or drop it"],
    ),
    "empty class": (
        options(*(part for name in "0123456789X" for part in ("--class-names", name))),
        ["distinguishes 10 classes, the data has 11", "9, X", "in order, as class_names"],
    ),
    "images of another shape": (
        arrays(lambda data: data.update(images=np.zeros((100, 3, 32, 32), np.float32))),
        ["model", "of shape [3, 3, 32, 32]", "got 3 channels", "check that the data"],
    ),
    "table without the label column": (
        table(lambda rows: rows.drop(columns="diagnosis")),
        ["train.csv", "labels (--labels) = 'diagnosis'", "'id'", "mean_radius"],
    ),
    "label of an unknown class": (
        table(lambda rows: rows.assign(diagnosis=["bening", *rows["diagnosis"][1:]])),
        ["train.csv", "'T000'", "the label 'bening' is not among class_names", "did you mean benign?"],
    ),
    "table of text": (
        table(lambda rows: rows.replace({"mean_radius": {14.87: "wide"}})),
        ["train.csv", "'T007'", "'mean_radius'", "'wide' is not a number", "transform"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_data_is_one_message_and_nothing_written(case: str, tmp_path: Path) -> None:
    make, fragments = CASES[case]
    assert_refused(make, fragments, tmp_path)


def test_markup_in_names_is_fine_and_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert('owned')</script>"
    ids = {"T000": f"{hostile}&"}
    checkpoint, *_ = table(
        lambda rows: rows.replace({"diagnosis": {"benign": hostile}, "id": ids}).rename(
            columns={"mean_radius": hostile}
        )
    )(copy_of_digits(tmp_path))
    classes = ("--class-names", "malignant", "--class-names", hostile)
    result = scan(checkpoint, *classes, "--out", tmp_path / "report")
    assert (result.exit_code, result.stderr.count("error")) == (0, 0)
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
