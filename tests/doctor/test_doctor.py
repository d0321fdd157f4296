"""`cohaudit doctor`: what it says of a sound project, and of each part that is broken; and its arithmetic."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.analysis.near_duplicates import EXACT_SAMPLES
from cohaudit.cli import main
from cohaudit.doctor import environment as machine
from cohaudit.doctor.dry_run import MAX_TRIAL_SAMPLES, trial_size
from cohaudit.doctor.extrapolation import Trial, extrapolate, extrapolate_value
from cohaudit.pipeline.progress import COMPARE_SAMPLES, MEASURE_GRADIENTS

NET = """
from torch import nn

def build(hidden=8, classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, hidden), nn.ReLU(), nn.Linear(hidden, classes))

def broken():
    raise RuntimeError("no such layer")
"""
CHECKS = [
    *("versions", "extras", "settings", "device", "checkpoint", "model", "weights", "data", "first batch"),
    *("gradients", "forecast", "output folder"),
]


def project(folder: Path, classes: int = 3, samples: int = 60) -> Path:
    """Write a network, its settings and data that it fits; return the checkpoint."""
    torch.manual_seed(0)
    (folder / "net.py").write_text(NET)
    (folder / "cohaudit.toml").write_text('model = "net.py:build"\ndata = "train.npz"\nbatch_size = 16\n')
    labels = np.arange(samples) % classes
    images = np.random.default_rng(0).normal(0, 0.3, (samples, 3, 4)) + labels[:, None, None]
    np.savez(folder / "train.npz", images=images.astype(np.float32), labels=labels)
    scope: dict[str, Any] = {}
    exec(NET, scope)
    model = scope["build"]()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            model(torch.tensor(images).float()), torch.tensor(labels)
        ).backward()
        optimizer.step()
    torch.save(model.state_dict(), folder / "model.pt")
    return folder / "model.pt"


def doctor(*arguments: Any) -> Result:
    # named, because one that is found beside a checkpoint in another folder may name no code
    beside = [one.with_name("cohaudit.toml") for one in arguments[:1] if isinstance(one, Path)]
    config = [part for one in beside if one.exists() for part in ("--config", str(one))]
    return CliRunner().invoke(main, ["doctor", *map(str, arguments), *config])


def findings(*arguments: Any, code: int = 0) -> dict[str, dict[str, Any]]:
    """Return the findings by check, and make sure of the exit code."""
    result = doctor(*arguments, "--json")
    assert result.exit_code == code, result.output
    return {found["check"]: found for found in json.loads(result.stdout)["findings"]}


def statuses(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return check → status, of those that are not ok."""
    return {check: one["status"] for check, one in found.items() if one["status"] != "ok"}


def test_a_sound_project_is_well_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts)
    result = doctor(path)
    assert result.exit_code == 0, result.output
    assert [line.split("  ")[0] for line in result.stdout.splitlines() if line[:1].strip()][:12] == [
        "ok"
    ] * 12
    assert result.stdout.endswith("\nA scan would run.\n")
    assert "60 samples of 3 classes" in result.stdout
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) < 40
    assert sorted(p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts) == before


