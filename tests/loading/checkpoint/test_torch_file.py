"""Files of torch.save: their tensors, and which of their state dicts is chosen."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoints import OTHER, SGD, WEIGHTS, assert_holds, refusal, saved
from torch import nn

from cohaudit.loading.checkpoint import load_checkpoint


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
    assert error.remedy == "use --weights with one of its state dicts: model_ema, model"
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
    ("content", "fragment"),
    [
        ({}, "an empty dictionary"),
        ({"epoch": 3, 4: "x"}, "a dictionary with 'epoch', 4"),
        ([torch.ones(3)], "an object of type list"),
        (torch.ones(3), "an object of type Tensor"),
        ({"optimizer": SGD}, "a dictionary with 'optimizer'"),
        ({"counts": torch.ones(3, dtype=torch.int64)}, "a dictionary with 'counts'"),
    ],
)
def test_a_torch_file_without_weights(content: object, fragment: str, tmp_path: Path) -> None:
    assert f"holds no state dict, but {fragment}" in refusal(saved(tmp_path / "model.pt", content)).found


@pytest.mark.filterwarnings("ignore:.*(quantiz|TypedStorage|_weight_qscheme)")
@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: torch.ones(2, 2).to_sparse(), "fc is sparse"),
        (lambda: torch.ones(2, device="meta"), "fc is on the meta device"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "fc is quantized"),
    ],
)
def test_tensors_that_are_no_plain_arrays(make, fragment: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"fc": make(), "w": torch.ones(1)})
    assert fragment in refusal(path).found
