"""Building the model with the user's factory, and choosing the device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.weights import assert_has
from torch import nn

from cohaudit.errors import ConfigError, ModelError
from cohaudit.loading.model import build_model, checked_model, resolve_device


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
    ("code", "fragment"),
    [
        ("def build():\n    return 3\n", "returns int, not a torch.nn.Module"),
        ("def build():\n    return nn.Linear(2, 2).state_dict()\n", "returns OrderedDict"),
        ("def build():\n    return nn.Linear\n", "returns the class Linear"),
        ("def build():\n    pass\n", "returns NoneType"),
        ("build = nn.Linear(2, 2)\n", "is a model, not a function"),
        ("def build():\n    return nn.ReLU()\n", "no parameters"),
        ("def build():\n    return nn.Sequential(nn.LazyLinear(2))\n", "0.weight has no shape yet"),
        ("def build():\n    return nn.Linear(2, 2, device='meta')\n", "weight is on the meta device"),
        ("def build():\n    raise KeyError('width')\n", "KeyError: 'width' (net.py, line 4)"),
        ("def build():\n    return nn.Linear('a', 2)\n", "TypeError"),
    ],
)
def test_a_factory_that_gives_no_usable_model(code: str, fragment: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        build(code, tmp_path)
    assert caught.value.where == "model net.py:build"
    assert fragment in caught.value.found


def test_arguments_that_do_not_fit_show_the_signature(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"build\(width=2\)"):
        build("def build(width=2):\n    return nn.Linear(width, 2)\n", tmp_path, widht=3)


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
    with pytest.raises(ConfigError, match=f"torch finds no {name} device on this machine"):
        resolve_device(name)


def test_a_cuda_device_beyond_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="2 cuda devices"):
        resolve_device("cuda:2")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch.compile imports
def test_of_a_compiled_model_the_one_inside_is_measured() -> None:
    network = nn.Linear(2, 3)
    assert checked_model(torch.compile(network), "net.py:build") is network
