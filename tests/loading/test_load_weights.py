"""A checkpoint goes into a model: prefixes, tied weights, and torch's own leniency."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from conftest import FIXTURES
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_model
from support.weights import Tied, assert_has, held, mismatch, net, weights_of
from torch import nn
from torch.nn.utils import parametrizations

from cohaudit.loading.checkpoint import load_checkpoint
from cohaudit.loading.model import build_model, load_weights
from cohaudit.loading.wrapper_prefixes import strip_prefixes


def test_weights_are_loaded_and_the_model_is_in_eval_mode() -> None:
    model, tensors = net(), weights_of(net())
    assert load_weights(model, held(tensors)) == ""
    assert_has(model, tensors)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("fixture", [("digits", "DigitsNet"), ("tumors", "TumorNet")])
def test_the_fixtures_load(fixture: tuple[str, str]) -> None:
    folder = FIXTURES / fixture[0]
    model = build_model(f"net.py:{fixture[1]}", {}, folder)
    checkpoint = load_checkpoint(folder / "model.safetensors")
    load_weights(model, checkpoint)
    assert_has(model, checkpoint.tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_weights_take_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    model, tensors = net(), weights_of(net())
    stored = {n: v.to(dtype) if v.is_floating_point() else v for n, v in tensors.items()}
    load_weights(model, held(stored))
    assert model.fc.weight.dtype == torch.float32
    assert_has(model, stored)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        *map("".join, permutations(["module.", "_orig_mod.", "model."], 2)),
        "module.module.",
        "model._orig_mod.module.",
        "model.",
    ],
)
def test_prefixes_of_wrappers_come_off(prefix: str) -> None:
    model, tensors = net(), weights_of(net())
    assert len(load_weights(model, held({prefix + n: v for n, v in tensors.items()}))) == len(prefix)
    assert_has(model, tensors)


@pytest.mark.parametrize(
    ("name", "prefix", "said"),
    [
        ("", "", []),
        ("", "module.", ["Weights: model.pt; prefix module. removed"]),
        ("ema", "module.", ["Weights: ema of model.pt; prefix module. removed"]),
        ("ema", "", ["Weights: ema of model.pt"]),
    ],
)
def test_which_weights_they_are_is_logged_where_it_is_not_plain(
    name: str, prefix: str, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cohaudit")
    model = nn.Linear(2, 2)
    tensors = {prefix + key: value for key, value in model.state_dict().items()}
    load_weights(model, replace(held(tensors), name=name))
    assert caplog.messages == said


def test_prefixes_stay_on_where_they_match() -> None:
    model = nn.ModuleDict({"model": nn.ModuleDict({"module": nn.Linear(2, 2)})})
    tensors = weights_of(model)
    assert load_weights(model, held(tensors)) == ""
    assert load_weights(model, held({f"module.{n}": v for n, v in tensors.items()})) == "module."
    assert_has(model, tensors)


def test_a_part_that_was_compiled_alone() -> None:
    model, tensors = net(), weights_of(net())
    load_weights(model, held({n.replace("fc.", "fc._orig_mod."): v for n, v in tensors.items()}))
    assert_has(model, tensors)


def test_real_wrappers() -> None:
    trained = net()
    for wrapped in (
        nn.DataParallel(trained),
        torch.compile(trained, backend="eager"),
        torch.optim.swa_utils.AveragedModel(trained),
    ):
        model = net()
        load_weights(model, held(dict(wrapped.state_dict())))
        assert_has(model, dict(trained.state_dict()))


@given(
    st.lists(st.sampled_from(["module.", "_orig_mod.", "model."]), max_size=4).map("".join),
    st.sets(st.from_regex(r"[abm](\.[abm]){0,2}\.(weight|bias)", fullmatch=True), min_size=1),
)
def test_any_combination_of_prefixes_is_undone(prefix: str, names: set[str]) -> None:
    own = {name: torch.zeros(1) for name in names}
    _, found = strip_prefixes({prefix + name: value for name, value in own.items()}, own)
    assert found.keys() == own.keys()


@given(st.sets(st.from_regex(r"(module\.|model\.|_orig_mod\.|a\.){0,9}weight", fullmatch=True), min_size=1))
def test_taking_prefixes_off_loses_no_tensor(names: set[str]) -> None:
    given_tensors = {name: torch.tensor(float(i)) for i, name in enumerate(names)}
    _, found = strip_prefixes(given_tensors, {"weight": torch.zeros(1), "a.weight": torch.zeros(1)})
    assert sorted(map(float, found.values())) == sorted(map(float, given_tensors.values()))


def test_a_name_that_is_prefixes_all_the_way_ends() -> None:
    own = {"weight": torch.zeros(1)}
    assert len(strip_prefixes({"module." * 5000 + "weight": torch.zeros(1)}, own)[1]) == 1


@pytest.mark.parametrize("dropped", ["embed.weight", "head.weight"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_tied_weight_needs_to_be_there_once(dropped: str, prefix: str) -> None:
    model, tensors = Tied(), weights_of(Tied())
    value = tensors.pop(dropped)
    tensors = {prefix + name: value for name in tensors}
    load_weights(model, held(tensors))
    assert torch.equal(model.embed.weight, value)
    assert model.head.weight is model.embed.weight


def test_a_tied_weight_that_is_transposed_needs_to_be_there_once() -> None:
    model = nn.Module()
    model.encode = nn.Linear(3, 5, bias=False)
    model.decode = nn.Module()
    model.decode.register_buffer("weight", model.encode.weight.detach().t())
    value = torch.rand(5, 3)
    load_weights(model, held({"encode.weight": value}))
    assert torch.equal(model.decode.weight, value.t())


def test_tied_weights_both_there_must_agree() -> None:
    tensors = weights_of(Tied())
    same = dict.fromkeys(tensors, tensors["embed.weight"])
    model = Tied()
    load_weights(model, held(same))
    assert_has(model, same)
    error = mismatch(Tied(), tensors | {"head.weight": tensors["embed.weight"] + 1})
    assert "embed.weight and head.weight are one weight in the model" in error.found


def test_a_file_of_save_model_loads_into_an_untied_model(tmp_path: Path) -> None:
    trained, model = Tied(), Tied(tie=False)
    save_model(trained, str(tmp_path / "tied.safetensors"))
    load_weights(model, load_checkpoint(tmp_path / "tied.safetensors"))
    assert torch.equal(model.head.weight, trained.embed.weight)
    assert torch.equal(model.embed.weight, trained.embed.weight)


def test_a_weight_that_is_not_tied_must_be_there() -> None:
    tensors = weights_of(Tied())
    del tensors["head.weight"]
    assert "head.weight" in mismatch(Tied(tie=False), tensors).found


def test_a_count_that_old_checkpoints_lack_may_be_missing() -> None:
    tensors = weights_of(net())
    del tensors["norm.num_batches_tracked"]
    model = net()
    load_weights(model, held(tensors))
    assert torch.equal(model.norm.running_var, tensors["norm.running_var"])


def test_a_count_that_the_model_lacks_may_not() -> None:
    model = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(2, track_running_stats=False)))
    tensors = weights_of(model) | {"norm.num_batches_tracked": torch.tensor(3)}
    assert "norm.num_batches_tracked" in mismatch(model, tensors).found


def test_names_that_a_layers_own_hook_translates() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 3)))
    old = {"0.bias": torch.rand(3), "0.weight_g": torch.rand(3, 1), "0.weight_v": torch.rand(3, 2)}
    load_weights(model, held(old))
    assert torch.equal(model[0].parametrizations.weight.original0, old["0.weight_g"])


def test_a_scalar_may_have_one_dimension_as_in_old_files() -> None:
    tensors = weights_of(net()) | {"norm.num_batches_tracked": torch.tensor([7])}
    model = net()
    load_weights(model, held(tensors))
    assert model.norm.num_batches_tracked == 7
