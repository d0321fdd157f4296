"""Files that mean harm: opening a checkpoint runs no code, whatever is in it."""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.checkpoints import OTHER, SGD, WEIGHTS, Net, RunsCommand, assert_holds, refusal, saved
from torch import nn

from cohaudit.errors import CheckpointError
from cohaudit.loading.checkpoint import load_checkpoint
from cohaudit.loading.checkpoint._stand_ins import STAND_INS


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "weights"])
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"state_dict": WEIGHTS, "x": evil}])
def test_a_pickle_that_would_run_a_command_is_refused(wrap, name: str, zipped: bool, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = saved(tmp_path / name, wrap(RunsCommand(f"touch {mark}")), _use_new_zipfile_serialization=zipped)
    error = refusal(path)
    assert f"{os.system.__module__}.system" in error.found
    assert "trust-checkpoint" not in error.remedy
    assert not mark.exists()


def test_the_same_pickle_does_run_unrestrained(tmp_path: Path) -> None:
    """Without this, the test above could pass on a harmless file."""
    mark = tmp_path / "ran"
    torch.load(saved(tmp_path / "model.pt", RunsCommand(f"touch {mark}")), weights_only=False)
    assert mark.exists()


def test_a_plain_pickle_is_refused_unread(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "model.pt").write_bytes(pickle.dumps(RunsCommand(f"touch {mark}")))
    assert "a plain pickle" in refusal(tmp_path / "model.pt", trust=True).found
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (nn.Sequential(nn.Linear(3, 2)), "torch.nn.modules.container.Sequential"),
        (Net(), f"{Net.__module__}.Net"),
        ({"state_dict": WEIGHTS, "config": Path("run")}, "pathlib.PosixPath"),
    ],
)
def test_a_pickle_of_objects_names_the_class_and_the_way_out(content, refused: str, tmp_path: Path) -> None:
    error = refusal(saved(tmp_path / "model.pt", content))
    assert refused in error.found
    assert "torch.save(model.state_dict(), 'weights.pt')" in error.remedy
    assert "--trust-checkpoint" in error.remedy


BESIDE = {
    "epoch": np.int64(12),
    "best": np.float64(0.875),
    "big-endian": np.dtype(">f4").type(0.5),
    "done": np.True_,
    "phase": np.complex64(1 + 2j),
    "args": argparse.Namespace(lr=0.1, sizes=[1, 2], nested=argparse.Namespace(x=np.float32(1))),
    "random": np.random.default_rng(0).integers(0, 9, (2, 3)),
    "numpy": np.random.RandomState(0).get_state(),
    "name": np.str_("run"),
    "when": np.datetime64("2024-02-29"),
}
"""What scripts store beside the weights."""


@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_checkpoint_opens_with_what_scripts_store_beside_the_weights(
    zipped: bool, tmp_path: Path
) -> None:
    content = {"model": WEIGHTS, "optimizer": SGD} | BESIDE
    path = saved(tmp_path / "last.ckpt", content, _use_new_zipfile_serialization=zipped)
    assert_holds(load_checkpoint(path), WEIGHTS)


def test_numpy_scalars_keep_their_values(tmp_path: Path) -> None:
    groups = [{"lr": np.float64(0.25), "steps": np.uint16(7), "params": [0], "amsgrad": np.False_}]
    optimizer = {"state": {}, "param_groups": groups}
    found = load_checkpoint(saved(tmp_path / "a.ckpt", {"model": WEIGHTS, "optimizer": optimizer})).optimizer
    assert found == optimizer
    assert [type(found["param_groups"][0][key]) for key in ("lr", "steps", "amsgrad")] == [float, int, bool]


def test_files_of_older_numpy_open_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"model": WEIGHTS, "best": np.float64(1)})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_holds(load_checkpoint(path), WEIGHTS)


def test_what_may_stand_beside_the_weights_is_forgotten_by_torch_again(tmp_path: Path) -> None:
    # Torch keeps these in a set, whose order may change without its members doing so.
    before = set(torch.serialization.get_safe_globals())
    load_checkpoint(saved(tmp_path / "model.pt", WEIGHTS))
    with pytest.raises(CheckpointError):
        load_checkpoint(saved(tmp_path / "model.pt", RunsCommand("true")))
    assert set(torch.serialization.get_safe_globals()) == before


