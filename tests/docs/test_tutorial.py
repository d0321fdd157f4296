"""The tutorial does what it says, and its numbers are those that benchmarks/docs/tutorial.py measured."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.pages import ROOT, blocks
from support.warm import warm_python

from benchmarks.docs import tutorial
from benchmarks.docs.tutorial import PAGE, RESULTS, corrections, follow, table

DATA = Path(os.environ.get("COHAUDIT_DATA_DIR", "")) / "fashion_mnist.npz"
TEXT = PAGE.read_text(encoding="utf-8")
STAND_IN = 400
"""Training samples of the stand-in: enough that most suspects are wrong, few enough for a quick test."""


def write_stand_in(path: Path) -> None:
    """Write scikit-learn's digits in the form of Fashion-MNIST."""
    digits = load_digits()
    large = np.kron(digits.images / 16 * 255, np.ones((3, 3)))
    images = np.pad(large, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    train, test = slice(0, STAND_IN), slice(STAND_IN, STAND_IN + 200)
    np.savez(path, x_train=images[train], y_train=labels[train], x_test=images[test], y_test=labels[test])


def test_the_page_shows_what_was_printed() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    printed = {line.strip() for lines in results["printed"].values() for line in lines}
    shown = [
        line.strip()
        for block in blocks(TEXT)
        if block.language == "text"
        for line in block.code.splitlines()
        if line != "…"
    ]
    assert shown
    assert [line for line in shown if line not in printed] == []


def test_the_page_has_the_table_that_was_measured() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert "\n".join(table(results)).replace(" %", "%") in TEXT
    done = results["corrections"]["all"]
    assert f"{done['changed'] - done['were_wrong']} of the changed labels had been right" in TEXT
    assert f"{done['wrong_left']} are left in `all.npz`" in TEXT


def test_the_readme_tells_the_same() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))["test_accuracy"]
    before, after, best = (f"{mean(results[name]):.1f}" for name in ("train", "all", "true"))
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"raises test accuracy from {before}% to {after}%; with all labels right, it is {best}%" in readme


@pytest.mark.slow
def test_the_page_does_what_it_says_on_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tutorial, "PYTHON", shlex.split(warm_python()))
    write_stand_in(tmp_path / "fashion_mnist.npz")
    printed = follow(TEXT, tmp_path)
    assert f"of {STAND_IN} labels are wrong" in printed["python prepare.py"]
    assert "suspects" in printed["python answers.py"]
    done = corrections(tmp_path)["all"]
    assert done["changed"] > done["were_wrong"] * 0.9 > 0
    assert done["now_right"] > done["changed"] / 2
    assert (tmp_path / "after" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_file(), reason="COHAUDIT_DATA_DIR names no folder with fashion_mnist.npz")
def test_the_page_does_what_it_says_on_fashion_mnist(tmp_path: Path) -> None:
    shutil.copyfile(DATA, tmp_path / DATA.name)
    printed = follow(TEXT, tmp_path)
    assert printed["python prepare.py"] == "1244 of 8000 labels are wrong\n"
    done = corrections(tmp_path)["all"]
    assert done["were_wrong"] > 0.75 * done["changed"]

    def accuracy(name: str, out: str) -> float:
        return float(printed[f"python train.py {name} {out}"].split()[-1].rstrip("%"))

    assert accuracy("all.npz", "all.pt") > accuracy("train.npz", "model.pt") + 2
