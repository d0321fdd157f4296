"""The batched engine against plain autograd, one sample at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import Checkpointed
from support.networks import CASES, CLASSES, SAMPLES, Apply, make
from support.oracle import CPU, LABELS, assert_exact, layer_squares, options, oracle, run, source
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from cohaudit.errors import EngineError, ModelError
from cohaudit.gradients import Source, measure
from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.engine import Engine
from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.forms import convolved, functions
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Outer, PerSample
from cohaudit.gradients.passes import reading
from cohaudit.gradients.passes.layout import Layout
from cohaudit.gradients.passes.sums import make_class_sums
from cohaudit.gradients.residuals import logits_of, random_combination
from cohaudit.gradients.sketch import make_projections
from cohaudit.gradients.tracing.plan import MAX_FEATURE_LAYERS

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_norms_and_sums_are_those_of_autograd(name: str, dtype: torch.dtype, tolerance: float) -> None:
    model, inputs = make(name, dtype)
    assert_exact(run(model, inputs), oracle(model, inputs), tolerance)


@pytest.mark.parametrize("size", [40, 700])
@pytest.mark.parametrize("name", CASES)
def test_sketches_and_dots_are_those_of_autograd(name: str, size: int) -> None:
    model, inputs = make(name)
    plan = prepare(model, source(inputs), CPU)
    grads = oracle(model, inputs)
    projections = make_projections(plan.parameters, size, seed=3)
    forms: dict[str, PerSample] = {}
    scale = max(g.abs().max().item() for g in grads.values())
    keep = lambda name, form, _: forms.__setitem__(name, form)  # noqa: E731
    outcome = Engine(model, plan).run(inputs, torch.from_numpy(LABELS), 1.0, keep).residuals
    for parameter, form in forms.items():
        expected = Dense(grads[parameter] / outcome.scale.reshape(-1, *[1] * (grads[parameter].ndim - 1)))
        direction = torch.randn(grads[parameter].shape[1:], dtype=torch.float64)
        torch.testing.assert_close(
            form.sketch(projections[parameter]),
            expected.sketch(projections[parameter]),
            rtol=1e-9,
            atol=1e-10 * scale,
        )
        torch.testing.assert_close(form.dot(direction), expected.dot(direction), rtol=1e-8, atol=1e-9 * scale)
        part = form.rows(2, 5)
        torch.testing.assert_close(part.squared_norms(), expected.squared_norms()[2:5], rtol=1e-9, atol=1e-20)
    assert set(forms) == set(plan.parameters)


@pytest.mark.parametrize("name", CASES)
def test_label_free_sketches_are_those_of_a_combination_of_the_logits(name: str) -> None:
    model, inputs = make(name)
    plain, measured = run(model, inputs), run(model, inputs, label_free=True)
    np.testing.assert_allclose(measured.sketches, plain.sketches, rtol=1e-6, atol=1e-12)
    plan = prepare(model, source(inputs), CPU)
    projections = make_projections(plan.parameters, 60, 0)
    expected = []
    for i in range(SAMPLES):
        one = pytree.tree_map(lambda t, i=i: t[i : i + 1], inputs)
        logits = logits_of(model(*one) if isinstance(one, tuple) else model(one))
        direction = random_combination(logits, 0)
        grads = torch.autograd.grad(logits, list(plan.parameters.values()), direction, allow_unused=True)
        whole = [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(plan.parameters.values(), grads, strict=True)
        ]
        expected.append(
            torch.cat([Dense(g[None]).sketch(p)[0] for g, p in zip(whole, projections.values(), strict=True)])
        )
    rows = torch.stack(expected).numpy()
    assert measured.jacobian_sketches is not None
    np.testing.assert_allclose(measured.jacobian_sketches, rows, rtol=1e-5, atol=1e-6 * np.abs(rows).max())


@pytest.mark.parametrize("name", ["conv2d", "ResNet", "VGG"])
def test_activations_are_the_layers_inputs(name: str) -> None:
    model, inputs = make(name)
    assert run(model, inputs).activations == {}
    measured = run(model, inputs, label_free=True)
    seen: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda m, given, out, name=name: seen.__setitem__(name, given[0].detach())
        )
    model(inputs)
    assert set(measured.activations) == {layer.name for layer in measured.layers}
    for name, rows in measured.activations.items():
        expected = seen[name].flatten(2).mean(2) if seen[name].ndim > 2 else seen[name]
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_each_layer_takes_its_path(name: str) -> None:
    model, inputs = make(name)
    paths = {layer.name: layer.path for layer in run(model, inputs).layers}
    assert paths == {layer: CASES[name].paths.get(layer, "closed form") for layer in paths}
    assert set(CASES[name].paths) <= set(paths)


@pytest.mark.parametrize("name", ["residual with in-place addition", "LSTM", "class token and positions"])
def test_batch_size_changes_nothing(name: str) -> None:
    model, inputs = make(name)
    whole, single = run(model, inputs, batch_size=SAMPLES), run(model, inputs, batch_size=1)
    np.testing.assert_allclose(whole.squared_norms, single.squared_norms, rtol=1e-9)
    np.testing.assert_allclose(whole.class_squares, single.class_squares, rtol=1e-9)
    np.testing.assert_allclose(whole.sketches, single.sketches, rtol=1e-4, atol=1e-6)


def test_temperature_scales_the_logits() -> None:
    model, inputs = make("perceptron")
    expected = sum(g.flatten(1).square().sum(1) for g in oracle(model, inputs, temperature=7.0).values())
    np.testing.assert_allclose(run(model, inputs, temperature=7.0).squared_norms.sum(1), expected, rtol=1e-10)


@pytest.mark.parametrize("gain", [30.0, 200.0, 3000.0])
def test_a_fitted_sample_keeps_its_gradient_direction(gain: float) -> None:
    """Where 1 − p_y is far below float32's resolution, direction and loss stay right."""
    model, inputs = make("perceptron", torch.float32)
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor([0.0, gain, 0.0]))
    labels = np.ones(SAMPLES, dtype=np.int64)
    labels[:2] = [0, 2]
    measured = measure(model, source(inputs, labels), options(), CPU, lambda count: None)
    norms = np.linalg.norm(measured.sketches.astype(np.float64), axis=1)
    assert (norms > 0.1).all()
    logits = model.double()(inputs.double()).detach()
    wrong = torch.logsumexp(logits[2:, [0, 2]], 1) - torch.logsumexp(logits[2:], 1)
    np.testing.assert_allclose(
        measured.loss[2:], np.maximum(np.exp(wrong.numpy()), 1e-300), rtol=1e-3, atol=1e-15
    )


