"""Files → tensors, on real files: good ones, damaged ones, and ones that mean harm."""

import argparse
import hashlib
import json
import os
import pickle
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
from safetensors.torch import save_file, save_model
from torch import nn

from cohaudit.errors import BAD_INPUT, CheckpointError
from cohaudit.loading.checkpoint import Checkpoint, check_finite, load_checkpoint
from cohaudit.loading.checkpoint._stand_ins import STAND_INS

WEIGHTS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}
OTHER = {name: value + 1 for name, value in WEIGHTS.items()}
SGD = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


class RunsCommand:
    """Unpickling it runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def refusal(path: Path, **options: object) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, **options)
    assert caught.value.exit_code == BAD_INPUT
    return caught.value


def saved(path: Path, content: object, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


def assert_holds(checkpoint: Checkpoint, weights: dict[str, torch.Tensor]) -> None:
    assert checkpoint.tensors.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(checkpoint.tensors[name], value)
        assert checkpoint.tensors[name].dtype == value.dtype


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    save_file(WEIGHTS, tmp_path / "good.safetensors")
    return (tmp_path / "good.safetensors").read_bytes()


# safetensors


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    half = {"a": torch.ones(2, 2, dtype=torch.float16), "b": torch.ones((), dtype=torch.bfloat16)}
    save_file(WEIGHTS | half, path, {"trained": "yes"})
    checkpoint = load_checkpoint(path)
    assert_holds(checkpoint, WEIGHTS | half)
    assert checkpoint.format == "safetensors"
    assert checkpoint.metadata == {"trained": "yes"}
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (checkpoint.path, checkpoint.optimizer, checkpoint.nested) == (str(path), None, ())


def test_a_safetensors_file_without_extension_is_known_by_its_content(tmp_path: Path, good: bytes) -> None:
    (tmp_path / "weights").write_bytes(good)
    assert_holds(load_checkpoint(tmp_path / "weights"), WEIGHTS)


def test_names_that_save_model_drops_are_noted_as_tied(tmp_path: Path) -> None:
    model = nn.ModuleDict({"inside": nn.Linear(2, 2), "outside": nn.Linear(2, 2)})
    model["outside"].weight = model["inside"].weight
    save_model(model, str(tmp_path / "tied.safetensors"))
    checkpoint = load_checkpoint(tmp_path / "tied.safetensors")
    assert len(checkpoint.tensors) == 3
    assert checkpoint.tied in ({"outside.weight": "inside.weight"}, {"inside.weight": "outside.weight"})


def test_weights_of_a_safetensors_file_need_no_choice(tmp_path: Path, good: bytes) -> None:
    assert "leave out --weights" in refusal(tmp_path / "good.safetensors", weights="ema").remedy


def header(entries: object) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED = {
    "zero-length": (lambda good: b"", "the file is empty"),
    "five bytes": (lambda good: good[:5], "no safetensors header"),
    "cut in the header": (lambda good: good[:30], "but the file has 30: cut off"),
    "cut in the tensors": (lambda good: good[:-4], "cut off: it has 28 of 32 bytes of tensors"),
    "bytes left over": (lambda good: good + b"1234", "not fully covered"),
    "header beyond the file": (
        lambda good: (10**12).to_bytes(8, "little") + good[8:],
        "its header claims 1,000,000,000,000 bytes",
    ),
    "header of no JSON": (lambda good: header(b"{not json!}"), "its header is not as the format wants it"),
    "header of a list": (lambda good: header(b"[1, 2]"), "no safetensors header"),
    "header of numbers": (lambda good: header({"a": 1}), "its header is not as the format wants it"),
    "deep header": (lambda good: header(b'{"a":' + b"[" * 5000), "its header is not as the format wants it"),
    "offset of letters": (
        lambda good: header({"a": ENTRY | {"data_offsets": [0, "x"]}}),
        "its header is not as the format wants it",
    ),
    "infinite offset": (
        lambda good: header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1e999]}}'),
        "its header is not as the format wants it",
    ),
    "escape in a dtype": (lambda good: header({"a": ENTRY | {"dtype": "\x1b[2J"}}) + bytes(8), r"\x1b[2J"),
    "unknown dtype": (lambda good: header({"a": ENTRY | {"dtype": "Q7"}}) + bytes(8), "Q7"),
    "shape of another size": (lambda good: header({"a": ENTRY | {"shape": [3]}}) + bytes(8), "damaged"),
    "overlap": (lambda good: header({"a": ENTRY, "b": ENTRY}) + bytes(8), "damaged"),
    "offsets beyond": (
        lambda good: header({"a": ENTRY | {"shape": [2**40], "data_offsets": [0, 2**42]}}) + bytes(8),
        "cut off: it has 8 of",
    ),
    "web page": (lambda good: b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
    "git-lfs": (
        lambda good: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        "a git-lfs pointer",
    ),
    "random": (lambda good: bytes(range(200)), "no safetensors header"),
    "no tensors": (lambda good: header({}), "no tensors in it"),
    "escape in a name": (
        lambda good: header({"\x1b[2Jfc": ENTRY}) + bytes(8),
        r"a tensor is named '\x1b[2Jfc'",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_safetensors_file_says_how(case: str, tmp_path: Path, good: bytes) -> None:
    damage, told = DAMAGED[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(good))
    error = refusal(path)
    assert told in error.found
    assert error.where == str(path)
    assert error.found.isprintable()


def test_a_git_lfs_pointer_is_to_be_pulled(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refusal(tmp_path / "model.pt").remedy


# sharded


def shards(folder: Path, **changes: object) -> Path:
    """Write two shards and their index; `changes` replace keys of the index."""
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    save_file({"fc.weight": WEIGHTS["fc.weight"]}, folder / first)
    save_file({"fc.bias": WEIGHTS["fc.bias"]}, folder / second)
    index = folder / "model.safetensors.index.json"
    content = {"metadata": {"total_size": 32}, "weight_map": {"fc.weight": first, "fc.bias": second}}
    index.write_text(json.dumps(content | changes))
    return index


def test_shards(tmp_path: Path) -> None:
    index = shards(tmp_path)
    checkpoint = load_checkpoint(index)
    assert_holds(checkpoint, WEIGHTS)
    assert checkpoint.format == "safetensors, 2 shards"
    parts = [index, *sorted(tmp_path.glob("*-of-*"))]
    assert checkpoint.sha256 == hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()


def test_one_shard_alone_points_to_the_index(tmp_path: Path) -> None:
    shards(tmp_path)
    error = refusal(tmp_path / "model-00002-of-00002.safetensors")
    assert "one of the 2 shards" in error.found
    assert "model.safetensors.index.json" in error.remedy


def test_a_missing_shard(tmp_path: Path) -> None:
    index = shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "its shard model-00002-of-00002.safetensors is missing" in refusal(index).found


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    index = shards(tmp_path)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    error = refusal(index)
    assert error.where == str(shard)
    assert "cut off" in error.found


def test_shards_that_git_lfs_did_not_bring(tmp_path: Path) -> None:
    index = shards(tmp_path)
    shard = tmp_path / "model-00001-of-00002.safetensors"
    shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    error = refusal(index)
    assert error.where == str(shard)
    assert "git lfs pull" in error.remedy


def test_a_tensor_that_is_not_in_its_shard(tmp_path: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    index = shards(tmp_path, weight_map={"fc.weight": second, "fc.bias": second, "gone": first})
    assert "2 tensors are not in the shards it names, the first: fc.weight" in refusal(index).found


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "sub/x.safetensors",
        "..\\x.safetensors",
        7,
        "\x1b.safetensors",
    ],
)
def test_a_shard_elsewhere_is_refused(name: object, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    save_file(WEIGHTS, tmp_path / "secret.safetensors")
    index = shards(tmp_path / "inside", weight_map={"fc.weight": name})
    assert "no plain file name" in refusal(index).found


@pytest.mark.parametrize("name", ["pytorch_model-00001-of-00002.bin", "..", ""])
def test_shards_that_are_no_safetensors_are_refused(name: str, tmp_path: Path) -> None:
    index = shards(tmp_path, weight_map={"fc.weight": name})
    assert "safe_serialization=True" in refusal(index).remedy


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "without a weight_map"),
        ("{}", "without a weight_map"),
        ('{"weight_map": {}}', "without a weight_map"),
        ('{"weight_map": []}', "without a weight_map"),
        ("\udcff", "no JSON"),
    ],
)
def test_a_json_file_that_is_no_index(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    assert told in refusal(tmp_path / "config.json").found


# torch files


@pytest.mark.parametrize("extension", ["pt", "pth", "bin", "ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(extension: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / f"model.{extension}"
    checkpoint = load_checkpoint(saved(path, WEIGHTS, _use_new_zipfile_serialization=zipped))
    assert_holds(checkpoint, WEIGHTS)
    assert (checkpoint.format, checkpoint.nested) == ("torch file", ("",))
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_parameters_come_back_as_plain_tensors(tmp_path: Path) -> None:
    parameters = {name: nn.Parameter(value) for name, value in WEIGHTS.items()}
    checkpoint = load_checkpoint(saved(tmp_path / "model.pt", parameters))
    assert not any(value.requires_grad for value in checkpoint.tensors.values())


def test_what_is_no_tensor_in_a_state_dict_is_left_out(tmp_path: Path) -> None:
    content = OrderedDict(WEIGHTS | {"fc._extra_state": None, "version": 3})
    assert_holds(load_checkpoint(saved(tmp_path / "model.pt", content)), WEIGHTS)


@pytest.mark.parametrize(
    ("content", "chosen"),
    [
        ({"state_dict": WEIGHTS, "epoch": 3, "best_acc": torch.tensor(0.9)}, "state_dict"),
        ({"model": WEIGHTS, "ema": OTHER}, "model"),
        ({"ema": OTHER, "model_state_dict": WEIGHTS}, "model_state_dict"),
        ({"state_dict": WEIGHTS, "state_dict_ema": OTHER}, "state_dict"),
        ({"model_ema": OTHER, "model": WEIGHTS}, "model"),
        ({"swa_model": OTHER, "module": WEIGHTS}, "module"),
        ({"ema_state_dict": WEIGHTS, "step": 1}, "ema_state_dict"),
        ({"criterion": {"weight": torch.ones(3)}, "net": WEIGHTS}, "net"),
        ({"generator": WEIGHTS}, "generator"),
        ({"checkpoint": {"model": WEIGHTS}}, "checkpoint.model"),
        ({"rng": {"cpu": torch.ones(3, dtype=torch.uint8)}, "params": WEIGHTS}, "params"),
        ({"optimizer": SGD, "model": WEIGHTS}, "model"),
        ({"ema": {"module": WEIGHTS, "decay": 0.99}}, "ema.module"),
    ],
)
def test_the_trained_state_dict_is_found(content: dict, chosen: str, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(saved(tmp_path / "model.ckpt", content))
    assert_holds(checkpoint, WEIGHTS)
    assert checkpoint.format.startswith(f'torch file, state dict "{chosen}"')
    assert chosen in checkpoint.nested


def test_a_bare_state_dict_goes_before_what_else_is_in_it(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(saved(tmp_path / "model.pt", WEIGHTS | {"model": OTHER}))
    assert_holds(checkpoint, WEIGHTS)
    assert checkpoint.format == "torch file (also in it: model)"


def test_the_state_dict_asked_for(tmp_path: Path) -> None:
    content = {"model": WEIGHTS, "ema": {"module": OTHER, "decay": 0.99}}
    path = saved(tmp_path / "model.pt", content)
    assert_holds(load_checkpoint(path, weights="ema.module"), OTHER)
    checkpoint = load_checkpoint(path, weights="ema")
    assert_holds(checkpoint, OTHER)
    assert checkpoint.format == 'torch file, state dict "ema.module" (also in it: model)'
    assert checkpoint.nested == ("model", "ema.module")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WEIGHTS, "last.ckpt"),
        ({"model_state_dict": WEIGHTS, "epoch": 12}, "model_state_dict of last.ckpt, epoch 12"),
        ({"model": WEIGHTS, "epoch": np.int64(3)}, "model of last.ckpt, epoch 3"),
        ({"model": WEIGHTS, "epoch": "3\x1b"}, "model of last.ckpt"),
        ({"model": WEIGHTS, "ema": OTHER}, "model of last.ckpt (also in it: ema)"),
    ],
)
def test_the_origin_of_the_weights_in_words(content: dict, said: str, tmp_path: Path) -> None:
    assert load_checkpoint(saved(tmp_path / "last.ckpt", content)).origin == said


def test_a_state_dict_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"model": WEIGHTS, "model_ema": OTHER})
    error = refusal(path, weights="ema")
    assert "no state dict 'ema'" in error.found
    assert error.remedy == "choose one of those in it: --weights model_ema, model"
    assert "leave out" in refusal(saved(path, WEIGHTS), weights="ema").remedy


def test_a_choice_that_nothing_decides_is_the_users(tmp_path: Path) -> None:
    error = refusal(saved(tmp_path / "gan.pt", {"generator": WEIGHTS, "discriminator": OTHER}))
    assert "generator, discriminator" in error.found
    assert "--weights generator" in error.remedy


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ({"optimizer": SGD}, True),
        ({"optimizer_state_dict": SGD}, True),
        ({"optimizer_states": [SGD]}, True),
        ({"optimizer_states": [SGD, SGD]}, False),
        ({"optimizer": None, "lr_schedulers": [{"last_epoch": 3}]}, False),
    ],
)
def test_the_optimizer_is_kept_when_there_is_one(content: dict, kept: bool, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(saved(tmp_path / "model.ckpt", {"state_dict": WEIGHTS} | content))
    assert_holds(checkpoint, WEIGHTS)
    if not kept:
        assert checkpoint.optimizer is None
        return
    assert checkpoint.optimizer is not None
    assert checkpoint.optimizer["param_groups"] == SGD["param_groups"]
    assert torch.equal(checkpoint.optimizer["state"][0]["momentum_buffer"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "an empty dictionary"),
        ({"epoch": 3, 4: "x"}, "a dictionary with 'epoch', 4"),
        ([torch.ones(3)], "an object of type list"),
        (torch.ones(3), "an object of type Tensor"),
        ({"optimizer": SGD}, "a dictionary with 'optimizer'"),
        ({"counts": torch.ones(3, dtype=torch.int64)}, "a dictionary with 'counts'"),
    ],
)
def test_a_torch_file_without_weights(content: object, told: str, tmp_path: Path) -> None:
    assert f"no state dict in it, only {told}" in refusal(saved(tmp_path / "model.pt", content)).found


@pytest.mark.filterwarnings("ignore:.*(quantiz|TypedStorage|_weight_qscheme)")
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: torch.ones(2, 2).to_sparse(), "fc is sparse"),
        (lambda: torch.ones(2, device="meta"), "fc is on the meta device"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "fc is quantized"),
    ],
)
def test_tensors_that_are_no_plain_arrays(make, told: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"fc": make(), "w": torch.ones(1)})
    assert told in refusal(path).found


# files that mean harm


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


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (nn.Sequential(nn.Linear(3, 2)), "torch.nn.modules.container.Sequential"),
        (Net(), f"{__name__}.Net"),
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
    before = torch.serialization.get_safe_globals()
    load_checkpoint(saved(tmp_path / "model.pt", WEIGHTS))
    with pytest.raises(CheckpointError):
        load_checkpoint(saved(tmp_path / "model.pt", RunsCommand("true")))
    assert torch.serialization.get_safe_globals() == before


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
    monkeypatch.delitem(globals(), "Net")
    error = refusal(path, trust=True)
    assert "Net" in error.found
    assert "state_dict()" in error.remedy


def test_a_trusted_model_finds_its_code_beside_it(tmp_path: Path) -> None:
    (tmp_path / "code_beside_model.py").write_text(
        "from torch import nn\nclass Beside(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(1, 1)\n"
    )
    import subprocess
    import sys

    save = "import torch, code_beside_model as c; torch.save(c.Beside(), 'model.pt')"
    subprocess.run([sys.executable, "-c", save], cwd=tmp_path, check=True)
    assert set(load_checkpoint(tmp_path / "model.pt", trust=True).tensors) == {"fc.weight", "fc.bias"}


def test_a_dictionary_that_contains_itself(tmp_path: Path) -> None:
    content: dict[str, object] = {"model": WEIGHTS}
    content["self"] = content
    assert_holds(load_checkpoint(saved(tmp_path / "model.pt", content)), WEIGHTS)


def test_a_dictionary_that_is_deeper_than_any_checkpoint(tmp_path: Path) -> None:
    content: dict[str, object] = dict(WEIGHTS)
    for _ in range(50):
        content = {"": content}
    assert "no state dict in it" in refusal(saved(tmp_path / "model.pt", content)).found


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
    assert "a tensor is named" in refusal(saved(path, WEIGHTS | {name: torch.ones(1)})).found


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


# other formats, and what is no file


def test_an_exported_program_needs_trust(tmp_path: Path) -> None:
    model = Net().fc
    torch.export.save(torch.export.export(model, (torch.ones(2, 3),)), tmp_path / "model.pt2")
    error = refusal(tmp_path / "model.pt2")
    assert "can run code" in error.found
    assert "--trust-checkpoint" in error.remedy
    checkpoint = load_checkpoint(tmp_path / "model.pt2", trust=True)
    assert_holds(checkpoint, dict(model.state_dict()))
    assert checkpoint.format == "torch.export program"


def test_a_damaged_exported_program(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/archive_format", "pt2")
    assert "cannot be read" in refusal(tmp_path / "model.pt2", trust=True).found


def test_torchscript_is_to_be_converted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
        archive.writestr("model/constants.pkl", b"")
    assert "torch.jit.load('model.pt').state_dict()" in refusal(tmp_path / "model.pt", trust=True).remedy


@pytest.mark.parametrize("name", ["", ".metadata", "__0_0.distcp"])
def test_a_distributed_checkpoint_is_to_be_converted(name: str, tmp_path: Path) -> None:
    mark = tmp_path.parent / "ran"
    (tmp_path / ".metadata").write_bytes(pickle.dumps(RunsCommand(f"touch {mark}")))
    (tmp_path / "__0_0.distcp").write_bytes(b"x")
    for trust in (False, True):
        assert "dcp_to_torch" in refusal(tmp_path / name, trust=trust).remedy
    assert not mark.exists()


def test_a_folder_lists_the_checkpoints_in_it(tmp_path: Path) -> None:
    assert "there is none in it" in refusal(tmp_path).remedy
    shards(tmp_path)
    (tmp_path / "notes.txt").touch()
    error = refusal(tmp_path)
    assert "a folder" in error.found
    assert error.remedy.startswith("name one of its files: model.safetensors.index.json, model-00001")
    assert "notes" not in error.remedy


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    error = refusal(tmp_path / "modle.safetensors")
    assert error.found == "no such file or folder"
    assert error.remedy == "did you mean model.safetensors?"
    assert refusal(tmp_path / "nowhere" / "model.pt").remedy.endswith("nowhere is no folder")


def test_a_missing_file_suggests_checkpoints_alone(tmp_path: Path) -> None:
    for name in ("cohaudit.toml", "my_data.py", "modle.txt"):
        (tmp_path / name).touch()
    assert refusal(tmp_path / "model.pt").remedy == f"check the path: {tmp_path} has no checkpoint"
    (tmp_path / "last.ckpt").touch()
    assert refusal(tmp_path / "model.pt").remedy == "use one of last.ckpt"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch, good: bytes) -> None:
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # the superuser may read everything
    assert refusal(tmp_path / "good.safetensors").found == "cannot be opened: Permission denied"


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / ("x" * 300)).found
    assert "cannot be opened" in refusal(tmp_path / "a\0b").found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pt")
    assert "no regular file" in refusal(tmp_path / "model.pt").found


def test_content_that_contradicts_the_extension(tmp_path: Path, good: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(good)
    error = refusal(tmp_path / "model.pt")
    assert "that of a safetensors file" in error.found
    assert "rename it to model.safetensors" in error.remedy
    error = refusal(saved(tmp_path / "model.safetensors", WEIGHTS))
    assert "that of a torch file" in error.found
    assert "rename it to model.pt" in error.remedy


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"GGUF\x03", "a GGUF file"),
        (b"hello, this is text", "neither a safetensors nor a torch file"),
        (b"PK\x03\x04 and then nothing", "cut off or damaged"),
    ],
)
def test_files_of_other_kinds(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert told in refusal(tmp_path / "model.pt").found


def test_an_archive_of_numpy_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", images=np.ones(3))
    assert "it holds images.npy" in refusal(tmp_path / "train.npz").found


# NaN


def test_weights_that_are_no_numbers_are_counted() -> None:
    bad = {
        "nan": torch.tensor([1.0, float("nan"), float("nan")]),
        "inf": torch.tensor([float("inf"), 0.0]),
        "minus": torch.tensor([float("-inf"), 1.0], dtype=torch.bfloat16),
        "f8": torch.tensor([float("nan")]).to(torch.float8_e4m3fn),
        "complex": torch.tensor([complex(float("nan"), 1.0)]),
    }
    with pytest.raises(CheckpointError) as caught:
        check_finite(WEIGHTS | bad, "model.pt")
    assert caught.value.where == "model.pt"
    assert "5 of 7 tensors" in caught.value.found
    assert "nan (2 NaN and 0 infinite of 3 values)" in caught.value.found
    assert "inf (0 NaN and 1 infinite of 2 values)" in caught.value.found


def test_the_list_of_bad_tensors_is_cut() -> None:
    bad = {f"layer{i}": torch.tensor(float("nan")) for i in range(30)}
    with pytest.raises(CheckpointError, match=r"layer2 .* and 27 more"):
        check_finite(bad, "model.pt")


def test_weights_that_are_numbers_pass() -> None:
    mask = torch.triu(torch.full((3, 3), float("-inf")), diagonal=1)
    check_finite(WEIGHTS | {"mask": mask, "steps": torch.tensor(3), "none": torch.ones(0)}, "model.pt")
