"""Checkpoints of a real training run: found, ordered, measured once, and put together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file
from support.trainings import EPOCHS, gradient, network, of, run, run_without_page, training
from torch import Tensor

import cohaudit
from cohaudit.results import Skipped, Trajectory


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, Tensor, Tensor]:
    folder = tmp_path_factory.mktemp("followed")
    (folder / "checkpoints").mkdir()
    _, y, truth = training(folder)
    for epoch in EPOCHS:
        (folder / f"epoch-{epoch}.pt").rename(folder / "checkpoints" / f"epoch-{epoch}.pt")
    return folder, run(folder, folder / "checkpoints", "--holdout", folder / "test.npz"), y, truth


def test_a_folder_is_followed_and_the_stop_advised(followed: tuple[Path, Result, Tensor, Tensor]) -> None:
    folder, result, y, truth = followed
    assert result.exit_code == 0, result.output
    found = of(folder)
    assert [point.checkpoint for point in found.points] == [f"epoch-{epoch}.pt" for epoch in EPOCHS]
    assert found.advised == 1
    assert "Take epoch-20.pt" in " ".join(result.stdout.split())
    assert found.points[-1].accuracy > 0.9 > found.points[1].accuracy
    assert found.points[-1].expected < found.points[1].expected, "it memorized instead of learning more"
    holdout = [point.holdout for point in found.points]
    assert all(isinstance(value, float) for value in holdout)
    table = pd.read_csv(folder / "out" / "trajectory.csv", keep_default_na=False)
    assert list(table) == ["id", "label", "learned_at", "forgotten"]
    wrong = (y != truth).numpy()
    late = (table["learned_at"] == "epoch-400.pt").to_numpy()
    assert late[wrong].mean() > 0.5 > late[~wrong].mean()


def test_figures_are_those_of_plain_autograd(followed: tuple[Path, Result, Tensor, Tensor]) -> None:
    folder, _, y, _ = followed
    with np.load(folder / "train.npz") as data:
        x = torch.from_numpy(data["x"]).double()
    found = of(folder)
    for k, epoch in enumerate(EPOCHS):
        model = network()
        model.load_state_dict(torch.load(folder / "checkpoints" / f"epoch-{epoch}.pt")["model"])
        model.double()
        gradients = torch.stack([gradient(model, a, b) for a, b in zip(x, y, strict=True)])
        mean = gradients.mean(0)
        m_coherence = len(y) * (mean @ mean) / gradients.square().sum(1).mean()
        point = found.points[k]
        assert point.m_coherence == pytest.approx(m_coherence.item(), rel=1e-4)
        assert point.accuracy == pytest.approx((model(x).argmax(1) == y).double().mean().item())
        assert point.easy + point.typical + point.hard + point.memorized == pytest.approx(1)
        bound = found.layers[0].values[k]
        first = gradients[:, : 8 * 64 + 64]
        sums, squares = first.sum(0).square().sum(), first.square().sum()
        assert bound == pytest.approx(((sums / squares - 1) / (len(y) - 1)).item(), rel=1e-3, abs=1e-6)


def test_what_was_measured_is_not_measured_again(followed: tuple[Path, Result, Tensor, Tensor]) -> None:
    folder, *_ = followed
    kept = sorted((folder / "out" / "snapshots").iterdir())
    assert len(kept) == len(EPOCHS)
    before, written = of(folder), {path: path.stat().st_mtime_ns for path in kept}
    again = run_without_page(folder, folder / "checkpoints", "--holdout", folder / "test.npz")
    assert again.exit_code == 0
    assert of(folder) == before
    assert {p: p.stat().st_mtime_ns for p in (folder / "out" / "snapshots").iterdir()} == written
    whole = [path.stat().st_size for path in kept]
    for path, broken in zip(kept, (b"PK", b""), strict=False):
        path.write_bytes(broken)
    again = run_without_page(folder, folder / "checkpoints", "--holdout", folder / "test.npz")
    assert again.exit_code == 0
    assert of(folder) == before
    assert [path.stat().st_size for path in kept] == whole, "the damaged ones were written anew"


def test_settings_that_change_no_snapshot_take_those_there_are(
    followed: tuple[Path, Result, Tensor, Tensor],
) -> None:
    folder, *_ = followed
    kept = sorted((folder / "out" / "snapshots").iterdir())
    more = ("--holdout", folder / "test.npz", "--lr", "0.1", "--gallery", "3")
    assert run_without_page(folder, folder / "checkpoints", *more).exit_code == 0
    assert sorted((folder / "out" / "snapshots").iterdir()) == kept


def test_of_a_folder_those_count_whose_names_differ_in_numbers(tmp_path: Path) -> None:
    training(tmp_path)
    for epoch, loss in zip(EPOCHS, (7, 5, 3), strict=True):
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / f"epoch-{epoch}.pt").rename(tmp_path / "all" / f"epoch={epoch}-loss=0.{loss}.pt")
    for other in ("best.pt", "training_args.bin"):
        (tmp_path / "all" / other).write_bytes(b"")
    result = run_without_page(tmp_path, tmp_path / "all")
    assert result.exit_code == 0, result.output
    assert "left out, for their names: best.pt, training_args.bin" in " ".join(result.output.split())
    names = [point.checkpoint for point in of(tmp_path).points]
    assert names == ["epoch=3-loss=0.7.pt", "epoch=20-loss=0.5.pt", "epoch=400-loss=0.3.pt"]


def test_other_settings_do_not_take_those_snapshots(followed: tuple[Path, Result, Tensor, Tensor]) -> None:
    folder, *_ = followed
    result = run_without_page(folder, folder / "checkpoints", "--holdout", folder / "test.npz", "--seed", "7")
    assert result.exit_code == 0
    assert len(list((folder / "out" / "snapshots").iterdir())) == 2 * len(EPOCHS)


def test_checkpoints_with_a_folder_each_are_found_with_their_steps(tmp_path: Path) -> None:
    training(tmp_path)
    for epoch in EPOCHS:
        folder = tmp_path / "run" / f"checkpoint-{epoch}"
        folder.mkdir(parents=True)
        save_file(torch.load(tmp_path / f"epoch-{epoch}.pt")["model"], folder / "model.safetensors")
    result = run_without_page(tmp_path, tmp_path / "run", "--lr", "0.003")
    assert result.exit_code == 0, result.output
    found = cohaudit.read_audit(tmp_path / "out" / "audit.json").audits.stability
    assert not isinstance(found, Skipped)
    assert [term.steps for term in found.terms] == [17, 380]


def test_if_names_have_no_order_the_steps_in_the_files_give_it(tmp_path: Path) -> None:
    training(tmp_path)
    (tmp_path / "run").mkdir()
    for epoch, name in zip(EPOCHS, ("zulu", "mike", "alpha"), strict=True):
        state = torch.load(tmp_path / f"epoch-{epoch}.pt")["model"]
        save_file(state, tmp_path / "run" / f"{name}.safetensors", {"step": str(epoch)})
    result = run_without_page(tmp_path, tmp_path / "run", "--lr", "0.003")
    assert result.exit_code == 0, result.output
    names = [point.checkpoint for point in of(tmp_path).points]
    assert names == ["zulu.safetensors", "mike.safetensors", "alpha.safetensors"]
    found = cohaudit.read_audit(tmp_path / "out" / "audit.json").audits.stability
    assert not isinstance(found, Skipped)
    assert [term.steps for term in found.terms] == [17, 380]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("epoch-3.pt",), "at least two checkpoints"),
        (("else.pt",), "no such file"),
        (("nothing",), "at least two checkpoints"),
        (("epoch-3.pt", "epoch-20.pt", "--lr", "-1"), "above 0"),
        (("epoch-3.pt", "epoch-20.pt", "--lr", "missing.csv"), "No such file"),
        (("epoch-3.pt", "epoch-20.pt", "--audits", "stabilty"), "stability"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    training(tmp_path)
    (tmp_path / "nothing").mkdir()
    paths = [tmp_path / one if not one.startswith("-") and one[0] in "en" else one for one in options]
    result = run_without_page(tmp_path, *paths)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_in_memory_the_earlier_state_dicts_are_followed(tmp_path: Path) -> None:
    x, y, _ = training(tmp_path)
    states = [torch.load(tmp_path / f"epoch-{epoch}.pt")["model"] for epoch in EPOCHS]
    model = network()
    model.load_state_dict(states[-1])
    audit = cohaudit.scan(model, (x, y), earlier=states[:-1], audits=("trajectory",), bootstrap=20)
    assert isinstance(audit.audits.trajectory, Trajectory)
    assert [point.checkpoint for point in audit.audits.trajectory.points] == [
        "earlier[0]",
        "earlier[1]",
        "(in memory)",
    ]
    assert all(map(torch.equal, model.state_dict().values(), states[-1].values()))


def test_a_single_checkpoint_has_no_trajectory(tmp_path: Path) -> None:
    x, y, _ = training(tmp_path)
    model = network()
    save_file(torch.load(tmp_path / "epoch-400.pt")["model"], tmp_path / "last.safetensors")
    model.load_state_dict(torch.load(tmp_path / "epoch-400.pt")["model"])
    found = cohaudit.scan(model, (x, y), audits=("trajectory", "stability"), bootstrap=20).audits
    assert isinstance(found.trajectory, Skipped)
    assert isinstance(found.stability, Skipped)
    assert "several checkpoints" in found.trajectory.reason
