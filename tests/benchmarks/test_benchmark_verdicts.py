"""Three benchmarks about what a verdict is worth: memorization, kinds, and training again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.detection import kinds, memorized, runs, value
from benchmarks.shared import label_noise, recipes, training

NOWHERE = Path("nowhere")


def test_memorization_is_what_seeing_a_sample_adds() -> None:
    saw = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0]], dtype=bool)
    right = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 1, 0]], dtype=bool)
    assert memorized.measured_memorization(saw, right).tolist() == [1.0, 0.0, 0.5]
    assert np.isnan(memorized.measured_memorization(np.ones((2, 3), dtype=bool), right[:2])).all()


def test_agreement_is_a_correlation() -> None:
    truth = np.array([0.0, 0.1, 0.2, 0.9])
    assert memorized.agreement(truth**3, truth)["spearman"] == pytest.approx(1)
    assert memorized.agreement(1 - truth, truth)["pearson"] == pytest.approx(-1)
    assert memorized.agreement(np.ones(4), truth) == {"pearson": 0.0, "spearman": 0.0}


def test_networks_trained_together_are_trained_as_alone() -> None:
    """Their weights are stacked; each must still take the steps of its own samples and no others."""
    experiment = memorized.Experiment(runs.Case("digits", "20 %", "small MLP, SGD", 0), 100, (20,), (3,))
    data = experiment.data(NOWHERE)
    seen = torch.stack([torch.arange(64), torch.arange(36, 100)])
    trained = next(memorized.trained(experiment, data, seen, 0))
    torch.manual_seed(0)
    recipe = recipes.RECIPES["small MLP, SGD"]
    alone = [recipe.build(data) for _ in seen]
    for model, members in zip(alone, seen, strict=True):
        optimizer = recipe.optimizer(model)
        # one batch holds all samples of a network, so that their order is nothing
        for _ in range(3):
            training.train_epoch(model, optimizer, data.train[members], data.labels[members], recipe.batch)
    for one, other in zip(trained, alone, strict=True):
        weights = dict(other.named_parameters())
        for name, weight in one.named_parameters():
            torch.testing.assert_close(weight, weights[name], atol=1e-5, rtol=1e-4)


def test_the_ceiling_is_what_a_perfect_method_would_reach() -> None:
    """Networks that flip coins of known odds: the truth itself is known, and so is its correlation."""
    generator = np.random.default_rng(0)
    with_it, without = generator.random((2, 2000))
    saw = generator.random((40, 2000)) < 0.7
    right = generator.random((40, 2000)) < np.where(saw, with_it, without)
    reached = memorized.agreement(with_it - without, memorized.measured_memorization(saw, right))
    assert memorized.ceiling(saw, right)["pearson"] == pytest.approx(reached["pearson"], abs=0.02)


@pytest.mark.slow
def test_few_networks_already_tell_who_is_memorized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorized, "CACHE", tmp_path)
    case = runs.Case("digits", "20 %", "small MLP, SGD", 0)
    recipe = recipes.RECIPES[case.model]
    monkeypatch.setitem(recipes.RECIPES, case.model, type(recipe)(recipe.build, True, 0.1, 60, 32))
    experiment = memorized.Experiment(case, 200, (40, 20), (5, 60))
    for _ in range(2):  # the second time nothing is trained again
        memorized.audit(experiment, NOWHERE)
        memorized.predict_outside(experiment, NOWHERE)
        memorized.answers(experiment, 0, NOWHERE)
        memorized.answers(experiment, 1, NOWHERE)
    written = {file.name: file.stat().st_mtime_ns for file in experiment.folder.iterdir()}
    assert set(written) == {"000.npz", "001.npz", "audited-0.npz", "audited-1.npz", "outside.npy"}
    memorized.answers(experiment, 0, NOWHERE)
    assert written == {file.name: file.stat().st_mtime_ns for file in experiment.folder.iterdir()}
    rows = {(row["epochs"], row["method"]): row for row in memorized.judge(experiment)}
    assert rows[60, "cohaudit"]["pearson"] > 0.3
    assert rows[60, "cohaudit"]["networks"] == 20
    assert rows[5, "cohaudit"]["networks"] == 40
    others = {"loss", "GraNd", "feature kNN 20", memorized.ALONE, memorized.CEILING}
    assert others <= {method for _, method in rows}


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.slow
def test_every_way_of_cleaning_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    case = runs.Case("digits", "20 %", "MLP, SGD", 0)
    data = label_noise.load_noisy("digits", "20 %", 0, NOWHERE)
    torch.manual_seed(0)
    recipe = recipes.RECIPES[case.model]
    model = recipe.build(data)
    recipes.train_until(recipe, model, data.train, data.labels, 0.9)

    class Run:
        """A run that was not read from disk; its folds know the truth."""

        out_of_fold = (0.9 * np.eye(10)[data.truth.numpy()] + 0.01).astype(np.float32)
        epochs: dict[str, int] = {"interpolated": 1}  # noqa: RUF012 - as in Run

        def __init__(self) -> None:
            self.case, self.data = case, data

        def checkpoint(self, epoch: int) -> torch.nn.Module:
            return model

    found = value.lists(Run())
    wrong, labels = data.wrong.numpy(), data.labels.numpy()
    kept = {name: keep for name, (keep, _) in found.items()}
    assert kept["nothing"].all()
    assert (kept["the wrong ones"] == ~wrong).all()
    dropped = ~kept["cohaudit, dropped"]
    assert wrong[dropped].mean() > 0.8
    for name in ("as many at random", "as many by loss", "as many by 5 folds"):
        assert (~kept[name]).sum() == dropped.sum(), name
    assert wrong[~kept["as many by 5 folds"]].mean() > 0.95
    assert wrong[~kept["cleanlab's list, 5 folds"]].mean() > 0.95
    relabeled = found["cohaudit, relabeled"][1]
    assert (relabeled[~dropped] == labels[~dropped]).all()
    assert (relabeled == data.truth.numpy()).mean() > (labels == data.truth.numpy()).mean() + 0.1
    row = value.trained_again(data, case, kept["the wrong ones"][:], labels, 0)
    assert row["accuracy"] > 0.9


def test_what_is_put_into_the_images_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    count = kinds.IMAGES
    images = torch.randn(count, 1, 28, 28, generator=generator)
    labels = torch.randint(10, (count,), generator=generator)
    clean = label_noise.NoisyData(images, labels, labels, images[:5], labels[:5], 10)
    monkeypatch.setattr(kinds, "load_noisy", lambda *_: clean)
    given, what = kinds.mixed("fashion", 0, NOWHERE)
    assert len(given.train) == len(given.labels) == len(what) == count + kinds.RARE + 3 * kinds.COPIES
    assert ((given.labels != given.truth).numpy() == (what == 1)).all()
    assert [(what == k).sum() for k in (1, 2, 3, 4)] == [kinds.WRONG, kinds.BLENDS, kinds.RARE, kinds.COPIES]
    unchanged = (given.train[:count] == images).flatten(1).all(1).numpy()
    assert (unchanged == (what[:count] != 2)).all()
    copies = given.train[what == 4]
    assert all((images == copy).flatten(1).all(1).any() for copy in copies[:5])


@pytest.mark.parametrize("module", [kinds, memorized, value])
def test_what_was_measured_is_shown(module: Any, tmp_path: Path) -> None:
    rows = json.loads(module.RESULTS.read_text(encoding="utf-8"))
    with (tmp_path / "said").open("w", encoding="utf-8") as file:
        module.show(rows, Console(file=file, width=200))
    assert rows[0]["data"] in (tmp_path / "said").read_text(encoding="utf-8")
