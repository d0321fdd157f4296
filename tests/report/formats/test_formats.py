"""The further formats of scan, check and diff: which files are written, when, and what the exit code is."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from support.audits import make_audit
from support.rendering import rendered
from support.scanning import scan as real_scan

from cohaudit.cli import main
from cohaudit.errors import ReportError
from cohaudit.report import write as output
from cohaudit.report import write_report
from cohaudit.results.json_encode import audit_to_json
from cohaudit.review.gates import gate_results

pytestmark = pytest.mark.usefixtures("undrawn_figures")

AUDIT = make_audit(kind="row", samples=60, suspects=6, classes=3)
REPORT = ["audit.json", "report.html", "samples.csv"]
FILES = {
    "markdown": "summary.md",
    "junit": "junit.xml",
    "sarif": "suspects.sarif",
    "parquet": "samples.parquet",
    "badge": "badge.json",
}
ALL = "markdown,junit,sarif,parquet,badge,github"
FAILING = ("--fail-on", "suspects>1")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with a configuration, a checkpoint and an audit; a scan only returns the audit."""
    monkeypatch.chdir(tmp_path)
    Path("cohaudit.toml").write_text('model = "net.py:build"\ndata = "train.npz"\n')
    Path("model.pt").touch()
    Path("kept").mkdir()
    Path("kept/audit.json").write_text(audit_to_json(AUDIT), encoding="utf-8")


@pytest.fixture
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    def scanned(config: Any, *_: Any, **__: Any) -> Any:
        return replace(AUDIT, gates=tuple(gate_results(config, AUDIT)))

    monkeypatch.setattr("cohaudit.pipeline.scan.scan_checkpoint", scanned)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def names(folder: str) -> list[str]:
    path = Path(folder)
    return sorted(file.name for file in path.iterdir()) if path.exists() else []


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize("asked", [*FILES, "github", "markdown, sarif", ALL])
def test_a_scan_writes_what_is_asked_for(asked: str) -> None:
    result = run("scan", "model.pt", "--formats", asked)
    assert result.exit_code == 0, result.output
    wanted = [FILES[name.strip()] for name in asked.split(",") if name.strip() in FILES]
    assert names("cohaudit-report") == sorted([*REPORT, *wanted])
    assert all(name in result.stdout for name in wanted)
    assert ("::notice title=cohaudit::" in result.stdout) == ("github" in asked)


@pytest.mark.usefixtures("_fake")
def test_the_configuration_can_ask_too_and_nothing_is_written_unasked() -> None:
    assert names("cohaudit-report") == []
    run("scan", "model.pt")
    assert names("cohaudit-report") == REPORT
    with Path("cohaudit.toml").open("a") as file:
        file.write('formats = ["junit", "markdown"]\n')
    run("scan", "model.pt")
    assert names("cohaudit-report") == sorted([*REPORT, "junit.xml", "summary.md"])


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize("command", ["scan", "check"])
@pytest.mark.parametrize("asked", [*FILES, "github", ALL])
def test_a_failed_gate_ends_with_1_after_the_files_are_written(command: str, asked: str) -> None:
    start = ("scan", "model.pt") if command == "scan" else ("check", "kept/audit.json")
    folder = "cohaudit-report" if command == "scan" else "kept"
    result = run(*start, *FAILING, "--formats", asked)
    assert result.exit_code == 1
    wanted = [FILES[name] for name in asked.split(",") if name in FILES]
    assert names(folder) == sorted([*(REPORT if command == "scan" else ["audit.json"]), *wanted])
    if "github" in asked:
        assert "::error title=cohaudit%3A gate failed::suspects>1" in result.stdout
    if "junit" in asked:
        assert '<failure message="' in Path(folder, "junit.xml").read_text("utf-8")
    if "markdown" in asked:
        assert "❌ failed" in Path(folder, "summary.md").read_text("utf-8")


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize("start", [("scan", "model.pt"), ("check", "kept/audit.json")])
def test_json_stays_json_beside_annotations(start: tuple[str, str]) -> None:
    result = run(*start, *FAILING, "--formats", ALL, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)
    assert "\n::error title=" in result.stderr


def test_a_check_tells_of_its_own_gates_in_the_folder_named() -> None:
    gates = ("--warn-on", "suspects>1", "--fail-on", "suspects>50")
    result = run(
        "check", "kept/audit.json", *gates, "--formats", "junit", "--formats", "markdown", "--out", "ci"
    )
    assert result.exit_code == 0
    assert names("ci") == ["junit.xml", "summary.md"]
    assert names("kept") == ["audit.json"]
    assert "Written: ci/summary.md, ci/junit.xml" in result.stdout
    page = rendered(Path("ci/summary.md").read_text("utf-8"))
    assert [row[:2] for row in page.rows[1:3]] == [["suspects>1", "⚠️ warned"], ["suspects>50", "✅ passed"]]