def test_the_json_keeps_its_names(digits: Path, tmp_path: Path) -> None:
    result = doctor(digits / "model.safetensors", "--limit", 200, "--out", tmp_path / "new", "--json")
    content = json.loads(result.stdout)
    assert list(content) == ["version", "failed", "findings"]
    assert (content["version"], content["failed"]) == (1, [])
    assert [found["check"] for found in content["findings"]] == CHECKS
    assert all(list(f) == ["check", "status", "found", "remedy", "figures"] for f in content["findings"])
    figures = {found["check"]: found["figures"] for found in content["findings"]}
    assert {check: sorted(one) for check, one in figures.items()} == {
        "versions": sorted(["cohaudit", "python", *machine.PACKAGES, "seconds"]),
        "extras": ["encoders", "parquet"],
        "settings": ["changed", "file"],
        "device": [
            *("cpus", "cuda_devices", "device", "device_memory_free", "memory_free", "torch_threads"),
        ],
        "checkpoint": ["dtypes", "format", "numbers", "sha256", "tensors"],
        "model": ["class", "frozen", "parameters"],
        "weights": ["from", "prefix"],
        "data": ["classes", "inputs", "samples", "sha256", "smallest_class"],
        "first batch": ["accuracy", "loss", "outputs", "samples"],
        "gradients": ["auditable", "coverage", "layers", "looped_layers", "samples"],
        "forecast": [
            *("free_bytes", "peak_bytes", "report_bytes", "samples", "samples_tried"),
            *("seconds", "seconds_gradients", "seconds_pairs"),
        ],
        "output folder": ["bytes_free", "folder", "temporary_bytes_free"],
    }
    assert figures["data"]["samples"] == 1300
    assert figures["forecast"]["samples"] == 200
    assert figures["first batch"]["accuracy"] > 0.9


def test_without_a_checkpoint_what_needs_none_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = findings()
    assert statuses(found) == {"checkpoint": "not run", "weights": "not run"}
    assert "untrained" in found["gradients"]["found"]


def test_an_empty_folder_is_no_failure_and_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = findings()
    assert statuses(found) == {
        "settings": "warning",
        **dict.fromkeys(("checkpoint", "model", "weights", "data"), "not run"),
        **dict.fromkeys(("first batch", "gradients", "forecast"), "not run"),
    }
    assert "cohaudit init" in found["settings"]["remedy"]
    # nothing was tried, which is not the same as nothing wrong
    ended = CliRunner().invoke(main, ["doctor"])
    assert ended.stdout.splitlines()[-1].startswith("Neither model nor data was tried")
    # `cohaudit init` does not replace a file that is there
    Path("cohaudit.toml").write_text("batch_size = 8\n")
    remedy = findings()["settings"]["remedy"]
    assert "cohaudit init" not in remedy
    assert "cohaudit.toml" in remedy


def test_with_a_checkpoint_a_missing_model_is_a_failure_and_the_data_is_opened(tmp_path: Path) -> None:
    path = project(tmp_path)
    (tmp_path / "cohaudit.toml").write_text('data = "train.npz"\n')
    found = findings(path, code=2)
    assert statuses(found) == {
        "settings": "failed",
        **dict.fromkeys(("model", "weights", "first batch", "gradients", "forecast"), "not run"),
    }
    assert "cohaudit init" in found["settings"]["remedy"]


@pytest.mark.parametrize("text", ["batch_size = 0", "no_such_key = 1", "model = ", "trust_checkpoint = true"])
def test_settings_that_cannot_be_read_leave_the_checkpoint_to_be_opened(text: str, tmp_path: Path) -> None:
    path = project(tmp_path)
    (tmp_path / "cohaudit.toml").write_text(text)
    found = findings(path, code=2)
    assert statuses(found) == {
        "settings": "failed",
        **dict.fromkeys(("model", "weights", "data", "first batch", "gradients", "forecast"), "not run"),
    }


@pytest.mark.parametrize(
    ("check", "option"),
    [
        ("settings", ("--suppressions", "missing.toml")),
        ("gates", ("--fail-on", "risk>=nonsense")),
        ("formats", ("--formats", "nonsense")),
        ("templates", ("--templates", "nosuch")),
    ],
)
def test_a_wrong_setting_hides_nothing_else(check: str, option: tuple[str, str], tmp_path: Path) -> None:
    path = project(tmp_path)
    found = findings(path, *option, code=2)
    assert statuses(found) == {check: "failed"}
    scanned = CliRunner().invoke(
        main,
        [
            "scan",
            str(path),
            "--config",
            str(tmp_path / "cohaudit.toml"),
            *option,
            "--out",
            str(tmp_path / "o"),
        ],
    )
    assert scanned.exit_code == 2
    assert found[check]["remedy"] in scanned.stderr


