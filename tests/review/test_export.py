"""Lists for cleaning: what each format holds, and what is refused."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.linear_model import LogisticRegression
from support.audits import make_audit

from cohaudit.cli import main
from cohaudit.errors import MissingExtraError, ReportError
from cohaudit.report import write_report
from cohaudit.results import SAMPLE_COLUMNS, Audit, Skipped
from cohaudit.review import export as exporting
from cohaudit.review.export_files import EXPORT_FILE_NAMES


@pytest.fixture
def audit() -> Audit:
    made = make_audit(suspects=12, samples=60)
    return replace(made, subject=replace(made.subject, samples_total=60))


def table(audit: Audit, kind: str = "csv", every: bool = False) -> pd.DataFrame:
    return pd.read_csv(
        io.BytesIO(exporting.export(audit, kind, every)), dtype={"id": str}, keep_default_na=False
    )


def test_the_suspects_are_listed_most_suspicious_first(audit: Audit) -> None:
    found = table(audit)
    assert tuple(found.columns) == SAMPLE_COLUMNS
    assert set(found["id"]) == set(audit.samples.loc[audit.samples["suspect"], "id"])
    assert found["suspicion"].is_monotonic_decreasing
    everything = table(audit, every=True)
    assert len(everything) == 60
    assert list(everything["id"][:12]) == list(found["id"])


def test_equally_suspicious_samples_keep_the_order_of_the_evidence(audit: Audit) -> None:
    samples = audit.samples.assign(suspicion=np.where(audit.samples["suspect"], 0.9, 0.1))
    found = table(replace(audit, samples=samples))
    assert list(found["id"]) == [evidence.id for evidence in audit.evidence]


def test_without_a_suspect_there_are_samples_to_look_at() -> None:
    found = make_audit(suspects=0, samples=60, questions=7)
    assert tuple(table(found, "look")["id"]) == found.questions
    some = make_audit(suspects=5, samples=60, questions=7)
    listed = list(table(some, "look")["id"])
    assert listed[:5] == list(some.suspects["id"])
    assert set(listed) == {*some.suspects["id"], *some.questions}
    assert len(listed) == len(set(listed))


def test_all_tables_hold_the_same(audit: Audit) -> None:
    expected = audit.suspects.reset_index(drop=True)
    lines = exporting.export(audit, "jsonl").decode().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(expected["id"])
    assert json.loads(lines[0])["suspicion"] == expected["suspicion"][0]
    found = pd.read_parquet(io.BytesIO(exporting.export(audit, "parquet")))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_what_to_keep_and_the_suspects_are_everything(audit: Audit) -> None:
    kept = exporting.export(audit, "keep").decode().splitlines()
    assert kept == [row["id"] for row in audit.samples.to_dict("records") if not row["suspect"]]


def test_a_subsample_does_not_say_what_to_keep_of_the_rest(audit: Audit) -> None:
    part = replace(audit, subject=replace(audit.subject, samples_total=1234))
    with pytest.raises(ReportError, match="holds 60 of 1,234 samples"):
        exporting.export(part, "keep")
    assert exporting.export(part, "csv") == exporting.export(audit, "csv")


def test_cleanlabs_columns_are_of_every_sample_in_order(audit: Audit) -> None:
    found = table(audit, "cleanlab")
    assert list(found.columns) == ["id", "is_label_issue", "label_quality", "given_label", "predicted_label"]
    assert list(found["id"]) == list(audit.samples["id"])
    np.testing.assert_allclose(found["label_quality"], 1 - audit.samples["suspicion"])
    names = [one.name for one in audit.classes]
    assert [names[number] for number in found["given_label"]] == list(audit.samples["label"])
    assert [names[number] for number in found["predicted_label"]] == list(audit.samples["predicted"])


def test_cleanlab_takes_its_columns(audit: Audit) -> None:
    classification = pytest.importorskip("cleanlab.classification")
    found = table(audit, "cleanlab")
    labels = found["given_label"].to_numpy()
    inputs = np.eye(10)[labels]
    learner = classification.CleanLearning(LogisticRegression())
    learner.fit(inputs, labels, label_issues=found)
    kept = learner.get_label_issues()
    assert kept["is_label_issue"].tolist() == audit.samples["suspect"].tolist()
    assert (learner.predict(inputs) == labels).all()


def test_an_audit_that_judged_nobody_is_refused(audit: Audit) -> None:
    blank = audit.samples.assign(suspicion=np.nan, suspect=False)
    nobody = replace(audit, samples=blank, skipped=(Skipped("suspicion", "no layer sees numbers"),))
    with pytest.raises(ReportError, match="no label was judged: no layer sees numbers"):
        exporting.export(nobody, "csv")
    with pytest.raises(ReportError, match="no label was judged"):
        exporting.export(make_audit(auditable=False), "csv")


def test_an_id_of_several_lines_does_not_become_several_ids(audit: Audit) -> None:
    samples = audit.samples.assign(id=["a\nb", *audit.samples["id"][1:]], suspect=False)
    with pytest.raises(ReportError, match="more than one line"):
        exporting.export(replace(audit, samples=samples), "keep")


def test_parquet_without_pyarrow_says_what_to_install(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cohaudit\[parquet\]'"):
        exporting.export(audit, "parquet")


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


@pytest.mark.parametrize("kind", exporting.LIST_FORMATS)
def test_the_command_writes_beside_the_audit(audit: Audit, tmp_path: Path, kind: str) -> None:
    write_report(audit, tmp_path)
    result = command(tmp_path / "audit.json", "--format", kind)
    assert result.exit_code == 0, result.output
    written = tmp_path / EXPORT_FILE_NAMES[kind]
    assert str(written) in result.output.replace("\n", "")
    assert written.read_bytes() == exporting.export(audit, kind)


def test_hostile_names_are_written_as_they_are(tmp_path: Path) -> None:
    audit = make_audit(hostile=True, suspects=6, samples=40)
    for kind in ("csv", "jsonl", "cleanlab"):
        assert exporting.export(audit, kind, True)
    listed = [json.loads(line)["id"] for line in exporting.export(audit, "jsonl", True).splitlines()]
    assert sorted(listed) == sorted(audit.samples["id"])


def test_the_command_refuses_what_it_cannot_read_or_write(audit: Audit, tmp_path: Path) -> None:
    missing = command(tmp_path / "none.json")
    assert (missing.exit_code, "no such file" in missing.output) == (2, True)
    write_report(audit, tmp_path)
    file = tmp_path / "file"
    file.write_text("kept")
    blocked = command(tmp_path / "audit.json", "--out", file / "list.csv")
    assert (blocked.exit_code, "not a folder" in blocked.output) == (2, True)
    assert file.read_text() == "kept"
    assert command(tmp_path / "audit.json", "--format", "xml").exit_code == 2


@pytest.mark.parametrize("kind", ["csv", "cleanlab"])
def test_a_carriage_return_in_an_id_begins_no_row(kind: str, audit: Audit) -> None:
    samples = audit.samples.assign(id=[f"a\rb{i}" for i in range(60)])
    rows = csv.DictReader(
        io.StringIO(exporting.export(replace(audit, samples=samples), kind, True).decode(), "")
    )
    assert {row["id"] for row in rows} == set(samples["id"])


@pytest.mark.parametrize("name", ["export", "report"])
def test_the_audit_is_not_written_over(name: str, audit: Audit, tmp_path: Path) -> None:
    write_report(audit, tmp_path)
    path = tmp_path / "audit.json"
    before = path.read_bytes()
    result = CliRunner().invoke(main, [name, str(path), "--out", str(tmp_path / "." / "audit.json")])
    assert (result.exit_code, "is the audit itself" in result.output) == (2, True)
    assert path.read_bytes() == before
