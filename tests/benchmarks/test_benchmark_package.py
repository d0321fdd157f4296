"""The benchmarks as a package: all can be imported and run, and texts name only those that exist."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import benchmarks
from benchmarks.shared.catalog import commands

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
README = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
COMMANDS = commands()
PLACEHOLDERS = {"benchmarks.NAME", "benchmarks"}
"""Names in texts that stand for any benchmark, or for the list of all."""


def main_of(command: str) -> Callable[[Sequence[str]], int]:
    """Return what `python -m command` runs."""
    module = importlib.import_module(command)
    if not hasattr(module, "main"):
        module = importlib.import_module(f"{command}.__main__")
    main: Callable[[Sequence[str]], int] = module.main
    return main


def texts() -> Iterator[tuple[str, str]]:
    """Yield the path and the content of every text that may name a benchmark."""
    patterns = ("*.md", "docs/**/*.md", "benchmarks/*.md", "{}/**/*.py", ".github/**/*.yml", ".ci/*")
    for pattern in patterns:
        for folder in ("cohaudit", "benchmarks", "tests", "fixtures") if "{}" in pattern else ("",):
            for path in ROOT.glob(pattern.format(folder)):
                if path.is_file() and path != Path(__file__):
                    yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a benchmark prints when asked for help."""
    with pytest.raises(SystemExit) as end:
        main_of(command)(["--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_package_is_the_one_of_this_repository() -> None:
    assert benchmarks.__path__ == [str(ROOT / "benchmarks")]


def test_every_module_can_be_imported() -> None:
    names = [module.name for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]
    assert len(names) > 50
    for name in names:
        importlib.import_module(name)


def test_no_module_changes_the_search_path() -> None:
    for path in (ROOT / "benchmarks").rglob("*.py"):
        assert "sys.path" not in path.read_text(encoding="utf-8"), path


def test_main_benchmarks_go_by_the_name_of_their_group() -> None:
    assert {"benchmarks.verdicts", "benchmarks.generalization", "benchmarks.gradients"} <= COMMANDS.keys()
    assert "benchmarks.verdicts.comparison" not in COMMANDS
    assert all(COMMANDS.values()), "a benchmark without a docstring"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"python -m {command}" in help_of(command, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_saved_results_are_shown_and_left_as_they_are(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--show" not in help_of(command, capsys):
        assert command.rpartition(".")[2] in {
            "zoo",
            "evidence",
            "retrained",
            "memory",
            "resume",
            "ranks",
            "fit",
            "scan_process",
        }
        return
    before = {path: path.stat().st_mtime_ns for path in RESULTS.iterdir()}
    assert main_of(command)(["--show"]) == 0
    assert len(capsys.readouterr().out) > 100
    assert before == {path: path.stat().st_mtime_ns for path in RESULTS.iterdir()}


def test_a_process_runs_a_group_by_its_name() -> None:
    command = [sys.executable, "-m", "benchmarks.verdicts", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m benchmarks.verdicts ")
    listed = subprocess.run(
        [sys.executable, "-m", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = {line.removeprefix("python -m ") for line in listed.stdout.splitlines()[::2]}
    assert names == COMMANDS.keys()


def test_the_readme_lists_every_benchmark_with_files_that_exist() -> None:
    rows = re.findall(r"^\| `python -m (\S+)` \|(.*)\|$", README, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(COMMANDS)
    listed = set()
    for name, row in rows:
        *_, results, page = row.split("|")
        listed |= set(re.findall(r"`(\S+)`", results))
        for target in re.findall(r"\]\((\S+)\)", page):
            assert (ROOT / "benchmarks" / target).is_file(), name
    assert listed == {path.name for path in RESULTS.glob("*.json")}


def test_texts_name_benchmarks_and_files_that_exist() -> None:
    named = 0
    for path, text in texts():
        for command in re.findall(r"python -m (benchmarks(?:\.\w+)*)", text):
            named += 1
            assert command in COMMANDS.keys() | PLACEHOLDERS, f"{path}: python -m {command}"
        for module in re.findall(r"`(benchmarks(?:\.\w+)+)`", text):
            assert module in PLACEHOLDERS or importlib.util.find_spec(module), f"{path}: {module}"
        for file in re.findall(r"(?<![\w/])benchmarks/[\w/-]+\.(?:py|json|svg|png)", text):
            assert (ROOT / file).is_file(), f"{path}: {file}"
        assert not re.search(r"python benchmarks/", text), f"{path}: a benchmark is run by python -m"
    assert named > 50
