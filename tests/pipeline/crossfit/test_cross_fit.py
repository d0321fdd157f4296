"""The folds are predicted by plain training on the others; a label never reaches its own prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.crossfits import build, clouds, fit_function, fold_training, loop, relabeled, source_of
from torch import nn
from torch.nn import functional

from cohaudit.errors import EngineError, ModelError
from cohaudit.gradients import NullStore
from cohaudit.pipeline.crossfit.folds import assign_folds
from cohaudit.pipeline.crossfit.seeded import seed_of
from cohaudit.pipeline.crossfit.stage import FoldTraining, predict_folds
from cohaudit.pipeline.resume import PassStore

FAST = 0.03
"""A learning rate at which training stops early after a few epochs."""


def silent(samples: int) -> None:
    """Take the progress."""


def train_by_hand(inputs: np.ndarray, labels: np.ndarray, held_out: np.ndarray, seed: int) -> np.ndarray:
    """Train on all other samples: SGD with momentum, 4 epochs of batches of about 8."""
    torch.manual_seed(seed)
    network = build()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    others = np.flatnonzero(~held_out)
    rng = np.random.default_rng(seed)
    for _ in range(4):
        for batch in np.array_split(others[rng.permutation(len(others))], -(-len(others) // 8)):
            loss = functional.cross_entropy(network(torch.tensor(inputs[batch])), torch.tensor(labels[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        logits = network.eval()(torch.tensor(inputs[held_out]))
    return torch.softmax(logits.double(), 1).float().numpy()


def test_a_fold_is_what_plain_training_on_the_others_gives() -> None:
    inputs, labels = clouds()
    training = fold_training(source_of(inputs, labels), loop(optimizer="sgd", lr=0.1, epochs=4, batch_size=8))
    done = predict_folds(training, NullStore(), silent)
    assert done.epochs == [4, 4, 4]
    for fold in range(3):
        held_out = training.plan.folds == fold
        by_hand = train_by_hand(inputs, labels, held_out, seed_of(0, fold))
        np.testing.assert_allclose(done.probability[held_out], by_hand, rtol=1e-6)
    assert (done.probability.argmax(1) == labels).mean() > 0.8


@pytest.mark.parametrize("settings", [{"epochs": 3}, {"lr": FAST}], ids=["epochs", "early stopping"])
@pytest.mark.parametrize("sample", [17])
def test_a_label_does_not_reach_its_own_prediction(settings: dict[str, Any], sample: int) -> None:
    source = source_of(*clouds())
    folds = assign_folds(source.labels, range(60), 3, 0)

    def predicted(one: Any) -> np.ndarray:
        training = fold_training(one, loop(**settings), folds=folds)
        return predict_folds(training, NullStore(), silent).probability

    before, after = predicted(source), predicted(relabeled(source, sample))
    own = folds == folds[sample]
    np.testing.assert_array_equal(before[own], after[own])
    assert (before[~own] != after[~own]).any(1).all(), "the other folds' copies were trained on it"


def interrupted_after(training: FoldTraining, folds: int, store: PassStore) -> None:
    """Train some folds, and stop in the next one as Ctrl-C does."""
    run = FoldTraining.run

    def interrupted(self: FoldTraining, fold: int, advance: Any) -> Any:
        if fold == folds:
            raise KeyboardInterrupt
        return run(self, fold, advance)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoldTraining, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict_folds(training, store, silent)


@pytest.mark.parametrize("done", [3])
def test_what_is_resumed_equals_what_was_not_interrupted(
    done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = fold_training(source_of(*clouds()), loop(lr=FAST), count=4)
    whole = predict_folds(training, NullStore(), silent)
    interrupted_after(training, done, PassStore(tmp_path / "folds", {"recipe": "one"}))
    trained = []
    run = FoldTraining.run

    def counted(self: FoldTraining, fold: int, advance: Any) -> Any:
        trained.append(fold)
        return run(self, fold, advance)

    monkeypatch.setattr(FoldTraining, "run", counted)
    told: list[int] = []
    resumed = predict_folds(training, PassStore(tmp_path / "folds", {"recipe": "one"}), told.append)
    assert trained == list(range(done, 4))
    np.testing.assert_array_equal(resumed.probability, whole.probability)
    assert resumed.epochs == whole.epochs
    assert sum(told) == sum(training.plan.work)


def test_folds_of_another_recipe_are_not_taken(tmp_path: Path) -> None:
    training = fold_training(source_of(*clouds()), loop(epochs=1))
    interrupted_after(training, 2, PassStore(tmp_path / "folds", {"recipe": "one"}))
    done = predict_folds(training, PassStore(tmp_path / "folds", {"recipe": "another"}), silent)
    assert (done.probability.sum(1) > 0.99).all()


def test_a_damaged_store_costs_only_the_folds_in_it(tmp_path: Path) -> None:
    training = fold_training(source_of(*clouds()), loop(epochs=1))
    whole = predict_folds(training, NullStore(), silent)
    interrupted_after(training, 2, PassStore(tmp_path, {}))
    (shard,) = tmp_path.glob("rows-20-*.npz")
    shard.write_bytes(shard.read_bytes()[:100])
    done = predict_folds(training, PassStore(tmp_path, {}), silent)
    np.testing.assert_array_equal(done.probability, whole.probability)


def test_progress_adds_up_however_early_training_stops() -> None:
    training = fold_training(source_of(*clouds()), loop(lr=FAST))
    told: list[int] = []
    done = predict_folds(training, NullStore(), told.append)
    assert sum(told) == sum(training.plan.work)
    assert min(done.epochs) < 100, "some copy stopped early, or this shows nothing"


SHARED = nn.Linear(5, 3)


def learned(model: nn.Module, _: Any) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)


def fit_to_nan(model: nn.Module, _: Any) -> None:
    with torch.no_grad():
        model.get_parameter("4.weight")[0] = torch.nan


def fit_a_global_model(_: nn.Module, dataset: Any) -> nn.Module:
    learned(SHARED, dataset)
    return SHARED


def fails(model: nn.Module, dataset: Any) -> None:
    raise ValueError("no such file: weights.pt")


BAD_FITS = {
    "raises": (fails, ModelError, "calling it raised ValueError: no such file: weights.pt"),
    "returns a number": (lambda model, dataset: 0.9, ModelError, "returned float, neither None nor"),
    "does nothing": (lambda model, dataset: None, ModelError, "left the model that it was given as it was"),
    "makes NaN": (fit_to_nan, EngineError, "weight 4.weight: is not finite after training"),
    "trains one model on and on": (fit_a_global_model, ModelError, "the network of an earlier fold"),
    "returns another classifier": (
        lambda model, dataset: nn.Linear(5, 4),
        ModelError,
        "it distinguishes 4 classes, the data has 3",
    ),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_a_function_that_does_not_train_is_refused(name: str) -> None:
    function, error, found = BAD_FITS[name]
    training = fold_training(source_of(*clouds()), fit_function(function))
    with pytest.raises(error) as refused:
        predict_folds(training, NullStore(), silent)
    assert found in refused.value.found
    fold = 2 if function is fit_a_global_model else 1
    assert f"fold {fold} of 3" in str(refused.value)
    assert refused.value.remedy


def test_a_function_sees_every_other_sample_and_no_more() -> None:
    inputs, labels = clouds()
    seen = []

    def fit(model: nn.Module, dataset: Any) -> None:
        learned(model, dataset)
        seen.append({(tuple(x.tolist()), y) for x, y in dataset})

    training = fold_training(source_of(inputs, labels), fit_function(fit))
    done = predict_folds(training, NullStore(), silent)
    assert done.epochs == [0, 0, 0]
    for fold, found in enumerate(seen):
        others = np.flatnonzero(training.plan.folds != fold)
        assert found == {(tuple(inputs[i].tolist()), int(labels[i])) for i in others}


def test_a_function_may_return_another_network() -> None:
    source = source_of(*clouds())

    def fit(model: nn.Module, dataset: Any) -> nn.Module:
        other = nn.Linear(5, 3)
        with torch.no_grad():
            other.weight.zero_()
            other.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
        return other

    done = predict_folds(fold_training(source, fit_function(fit)), NullStore(), silent)
    expected = torch.softmax(torch.tensor([1.0, 2.0, 3.0]), 0).expand(60, 3)
    np.testing.assert_allclose(done.probability, expected, rtol=1e-6)


def test_a_learning_rate_that_diverges_is_named() -> None:
    training = fold_training(source_of(*clouds()), loop(optimizer="sgd", lr=1e6, epochs=50))
    with pytest.raises(EngineError, match=r"cross-fit, fold \d of 3.*not finite") as refused:
        predict_folds(training, NullStore(), silent)
    assert "--crossfit-lr" in str(refused.value)
