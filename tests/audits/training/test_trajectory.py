"""What was learned when, and where to stop: by hand-made courses, and by a real training's checkpoints."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import cohaudit
from cohaudit.audits.optimizer_state import OptimizerProgress
from cohaudit.audits.training.snapshot import snapshot_of
from cohaudit.audits.training.trajectory import TrainingHistory, learned_at, rating, strata, trajectory
from cohaudit.cli import main
from cohaudit.config import Config
from cohaudit.gradients import Source, measure
from cohaudit.pipeline.scan import options_of
from cohaudit.results import Skipped, Trajectory

NET = """
from torch import nn
def build():
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
"""
EPOCHS = (3, 20, 400)


# arrays in, numbers out


@given(arrays(bool, st.tuples(st.integers(2, 8), st.integers(1, 20))))
def test_learned_at_is_the_start_of_the_run_that_reaches_the_end(right: np.ndarray) -> None:
    when, forgotten = learned_at(right)
    for own, start, lost in zip(right.T, when, forgotten, strict=True):
        if start < 0:
            assert not own[-1]
        else:
            assert own[start:].all()
            assert start == 0 or not own[start - 1]
        assert lost == sum(a and not b for a, b in itertools.pairwise(own))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_strata_follow_the_memorization(memorization: list[float]) -> None:
    found = strata(np.array(memorization))
    assert ((np.array(memorization) > 0.5) == (found == 3)).all()
    order = np.argsort(memorization, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def history(predicted: list[list[int]], corrected: list[list[int]], expected: list[float]) -> TrainingHistory:
    k, n = np.shape(predicted)
    return TrainingHistory(
        names=[f"epoch-{i}" for i in range(k)],
        predicted=np.array(predicted),
        corrected_labels=np.array(corrected),
        memorization=np.tile(np.linspace(0, 1, n), (k, 1)),
        share=np.full((k, n), 1 / n),
        expected=expected,
        agreement=np.ones(k),
        loss=[1.0] * k,
        m_coherence=[2.0] * k,
    )


def test_the_advised_checkpoint_gives_most_of_the_labels_as_the_judge_corrects_them() -> None:
    labels = np.array([0, 0, 1, 1])
    wrong_last = [0, 0, 1, 0]  # what the judge says of the last sample
    found = history(
        [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1]], [[0, 0, 1, 1], wrong_last, [0, 0, 1, 1]], [0.5, 0.8, 0.7]
    )
    told = trajectory(found, labels, [], [], [0.5] * 3)
    assert (told.judge, told.advised) == (1, 1)
    assert [point.accuracy for point in told.points] == [0.5, 0.75, 1.0]
    assert [point.corrected for point in told.points] == [0.75, 1.0, 0.75]
    assert told.advice.startswith("Take epoch-1: its rating is 100.0%")
    assert "1 likely wrong label corrected as judged at epoch-1" in told.advice
    assert told.learned_at == (0, 1, 0, 2)


def test_without_wrong_labels_the_last_is_as_good() -> None:
    labels = np.array([0, 0, 1, 1])
    found = history([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]], [labels.tolist()] * 3, [0.5, 0.6, 0.7])
    told = trajectory(found, labels, [], [], [0.5] * 3)
    assert told.advice.startswith("Keep the last checkpoint")


def test_where_right_labels_are_memorized_the_rating_goes_by_agreement() -> None:
    corrected, agreement = np.array([0.5, 0.8, 1.0]), np.array([0.5, 0.6, 0.3])
    assert rating(corrected, agreement) == pytest.approx(0.3 * corrected + 0.7 * agreement)
    assert rating(corrected, np.array([0.5, 0.8, 1.0])) == pytest.approx(corrected)


# a real training


def training(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Train on samples of three classes, a fifth of them with a wrong label; keep a few checkpoints."""
    torch.manual_seed(0)
    truth = torch.arange(240) % 3
    x = torch.randn(240, 8) + 3.5 * F.one_hot(truth, 8)
    y = torch.where(torch.arange(240) % 5 == 0, (truth + 1) % 3, truth)
    (folder / "net.py").write_text(NET)
    space: dict[str, object] = {}
    exec(NET, space)
    model: nn.Module = space["build"]()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(1, EPOCHS[-1] + 1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if epoch in EPOCHS:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, folder / f"epoch-{epoch}.pt")
    np.savez(folder / "train.npz", x=x.numpy(), y=y.numpy())
    np.savez(
        folder / "test.npz", x=(torch.randn(60, 8) + 3.5 * F.one_hot(truth[:60], 8)).numpy(), y=truth[:60]
    )
    return x, y, truth