@pytest.mark.usefixtures("_fake")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("scan", "model.pt", "--formats", "junti"), "there is no format 'junti'"),
        (("scan", "model.pt", "--formats", ""), "there is no format ''"),
        (("check", "kept/audit.json", *FAILING, "--formats", "html"), "there is no format 'html'"),
        (("check", "kept/audit.json", *FAILING, "--out", "ci"), "--out has no effect without --formats"),
        (("check", "kept/audit.json", *FAILING, "--formats", "junit", "--out", "model.pt"), "is a file"),
        (("diff", "kept/audit.json", "kept/audit.json", "--markdown", "kept/audit.json"), "the audit itself"),
    ],
)
def test_bad_usage_writes_nothing(arguments: tuple[str, ...], told: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert names("cohaudit-report") == names("ci") == []
    assert names("kept") == ["audit.json"]


@pytest.mark.usefixtures("_fake")
def test_parquet_without_its_package_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("scan", "model.pt", "--formats", "parquet")
    assert result.exit_code == 2
    assert "--formats parquet: needs the package pyarrow" in result.stderr
    assert "pip install 'cohaudit[parquet]'" in result.stderr
    assert names("cohaudit-report") == []


@pytest.mark.usefixtures("_fake")
def test_data_is_not_written_over() -> None:
    Path("cohaudit-report").mkdir()
    Path("cohaudit-report/samples.parquet").write_text("mine")
    arguments = ("scan", "model.pt", "--data", "cohaudit-report/samples.parquet")
    result = run(*arguments, "--formats", "parquet")
    assert result.exit_code == 2
    assert "its samples.parquet is the training data" in result.stderr
    assert Path("cohaudit-report/samples.parquet").read_text() == "mine"
    assert run(*arguments, "--formats", "junit").exit_code == 0


def test_an_audit_called_like_a_format_is_not_written_over() -> None:
    text = Path("kept/audit.json").read_text("utf-8")
    Path("kept/summary.md").write_text(text, encoding="utf-8")
    result = run("check", "kept/summary.md", *FAILING, "--formats", "markdown")
    assert result.exit_code == 2
    assert "is the audit itself" in result.stderr
    assert Path("kept/summary.md").read_text("utf-8") == text


def test_all_files_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    Path("new").mkdir()
    Path("new/suspects.sarif").mkdir()
    with pytest.raises(ReportError, match="is a folder, not a file"):
        write_report(AUDIT, "new", ("sarif", "markdown"))
    assert names("new") == ["suspects.sarif"]
    monkeypatch.setattr(output.Path, "write_bytes", fail)
    with pytest.raises(ReportError, match="No space left on device"):
        write_report(AUDIT, "other", (ALL,))
    assert names("other") == []


def test_the_same_audit_gives_the_same_files() -> None:
    # into one folder: the page's commands name it
    first, second = ([file.read_bytes() for file in write_report(AUDIT, "new", (ALL,))] for _ in range(2))
    assert first == second


def test_parquet_holds_the_whole_table() -> None:
    *_, path = write_report(AUDIT, "new", ("parquet",))
    pd.testing.assert_frame_equal(pd.read_parquet(path), AUDIT.samples)


def test_a_difference_as_markdown_beside_the_page() -> None:
    head = make_audit(kind="row", samples=60, classes=3, auditable=False)
    Path("head.json").write_text(audit_to_json(head), encoding="utf-8")
    arguments = ("diff", "kept/audit.json", "head.json", "--fail-on-regression")
    result = run(*arguments, "--markdown", "diff.md", "--html", "diff.html")
    assert result.exit_code == 1
    assert "Written: diff.html, diff.md" in result.stdout
    assert rendered(Path("diff.md").read_text("utf-8")).text.startswith("cohaudit: worse than the base")


def test_a_scan_of_a_table_points_at_its_rows(
    tumors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tumors.parent)
    result = real_scan(Path("tumors/model.safetensors"), "--out", tmp_path, "--formats", "sarif,github")
    assert result.exit_code == 0, result.output
    log = json.loads((tmp_path / "suspects.sarif").read_text("utf-8"))
    with Path("tumors/train.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        ids = [(reader.line_num, row[0]) for row in reader]
    lines = dict(ids)
    found = log["runs"][0]["results"]
    assert len(found) > 20
    for one in found:
        (location,) = one["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "tumors/train.csv"
        line = location["physicalLocation"]["region"]["startLine"]
        assert lines[line] == location["logicalLocations"][0]["name"]
    assert result.stdout.count("::warning title=cohaudit%3A suspect label,file=tumors/train.csv,line=") == 10