def test_sums_of_gradients_whose_squares_vanish_keep_their_direction() -> None:
    """A class fitted so well that its gradients are 1e-200: no warning, and a sketch that is a number."""
    model, inputs = make("perceptron", torch.float32)
    with torch.no_grad():
        model[-1].bias.copy_(torch.tensor([0.0, 460.0, 0.0]))
    labels = np.ones(SAMPLES, dtype=np.int64)
    labels[:2] = [0, 2]
    measured = measure(model, source(inputs, labels), options(), CPU, lambda count: None)
    assert 0 < measured.scale[2:].max() < 1e-170
    assert np.isfinite(measured.class_squares).all()
    assert np.isfinite(measured.class_gram).all()


def test_binary_logit_is_a_two_class_softmax() -> None:
    torch.manual_seed(0)
    model, inputs = (
        nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double(),
        torch.randn(6, 5).double(),
    )
    labels = np.array([0, 1, 1, 0, 1, 0])
    measured = measure(model, source(inputs, labels, 2), options(), CPU, lambda count: None)
    for i, label in enumerate(labels):
        loss = F.binary_cross_entropy_with_logits(
            model(inputs[i : i + 1])[0, 0], torch.tensor(float(label)).double()
        )
        grads = torch.autograd.grad(loss, list(model.parameters()))
        assert measured.loss[i] == pytest.approx(loss.item(), rel=1e-10)
        assert measured.squared_norms[i].sum() == pytest.approx(
            sum(g.square().sum().item() for g in grads), rel=1e-9
        )