def run(folder: Path, *options: object) -> Result:
    args = ["trajectory", *options, "--model", folder / "net.py:build", "--data", folder / "train.npz"]
    return CliRunner().invoke(main, [*map(str, args), "--out", str(folder / "out")])


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, Tensor, Tensor]:
    folder = tmp_path_factory.mktemp("followed")
    (folder / "checkpoints").mkdir()
    _, y, truth = training(folder)
    for epoch in EPOCHS:
        (folder / f"epoch-{epoch}.pt").rename(folder / "checkpoints" / f"epoch-{epoch}.pt")
    return folder, run(folder, folder / "checkpoints", "--holdout", folder / "test.npz"), y, truth


def of(folder: Path) -> Trajectory:
    found = cohaudit.read_audit(folder / "out" / "audit.json").audits.trajectory
    assert isinstance(found, Trajectory)
    return found


def test_a_folder_is_followed_and_the_stop_advised(followed: tuple[Path, Result, Tensor, Tensor]) -> None:
    folder, result, y, truth = followed
    assert result.exit_code == 0, result.output
    found = of(folder)
    assert [point.checkpoint for point in found.points] == [f"epoch-{epoch}.pt" for epoch in EPOCHS]
    assert found.advised == 1
    assert "Take epoch-20.pt" in " ".join(result.stdout.split())
    assert found.points[-1].accuracy > 0.9 > found.points[1].accuracy
    assert found.points[-1].memorized > found.points[0].memorized
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
    space: dict[str, object] = {}
    exec(NET, space)
    found = of(folder)
    for k, epoch in enumerate(EPOCHS):
        model: nn.Module = space["build"]()
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


def test_a_snapshot_is_what_plain_autograd_gives_where_sketches_keep_all(tmp_path: Path) -> None:
    x, y, _ = training(tmp_path)
    x, labels = x.double(), y.numpy()
    space: dict[str, object] = {}
    exec(NET, space)
    model: nn.Module = space["build"]()
    model.double().eval()
    source = Source(lambda chosen: x[chosen], labels, [str(i) for i in range(len(y))], ["a", "b", "c"])
    options = options_of(Config(sketch_size=5_000))
    shots, means = [], []
    for epoch in EPOCHS[:2]:
        model.load_state_dict(torch.load(tmp_path / f"epoch-{epoch}.pt")["model"])
        measured = measure(model, source, options, torch.device("cpu"), lambda _: None)
        shot = snapshot_of(
            measured,
            model,
            labels,
            total=len(y),
            progress=OptimizerProgress(7, 0.5),
            holdout=(0.5, 1.0),
            seed=0,
        )
        gradients = torch.stack([gradient(model, a, b) for a, b in zip(x, y, strict=True)])
        owned = gradients @ gradients.mean(0)
        np.testing.assert_allclose(shot.share, owned / owned.sum(), atol=1e-6)
        assert np.linalg.norm(shot.mean) == pytest.approx(gradients.mean(0).norm().item(), rel=1e-5)
        assert shot.largest == pytest.approx(gradients.norm(dim=1).max().item(), rel=1e-9)
        assert (shot.step, shot.rate) == (7, 0.5)
        shots.append(shot)
        means.append((gradients.mean(0), torch.cat([p.detach().flatten() for p in model.parameters()])))
    for part, name in enumerate(("mean", "weights")):
        apart = np.linalg.norm(getattr(shots[1], name) - getattr(shots[0], name))
        assert apart == pytest.approx((means[1][part] - means[0][part]).norm().item(), rel=0.1)


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    grads = torch.autograd.grad(F.cross_entropy(model(x[None]), y[None]), list(model.parameters()))
    return torch.cat([g.flatten() for g in grads])


def test_what_was_measured_is_not_measured_again(followed: tuple[Path, Result, Tensor, Tensor]) -> None:
    folder, *_ = followed
    kept = sorted((folder / "out" / "snapshots").iterdir())
    assert len(kept) == len(EPOCHS)
    before, written = of(folder), {path: path.stat().st_mtime_ns for path in kept}
    again = run(folder, folder / "checkpoints", "--holdout", folder / "test.npz")
    assert again.exit_code == 0
    assert of(folder) == before
    assert {p: p.stat().st_mtime_ns for p in (folder / "out" / "snapshots").iterdir()} == written
    whole = kept[0].stat().st_size
    for broken in (b"PK", b""):
        kept[0].write_bytes(broken)
        assert run(folder, folder / "checkpoints", "--holdout", folder / "test.npz").exit_code == 0
        assert of(folder) == before
        assert kept[0].stat().st_size == whole  # written anew


