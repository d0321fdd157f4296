"""The cross-fit in a whole scan: from the command line, interrupted, and from Python."""

from __future__ import annotations

import contextlib
import random
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES
from safetensors.torch import load_file
from support.bad_scans import copy_of_digits
from support.crossfits import build as build_clouds_network
from support.crossfits import clouds, learned_network
from support.folders import names_in
from support.scanning import scan
from torch import nn

import cohaudit
from cohaudit.errors import CohauditError, ConfigError, ModelError
from cohaudit.pipeline.crossfit.stage import AT_CHANCE, FoldTraining
from cohaudit.pipeline.resume import HOW_TO_RESUME, RESUME_FOLDER
from cohaudit.results import Crossfit, Skipped

SMALL = ("--limit", 150, "--sketch-size", 64, "--feature-size", 32, "--bootstrap", 20, "--audits", "none")
LOOP = ("--crossfit", 3, "--crossfit-epochs", 4, "--crossfit-lr", 0.01)
RECIPE = """
import torch


def fit(model, dataset):
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.train()
    for epoch in range(4):
        for inputs, labels in torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
"""


@pytest.fixture(autouse=True, scope="module")
def _no_page() -> Any:
    """Write an empty page in place of the report, whose figures take longer than the rest of a scan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cohaudit.report.write.render_html", lambda *_: "")
        yield


def numbers(folder: Path) -> str:
    """Return audit.json without its timings."""
    text = (folder / "audit.json").read_text("utf-8")
    cut, found = re.subn(r'"timings": \{[^}]*\}', "", text)
    assert found == 1
    return cut


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a scan with a cross-fit that was not interrupted."""
    out = tmp_path_factory.mktemp("whole")
    with contextlib.chdir(FIXTURES / "digits"):
        result = scan(Path("model.safetensors"), *SMALL, *LOOP, "--out", out)
    assert result.exit_code == 0, result.output
    assert "Cross-fit: out-of-fold accuracy" in result.stdout
    assert re.search(r"cross-fit \(about .*\): 1,200 samples", result.stderr)
    return out


def test_the_audit_has_what_the_copies_predict(whole: Path) -> None:
    audit = cohaudit.read_audit(whole / "audit.json")
    found = audit.crossfit
    assert isinstance(found, Crossfit)
    assert (found.folds, found.epochs, found.unseen) == (3, (4, 4, 4), 0)
    assert found.recipe == (
        "Adam with learning rate 0.01 (default, learning rate as set), batches of 8 (default), "
        "4 epochs (as set)"
    )
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high
    out_of_fold = audit.samples["out_of_fold"]
    assert out_of_fold.between(0, 1).all()
    # a probability above ½ is the largest one
    assert (out_of_fold > 0.5).mean() <= found.accuracy.value <= (out_of_fold > 0.1).mean()
    assert audit.settings["crossfit"] == 3
    assert names_in(whole) == ["audit.json", "report.html", "samples.csv"], "nothing is left behind"


