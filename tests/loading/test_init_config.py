"""`cohaudit init`: what it finds in a folder, and that what it writes can be loaded."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from support.audits import make_audit

from cohaudit.config import KEYS, Config
from cohaudit.config.file import load_config, require_subject
from cohaudit.errors import ConfigError
from cohaudit.loading.find_files import REPORT_TABLE_START
from cohaudit.loading.init_config import write_starter
from cohaudit.results import SAMPLE_COLUMNS
from cohaudit.review.export import export


def make(folder: Path, *files: str) -> None:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def starter(folder: Path) -> dict[str, object]:
    write_starter(folder, force=True)
    return tomllib.loads((folder / "cohaudit.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("fixture", "model", "data"),
    [("digits", "net.py:build", "train.npz"), ("tumors", "net.py:TumorNet", "train.csv")],
)
def test_a_real_folder_gives_a_configuration_that_loads(
    fixture: str, model: str, data: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shutil.copytree(
        request.getfixturevalue(fixture),
        tmp_path / "copy",
        ignore=shutil.ignore_patterns("*.toml", "__pycache__"),
    )
    lines = write_starter(tmp_path / "copy", force=False)
    config = load_config(tmp_path / "copy" / "model.safetensors", {}, tmp_path / "copy" / "cohaudit.toml")
    require_subject(config)
    assert (config.model, config.data) == (model, data)
    assert (config.base / data).is_file()
    assert lines[-1] == (
        f"Next: cohaudit scan {tmp_path}/copy/model.safetensors --config {tmp_path}/copy/cohaudit.toml"
    )


def test_uncommenting_every_line_changes_nothing(tmp_path: Path) -> None:
    write_starter(tmp_path, force=False)
    text = (tmp_path / "cohaudit.toml").read_text()
    (tmp_path / "cohaudit.toml").write_text(re.sub(r"^#(?=\w)", "", text, flags=re.MULTILINE))
    config = load_config(tmp_path / "model.pt", {"out": Config().out}, tmp_path / "cohaudit.toml")
    assert all(getattr(config, key) == getattr(Config(), key) for key in KEYS if key != "out")
    assert tomllib.loads(re.sub(r"^#(?=\w)", "", text, flags=re.MULTILINE)).keys() == KEYS.keys()


def test_an_empty_folder_says_what_is_left_to_do(tmp_path: Path) -> None:
    lines = write_starter(tmp_path, force=False)
    assert "  model: not found: fill in the key model" in lines
    assert "  data: not found: fill in the key data" in lines
    assert "  checkpoint: not found: name yours when you scan" in lines
    assert tomllib.loads((tmp_path / "cohaudit.toml").read_text()) == {}


def test_an_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    (tmp_path / "cohaudit.toml").write_text("seed = 7")
    with pytest.raises(ConfigError, match=r"cohaudit\.toml: exists already\n.*--force"):
        write_starter(tmp_path, force=False)
    assert (tmp_path / "cohaudit.toml").read_text() == "seed = 7"
    write_starter(tmp_path, force=True)
    assert "seed = 7" not in (tmp_path / "cohaudit.toml").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["cohaudit.toml"]


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not a folder"):
        write_starter(tmp_path / name, force=False)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["a.csv", "train.csv"], "train.csv"),
        (["holdout.npz", "train.npz", "val.npz"], "train.npz"),
        (["my_train_set.parquet", "my_test_set.parquet"], "my_train_set.parquet"),
        (["data/train.csv", "data/test.csv"], "data/train.csv"),
        (["test.jsonl", "train.jsonl"], "train.jsonl"),
        (["train.safetensors", "model.safetensors"], "train.safetensors"),
        (["images/cat/1.JPG", "images/dog/2.png"], "images"),
        (
            ["data/train/cat/1.png", "data/train/dog/2.png", "data/val/cat/3.png", "data/val/dog/4.png"],
            "data/train",
        ),
        (["cohaudit-report/samples.csv", ".cache/train.csv", "rows.csv"], "rows.csv"),
        (["heldout/cat/1.png", "heldout/dog/2.png", "photos/cat/1.png", "photos/dog/2.png"], "photos"),
        (["test.csv"], None),
        (["images/cat/1.png"], None),
        (["trained_model.safetensors", "m-00001-of-00002.safetensors", "optimizer.safetensors"], None),
    ],
    ids=str,
)
def test_data_is_found(tmp_path: Path, files: list[str], found: str | None) -> None:
    make(tmp_path, *files)
    assert starter(tmp_path).get("data") == found


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["model.safetensors", "train.safetensors"], "model.safetensors"),
        (["trained_model.pt", "optimizer.pt", "training_args.bin"], "trained_model.pt"),
        (["checkpoints/last.ckpt"], "checkpoints/last.ckpt"),
        (
            ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors", "m.safetensors.index.json"],
            "m.safetensors.index.json",
        ),
    ],
    ids=str,
)
def test_checkpoints_are_found(tmp_path: Path, files: list[str], found: str) -> None:
    make(tmp_path, *files)
    assert f"  checkpoint: {found}" in write_starter(tmp_path, force=False)


def next_command(folder: Path) -> list[str]:
    """Return the words of the next command as a shell reads them."""
    line = write_starter(folder, force=True)[-1].partition("cohaudit scan ")[2]
    command = f"for word in {line}; do printf '%s\\n' \"$word\"; done"
    words = subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout.splitlines()
    assert words[-2:] == ["--config", str(folder / "cohaudit.toml")]
    return words[:-2]


@pytest.mark.parametrize(
    ("files", "scanned"),
    [
        (["run-2.pt", "run-10.pt", "run-9.pt", "zero-99.pt"], ["run-10.pt", "run-2.pt", "run-9.pt"]),
        (["a run/epoch1.pt", "a run/epoch2.pt", "a run/best.pt"], ["a run/epoch1.pt", "a run/epoch2.pt"]),
        (["c/1/model.pt", "c/2/model.pt"], None),
        # a pattern would also fit the file of another series: each one is named
        (["e-1.pt", "e-2.pt", "e-1-ema.pt"], ["e-1.pt", "e-2.pt"]),
        (["e 1.pt", "e 12.pt", "e [1].pt"], ["e 1.pt", "e 12.pt"]),
        (["it's.pt"], ["it's.pt"]),
    ],
    ids=str,
)
def test_of_a_series_of_checkpoints_all_are_scanned(
    tmp_path: Path, files: list[str], scanned: list[str] | None
) -> None:
    make(tmp_path, *files)
    if scanned is not None:
        assert next_command(tmp_path) == [str(tmp_path / name) for name in scanned]
    else:  # too deep to be searched
        assert next_command(tmp_path) == ["CHECKPOINT"]


def test_many_checkpoints_are_not_all_listed(tmp_path: Path) -> None:
    make(tmp_path, *(f"epoch{k:03}.pt" for k in range(100)))
    lines = write_starter(tmp_path, force=False)
    assert lines[-2].endswith("epoch007.pt, and 92 more")
    assert lines[-1] == f"Next: cohaudit scan {tmp_path}/epoch*.pt --config {tmp_path}/cohaudit.toml".replace(
        "Next:", f"Next: fill in model and data in {tmp_path / 'cohaudit.toml'}, then:"
    )


def arrays(path: Path, *names: str) -> None:
    np.savez(path, **dict.fromkeys(names, np.zeros(2)))


def test_data_of_the_same_form_that_is_named_for_evaluation_is_a_holdout(tmp_path: Path) -> None:
    arrays(tmp_path / "train.npz", "x", "y")
    arrays(tmp_path / "val.npz", "x", "y")
    arrays(tmp_path / "test.npz", "x", "y")
    arrays(tmp_path / "truth.npz", "x", "y")
    lines = write_starter(tmp_path, force=False)
    holdout = "  holdout: test.npz (also found: val.npz). Remove the line if the model was trained on it."
    assert holdout in lines
    assert starter(tmp_path)["holdout"] == "test.npz"


@pytest.mark.parametrize(
    ("train", "test", "found"),
    [
        ("id,x,label\n", "id,label,x\n1,2,3\n", True),
        ("id,x,label\n", "id,x\n1,2\n", False),  # without labels, as a competition gives it
        ("id,x,label\n", "", False),
        ("id,x,label\n", "\udcff", False),
    ],
)
def test_a_table_with_other_columns_is_no_holdout(tmp_path: Path, train: str, test: str, found: bool) -> None:
    (tmp_path / "train.csv").write_text(train)
    (tmp_path / "test.csv").write_text(test, errors="surrogateescape")
    assert ("holdout" in starter(tmp_path)) == found


def test_folders_beside_the_training_images_are_holdouts_unless_they_have_other_classes(
    tmp_path: Path,
) -> None:
    names = [f"{part}/{kind}/1.png" for part in ("train", "test", "val") for kind in ("cat", "dog")]
    make(tmp_path, *names, *(f"eval/{kind}/1.png" for kind in ("cat", "cow")), "test/cat/2.png")
    assert starter(tmp_path)["holdout"] == "test"
    lines = write_starter(tmp_path, force=True)
    assert "  holdout: test (also found: val). Remove the line if the model was trained on it." in lines


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8, b"\xff" * 8, b"{" * 100_000, b'\x09\0\0\0\0\0\0\0["a", "b"]']
)
@pytest.mark.parametrize("suffix", ["npz", "jsonl", "safetensors", "csv"])
def test_a_broken_file_is_no_holdout(tmp_path: Path, suffix: str, content: bytes) -> None:
    make(tmp_path, f"train.{suffix}")
    (tmp_path / f"test.{suffix}").write_bytes(content)
    if content or suffix == "csv":
        (tmp_path / f"train.{suffix}").write_bytes(b'{"a": 1}\n')
    assert "holdout" not in starter(tmp_path)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def preprocess(image): ...", "preprocess"),
        ("def transform(image, size=3): ...", "transform"),
        ("def transform(image, size): ...", None),
        ("def get_transform(): ...", None),
        ("transform = Compose([ToTensor(), Normalize(0.5, 0.5)])", "transform"),
        ("transform = Compose([RandomCrop(3), ToTensor()])", None),
        ("train_transform = Compose([ToTensor()])", None),
        (
            "transform: object = Compose([ToTensor()])\ntest_transform = Compose([ToTensor()])",
            "test_transform",
        ),
        ("transform = None", None),
        ("def prepare_input(x): ...\nwhile True: ...", None),
    ],
)
def test_a_preparation_of_single_inputs_is_a_transform(tmp_path: Path, code: str, found: str | None) -> None:
    (tmp_path / "net.py").write_text(code)
    assert starter(tmp_path).get("transform") == (found and f"net.py:{found}")


def test_other_candidates_are_listed(tmp_path: Path) -> None:
    make(tmp_path, "train_a.csv", "train_b.csv")
    lines = write_starter(tmp_path, force=False)
    assert "  data: train_a.csv (also found: train_b.csv)" in lines
    assert '# Also found: "train_b.csv".' in (tmp_path / "cohaudit.toml").read_text()


def test_required_arguments_are_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, width, *, depth): ..."
    )
    make(tmp_path, "model.pt", "train.npz")
    lines = write_starter(tmp_path, force=False)
    assert "  model: net.py:Net. It needs arguments: give width, depth in model_args." in lines
    target = tmp_path / "cohaudit.toml"
    assert "#model_args = { width = …, depth = … }" in target.read_text(encoding="utf-8").splitlines()
    scan = f"cohaudit scan {tmp_path / 'model.pt'} --config {target}"
    assert lines[-1] == f"Next: fill in model_args in {target}, then: {scan}"
    assert starter(tmp_path) == {"model": "net.py:Net", "data": "train.npz"}


def test_what_is_missing_comes_before_the_scan(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("class Net(nn.Module): ...")
    target = tmp_path / "cohaudit.toml"
    assert (
        write_starter(tmp_path, force=False)[-1]
        == f"Next: fill in data in {target}, then: cohaudit scan CHECKPOINT --config {target}"
    )
    (tmp_path / "net.py").unlink()
    assert "fill in model and data in" in write_starter(tmp_path, force=True)[-1]


NET = "from torch import nn\nclass Net(nn.Module): ...\n"


def test_a_file_that_only_defines_the_model_goes_before_one_that_trains_it(tmp_path: Path) -> None:
    (tmp_path / "a_train.py").write_text(NET + "for _ in range(3):\n    loss.backward()\n")
    (tmp_path / "b_net.py").write_text("class Other(nn.Module):\n    def __init__(self, width): ...\n")
    lines = write_starter(tmp_path, force=False)
    assert "  model: b_net.py:Other (also found: a_train.py:Net)." in lines[1]
    assert "a_train" not in lines[-1]


def test_a_file_that_trains_on_import_is_pointed_out(tmp_path: Path) -> None:
    make(tmp_path, "model.pt", "train.npz")
    (tmp_path / "train.py").write_text(NET + "for _ in range(3):\n    loss.backward()\n")
    lines = write_starter(tmp_path, force=False)
    assert "line 4 runs loss.backward(): put that under `if __name__ == '__main__':`" in lines[1]
    assert lines[-1].startswith("Next: make train.py safe to import, then: cohaudit scan")
    assert "line 4 runs loss.backward()" in (tmp_path / "cohaudit.toml").read_text().replace("\n# ", " ")
    (tmp_path / "train.py").write_text(NET + "if __name__ == '__main__':\n    loss.backward()\n")
    assert "import" not in "".join(write_starter(tmp_path, force=True))


def test_an_earlier_report_is_no_training_data(tmp_path: Path) -> None:
    make(tmp_path, "run1/audit.json", "run1/samples.csv")
    assert "data" not in starter(tmp_path)
    (tmp_path / "suspects.csv").write_text(",".join(SAMPLE_COLUMNS) + "\n7,1,1,2,0.9,True\n")
    assert "data" not in starter(tmp_path)
    (tmp_path / "suspects.jsonl").write_bytes(export(make_audit(), "jsonl"))
    assert "data" not in starter(tmp_path)
    make(tmp_path, "other/samples.csv")
    assert starter(tmp_path)["data"] == "other/samples.csv"


def test_the_columns_of_a_report_are_still_those_that_init_knows() -> None:
    assert ",".join(SAMPLE_COLUMNS).encode().startswith(REPORT_TABLE_START)


def test_code_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "net.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom torch import nn\nclass Net(nn.Module): ..."
    )
    assert starter(tmp_path)["model"] == "net.py:Net"
    assert not ran.exists()


def test_hostile_names_stay_valid_toml(tmp_path: Path) -> None:
    name = 'train "x"\\ \x7f\x1b[31m\n= 1.csv'
    make(tmp_path, name, "train 2\nseed = 3.csv")
    assert starter(tmp_path) == {"data": name}


@pytest.mark.parametrize("name", ["net.py", "data.csv", "model.pt"])
def test_folders_named_like_files_are_no_obstacle(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert starter(tmp_path) == {}
