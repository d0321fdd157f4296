"""The setting layers: some parameters are measured, against plain autograd; what is seen of samples stays."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from support.architectures import Checkpointed
from support.cases import make
from support.networks import SAMPLES
from support.oracle import CPU, LABELS, assert_exact, case_gradients, options, oracle, owner, run, source
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from cohaudit.errors import ConfigError, ModelError
from cohaudit.gradients import Observation, observe
from cohaudit.gradients.passes.measurement import ForwardResult
from cohaudit.loading.model import check_ready


def seen(model: nn.Module, inputs: Any, **changed: Any) -> Observation:
    return observe(model, source(inputs), options(**changed), CPU, lambda count: None, sums=True)


def chosen(grads: dict[str, Tensor], layers: ForwardResult) -> dict[str, Tensor]:
    names = {layer.name for layer in layers.layers}
    return {name: g for name, g in grads.items() if owner(name) in names}


def assert_equal_views(found: ForwardResult, whole: ForwardResult) -> None:
    assert [view.layer for view in found.views] == [view.layer for view in whole.views]
    for view, other in zip(found.views, whole.views, strict=True):
        np.testing.assert_allclose(view.rows, other.rows, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.probability, whole.probability, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["perceptron", "ResNet", "LSTM", "activation checkpointing"])
def test_chosen_layers_are_measured_and_the_others_only_watched(name: str) -> None:
    model, inputs = make(name)
    whole = run(model, inputs)
    found = run(model, inputs, layers=("every:2",))
    assert [layer.name for layer in found.layers] == [layer.name for layer in whole.layers][::-1][::2][::-1]
    assert_exact(found, chosen(case_gradients(name), found), 1e-10)
    assert_equal_views(found, whole)
    (skipped,) = [part for part in found.skipped if part.name == "layers not measured"]
    assert f" of {len(whole.layers)} layers" in skipped.reason
    share = sum(layer.parameters for layer in found.layers) / sum(layer.parameters for layer in whole.layers)
    assert found.certificate.parameter_coverage == pytest.approx(share)
    sums = seen(model, inputs, layers=("every:2",))
    assert sums.sums is not None
    np.testing.assert_allclose(sums.sums.class_squares, found.class_squares, rtol=1e-8)
    assert_equal_views(sums.forward, whole)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_block_is_measured_and_computed_again_in_the_backward_pass(reentrant: bool) -> None:
    torch.manual_seed(0)
    model = Checkpointed(reentrant).double().eval()
    inputs = torch.randn(SAMPLES, 5).double()
    # plain autograd takes no gradients through a re-entrant one
    plain = Checkpointed(False).double().eval()
    plain.load_state_dict(model.state_dict())
    expected = oracle(plain, inputs)
    assert_exact(run(model, inputs), expected, 1e-10)
    sums = seen(model, inputs).sums
    assert sums is not None
    total = sum(g.sum(0).square().sum() for g in expected.values())
    assert sums.total_squares.sum() == pytest.approx(float(total), rel=1e-10)
    assert all(p.grad is None for p in model.parameters())


def deep() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(part for _ in range(8) for part in (nn.Linear(8, 8), nn.Tanh())), nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("last:2",), ["14", "16"]),
        (("every:4",), ["0", "8", "16"]),
        (("1*",), ["10", "12", "14", "16"]),
        (("0.bias", "16"), ["0", "16"]),
    ],
)
def test_layers_are_named_by_pattern_or_counted_from_the_output(
    patterns: tuple[str, ...], expected: list[str]
) -> None:
    found = seen(deep().eval(), torch.randn(len(LABELS), 8), layers=patterns)
    assert [layer.name for layer in found.forward.layers] == expected


def test_the_plain_pass_forms_no_gradients_of_the_others() -> None:
    model = deep().eval()
    formed: list[int] = []
    grad = torch.autograd.grad

    def counted(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        nodes = {outputs.grad_fn}
        stack = list(nodes)
        while stack:
            for node, _ in stack.pop().next_functions:
                if node is not None and node not in nodes:
                    nodes.add(node)
                    stack.append(node)
        formed.append(sum(type(node).__name__.startswith("Addmm") for node in nodes))
        return grad(outputs, inputs, *args, **kwargs)

    with patch("cohaudit.gradients.plain.torch.autograd.grad", counted):
        seen(model, torch.randn(len(LABELS), 8), layers=("last:2",), batch_size=100)
    # autograd's graph of each of the three classes' batches begins at the first layer that was chosen
    assert formed[-3:] == [2, 2, 2]


def test_a_pattern_that_fits_nothing_is_refused_with_a_suggestion() -> None:
    model = deep().eval()
    with pytest.raises(ConfigError, match=r"(?s)--layers.*'14\.weigth' fits no layer.*14\.weight"):
        seen(model, torch.randn(len(LABELS), 8), layers=("14.weigth",))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_of_16_bit_gradients_are_added_up_in_more(dtype: torch.dtype) -> None:
    model = deep().eval().to(dtype)
    inputs = torch.randn(len(LABELS), 8).to(dtype)
    expected = oracle(model.double(), inputs.double())
    model.to(dtype)
    found = seen(model, inputs, batch_size=2).sums
    assert found is not None
    total = sum(g.sum(0).square().sum() for g in expected.values())
    eps = torch.finfo(dtype).eps
    # each batch's gradients are rounded, their sum is not: a few roundings in all
    assert found.total_squares.sum() == pytest.approx(float(total), rel=8 * eps)
    own = run(model, inputs)
    np.testing.assert_allclose(found.class_squares.sum(), own.class_squares.sum(), rtol=8 * eps)


def test_a_model_divided_by_fsdp_is_refused_with_the_remedy() -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = fully_shard(deep(), mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(ModelError, match=r"(?s)0\.weight is a DTensor.*full_state_dict=True"):
            check_ready(model, "model")
    finally:
        torch.distributed.destroy_process_group()
