"""The two fixtures: made by the script beside them, bit for bit, and as documented."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "fixtures"
ARRAYS = ("digits/holdout.npz", "digits/train.npz")
TABLES = ("digits/truth.csv", "tumors/holdout.csv", "tumors/train.csv", "tumors/truth.csv")
CHECKPOINTS = ("digits/model.safetensors", "tumors/model.safetensors")
MADE = ARRAYS + TABLES + CHECKPOINTS
WRITTEN_BY_HAND = (
    "make_fixtures.py",
    "digits/cohaudit.toml",
    "digits/net.py",
    "tumors/cohaudit.toml",
    "tumors/net.py",
)
LARGEST_BYTES = 3_000_000
EACH = ("digits", "tumors")


def same_torch() -> bool:
    """Return whether this is the torch, and the kind of machine, that the checkpoints were made with."""
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    installed = importlib.metadata.version("torch").partition("+")[0]
    return f"torch=={installed}" in pinned and (sys.platform, platform.machine()) == ("linux", "x86_64")


def training_set(name: str) -> pd.DataFrame:
    """Return the ids and the labels as trained, as texts, in the dataset's order."""
    if name == "digits":
        with np.load(FIXTURES / "digits/train.npz") as arrays:
            table = pd.DataFrame({"given": arrays["labels"]})
        return table.rename_axis("id").reset_index().astype(str)
    table = pd.read_csv(FIXTURES / "tumors/train.csv", dtype=str)
    return table.rename(columns={"diagnosis": "given"})[["id", "given"]]


def predictions(name: str) -> list[str]:
    """Return what the checkpoint says of its training samples, as texts."""
    code = runpy.run_path(str(FIXTURES / name / "net.py"))
    weights = load_file(FIXTURES / name / "model.safetensors")
    if name == "digits":
        network, classes = code["DigitsNet"](), list(map(str, range(10)))
        with np.load(FIXTURES / "digits/train.npz") as arrays:
            x = torch.from_numpy(arrays["images"]).float().div(255).unsqueeze(1)
    else:
        network, classes = code["TumorNet"](), ["malignant", "benign"]
        table = pd.read_csv(FIXTURES / "tumors/train.csv").drop(columns=["id", "diagnosis"])
        x = torch.tensor(table.to_numpy(), dtype=torch.float32)
    network.load_state_dict(weights)
    return [classes[i] for i in network.eval()(x).argmax(1).tolist()]


def members(path: Path) -> list[tuple[str, bytes]]:
    """Return the arrays' files in an .npz; around them, each release of Python writes other zip headers."""
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def making() -> str:
    """Return a hash of all that the made files depend on: the code, the packages, the machine."""
    code = [FIXTURES / "make_fixtures.py", *FIXTURES.glob("*/net.py")]
    packages = ("torch", "numpy", "pandas", "scikit-learn", "safetensors")
    parts = [path.read_bytes() for path in sorted(code)]
    parts += [f"{name} {importlib.metadata.version(name)}".encode() for name in packages]
    parts += [sys.version.encode(), repr(platform.uname()).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the script has made both fixtures anew.

    Training takes half a minute, so pytest's cache keeps the folder as long as nothing changes that the
    files depend on; `--cache-clear` makes it anew.
    """
    out = tmp_path_factory.mktemp("fixtures")
    cache = getattr(request.config, "cache", None)  # none under -p no:cacheprovider
    kept = Path(cache.mkdir("fixtures"), making()) if cache else None
    if kept is not None and kept.is_dir():
        return kept
    command = [sys.executable, str(FIXTURES / "make_fixtures.py"), "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    if kept is not None:
        for older in kept.parent.iterdir():
            shutil.rmtree(older)
        whole = shutil.copytree(out, kept.with_suffix(".part"))
        whole.rename(kept)  # what is there is complete, whatever interrupts the test
    return out


@pytest.mark.slow
def test_every_file_is_made_by_the_script_or_written_by_hand(made: Path) -> None:
    assert sorted(str(path.relative_to(made)) for path in made.rglob("*.*")) == sorted(MADE)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_tables_are_made_again_byte_for_byte(made: Path, name: str) -> None:
    assert (made / name).read_bytes() == (FIXTURES / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_made_again_byte_for_byte(made: Path, name: str) -> None:
    assert members(made / name) == members(FIXTURES / name)


@pytest.mark.slow
@pytest.mark.skipif(not same_torch(), reason="promised for the pinned torch on Linux x86-64 only")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_are_made_again_byte_for_byte(made: Path, name: str) -> None:
    assert (made / name).read_bytes() == (FIXTURES / name).read_bytes()


def test_together_they_are_small() -> None:
    files = [FIXTURES / name for name in MADE + WRITTEN_BY_HAND]
    assert sum(path.stat().st_size for path in files) < LARGEST_BYTES


@pytest.mark.parametrize("name", EACH)
def test_truth_names_the_samples_of_the_training_set(name: str) -> None:
    truth = pd.read_csv(FIXTURES / name / "truth.csv", dtype=str)
    assert list(truth.columns) == ["id", "given", "true", "flipped"]
    pd.testing.assert_frame_equal(truth[["id", "given"]], training_set(name))


@pytest.mark.parametrize("name", EACH)
def test_one_label_in_ten_is_flipped(name: str) -> None:
    truth = pd.read_csv(FIXTURES / name / "truth.csv", dtype=str)
    assert set(truth["given"]) == set(truth["true"])
    assert truth["flipped"].tolist() == (truth["given"] != truth["true"]).astype(int).astype(str).tolist()
    assert (truth["flipped"] == "1").sum() == len(truth) // 10


@pytest.mark.parametrize("name", EACH)
def test_the_checkpoint_fits_every_label_as_given(name: str) -> None:
    assert predictions(name) == training_set(name)["given"].tolist()
