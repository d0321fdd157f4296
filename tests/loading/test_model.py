"""Factory + tensors → a model in eval mode, or a message that says what does not fit."""

from collections import OrderedDict
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from cohaudit.errors import CheckpointError, ConfigError, ModelError
from cohaudit.loading.checkpoint import Checkpoint, load_checkpoint
from cohaudit.loading.model import build_model, load_weights, resolve_device, strip_prefixes

FIXTURES = Path(__file__).parents[2] / "fixtures"


def net(classes: int = 3, width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, width, 3),
            norm=nn.BatchNorm2d(width),
            flat=nn.Flatten(),
            fc=nn.Linear(width * 4, classes),
        )
    )


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Weights of the model's shapes, with other values than it has."""
    torch.manual_seed(1)
    return {name: torch.randn(v.shape).abs().to(v.dtype) for name, v in model.state_dict().items()}


def held(tensors: dict[str, Tensor], **metadata: str) -> Checkpoint:
    return Checkpoint("model.pt", "torch file", "", tensors, metadata)


def assert_has(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, tensors[name].to(value.dtype)), name


def mismatch(model: nn.Module, tensors: dict[str, Tensor]) -> ModelError:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    with pytest.raises(ModelError) as caught:
        load_weights(model, held(tensors))
    assert_has(model, before)
    assert model.training
    assert caught.value.where == "model.pt"
    return caught.value


# building


def build(code: str, tmp_path: Path, **args: object) -> nn.Module:
    (tmp_path / "net.py").write_text("import torch\nfrom torch import nn\n" + code)
    return build_model("net.py:build", args, tmp_path)


def test_a_function_or_a_class_builds_the_model(tmp_path: Path) -> None:
    model = build("def build(out=1):\n    return nn.Linear(2, out)\n", tmp_path, out=5)
    assert isinstance(model, nn.Linear)
    assert model.out_features == 5
    assert build_model("torch.nn:Linear", {"in_features": 2, "out_features": 3}, tmp_path).out_features == 3


def test_building_repeats_and_leaves_the_generator_alone(tmp_path: Path) -> None:
    code = "def build():\n    return nn.Linear(2, 2)\n"
    state = torch.get_rng_state()
    assert_has(build(code, tmp_path), dict(build(code, tmp_path).state_dict()))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def build():\n    return 3\n", "returns int, not a torch.nn.Module"),
        ("def build():\n    return nn.Linear(2, 2).state_dict()\n", "returns OrderedDict"),
        ("def build():\n    return nn.Linear\n", "returns the class Linear"),
        ("def build():\n    pass\n", "returns NoneType"),
        ("build = nn.Linear(2, 2)\n", "a model, not a function"),
        ("def build():\n    return nn.ReLU()\n", "no parameters"),
        ("def build():\n    return nn.Sequential(nn.LazyLinear(2))\n", "0.weight has no shape yet"),
        ("def build():\n    return nn.Linear(2, 2, device='meta')\n", "weight is on the meta device"),
        ("def build():\n    raise KeyError('width')\n", "KeyError: 'width' (net.py, line 4)"),
        ("def build():\n    return nn.Linear('a', 2)\n", "TypeError"),
    ],
)
def test_a_factory_that_gives_no_usable_model(code: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        build(code, tmp_path)
    assert caught.value.where == "model net.py:build"
    assert told in caught.value.found


def test_arguments_that_do_not_fit_show_the_signature(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"build\(width=2\)"):
        build("def build(width=2):\n    return nn.Linear(width, 2)\n", tmp_path, widht=3)


# loading what fits


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
        ("", "module.", ["Weights: model.pt; prefix module. taken off"]),
        ("ema", "module.", ["Weights: ema of model.pt; prefix module. taken off"]),
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


# tied weights


class Tied(nn.Module):
    """A language model in small: its last layer is its embedding."""

    def __init__(self, tie: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        if tie:
            self.head.weight = self.embed.weight


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


# torch's own leniency, and no more


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


# loading what does not fit


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
    assert error.remedy == "check model_args: the layers are the same but their sizes are not"
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
    assert "no name is the same" in error.remedy
    assert "--model" in error.remedy


def test_a_checkpoint_with_more_than_the_model() -> None:
    error = mismatch(net(), weights_of(net()) | {"criterion.weight": torch.ones(3)})
    assert "1 unexpected" in error.found
    assert "criterion.weight" in error.found
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
    error = mismatch(net(), {f"backbone.{n}": v for n, v in tensors.items()})
    assert error.remedy.startswith("save the inner model's state_dict()")


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
    assert "Sequential refuses it" in mismatch(model, weights_of(model)).found


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


# devices


def test_auto_is_the_best_device_there_is() -> None:
    device = resolve_device("auto")
    assert torch.ones(1, device=device).device.type == device.type
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert device.type == "cpu"


def test_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "cuda:-1", "cpu:1", "meta", "CUDA", "xla"])
def test_no_such_device(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_device(name)
    assert caught.value.where == f"--device {name}"
    assert "auto, cpu, cuda, cuda:N or mps" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "missing"),
    [("cuda", not torch.cuda.is_available()), ("mps", not torch.backends.mps.is_available())],
)
def test_a_device_that_this_machine_lacks(name: str, missing: bool) -> None:
    if not missing:
        pytest.skip(f"this machine has {name}")
    with pytest.raises(ConfigError, match=f"torch finds no {name} on this machine"):
        resolve_device(name)


def test_a_cuda_device_beyond_the_last(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="2 cuda devices"):
        resolve_device("cuda:2")