@pytest.mark.parametrize(
    "name",
    ["conv2d grouped", "linear over many narrow positions: whole gradients", "one layer called three times"],
)
def test_pieces_of_a_batch_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make(name)
    whole = run(model, inputs)
    monkeypatch.setattr(reading, "CACHE_BYTES", 8)
    pieces = run(model, inputs)
    np.testing.assert_allclose(pieces.squared_norms, whole.squared_norms, rtol=1e-12)
    np.testing.assert_allclose(pieces.class_squares, whole.class_squares, rtol=1e-12)
    np.testing.assert_allclose(pieces.sketches, whole.sketches, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("most", [0, 512])
@pytest.mark.parametrize(
    "name", [name for name in CASES if "conv" in name or name in {"VGG", "ResNet", "U-Net"}]
)
def test_gradients_of_large_convolutions(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done for each sample by the library's kernel, or for each row of the kernel."""
    monkeypatch.setattr(convolved, "LIBRARY_KERNEL_PRODUCTS", 0)
    monkeypatch.setattr(convolved, "ROW_PRODUCT_POSITIONS", most)
    monkeypatch.setattr(convolved, "GRAM_FACTOR", 1e9)
    model, inputs = make(name, torch.float32)
    measured = run(model, inputs)
    expected = layer_squares(measured, oracle(*make(name)), lambda g: g)
    np.testing.assert_allclose(measured.squared_norms, expected, rtol=1e-4, atol=1e-4 * expected.max())


@pytest.mark.parametrize("name", [name for name in CASES if "conv" in name])
def test_gram_matrices_of_convolutions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolved, "GRAM_FACTOR", 0)
    model, inputs = make(name)
    measured = run(model, inputs)
    expected = layer_squares(measured, oracle(model, inputs), lambda g: g)
    np.testing.assert_allclose(measured.squared_norms, expected, rtol=1e-9, atol=1e-12 * expected.max())


def cosines(gram: np.ndarray) -> np.ndarray:
    return gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))


def test_class_cosines_from_sketches_say_how_sure_they_are() -> None:
    model, inputs = make("perceptron")
    exact, coarse = run(model, inputs), run(model, inputs, class_memory=0)
    assert exact.class_gram_error == 0
    error = np.abs(cosines(coarse.class_gram) - cosines(exact.class_gram)).max()
    assert coarse.class_gram_error > 0
    assert error < 6 * coarse.class_gram_error + 0.05


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_class_cosines_err_like_sketches_of_the_size_that_fits(alike: float) -> None:
    """With 401 numbers a class the error is about 1/√401 = 0.05, also where all classes share a part."""
    torch.manual_seed(0)
    classes, weight = 40, torch.zeros(60, 48)
    projection = {"w": make_projections({"w": weight}, 100, 0)["w"]}
    layout = Layout(projection, {"w": slice(0, projection["w"].size)}, {"layer": ("w",)}, {"w": 0})
    sums = make_class_sums({"w": weight}, layout, classes, 4 * classes * 401)
    common = torch.rand(1, 48)
    gradients = [
        torch.randn(60, 1) * common * alike + torch.randn(60, 48) * (1 - alike) for _ in range(classes)
    ]
    for label, gradient in enumerate(gradients):
        sums.add("w", reading.ClassSlice(label, 0, 1, 1.0, torch.ones(1)), gradient)
    sums.finish()
    gram, stated = sums.gram()
    flat = torch.stack(gradients).flatten(1).double()
    error = cosines(gram) - cosines((flat @ flat.T).numpy())
    measured = np.sqrt(np.mean(error[~np.eye(classes, dtype=bool)] ** 2))
    assert 0.5 / np.sqrt(401) < measured < 2 / np.sqrt(401)
    assert 0.4 < stated / measured < 2.5


def test_sketches_are_unbiased() -> None:
    """Averaged over seeds, inner products of sketches are those of the gradients."""
    model, inputs = make("perceptron")
    truth = torch.cat([g.flatten(1) for g in oracle(model, inputs).values()], 1)
    exact = (truth @ truth.T).numpy()
    found = []
    for seed in range(200):
        measured = run(model, inputs, sketch_size=30, seed=seed, certificate_samples=1)
        rows = measured.sketches * measured.scale[:, None]
        found.append(rows @ rows.T)
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - exact) < 5 * error + 1e-6 * exact.max()).all()
    assert error.max() > 0  # the sketch is shorter than the gradient