def test_all_that_a_scan_would_refuse_is_told_at_once(tmp_path: Path) -> None:
    path = project(tmp_path)
    wrong = ("--warn-on", "nonsense", "--formats", "nonsense", "--templates", "nosuch", "--out", path)
    found = findings(path, *wrong, code=2)
    checks = ("gates", "formats", "output folder", "templates")
    assert statuses(found) == dict.fromkeys(checks, "failed")


def test_data_that_the_report_or_a_format_would_replace(tmp_path: Path) -> None:
    path = project(tmp_path)
    with np.load(tmp_path / "train.npz") as arrays:
        rows = [",".join(map(str, row)) for row in arrays["images"].reshape(60, -1)]
        lines = [f"{row},{label}" for row, label in zip(rows, arrays["labels"], strict=True)]
    heading = ",".join([*(f"x{k}" for k in range(12)), "label"])
    (tmp_path / "samples.csv").write_text("\n".join([heading, *lines]))
    csv = ("--data", tmp_path / "samples.csv", "--holdout", tmp_path / "samples.csv", "--out", tmp_path)
    found = statuses(findings(path, *csv, code=2))
    assert (found["data kept"], found["holdout kept"]) == ("failed", "failed")
    assert set(found) <= {"data kept", "holdout kept"}


def test_a_folder_that_stands_where_a_format_is_to_be_written(tmp_path: Path) -> None:
    path = project(tmp_path)
    (tmp_path / "out" / "junit.xml").mkdir(parents=True)
    out = ("--out", tmp_path / "out")
    assert statuses(findings(path, *out)) == {}
    found = findings(path, *out, "--formats", "markdown,junit", code=2)
    assert statuses(found) == {"output folder": "failed"}


def test_a_gate_on_a_class_that_is_not_there_is_found(tmp_path: Path) -> None:
    found = findings(project(tmp_path), "--fail-on", "class:bee.coherence<0.1", code=2)
    assert "failed" in statuses(found).values()


def test_a_checkpoint_that_is_none(tmp_path: Path) -> None:
    path = project(tmp_path)
    path.write_bytes(b"not a checkpoint")
    found = findings(path, code=2)
    after = ("weights", "first batch", "gradients", "forecast")
    assert statuses(found) == {"checkpoint": "failed", **dict.fromkeys(after, "not run")}
    assert str(path) in found["checkpoint"]["found"]
    assert found["checkpoint"]["remedy"]
    assert found["weights"]["found"] == "needs the checkpoint"


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    path = project(tmp_path)
    state = torch.load(path)
    state["1.weight"][0, 0] = torch.nan
    torch.save(state, path)
    found = findings(path, code=2)
    assert found["checkpoint"]["status"] == "failed"
    assert "1.weight (1 NaN" in found["checkpoint"]["found"]
    assert found["data"]["status"] == "ok"


def test_a_model_of_another_size_names_the_weights(tmp_path: Path) -> None:
    found = findings(project(tmp_path), "--model-arg", "hidden=9", code=2)
    assert (found["model"]["status"], found["weights"]["status"]) == ("ok", "failed")
    assert "1.weight" in found["weights"]["found"]
    assert found["gradients"]["found"] == "needs weights that fit"


def test_a_factory_that_fails_leaves_checkpoint_and_data(tmp_path: Path) -> None:
    found = findings(project(tmp_path), "--model", tmp_path / "net.py:broken", code=2)
    assert "no such layer" in found["model"]["found"]
    assert found["weights"]["found"] == "needs the model"
    assert found["data"]["status"] == "ok"


@pytest.mark.parametrize("name", ["missing.npz", "net.py"])
def test_data_that_cannot_be_opened(name: str, tmp_path: Path) -> None:
    found = findings(project(tmp_path), "--data", tmp_path / name, code=2)
    after = ("first batch", "gradients", "forecast")
    assert statuses(found) == {"data": "failed", **dict.fromkeys(after, "not run")}
    assert found["data"]["remedy"]


def test_data_of_one_class_is_refused(tmp_path: Path) -> None:
    found = findings(project(tmp_path, classes=1), code=2)
    assert found["data"]["status"] == "failed"
    assert "only one class" in found["data"]["found"]


