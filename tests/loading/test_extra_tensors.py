"""Checkpoints with something beside the network: loaded, and what was left out is said."""

from __future__ import annotations

import logging

import pytest
import torch
from support.weights import assert_has, held, net, weights_of

from cohaudit.errors import CheckpointError, ModelError
from cohaudit.loading.checkpoint import load_checkpoint
from cohaudit.loading.model import left_out, load_weights

ONES = torch.ones(3)


def under(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in weights_of(net()).items()}


EXTRA = {
    "loss weights": under("model.") | {"criterion.weight": ONES},
    "a metric": under("model.") | {"train_acc.tp": ONES},
    "counters": under("") | {"total_ops": ONES, "fc.total_ops": ONES},
    "another prefix": under("net."),
    "another prefix and loss weights": under("net.") | {"loss_fn.weight": ONES},
    "an averaged copy": under("model.") | {f"model_ema.{n}": v for n, v in under("").items()},
}


@pytest.mark.parametrize("name", EXTRA)
def test_what_is_no_part_of_the_network_is_left_out(name: str, caplog) -> None:
    model = net()
    with caplog.at_level(logging.INFO):
        load_weights(model, held(EXTRA[name]))
    assert_has(model, weights_of(net()))
    said = left_out(model, held(EXTRA[name]))
    assert bool(said) == (name != "another prefix")
    assert said in caplog.text


def test_a_layer_that_the_model_lacks_is_not_left_out() -> None:
    with pytest.raises(ModelError, match=r"--ignore-keys 'head\*'"):
        load_weights(net(), held(under("") | {"head.weight": ONES}))


def test_two_networks_are_told_apart_by_the_user(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"--prefix student\. or --prefix teacher\."):
        load_weights(net(), held(under("student.") | under("teacher.")))
    torch.save(under("student.") | under("teacher."), tmp_path / "x.pt")
    assert load_checkpoint(tmp_path / "x.pt", prefix="student.").tensors.keys() == under("").keys()
    kept = load_checkpoint(tmp_path / "x.pt", ignored=["teacher.*"]).tensors
    assert kept.keys() == under("student.").keys()
    with pytest.raises(CheckpointError, match=r"no name of a weight begins with --prefix pupil\."):
        load_checkpoint(tmp_path / "x.pt", prefix="pupil.")