@pytest.mark.parametrize("stage", ["in the third fold", "after the folds"])
def test_an_interrupted_scan_goes_on_with_the_next_fold(
    stage: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FIXTURES / "digits")
    run = FoldTraining.run
    trained: list[int] = []

    def counted(self: FoldTraining, fold: int, advance: Any) -> Any:
        trained.append(fold)
        if fold == 2 and stage == "in the third fold" and len(trained) == 3:
            signal.raise_signal(signal.SIGINT)
        return run(self, fold, advance)

    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FoldTraining, "run", counted)
    with monkeypatch.context() as patch:
        if stage == "after the folds":
            patch.setattr("cohaudit.pipeline.scan.judge", interrupted)
        ended = scan(Path("model.safetensors"), *SMALL, *LOOP, "--out", tmp_path / "out")
    assert ended.exit_code == 130
    assert ended.stderr.splitlines()[-1].endswith(HOW_TO_RESUME)
    assert f"{RESUME_FOLDER}-crossfit" in names_in(tmp_path / "out")
    trained.clear()
    result = scan(Path("model.safetensors"), *SMALL, *LOOP, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert trained == ([2] if stage == "in the third fold" else [])
    assert "samples were predicted out of fold before" in result.stdout
    assert numbers(tmp_path / "out") == numbers(whole)
    assert names_in(tmp_path / "out") == ["audit.json", "report.html", "samples.csv"]


def test_a_function_of_the_users_trains(tmp_path: Path) -> None:
    folder = copy_of_digits(tmp_path)
    (folder / "train.py").write_text(RECIPE, encoding="utf-8")
    recipe = ("--crossfit", 3, "--crossfit-recipe", f"{folder}/train.py:fit")
    result = scan(folder / "model.safetensors", *SMALL, *recipe, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = cohaudit.read_audit(tmp_path / "out" / "audit.json").crossfit
    assert isinstance(found, Crossfit)
    assert found.recipe.endswith("train.py:fit")
    assert found.epochs == ()
    assert found.accuracy.value > 0.3


BAD_COMMANDS = {
    "one fold": (("--crossfit", 1), "error: --crossfit 1: with one fold there is no other to train on"),
    "more folds than samples": (
        ("--crossfit", 200),
        "error: --crossfit 200: the data has 150 different inputs",
    ),
    "no such file": (
        ("--crossfit", 3, "--crossfit-recipe", "absent.py:fit"),
        "error: crossfit_recipe absent.py:fit: the file",
    ),
    "an option that the function replaces": (
        ("--crossfit", 3, "--crossfit-recipe", "net.py:build", "--crossfit-lr", 1),
        "error: --crossfit-lr: has no effect beside --crossfit-recipe net.py:build",
    ),
    "a function that takes nothing": (
        ("--crossfit", 3, "--crossfit-recipe", "train.py:none"),
        "error: crossfit_recipe train.py:none: does not take a model and a dataset",
    ),
    "a function that overwrites the checkpoint": (
        ("--crossfit", 3, "--crossfit-recipe", "train.py:overwrites"),
        "error: crossfit_recipe train.py:overwrites: calling it changed",
    ),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_a_bad_command_is_refused_and_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, message = BAD_COMMANDS[name]
    monkeypatch.chdir(copy_of_digits(tmp_path))
    Path("train.py").write_text(
        "def none(): pass\ndef overwrites(model, dataset):\n    open('model.safetensors', 'wb').close()\n",
        encoding="utf-8",
    )
    result = scan(Path("model.safetensors"), *SMALL, *options, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def scan_clouds(model: nn.Module, **settings: Any) -> cohaudit.Audit:
    small = {"sketch_size": 64, "bootstrap": 20, "audits": ("none",), "crossfit": 3, "crossfit_epochs": 5}
    return cohaudit.scan(model, clouds(90), **(small | settings))  # type: ignore[arg-type]


def of_numpy() -> str:
    """Return the state of NumPy's global generator."""
    with np.printoptions(threshold=10_000):
        return repr(np.random.get_state())


def test_from_python_everything_is_left_as_it_was() -> None:
    model = learned_network(*clouds(90))
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    before_python, before_numpy, before_torch = random.getstate(), of_numpy(), torch.get_rng_state()
    audit = scan_clouds(model, factory=build_clouds_network, crossfit_lr=0.02)
    assert (before_python, before_numpy) == (random.getstate(), of_numpy())
    assert torch.equal(before_torch, torch.get_rng_state())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert list(model._forward_hooks) == [handle.id]
    assert not model.training
    assert isinstance(audit.crossfit, Crossfit)
    assert audit.crossfit.accuracy.value > 0.7
    assert audit.samples["out_of_fold"].notna().all()


def test_without_a_factory_copies_are_reset() -> None:
    audit = scan_clouds(learned_network(*clouds(90)), crossfit_lr=0.02)
    assert isinstance(audit.crossfit, Crossfit)
    assert audit.crossfit.accuracy.value > 0.7


def test_without_a_crossfit_nothing_is_trained() -> None:
    audit = scan_clouds(learned_network(*clouds(90)), crossfit=0)
    assert isinstance(audit.crossfit, Skipped)
    assert audit.samples["out_of_fold"].isna().all()
    assert "cross-fit" not in {part.name for part in audit.skipped}


def test_a_model_at_chance_is_not_trained_again() -> None:
    audit = scan_clouds(build_clouds_network().eval(), factory=build_clouds_network)
    assert audit.crossfit == AT_CHANCE
    assert AT_CHANCE in audit.skipped


def test_weights_that_know_the_labels_are_told() -> None:
    model = learned_network(*clouds(90))
    other = learned_network(*clouds(90), seed=1).state_dict()

    def trained_elsewhere() -> nn.Module:
        network = build_clouds_network()
        network.load_state_dict(other)
        return network

    audit = scan_clouds(model, factory=trained_elsewhere)
    assert any("factory returns the same weights whatever the seed" in notice for notice in audit.notices)


@pytest.mark.parametrize(
    ("settings", "error", "found"),
    [
        ({"factory": lambda: nn.Linear(5, 4)}, ModelError, "it distinguishes 4 classes, the data has 3"),
        ({"crossfit_recipe": "train.py:fit"}, ConfigError, "has no effect for a model in memory"),
        ({"fit": lambda model, data: None, "crossfit_lr": 1.0}, ConfigError, "has no effect beside fit=…"),
    ],
)
def test_from_python_mistakes_are_refused(
    settings: dict[str, Any], error: type[CohauditError], found: str
) -> None:
    settings = {"crossfit_epochs": 0, **settings}
    with pytest.raises(error, match=found):
        scan_clouds(learned_network(*clouds(90)), **settings)


def test_the_checkpoints_own_optimizer_is_used(tmp_path: Path, digits: Path) -> None:
    folder = copy_of_digits(tmp_path)
    network = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters(), 0.01, weight_decay=0.05)
    content = {
        "model": load_file(digits / "model.safetensors"),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
    }
    torch.save(content, folder / "last.pt")
    result = scan(folder / "last.pt", *SMALL, "--crossfit", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = cohaudit.read_audit(tmp_path / "out" / "audit.json").crossfit
    assert isinstance(found, Crossfit)
    assert found.recipe.startswith("AdamW with learning rate 0.01, weight decay 0.05 (from the checkpoint)")
    assert found.epochs == (3, 3)