class Routed(nn.Module):
    """Each sample goes through one of two experts; the first samples all take the same."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(5, 6), nn.Linear(5, 6)])
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.new_zeros(len(x), 6)
        for expert, rows in zip(self.experts, (x[:, 0] > 0, x[:, 0] <= 0), strict=True):
            if rows.any():
                hidden = hidden.index_put((rows,), torch.tanh(expert(x[rows])))
        return self.head(hidden)


@pytest.mark.parametrize("first", [1.0, 0.0])
def test_a_path_that_depends_on_the_data_is_measured_by_the_loop(first: float) -> None:
    torch.manual_seed(3)
    model, inputs = Routed().double().eval(), torch.randn(SAMPLES, 5).double()
    if first:
        inputs[[0, 4, 8], 0] = 1.0  # the samples that the plan is made with
    measured = run(model, inputs)
    grads = oracle(model, inputs)
    np.testing.assert_allclose(
        measured.squared_norms, layer_squares(measured, grads, lambda g: g), rtol=1e-10, atol=1e-25
    )
    paths = {layer.name: layer.path for layer in measured.layers}
    assert paths["experts.0"] == "loop"
    assert paths["head"] == "closed form"


def test_sequences_of_another_length_than_the_first_are_measured() -> None:
    """Batches may be padded to different lengths: what is folded into the batch follows."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(5, 6), nn.Tanh()).double()
    net = Apply(
        lambda n, x: n.head(n.body(x.reshape(-1, 5)).reshape(len(x), -1, 6).sum(1)),
        body=body,
        head=nn.Linear(6, CLASSES),
    ).double()
    inputs = torch.randn(SAMPLES, 4, 5).double()
    inputs[:, 2:] = 0
    loads: list[int] = []

    def load(indices: Any) -> Tensor:
        loads.append(len(indices))
        padded = inputs[list(indices)]
        return torch.cat([padded, torch.zeros(len(padded), len(loads) % 3, 5).double()], 1)

    net.body[0].bias.requires_grad_(False).zero_()  # so that padding adds nothing
    expected = run(net, inputs).squared_norms
    data = Source(load, LABELS, [str(i) for i in range(SAMPLES)], ["a", "b", "c"])
    found = measure(net, data, options(), CPU, lambda count: None)
    np.testing.assert_allclose(found.squared_norms, expected, rtol=1e-10)
    assert {layer.path for layer in found.layers} == {"closed form"}


def state(model: nn.Module) -> Any:
    tensors = {
        n: (t.clone(), t.requires_grad, t.grad)
        for n, t in [*model.named_parameters(), *model.named_buffers()]
    }
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ]
    return tensors, hooks, [m.training for m in model.modules()], torch.get_rng_state()


def assert_same_state(before: Any, after: Any) -> None:
    for (name, (tensor, flag, grad)), (other, flag_after, grad_after) in zip(
        before[0].items(), list(after[0].values()), strict=True
    ):
        assert torch.equal(tensor, other), name
        assert flag == flag_after
        assert grad is None
        assert grad_after is None
    assert before[1:3] == after[1:3]
    assert torch.equal(before[3], after[3])


@pytest.mark.parametrize(
    "name", ["residual with in-place addition", "frozen first layer", "parametrized weight", "LSTM"]
)
def test_the_model_is_left_as_it_was(name: str) -> None:
    model, inputs = make(name)
    before = state(model)
    run(model, inputs)
    assert_same_state(before, state(model))


