"""The store of a pass: everything that a pass holds survives, and damage is reported and costs no result."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.folders import names_in
from torch import nn
from torch.nn import functional as F

from cohaudit.gradients import Measurement, Options, PassState, Source, measure
from cohaudit.pipeline.resume import PassStore


class Branching(nn.Module):
    """Takes another path to the same where a batch has a large input: the loop is taken from there on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x.abs() > 5).any()):
            parts = zip(self.first.weight.split(4), self.first.bias.split(4), strict=True)
            hidden = torch.cat([F.linear(x, weight, bias) for weight, bias in parts], 1)
        else:
            hidden = self.first(x)
        logits: torch.Tensor = self.last(F.relu(hidden))
        return logits


@pytest.mark.parametrize("label_free", [False, True])
@pytest.mark.parametrize("after", range(1, 5))
def test_all_that_a_pass_holds_is_kept(after: int, label_free: bool, tmp_path: Path) -> None:
    expected, seen = measured(label_free, None)
    assert seen == [10] * 5
    with pytest.raises(KeyboardInterrupt):
        measured(label_free, Stop(tmp_path / "kept", after))
    found, seen = measured(label_free, PassStore(tmp_path / "kept", {}))
    assert seen == [10 * after, *[10] * (5 - after)]
    for name, value in vars(expected).items():
        assert equal(value, getattr(found, name)), name


def measured(label_free: bool, store: PassStore | None) -> tuple[Measurement, list[int]]:
    """Return the measurement of 50 samples, and how many were done at a time."""
    inputs = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    inputs[4] = 6  # of the second class: its turn comes in the second batch
    labels, ids = np.arange(50) % 3, [str(i) for i in range(50)]
    source = Source(lambda chosen: inputs[list(chosen)], labels, ids, ["a", "b", "c"])
    options = Options(
        batch_size=10,
        temperature=1.0,
        sketch_size=64,
        sketch_memory=0,
        feature_size=16,
        class_memory=64,
        certificate_samples=4,
        certificate_tolerance=1e-3,
        seed=0,
        label_free=label_free,
    )
    torch.manual_seed(0)
    net, seen = Branching().eval(), list[int]()
    return measure(net, source, options, torch.device("cpu"), seen.append, store=store), seen


class Stop(PassStore):
    """Ends the pass after so many of its batches of ten, and keeps it."""

    def __init__(self, folder: Path, batches: int) -> None:
        super().__init__(folder, {})
        self._stop_after = batches

    def maybe_save(self, state: Any) -> None:
        if state().done == 10 * self._stop_after:
            raise KeyboardInterrupt


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, tuple) and first and hasattr(first[0], "rows"):
        return all(equal(vars(a), vars(b)) for a, b in zip(first, second, strict=True))
    return bool(first == second)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def text(path: Path) -> None:
    path.write_text("x")


def pickle(path: Path) -> None:
    np.savez(path, manifest=np.array([object()], dtype=object), loss=np.array([object()], dtype=object))


def other_shape(path: Path) -> None:
    with np.load(path) as arrays:
        content = dict(arrays)
    name = "loss" if "loss" in content else "class_sketches"
    np.savez(path, **(content | {name: content[name][:-1]}))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("sums.npz", damage) for damage in (cut, flip, text, pickle, other_shape)),
        *(("rows-0-30.npz", damage) for damage in (cut, flip, text, pickle, other_shape, Path.unlink)),
        *(("about.json", damage) for damage in (text, Path.unlink)),
    ],
)
def test_damage_is_told_and_costs_no_more_than_the_work(
    name: str, damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = measured(False, None)
    with pytest.raises(KeyboardInterrupt):
        measured(False, Stop(tmp_path / "kept", 3))
    damage(tmp_path / "kept" / name)
    found, seen = measured(False, PassStore(tmp_path / "kept", {}))
    assert seen == [10] * 5
    assert equal(expected.squared_norms, found.squared_norms)
    assert equal(expected.class_squares, found.class_squares)
    (record,) = caplog.records
    assert re.fullmatch(r"Cannot resume: .*kept is damaged \(\w+\); not used", record.getMessage())
    assert not (tmp_path / "kept").exists(), "nobody could use it"


@pytest.mark.parametrize("name", ["sums.npz", "rows-0-30.npz", "about.json"])
def test_files_of_two_scans_are_not_taken_for_those_of_one(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("kept", "other"):
        with pytest.raises(KeyboardInterrupt):
            measured(False, Stop(tmp_path / folder, 3))
    (tmp_path / "other" / name).replace(tmp_path / "kept" / name)
    _, seen = measured(False, PassStore(tmp_path / "kept", {}))
    assert seen == [10] * 5
    assert "kept is damaged (ValueError); not used" in caplog.text
    assert not (tmp_path / "kept").exists()


def test_what_was_ended_before_it_counted_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("about.json", "rows-0-10.npz", "sums.npz.part", "mine.txt"):
        (kept / name).touch()
    measured(False, PassStore(kept, {}))
    assert names_in(kept) == ["mine.txt"]
    (kept / "mine.txt").unlink()
    measured(False, PassStore(kept, {}))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk_leaves_its_room_to_the_report(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, save = tmp_path / "kept", np.savez
    if after:
        with pytest.raises(KeyboardInterrupt):
            measured(False, Stop(kept, after))
    before = names_in(kept) if after else []

    def full(file: Any, **arrays: Any) -> None:
        save(file, **arrays)
        if "manifest" in arrays:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(KeyboardInterrupt):
            measured(False, Stop(kept, after + 1))
    assert (names_in(kept) if kept.exists() else []) == before
    assert measured(False, PassStore(kept, {}))[1] == [*([10 * after] if after else []), *[10] * (5 - after)]


def test_a_symbolic_link_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        measured(False, Stop(tmp_path / "kept", 3))
    there = names_in(tmp_path / "kept")
    (tmp_path / "link").symlink_to("kept")
    with pytest.raises(KeyboardInterrupt):
        measured(False, Stop(tmp_path / "link", 4))
    assert "link is a symbolic link" in caplog.text
    assert measured(False, PassStore(tmp_path / "link", {"other": "data"}))[1] == [10] * 5
    assert names_in(tmp_path / "kept") == there
    assert names_in(tmp_path) == ["kept", "link"]


def test_it_is_kept_as_often_as_the_time_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    kept: list[float] = []

    def write(*_: Any) -> None:
        nonlocal now
        now += 0.5  # two files each time, and a third one the first time

    monkeypatch.setattr("cohaudit.pipeline.resume.time.perf_counter", lambda: now)
    monkeypatch.setattr(PassStore, "_write", write)
    store = PassStore(tmp_path / "kept", {})
    for done in range(1, 300):
        now, before = now + 1, now + 1
        store.maybe_save(partial(PassState, done, {"sum": np.zeros(125_000)}, {}, lambda start, stop: {}, 0))
        if now > before:
            kept.append(before)
    assert kept[0] == 30
    # 1.5 s the first time, then 1 s each; what it will take is known when it begins
    assert all(0.5 + k <= 0.02 * when for k, when in enumerate(kept[1:], 2))
    assert len(kept) == 5


def test_what_takes_longer_to_write_than_to_measure_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("cohaudit.pipeline.resume.time.perf_counter", lambda: now)
    store = PassStore(tmp_path / "kept", {})
    for done in range(1, 300):
        now += 1
        store.maybe_save(partial(PassState, done, {}, {}, lambda start, stop: {}, 100_000_000))
    assert not (tmp_path / "kept").exists()