def test_data_with_more_classes_than_the_model_fails_at_the_first_batch(tmp_path: Path) -> None:
    found = findings(project(tmp_path, classes=3), "--class-names", "a", "--class-names", "b", code=2)
    assert found["data"]["status"] == "failed"
    arrays = dict(np.load(tmp_path / "train.npz"))
    arrays["labels"][0] = 3
    np.savez(tmp_path / "train.npz", **arrays)
    found = findings(tmp_path / "model.pt", code=2)
    assert found["first batch"]["status"] == "failed"
    assert "distinguishes 3 classes, the data has 4" in found["first batch"]["found"]
    assert found["gradients"]["found"] == "needs a first batch that runs"


def test_a_class_of_one_sample_is_a_warning(tmp_path: Path) -> None:
    path = project(tmp_path)
    arrays = dict(np.load(tmp_path / "train.npz"))
    arrays["labels"][arrays["labels"] == 2] = 0
    arrays["labels"][2] = 2
    np.savez(tmp_path / "train.npz", **arrays)
    assert statuses(findings(path))["data"] == "warning"


def test_labels_in_another_order_are_a_warning(tmp_path: Path) -> None:
    path = project(tmp_path)
    arrays = dict(np.load(tmp_path / "train.npz"))
    np.savez(tmp_path / "train.npz", images=arrays["images"], labels=(arrays["labels"] + 1) % 3)
    found = findings(path)
    assert statuses(found) == {"first batch": "warning", "gradients": "warning"}
    assert "order of classes" in found["gradients"]["found"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = project(tmp_path)
    found = findings(path, "--out", path / "inside", code=2)
    assert statuses(found) == {"output folder": "failed"}
    assert "is a file, not a folder" in found["output folder"]["found"]
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    assert findings(path, "--out", tmp_path / "out", code=2)["output folder"]["status"] == "failed"
    assert findings(path, "--out", "/proc/cohaudit", code=2)["output folder"]["status"] == "failed"


def test_an_unknown_device_leaves_everything_that_needs_none(tmp_path: Path) -> None:
    found = findings(project(tmp_path), "--device", "abacus", code=2)
    after = ("first batch", "gradients", "forecast")
    assert statuses(found) == {"device": "failed", **dict.fromkeys(after, "not run")}


def test_earlier_checkpoints_and_a_holdout_are_tried_too(tmp_path: Path) -> None:
    path = project(tmp_path)
    first, last = tmp_path / "ckpt-1.pt", tmp_path / "ckpt-2.pt"
    state = torch.load(path)
    torch.save(state, last)
    torch.save({**state, "1.bias": torch.zeros(5)}, first)
    found = findings(first, last, "--holdout", tmp_path / "train.npz", code=2)
    assert statuses(found) == {"earlier ckpt-1.pt": "failed"}
    assert found["holdout"]["figures"] == {"samples": 60}


def test_names_from_files_cannot_steer_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31m\u202eb"
    folder.mkdir()
    path = project(folder)
    result = doctor(path, "--data", "gone\x1b]0;x\x07.npz")
    assert result.exit_code == 2
    assert not {"\x1b", "\u202e", "\x07"} & set(result.output)
    assert "gone\\x1b]0;x\\x07.npz" in result.output.replace("\n", "").replace(" ", "")


def test_quiet_prints_what_fails_alone(tmp_path: Path) -> None:
    path = project(tmp_path)
    assert doctor(path, "--quiet").stdout == ""
    lines = doctor(path, "--quiet", "--device", "abacus").stdout.splitlines()
    assert lines[0].startswith("failed   device")


def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no_such_package"))
    found = findings(code=2)
    assert "no_such_package raised ModuleNotFoundError" in found["versions"]["found"]
    assert "pip install --force-reinstall no_such_package" in found["versions"]["remedy"]
    assert found["gradients"]["status"] == "not run"


def test_extras_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    project_file = Path(__file__).parents[2] / "pyproject.toml"
    told = tomllib.loads(project_file.read_text("utf-8"))["project"]["optional-dependencies"]
    for extra, package in machine.EXTRAS.items():
        assert any(line.startswith(package) for line in told[extra])
    monkeypatch.setattr(machine, "EXTRAS", {"parquet": "no_such_package"})
    found = machine.extras()
    assert found.figures == {"parquet": False}
    assert "pip install 'cohaudit[parquet]'" in found.remedy


def test_free_memory_is_that_of_the_container(tmp_path: Path) -> None:
    file, group = tmp_path / "meminfo", tmp_path / "group"
    assert machine.free_memory(file, group) is None
    file.write_text("MemTotal:  8000 kB\nMemAvailable:  4000 kB\n")
    assert machine.free_memory(file, group) == 4000 * 1024
    group.mkdir()
    (group / "memory.current").write_text("900\n")
    (group / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    (group / "memory.max").write_text("1000\n")
    assert machine.free_memory(file, group) == 400
    (group / "memory.max").write_text("max\n")
    assert machine.free_memory(file, group) == 4000 * 1024


def test_a_stage_with_a_fixed_part_and_a_part_per_sample_is_extrapolated_exactly() -> None:
    def trial(samples: int) -> Trial:
        # many samples are not compared pair by pair
        pairs = samples * min(samples, EXACT_SAMPLES)
        seconds = {MEASURE_GRADIENTS: 2 + 0.01 * samples, COMPARE_SAMPLES: 1e-6 * pairs, "judge": 3.0}
        return Trial(samples, seconds, 100 + 7 * samples)

    found = extrapolate(trial(100), trial(1000), 50_000)
    assert found.seconds == pytest.approx(trial(50_000).seconds)
    assert found.peak == 100 + 7 * 50_000
    assert found.total == pytest.approx(2 + 500 + 0.05 * EXACT_SAMPLES + 3)
    assert not found.measured
    assert extrapolate(trial(100), trial(1000), 1000).measured


def test_a_single_size_is_extrapolated_in_proportion() -> None:
    only = Trial(100, {MEASURE_GRADIENTS: 5.0, COMPARE_SAMPLES: 2.0}, 1000)
    found = extrapolate(only, only, 200)
    assert found.seconds == {MEASURE_GRADIENTS: 10.0, COMPARE_SAMPLES: 8.0}
    assert found.peak == 1000
    assert extrapolate(only, Trial(100, only.seconds, None), 200).peak is None


SECONDS = st.just(0.0) | st.floats(1e-9, 1e3)
"""Times: below a nanosecond there are none, and subnormal numbers have lost digits."""


@given(SECONDS, SECONDS, st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 10**6))
def test_noise_makes_no_stage_shorter_or_longer_than_in_proportion(
    before: float, after: float, small: int, more: int, rest: int
) -> None:
    large = small + more
    found = extrapolate_value(before, after, (small, large, large + rest))
    assert after <= found <= after * (large + rest) / large * (1 + 1e-9)


def test_the_larger_trial_is_what_a_few_seconds_hold() -> None:
    assert trial_size(128, 1_000_000, seconds=0.01) == MAX_TRIAL_SAMPLES
    assert trial_size(1024, 1_000_000, seconds=0.01) == 4096
    assert trial_size(128, 1_000_000, seconds=2.0) == 640
    assert trial_size(128, 1_000_000, seconds=6.0) == 256
    assert trial_size(128, 1_000_000, seconds=60.0) == 128
    assert trial_size(128, 300, seconds=0.01) == 300


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_cuda_device_is_told_and_used(tmp_path: Path) -> None:
    found = findings(project(tmp_path), "--device", "cuda")
    assert torch.cuda.get_device_name(0) in found["device"]["found"]
    assert found["device"]["figures"]["device"] == "cuda"
    assert found["device"]["figures"]["device_memory_free"] > 0
    assert "GPU memory" in found["forecast"]["found"]
    assert found["forecast"]["figures"]["peak_bytes"] > 0