def test_the_model_is_left_as_it_was_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron")
    before = state(model)
    monkeypatch.setattr(Dense, "squared_norms", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(model, inputs)
    monkeypatch.undo()
    assert_same_state(before, state(model))


def test_frozen_and_unused_parameters_are_named() -> None:
    model, inputs = make("frozen first layer")
    model.add_module("spare", nn.Linear(2, 2).double())
    model.spare.forward = lambda x: x  # type: ignore[method-assign]  # takes no part: the input passes through
    measured = run(model, inputs)
    reasons = {skip.name: skip.reason for skip in measured.skipped}
    assert set(reasons) == {
        "parameter 0.weight",
        "parameter 0.bias",
        "parameter spare.weight",
        "parameter spare.bias",
    }
    assert "frozen" in reasons["parameter 0.weight"]
    assert "no part" in reasons["parameter spare.bias"]
    trainable = [p.numel() for n, p in model.named_parameters() if p.requires_grad]
    assert measured.certificate.parameter_coverage == pytest.approx(1 - 6 / sum(trainable))


def test_a_wrong_closed_form_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose formula is off by more than rounding is measured by the loop instead."""
    model, inputs = make("perceptron")

    def zero(g: Tensor, *, input: Tensor, weight: Tensor, bias: Tensor) -> functions.Gradients:
        return [(weight, Dense(torch.zeros(len(input), *weight.shape).double())), (bias, Dense(g))]

    monkeypatch.setitem(functions.CLOSED_FORMS, F.linear, functions.ClosedForm(zero))
    measured = run(model, inputs)
    assert {layer.path for layer in measured.layers} == {"loop"}
    expected = sum(g.flatten(1).square().sum(1) for g in oracle(model, inputs).values())
    np.testing.assert_allclose(measured.squared_norms.sum(1), expected, rtol=1e-10)


def test_the_certificate_stops_a_run_whose_norms_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron")
    monkeypatch.setattr(
        Outer,
        "squared_norms",
        lambda self: 1.01 * self.b.square().sum((1, 2)) * self.a.square().sum((1, 2)),
    )
    with pytest.raises(EngineError, match=r"layer \d: certificate failed: norms, one sample at a time"):
        run(model, inputs)


def test_the_certificate_stops_a_run_whose_sums_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron")
    right = Dense.weighted_sum
    monkeypatch.setattr(Dense, "weighted_sum", lambda self, weights: 1.01 * right(self, weights))
    with pytest.raises(EngineError, match="certificate failed: gradient sum"):
        run(model, inputs)


def test_the_certificate_stops_a_run_whose_dots_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make("perceptron")
    right = Outer.dot
    monkeypatch.setattr(Outer, "dot", lambda self, direction: 1.01 * right(self, direction))
    with pytest.raises(EngineError, match="certificate failed: identity"):
        run(model, inputs)


def test_the_certificate_stops_a_run_whose_batches_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right for one sample alone, wrong in a batch: seen in what the run recorded."""
    model, inputs = make("perceptron")
    right = Outer.squared_norms
    monkeypatch.setattr(Outer, "squared_norms", lambda self: right(self).flip(0))
    with pytest.raises(EngineError, match="certificate failed: the run's norms"):
        run(model, inputs, certificate_samples=9)


@pytest.mark.parametrize(
    "damage", ["a class is lost", "a class counts twice", "sketches of the wrong samples"]
)
def test_the_certificate_stops_a_run_whose_class_sums_are_off(
    damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = make("perceptron")
    right = reading.split_by_class

    def wrong(labels: Tensor, scale: Tensor, like: Tensor) -> list[reading.ClassSlice]:
        if damage == "a class is lost":
            scale = torch.where(labels == 1, 0, scale)
        elif damage == "a class counts twice":
            scale = torch.where(labels == 1, 2 * scale, scale)
        else:
            scale = scale.flip(0)
        return right(labels, scale, like)

    monkeypatch.setattr(sys.modules["cohaudit.gradients.passes.measure"], "split_by_class", wrong)
    with pytest.raises(EngineError, match="certificate failed: class sums"):
        run(model, inputs)


def test_sixteen_bit_weights_are_certified() -> None:
    """With rounding of their size, and not taken for a bug."""
    model, inputs = make("ResNet", torch.float32)
    measured = run(model.bfloat16(), inputs.bfloat16())
    assert all(check.error <= check.tolerance for check in measured.certificate.checks)
    assert max(check.error for check in measured.certificate.checks) > 1e-4


def test_convolutions_of_sixteen_bits_are_sketched_without_whole_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolved, "GRAM_FACTOR", 0)
    model, inputs = make("ResNet", torch.float32)
    whole = run(model, inputs, sketch_size=300)
    found = run(model.bfloat16(), inputs.bfloat16(), sketch_size=300)
    error = np.linalg.norm(found.sketches - whole.sketches, axis=1) / np.linalg.norm(whole.sketches, axis=1)
    assert np.median(error) < 0.1


def test_a_layer_without_gradient_is_certified() -> None:
    """A bias before InstanceNorm changes nothing: its gradient is the rounding of others'."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4), nn.Tanh(), nn.Flatten(), nn.LazyLinear(CLASSES)
    ).eval()
    inputs = torch.randn(SAMPLES, 2, 6, 6)
    net(inputs)
    assert [layer.path for layer in run(net, inputs).layers] == ["closed form", "closed form"]


def refusal(model: nn.Module, inputs: Any, kind: type[Exception] = EngineError) -> str:
    with pytest.raises(kind) as caught:
        run(model.double().eval(), inputs)
    return str(caught.value)


def test_samples_that_mix_are_refused() -> None:
    inputs = torch.randn(SAMPLES, 5).double()
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, CLASSES))
    assert "layer 1: BatchNorm without running statistics" in refusal(net, inputs)
    centered = Apply(lambda n, x: n.head(x - x.mean(0)), head=nn.Linear(5, CLASSES))
    assert "model: a sample's logits depend on the other samples of its batch" in refusal(centered, inputs)
    inner = Apply(lambda n, x: n.head(x / (1 + x.mean(0))), head=nn.Linear(4, 4))
    net = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.ReLU(), inner), nn.Linear(4, CLASSES))
    assert "layer 1.1: a sample's logits depend on the other samples" in refusal(net, inputs)


def test_mixing_is_named_where_the_batch_stands_second() -> None:
    mixer = Apply(lambda n, x: n.head(x - x.mean(1, keepdim=True)), head=nn.Linear(5, 4))
    net = Apply(
        lambda n, x: n.head(n.mixer(x.transpose(0, 1)).sum(0)), mixer=mixer, head=nn.Linear(4, CLASSES)
    )
    assert "layer mixer: " in refusal(net, torch.randn(SAMPLES, 3, 5).double())


def test_random_forward_is_refused() -> None:
    net = Apply(lambda n, x: n.head(F.dropout(x, 0.5, training=True)), head=nn.Linear(5, CLASSES))
    assert "model: two forward passes" in refusal(net, torch.randn(SAMPLES, 5).double())
    drop = Apply(lambda n, x: F.dropout(x, 0.5, training=True))
    net = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.ReLU(), drop), nn.Linear(4, CLASSES))
    assert "layer 1.1: two forward passes" in refusal(net, torch.randn(SAMPLES, 5).double())


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpointing_is_refused() -> None:
    assert "use_reentrant=False" in refusal(Checkpointed(True), torch.randn(SAMPLES, 5).double())


def test_wrong_number_of_classes_is_refused() -> None:
    net = nn.Linear(5, 7)
    message = refusal(net, torch.randn(SAMPLES, 5).double(), ModelError)
    assert "7 classes, the data has 3: c0, c1, c2" in message


def test_inputs_that_do_not_fit_are_refused() -> None:
    message = refusal(nn.Linear(4, CLASSES), torch.randn(SAMPLES, 5).double(), ModelError)
    assert "inputs of shape [3, 5]:" in message


def test_outputs_that_are_no_logits_are_refused() -> None:
    net = Apply(lambda n, x: n.head(x)[:, :, None], head=nn.Linear(5, CLASSES))
    assert "not logits [batch, classes]" in refusal(net, torch.randn(SAMPLES, 5).double())


def test_all_frozen_is_refused() -> None:
    assert "trainable" in refusal(
        nn.Linear(5, CLASSES).requires_grad_(False), torch.randn(SAMPLES, 5).double()
    )


def test_overflow_names_the_sample() -> None:
    inputs = torch.randn(SAMPLES, 5).double()
    inputs[4] = 1e300
    assert refusal(nn.Sequential(nn.Linear(5, 5), nn.Linear(5, CLASSES)), inputs).startswith("sample s4: ")


@pytest.mark.parametrize("form", ["dict", "attribute", "tuple"])
def test_logits_are_found_in_structured_outputs(form: str) -> None:
    class Output(dict):
        logits: Tensor

    def forward(net: Any, x: Tensor) -> Any:
        logits = net.head(x)
        if form == "attribute":
            found = Output()
            found.logits = logits
            return found
        return {"logits": logits, "extra": x} if form == "dict" else (logits, x)

    net, inputs = Apply(forward, head=nn.Linear(5, CLASSES)).double(), torch.randn(SAMPLES, 5).double()
    plain = run(net.head, inputs)
    np.testing.assert_allclose(run(net, inputs).squared_norms, plain.squared_norms)


@pytest.mark.parametrize("name", ["conv2d", "ResNet", "VGG"])
def test_views_are_the_inputs_of_a_few_layers(name: str) -> None:
    model, inputs = make(name)
    measured = run(model, inputs, feature_size=100_000)
    seen: dict[str, Tensor] = {}
    for layer, module in model.named_modules():
        module.register_forward_hook(
            lambda m, given, out, layer=layer: seen.__setitem__(layer, given[0].detach())
        )
    model(inputs)
    layers = list(dict.fromkeys(view.layer for view in measured.views))
    assert 1 < len(layers) <= MAX_FEATURE_LAYERS
    assert not any(isinstance(model.get_submodule(layer), nn.BatchNorm2d) for layer in layers)
    for view in measured.views:
        x = seen[view.layer]
        expected = x.flatten(2).mean(2) if view.averaged else x.flatten(1)
        np.testing.assert_allclose(view.rows, expected, rtol=1e-5, atol=1e-6)
    assert [view.layer for view in measured.views if view.averaged] == [
        layer for layer in layers if seen[layer].ndim > 2 and seen[layer][0, 0].numel() > 1
    ]


def test_long_views_are_shortened_and_keep_their_inner_products() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 5000, generator=generator, dtype=torch.float64)
    short = torch.stack([FeatureHasher(512, seed)(rows) for seed in range(60)])
    assert short.shape == (60, 20, 509)
    found, truth = (short @ short.mT).mean(0), rows @ rows.mT
    # the error of one inner product is |x| |y| / sqrt(509); of the mean of sixty, an eighth of that
    assert (found - truth).abs().max() < 5 * 5000 / (509 * 60) ** 0.5
    assert FeatureHasher(5000, 0)(rows).equal(rows)


def test_views_that_are_as_long_as_their_batch_are_left_out() -> None:
    class Padded(nn.Module):
        """Takes sentences as long as the longest of the batch."""

        def __init__(self) -> None:
            super().__init__()
            self.word, self.head = nn.Linear(2, 4, bias=False), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            longest = int((x[..., 0] != 0).sum(1).max())
            out: Tensor = self.head(self.word(x[:, :longest]).sum(1))
            return out

    inputs = torch.randn(SAMPLES, 6, 2).double()
    for i in range(SAMPLES):
        inputs[i, 2 + i % 4 :] = 0
    model = Padded().double().eval()
    views = run(model, inputs, batch_size=2).views
    assert [(view.layer, view.averaged) for view in views] == [("word", True), ("head", False)]


def test_sketches_beyond_their_memory_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, inputs = make("residual with in-place addition", torch.float32)
    inside, outside = run(model, inputs), run(model, inputs, sketch_memory=0)
    assert isinstance(outside.sketches, np.memmap)
    assert outside.sketches.tobytes() == inside.sketches.tobytes()
    assert outside.certificate == inside.certificate
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(EngineError, match=r"temporary folder .* no room for the sketches of 9 samples"):
        run(*make("perceptron"), sketch_memory=0)


def test_products_are_not_rounded_on_a_gpu_while_measuring() -> None:
    def setting() -> tuple[str, ...]:
        cudnn = torch.backends.cudnn
        return tuple(p.fp32_precision for p in (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul))

    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch has one switch for all")
    seen = []

    def forward(net: Any, x: Tensor) -> Tensor:
        seen.append(setting())
        return net.head(x)

    before = setting()
    run(Apply(forward, head=nn.Linear(5, CLASSES)).double(), torch.randn(SAMPLES, 5).double())
    assert set(seen) == {("ieee",) * 3}
    assert setting() == before


def test_measuring_is_deterministic() -> None:
    model, inputs = make("residual with in-place addition", torch.float32)
    first, second = run(model, inputs), run(model, inputs)
    assert first.sketches.tobytes() == second.sketches.tobytes()
    assert first.squared_norms.tobytes() == second.squared_norms.tobytes()


@pytest.mark.slow
def test_measuring_does_not_depend_on_how_a_set_is_sorted() -> None:
    script = """
import sys, warnings
sys.path.insert(0, "tests")
from support.networks import make
from support.oracle import run
model, inputs = make("LSTM on packed sequences")
measured = run(model, inputs)
print(measured.squared_norms.tobytes().hex(), measured.sketches.tobytes().hex(), measured.layers)
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1


def test_measure_reports_every_sample_once() -> None:
    model, inputs = make("perceptron")
    seen: list[int] = []
    measure(model, source(inputs), options(), CPU, seen.append)
    assert seen == [4, 4, 1]
