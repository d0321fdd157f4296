"""A checkpoint that does not fit the model: what is said, and that the model keeps its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.weights import assert_has, held, mismatch, net, weights_of
from torch import nn

from cohaudit.errors import CheckpointError, ModelError
from cohaudit.loading.checkpoint import load_checkpoint
from cohaudit.loading.model import load_weights


def test_another_number_of_classes_is_recognized() -> None:
    error = mismatch(net(classes=7), weights_of(net(classes=3)))
    assert "fc.weight (checkpoint [3, 16], model [7, 16])" in error.found
    assert "fc.bias (checkpoint [3], model [7])" in error.found
    assert "2 of another shape" in error.found
    assert "missing" not in error.found
    assert "number of classes in model_args" in error.remedy
    assert "3 outputs in the checkpoint, 7 in the model" in error.remedy


def test_other_sizes_throughout_are_not_taken_for_classes() -> None:
    error = mismatch(net(width=6), weights_of(net(width=4)))
    assert "conv.weight (checkpoint [4, 1, 3, 3], model [6, 1, 3, 3])" in error.found
    assert error.remedy == "check model_args: the layers are the same, but their sizes differ"
    inputs_only = mismatch(
        nn.Sequential(nn.Linear(2, 3)), {"0.weight": torch.ones(3, 4), "0.bias": torch.ones(3)}
    )
    assert "classes" not in inputs_only.remedy


def test_renamed_layers_are_listed_beside_each_other() -> None:
    tensors = {n.replace("fc.", "fc1."): v for n, v in weights_of(net()).items()} | {"zebra": torch.ones(1)}
    error = mismatch(net(), tensors)
    lines = [line.strip() for line in error.found.splitlines()]
    assert lines[0] == "does not fit the model (Sequential)"
    assert lines[1] == "2 missing, only in the model: fc.weight (like fc1.weight), fc.bias (like fc1.bias)"
    assert lines[2].startswith("3 unexpected, only in the checkpoint: fc1.")
    assert lines[2].endswith(", zebra"), "names without a near one come last"


def test_long_lists_are_cut() -> None:
    model = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(500))
    error = mismatch(model, {f"{i}.{name}": torch.ones(1) for i in range(500) for name in "ab"})
    assert "500 missing" in error.found
    assert "and 497 more" in error.found
    assert "1000 unexpected" in error.found
    assert len(error.found.splitlines()) == 3


def test_a_checkpoint_of_something_else() -> None:
    error = mismatch(net(), {"encoder.layers.0.attention.query": torch.ones(2, 2)})
    assert "no name in common" in error.remedy
    assert "--model" in error.remedy


def test_a_checkpoint_with_more_than_the_model() -> None:
    error = mismatch(net(), weights_of(net()) | {"second.weight": torch.ones(3)})
    assert "1 unexpected" in error.found
    assert "second.weight" in error.found
    assert "--ignore-keys 'second*'" in error.remedy
    assert "more than the model" in error.remedy


def test_a_checkpoint_with_less_than_the_model() -> None:
    tensors = weights_of(net())
    del tensors["conv.bias"]
    error = mismatch(net(), tensors)
    assert "1 missing" in error.found
    assert "conv.bias" in error.found


def test_a_model_inside_a_wrapper_of_its_own() -> None:
    tensors = weights_of(net())
    error = mismatch(nn.ModuleDict({"backbone": net()}), tensors)
    assert error.remedy.startswith("return the inner model from the factory")
    assert "'backbone.'" in error.remedy
    assert load_weights(net(), held({f"backbone.{n}": v for n, v in tensors.items()})) == "backbone."


def test_wrong_prefixed_names_are_shown_as_the_model_names_them() -> None:
    error = mismatch(net(classes=7), {f"module.{n}": v for n, v in weights_of(net()).items()})
    assert "fc.weight (checkpoint [3, 16], model [7, 16])" in error.found


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool])
def test_other_kinds_of_numbers_are_not_rounded_into_weights(dtype: torch.dtype) -> None:
    tensors = weights_of(net())
    error = mismatch(net(), tensors | {"fc.weight": tensors["fc.weight"].to(dtype)})
    assert (
        f"1 of another type: fc.weight (checkpoint {dtype}, model float32)".replace("torch.", "")
        in error.found
    )


def test_a_layer_that_refuses_its_weights_speaks_for_itself() -> None:
    class Picky(nn.Linear):
        def _load_from_state_dict(
            self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors
        ):
            errors.append("needs weights of version 2")

    model = nn.Sequential(Picky(2, 2))
    assert "Sequential does not accept it" in mismatch(model, weights_of(model)).found


def test_the_weights_are_put_back_when_only_part_was_there() -> None:
    tensors = weights_of(net())
    del tensors["fc.bias"]
    mismatch(net(), tensors)


def test_weights_that_are_not_a_number_stop_before_the_model_changes() -> None:
    model, tensors = net(), weights_of(net())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    nan = {n: torch.full_like(v, float("nan")) if v.is_floating_point() else v for n, v in tensors.items()}
    with pytest.raises(CheckpointError, match=r"conv.weight \(36 NaN and 0 infinite of 36 values\)"):
        load_weights(model, held(nan))
    assert_has(model, before)


def test_the_users_file_with_all_nan_weights(tmp_path: Path) -> None:
    save_file(
        {"weight": torch.full((2, 2), float("nan")), "bias": torch.zeros(2)}, tmp_path / "nan.safetensors"
    )
    with pytest.raises(CheckpointError) as caught:
        load_weights(nn.Linear(2, 2), load_checkpoint(tmp_path / "nan.safetensors"))
    assert "1 of 2 tensors" in caught.value.found
    assert caught.value.where.endswith("nan.safetensors")


@pytest.mark.parametrize("model", [nn.Linear(2, 2, device="meta"), nn.ReLU()])
def test_a_model_without_values_of_its_own(model: nn.Module) -> None:
    with pytest.raises(ModelError):
        load_weights(model, held({"weight": torch.ones(2, 2), "bias": torch.ones(2)}))
