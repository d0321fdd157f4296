"""Scan, correct, retrain, scan: what was concluded from labels does not come back as evidence for itself."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

import cohaudit
from cohaudit.cli import main
from cohaudit.config import Config
from cohaudit.loading.data import open_dataset
from cohaudit.results import Audit, Corrections, WrongLabels
from cohaudit.results.json_encode import audit_to_json

SAMPLES = 240
CLASSES = 4
SIDE = 4
"""Height and width of an image, in pixels."""
WRONG = 0.15
"""Share of wrong labels."""


@dataclass(frozen=True)
class World:
    """Samples with given and true labels; id → the latter.

    Attributes:
        data: File or folder.
        truth: Id of a sample in `data` → true class name.
    """

    data: Path
    truth: dict[str, str]


def draw() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs from overlapping classes, [samples, pixels], their true and their given labels."""
    rng = np.random.default_rng(0)
    truth = np.arange(SAMPLES) % CLASSES
    centers = rng.normal(0, 1, (CLASSES, SIDE * SIDE))
    x = centers[truth] + rng.normal(0, 1.1, (SAMPLES, SIDE * SIDE))
    wrong = rng.random(SAMPLES) < WRONG
    given = np.where(wrong, (truth + rng.integers(1, CLASSES, SAMPLES)) % CLASSES, truth)
    return x.astype(np.float32), truth, given


def write_table(folder: Path) -> World:
    x, truth, given = draw()
    path = folder / "train.csv"
    names = [f"x{k}" for k in range(x.shape[1])]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *names, "label"])
        for i, row in enumerate(x):
            writer.writerow([f"s{i}", *(f"{value:.4f}" for value in row), f"c{given[i]}"])
    return World(path, {f"s{i}": f"c{one}" for i, one in enumerate(truth)})


def write_pictures(folder: Path) -> World:
    x, truth, given = draw()
    root = folder / "photos"
    pixels = np.clip(128 + 40 * x, 0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
    for i, picture in enumerate(pixels):
        path = root / f"c{given[i]}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return World(root, {f"c{given[i]}/{i}.png": f"c{one}" for i, one in enumerate(truth)})


def train(data: Path) -> nn.Module:
    """Return a network that fits the labels of a file or folder."""
    dataset = open_dataset(Config(data=str(data)))
    x = dataset.batch(range(len(dataset)))
    assert isinstance(x, torch.Tensor)
    y = torch.from_numpy(dataset.labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def scan(data: Path, **settings: Any) -> Audit:
    return cohaudit.scan(
        train(data), str(data), audits=("none",), bootstrap=20, certificate_samples=2, **settings
    )


def correct(audit: Audit, data: Path, out: Path, *options: str) -> str:
    """Run `cohaudit correct`, and return what it prints."""
    path = out.parent / "audit.json"
    path.write_text(audit_to_json(audit), encoding="utf-8")
    command = ["correct", str(path), "--data", str(data), "--out", str(out), *options]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return result.output


def changed_ids(out: Path) -> dict[str, str]:
    """Return id in the copy → id in the data, of the changed samples."""
    text = out.with_name(out.name + ".changes.csv").read_text("utf-8")
    return {row["new_id"]: row["id"] for row in csv.DictReader(io.StringIO(text))}


def wrong_share(audit: Audit, truth: dict[str, str]) -> float:
    rows = zip(audit.samples["id"], audit.samples["label"], strict=True)
    return float(np.mean([truth[name] != label for name, label in rows]))


def told(audit: Audit) -> WrongLabels:
    assert isinstance(audit.wrong_labels, WrongLabels)
    return audit.wrong_labels


@pytest.fixture(scope="module", params=[write_table, write_pictures], ids=["table", "pictures"])
def rounds(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Audit, str, Audit, dict[str, str], Path]:
    """Scan, correct, retrain, scan."""
    folder = tmp_path_factory.mktemp("loop")
    make: Callable[[Path], World] = request.param
    world = make(folder)
    first = scan(world.data)
    out = folder / f"corrected{world.data.suffix}"
    printed = correct(first, world.data, out)
    second = scan(out)
    truth = world.truth | {new: world.truth[old] for new, old in changed_ids(out).items()}
    return first, printed, second, truth, out


def test_the_claimed_remainder_holds_the_true_one(
    rounds: tuple[Audit, str, Audit, dict[str, str], Path],
) -> None:
    first, printed, second, truth, _ = rounds
    assert told(first).told
    left = wrong_share(second, truth)
    assert 0 < left < wrong_share(first, truth)
    share = told(second).share
    assert share.low <= left <= share.high
    assert share.high > 0.005
    assert "of these" in printed
    # suspicions and share agree
    assert second.samples["suspicion"].mean() == pytest.approx(share.value)
    found = second.corrections
    assert isinstance(found, Corrections)
    assert found.by_audit > 10
    assert found.unmatched == 0
    assert any("changed by an audit alone" in notice for notice in second.notices)
    # what `correct` said is what the next scan begins with
    assert found.rounds[-1].remainder.low <= share.value <= found.rounds[-1].remainder.high