class Crafted:
    """Pickles as a call of what a training checkpoint may hold, with arguments that no honest file has."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


SCALAR = np.float64(1).__reduce__()[0]


RECONSTRUCT = np.ones(1).__reduce__()[0]


POINTER = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)
"""State of a dtype that calls eight bytes an address of a Python object, and says that it has no objects."""


CRAFTED = {
    "object scalar": lambda evil: Crafted(SCALAR, np.dtype("O"), pickle.dumps(evil)),
    "object scalar of an object": lambda evil: Crafted(SCALAR, np.dtype("O"), evil),
    "object array": lambda evil: np.array([evil, evil], dtype=object),
    "address as scalar": lambda evil: Crafted(SCALAR, Crafted(np.dtype, "V8", state=POINTER), b"\x41" * 8),
    "address as array": lambda evil: Crafted(
        RECONSTRUCT,
        np.ndarray,
        (0,),
        b"b",
        state=(1, (1,), Crafted(np.dtype, "V8", state=POINTER), False, b"\x41" * 8),
    ),
    "scalar of too few bytes": lambda evil: Crafted(SCALAR, np.dtype("f8"), b"\x41"),
    "scalar of no type": lambda evil: Crafted(SCALAR, torch.ones(1), evil),
    "namespace of a class": lambda evil: Crafted(
        argparse.Namespace, state=(None, {"__class__": OrderedDict, "__setstate__": evil})
    ),
    "namespace called with a command": lambda evil: Crafted(argparse.Namespace, evil),
}


@pytest.mark.parametrize("crafted", CRAFTED)
@pytest.mark.parametrize("armed", [True, False])
def test_crafted_scalars_and_namespaces_run_nothing(crafted: str, armed: bool, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = RunsCommand(f"touch {mark}") if armed else b"harmless"
    path = saved(tmp_path / "model.pt", {"model": WEIGHTS, "beside": CRAFTED[crafted](evil)})
    with suppress(CheckpointError):
        assert_holds(load_checkpoint(path), WEIGHTS)
    assert not mark.exists()


def test_only_stand_ins_see_what_a_file_says_of_numpy(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"model": WEIGHTS} | BESIDE)
    with torch.serialization.safe_globals(STAND_INS):
        content = torch.load(path, weights_only=True)
    kinds = {type(value).__module__ for value in content.values()} - {"builtins"}
    assert kinds == {"cohaudit.loading.checkpoint._stand_ins"}
    assert {type(value).__module__ for value in content["numpy"]} <= {"builtins", *kinds}


def test_a_trusted_pickled_model_gives_its_state_dict(tmp_path: Path) -> None:
    model = Net()
    path = saved(tmp_path / "model.pt", model)
    assert_holds(load_checkpoint(path, trust=True), dict(model.state_dict()))
    checkpoint = load_checkpoint(saved(path, {"epoch": 3, "model": model, "ema": None}), trust=True)
    assert_holds(checkpoint, dict(model.state_dict()))
    assert checkpoint.format == 'torch file, state dict "model"'


def test_a_trusted_model_whose_class_is_gone_says_so(tmp_path: Path, monkeypatch) -> None:
    path = saved(tmp_path / "model.pt", Net())
    monkeypatch.delattr(sys.modules[Net.__module__], "Net")
    error = refusal(path, trust=True)
    assert "Net" in error.found
    assert "state_dict()" in error.remedy


def test_a_trusted_model_finds_its_code_beside_it(tmp_path: Path) -> None:
    (tmp_path / "code_beside_model.py").write_text(
        "from torch import nn\nclass Beside(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(1, 1)\n"
    )
    code = "import torch, code_beside_model as c; torch.save(c.Beside(), 'model.pt')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert set(load_checkpoint(tmp_path / "model.pt", trust=True).tensors) == {"fc.weight", "fc.bias"}


def test_a_dictionary_that_contains_itself(tmp_path: Path) -> None:
    content: dict[str, object] = {"model": WEIGHTS}
    content["self"] = content
    assert_holds(load_checkpoint(saved(tmp_path / "model.pt", content)), WEIGHTS)


def test_a_dictionary_that_is_deeper_than_any_checkpoint(tmp_path: Path) -> None:
    content: dict[str, object] = dict(WEIGHTS)
    for _ in range(50):
        content = {"": content}
    assert "holds no state dict" in refusal(saved(tmp_path / "model.pt", content)).found


def test_a_dictionary_whose_methods_are_replaced(tmp_path: Path) -> None:
    class Disguised:
        def __reduce__(self):
            return OrderedDict, (), {"items": 3, "keys": 3, "get": 3}, None, iter(WEIGHTS.items())

    path = saved(tmp_path / "model.pt", {"model": Disguised(), "optimizer": Disguised()})
    assert torch.load(path)["model"].items == 3
    assert_holds(load_checkpoint(path), WEIGHTS)


@pytest.mark.parametrize("name", ["\x1b[2J", "\ud800", "a\nb"])
def test_names_that_cannot_be_printed(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"model": WEIGHTS, name: OTHER})
    assert load_checkpoint(path).nested == ("model",)
    assert (
        "the name of a tensor cannot be printed"
        in refusal(saved(path, WEIGHTS | {name: torch.ones(1)})).found
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_a_file_it_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    kind = data.draw(st.sampled_from(["safetensors", "pt", "legacy"]))
    path = tmp_path / f"model.{kind.replace('legacy', 'pt')}"
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        saved(path, {"model": WEIGHTS, "epoch": 1}, _use_new_zipfile_serialization=kind == "pt")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)) | st.just(len(content)))])
    try:
        checkpoint = load_checkpoint(path)
    except CheckpointError:
        return
    assert checkpoint.tensors