def test_settings_that_change_no_snapshot_take_those_there_are(
    followed: tuple[Path, Result, Tensor, Tensor],
) -> None:
    folder, *_ = followed
    kept = sorted((folder / "out" / "snapshots").iterdir())
    more = ("--holdout", folder / "test.npz", "--lr", "0.1", "--gallery", "3")
    assert run(folder, folder / "checkpoints", *more).exit_code == 0
    assert sorted((folder / "out" / "snapshots").iterdir()) == kept


def test_of_a_folder_those_count_whose_names_differ_in_numbers(tmp_path: Path) -> None:
    training(tmp_path)
    for epoch, loss in zip(EPOCHS, (7, 5, 3), strict=True):
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / f"epoch-{epoch}.pt").rename(tmp_path / "all" / f"epoch={epoch}-loss=0.{loss}.pt")
    for other in ("best.pt", "training_args.bin"):
        (tmp_path / "all" / other).write_bytes(b"")
    result = run(tmp_path, tmp_path / "all")
    assert result.exit_code == 0, result.output
    assert "left out, for their names: best.pt, training_args.bin" in " ".join(result.output.split())
    names = [point.checkpoint for point in of(tmp_path).points]
    assert names == ["epoch=3-loss=0.7.pt", "epoch=20-loss=0.5.pt", "epoch=400-loss=0.3.pt"]


def test_other_settings_do_not_take_those_snapshots(followed: tuple[Path, Result, Tensor, Tensor]) -> None:
    folder, *_ = followed
    result = run(folder, folder / "checkpoints", "--holdout", folder / "test.npz", "--seed", "7")
    assert result.exit_code == 0
    assert len(list((folder / "out" / "snapshots").iterdir())) == 2 * len(EPOCHS)


def test_checkpoints_with_a_folder_each_are_found_and_their_steps_told(tmp_path: Path) -> None:
    training(tmp_path)
    for epoch in EPOCHS:
        folder = tmp_path / "run" / f"checkpoint-{epoch}"
        folder.mkdir(parents=True)
        save_file(torch.load(tmp_path / f"epoch-{epoch}.pt")["model"], folder / "model.safetensors")
    result = run(tmp_path, tmp_path / "run", "--lr", "0.003")
    assert result.exit_code == 0, result.output
    found = cohaudit.read_audit(tmp_path / "out" / "audit.json").audits.stability
    assert not isinstance(found, Skipped)
    assert [term.steps for term in found.terms] == [17, 380]


def test_where_names_tell_no_order_the_steps_in_the_files_do(tmp_path: Path) -> None:
    training(tmp_path)
    (tmp_path / "run").mkdir()
    for epoch, name in zip(EPOCHS, ("zulu", "mike", "alpha"), strict=True):
        state = torch.load(tmp_path / f"epoch-{epoch}.pt")["model"]
        save_file(state, tmp_path / "run" / f"{name}.safetensors", {"step": str(epoch)})
    result = run(tmp_path, tmp_path / "run", "--lr", "0.003")
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
    result = run(tmp_path, *paths)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_in_memory_the_earlier_state_dicts_are_followed(tmp_path: Path) -> None:
    x, y, _ = training(tmp_path)
    states = [torch.load(tmp_path / f"epoch-{epoch}.pt")["model"] for epoch in EPOCHS]
    space: dict[str, object] = {}
    exec(NET, space)
    model: nn.Module = space["build"]()
    model.load_state_dict(states[-1])
    audit = cohaudit.scan(model, (x, y), earlier=states[:-1], audits=("trajectory",))
    assert isinstance(audit.audits.trajectory, Trajectory)
    assert [point.checkpoint for point in audit.audits.trajectory.points] == [
        "earlier[0]",
        "earlier[1]",
        "(in memory)",
    ]
    assert all(map(torch.equal, model.state_dict().values(), states[-1].values()))


def test_a_single_checkpoint_has_no_trajectory(tmp_path: Path) -> None:
    x, y, _ = training(tmp_path)
    space: dict[str, object] = {}
    exec(NET, space)
    model: nn.Module = space["build"]()
    save_file(torch.load(tmp_path / "epoch-400.pt")["model"], tmp_path / "last.safetensors")
    model.load_state_dict(torch.load(tmp_path / "epoch-400.pt")["model"])
    found = cohaudit.scan(model, (x, y), audits=("trajectory", "stability")).audits
    assert isinstance(found.trajectory, Skipped)
    assert isinstance(found.stability, Skipped)
    assert "several checkpoints" in found.trajectory.reason
