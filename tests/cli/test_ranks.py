"""A scan by several ranks that torchrun starts: how it ends if one of them fails, and how it goes on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.folders import names_in
from support.ranks import ended, project, started, torchrun
from support.scanning import scan

from cohaudit.errors import ConfigError
from cohaudit.pipeline.distributed.launch import Launch, launched

DIGITS = Path(__file__).parents[2] / "fixtures" / "digits"
PLACE = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_the_launcher_says_where_a_rank_stands() -> None:
    assert launched({}) is None
    assert launched({"RANK": "0"}) is None
    assert launched(PLACE) == Launch(1, 4, 1, 2, threads_given=False)
    assert launched(PLACE | {"RANK": "0", "WORLD_SIZE": "1"}) is None
    with pytest.raises(ConfigError, match="WORLD_SIZE: is 'x'"):
        launched(PLACE | {"WORLD_SIZE": "x"})
    with pytest.raises(ConfigError, match="RANK: is 4, of WORLD_SIZE 4"):
        launched(PLACE | {"RANK": "4"})


def without_timings(folder: Path) -> str:
    return re.sub(r'"timings": \{.*?\}', "", (folder / "audit.json").read_text("utf-8"), flags=re.DOTALL)


def test_two_ranks_with_a_disk_each_give_the_report_of_one_process(tmp_path: Path) -> None:
    arguments = project(tmp_path)
    # apart in time and place: the second rank has to send what it measured
    ranks = started([[*arguments, "--out", tmp_path / "two"], [*arguments, "--out", tmp_path / "elsewhere"]])
    assert scan(*arguments[1:], "--out", tmp_path / "one").exit_code == 0
    first, second = ended(ranks)
    assert (first[0], *second) == (0, 0, "", ""), first[2]
    assert without_timings(tmp_path / "two") == without_timings(tmp_path / "one")
    assert {*"01"} <= {*(tmp_path / "calls").read_text()}, "both have measured"
    assert names_in(tmp_path / "two") == ["audit.json", "report.html", "samples.csv"]


@pytest.mark.slow
def test_four_ranks_of_torchrun_give_the_report_of_one_process(tmp_path: Path) -> None:
    arguments = [DIGITS / "model.safetensors", "--config", DIGITS / "cohaudit.toml", "--batch-size", 16]
    arguments += ["--holdout", DIGITS / "holdout.npz", "--coherence-samples", 200, "--quiet"]
    done = torchrun(4, ["scan", *arguments, "--out", tmp_path / "four"])
    assert done.returncode == 0, done.stderr
    assert scan(*arguments, "--out", tmp_path / "one").exit_code == 0
    assert without_timings(tmp_path / "four") == without_timings(tmp_path / "one")
    assert names_in(tmp_path / "four") == ["audit.json", "report.html", "samples.csv"]


@pytest.mark.slow
def test_a_rank_that_fails_ends_all_with_one_message(tmp_path: Path) -> None:
    arguments = project(tmp_path, 0.05, bad=77)
    first, second = ended(started([[*arguments, "--out", tmp_path / "out"]] * 2))
    assert first[0] == second[0] == 2
    assert first[2].count("sample 77: loss nan") == 1
    assert second[1:] == ("", "")


@pytest.mark.slow
def test_ranks_with_other_data_are_refused(tmp_path: Path) -> None:
    arguments = [*project(tmp_path), "--out", tmp_path / "out"]
    other = [*arguments, "--limit", 100]
    first, second = ended(started([arguments, other]))
    assert first[0] == second[0] == 2
    assert "error: rank 1: this rank: has --limit 100, other than rank 0" in first[2]


@pytest.mark.slow
def test_a_killed_rank_ends_the_scan_and_a_rerun_goes_on(tmp_path: Path) -> None:
    arguments = [*project(tmp_path, 0.05), "--out", tmp_path / "out"]
    (tmp_path / "dying").write_text("1 12")
    done = torchrun(2, arguments)
    assert done.returncode not in {0, 70}
    saved = "interrupted; what was measured is saved in"
    assert done.stderr.count(saved) == 1, done.stderr
    kept = len(list((tmp_path / "out" / ".unfinished-blocks" / "training").glob("block-*.npz")))
    assert kept
    (tmp_path / "dying").unlink()
    # with another number of ranks
    done = torchrun(3, [argument for argument in arguments if argument != "--quiet"])
    assert done.returncode == 0
    resumed = re.search(r"Resumed: (\d+) samples were measured before", done.stdout)
    assert resumed
    assert int(resumed[1]) == 8 * kept
    assert scan(*arguments[1:], "--out", tmp_path / "one").exit_code == 0
    assert without_timings(tmp_path / "out") == without_timings(tmp_path / "one")


def test_a_shard_is_not_divided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (PLACE | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    done = scan(DIGITS / "model.safetensors", "--shard", "1/2")
    assert done.exit_code == 2
    assert "--shard 1/2: divides a scan that torchrun divides already" in done.stderr
