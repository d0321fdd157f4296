"""Tasks for labeling tools: what they show, what the tools need beside them, and what comes back."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.audits import make_audit

import cohaudit
from cohaudit.cli import main
from cohaudit.errors import DataError, ReportError
from cohaudit.loading.data import full_view, hash_original
from cohaudit.report import write_report
from cohaudit.results import Audit
from cohaudit.results.audit import IN_MEMORY
from cohaudit.review.labeling_tasks import TASK_FORMATS
from cohaudit.review.review_list import read_confirmed

LONG = "a long complaint, " * 60


def audit_of(data: Path | str, ids: list[str], given: list[str], **settings: Any) -> Audit:
    """Return a handmade audit whose samples are those of some data; every third one is a suspect."""
    names = sorted(set(given))
    made = make_audit(samples=len(ids), suspects=0, classes=len(names), questions=0)
    suspect = np.arange(len(ids)) % 3 == 0
    samples = made.samples.assign(
        id=ids,
        label=given,
        predicted=given,
        suspect=suspect,
        suspicion=np.where(suspect, 0.75, 0.125),
        suggested=[names[names.index(one) - bad] for one, bad in zip(given, suspect, strict=True)],
        duplicate_of="",
    )
    fingerprint = "" if data == IN_MEMORY else hash_original(Path(data))
    return replace(
        made,
        samples=samples,
        classes=tuple(replace(one, name=name) for one, name in zip(made.classes, names, strict=True)),
        subject=replace(made.subject, data=str(data), data_fingerprint=fingerprint),
        settings={**made.settings, **settings},
        evidence=(),
        previews={},
    )


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audit:
    """Return the audit of a table of long texts in the working directory."""
    monkeypatch.chdir(tmp_path)
    labels = ["complaint", "praise"] * 6
    ids, mails = [f"m{i}" for i in range(12)], [f"{LONG}{i}" for i in range(12)]
    frame = pd.DataFrame({"id": ids, "text": mails, "kind": labels})
    frame.to_csv("mails.csv", index=False)
    return audit_of("mails.csv", ids, labels, labels="kind")


def exported(audit: Audit | Path, kind: str, **options: Any) -> Any:
    """Return the tasks that are written for a tool."""
    file = cohaudit.export(audit, kind, **options).files[0]
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)


def suspects(audit: Audit) -> list[str]:
    return audit.suspects["id"].tolist()


def test_texts_are_whole_in_every_tool(texts: Audit) -> None:
    whole = [f"{LONG}{name.removeprefix('m')}" for name in suspects(texts)]
    assert [task["data"]["sample"] for task in exported(texts, "label-studio")] == whole
    assert [task["fields"]["sample"] for task in exported(texts, "argilla")] == whole
    assert [task["text"] for task in exported(texts, "doccano")] == whole


def test_a_suggestion_is_no_answer(texts: Audit) -> None:
    rows = texts.suspects.to_dict("records")
    for task, row in zip(exported(texts, "label-studio"), rows, strict=True):
        assert task["data"]["sample_id"] == row["id"]
        assert task["data"]["given_label"] == row["label"]
        assert "annotations" not in task
        (prediction,) = task["predictions"]
        assert prediction["result"][0]["value"]["choices"] == [row["suggested"]]
    for task, row in zip(exported(texts, "argilla"), rows, strict=True):
        assert (task["suggestions"]["label"]["value"], task["responses"]) == (row["suggested"], {})
    assert [task["label"] for task in exported(texts, "doccano")] == [[]] * len(rows)


def test_the_labeling_interface_fits_the_tasks(texts: Audit) -> None:
    files = cohaudit.export(texts, "label-studio").files
    assert [file.name for file in files] == ["tasks.json", "tasks.xml"]
    view = ElementTree.parse(files[1]).getroot()
    shown, choices = view.find("Text"), view.find("Choices")
    assert shown is not None
    assert choices is not None
    assert [one.get("value") for one in choices] == ["complaint", "praise"]
    for task in json.loads(files[0].read_text()):
        assert shown.get("value", "").removeprefix("$") in task["data"]
        (choice,) = task["predictions"][0]["result"]
        assert (choice["from_name"], choice["to_name"]) == (choices.get("name"), shown.get("name"))
        assert choice["to_name"] == choices.get("toName")


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audit:
    """Return the audit of a folder of images of 280 pixels in the working directory."""
    monkeypatch.chdir(tmp_path)
    ids = [f"{name}/{i} b.png" for name in ("ant", "bee") for i in range(3)]
    for place, name in enumerate(ids):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (280, 200), (place, 20, 30)).save(path)
    return audit_of("photos", ids, [name.partition("/")[0] for name in ids])


def test_pictures_are_the_files_themselves(pictures: Audit) -> None:
    for task, name in zip(exported(pictures, "label-studio"), suspects(pictures), strict=True):
        start, content = task["data"]["sample"].split(",")
        assert start == "data:image/png;base64"
        assert base64.b64decode(content) == Path("photos", name).read_bytes()
    view = ElementTree.parse("tasks.xml").getroot()
    assert view.find("Image") is not None


@pytest.mark.parametrize("root", ["https://files.example/photos", "/data/local-files/?d=photos/"])
def test_pictures_may_be_named_by_where_the_tool_finds_them(root: str, pictures: Audit) -> None:
    # the folder itself may be elsewhere
    moved = replace(pictures, subject=replace(pictures.subject, data="gone"))
    shown = [task["data"]["sample"] for task in exported(moved, "label-studio", image_root=root)]
    assert all(" " not in address for address in shown)
    assert [unquote(address) for address in shown] == [
        f"{root.rstrip('/')}/{name}" for name in suspects(moved)
    ]


def test_without_the_data_the_previews_stand_in_and_a_notice_says_so(texts: Audit) -> None:
    Path("mails.csv").unlink()
    done = cohaudit.export(texts, "label-studio")
    (notice,) = done.notices
    assert "mails.csv" in notice
    assert "--data" in notice
    assert "have only their id" in notice
    with pytest.raises(DataError, match=r"elsewhere\.csv"):
        cohaudit.export(texts, "label-studio", data="elsewhere.csv")


def test_other_data_under_the_same_name_is_not_shown(texts: Audit) -> None:
    Path("mails.csv").write_text(Path("mails.csv").read_text().replace("long", "short"))
    assert "is not the data that was audited" in cohaudit.export(texts, "doccano").notices[0]
    with pytest.raises(DataError, match="is not the data that was audited"):
        cohaudit.export(texts, "doccano", data="mails.csv")


def test_data_in_memory_is_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labels = ["no", "yes"] * 3
    frame = pd.DataFrame({"text": [f"{LONG}{i}" for i in range(6)], "label": labels}, index=list("abcdef"))
    audit = audit_of(IN_MEMORY, list("abcdef"), labels)
    tasks = exported(audit, "argilla", data=frame)
    assert [task["fields"]["sample"] for task in tasks] == [frame["text"][name] for name in suspects(audit)]
    with pytest.raises(DataError, match=r"sample '.': is '(no|yes)' in the audit, but '(no|yes)' here"):
        cohaudit.export(audit, "argilla", data=frame.assign(label=labels[::-1]))


def test_arrays_are_pictures_in_their_own_size() -> None:
    grey = np.arange(100 * 90, dtype=np.uint8).reshape(100, 90)
    view = full_view(grey)
    with Image.open(io.BytesIO(base64.b64decode(view.image.partition(",")[2]))) as image:
        assert np.array_equal(np.asarray(image), grey)


def label_studio(tasks: list[Any], label: str) -> Any:
    result = [{"from_name": "label", "to_name": "sample", "type": "choices", "value": {"choices": [label]}}]
    return [{**task, "id": 7, "annotations": [{"result": result, "was_cancelled": False}]} for task in tasks]


def label_studio_min(tasks: list[Any], label: str) -> Any:
    return [{**task["data"], "id": 7, "label": label, "annotator": 1} for task in tasks]


def argilla(tasks: list[Any], label: str) -> Any:
    return [{**task, "responses": {"label": [{"value": label, "user_id": "u"}]}} for task in tasks]


def doccano(tasks: list[Any], label: str) -> Any:
    return [{**task, "id": 7, "label": [label], "Comments": []} for task in tasks]


ROUND_TRIPS = {
    "label-studio": label_studio,
    "label-studio-min": label_studio_min,
    "argilla": argilla,
    "doccano": doccano,
}


@pytest.mark.parametrize("tool", ROUND_TRIPS)
def test_what_people_answer_comes_back(tool: str, texts: Audit, tmp_path: Path) -> None:
    kind = tool.removesuffix("-min")
    tasks = exported(texts, kind)
    answered = ROUND_TRIPS[tool](tasks[:3], "praise")
    file = tmp_path / ("answers.jsonl" if kind == "doccano" else "answers.json")
    listed = [*answered, *tasks[3:]] if tool != "label-studio-min" else answered
    file.write_text("\n".join(map(json.dumps, listed)) if kind == "doccano" else json.dumps(listed))
    found = read_confirmed(file, texts)
    first = texts.suspects.iloc[:3]
    # who was labeled praise already was found to be right
    assert list(found) == first["id"][first["label"] == "complaint"].tolist()
    assert {one.new_label for one in found.values()} == {"praise"}


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_the_loop_by_commands(texts: Audit, tmp_path: Path) -> None:
    write_report(texts, tmp_path / "out")
    audit = tmp_path / "out" / "audit.json"
    assert command("export", audit, "--format", "label-studio").exit_code == 0
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    suggested = tasks[0]["predictions"][0]["result"][0]["value"]["choices"][0]
    Path("done.json").write_text(json.dumps(label_studio(tasks[:1], suggested)))
    # the data is where the audit says
    result = command("correct", audit, "--out", "corrected.csv", "--only", "done.json")
    assert result.exit_code == 0, result.output
    before, after = (pd.read_csv(name, index_col="id")["kind"] for name in ("mails.csv", "corrected.csv"))
    changed = before.index[before != after].tolist()
    assert changed == [tasks[0]["data"]["sample_id"]]
    assert command("export", audit, "--image-root", "https://a.b").exit_code == 2


def test_the_list_of_suspects_is_a_list_for_only(texts: Audit, tmp_path: Path) -> None:
    listed = cohaudit.export(texts).files[0]
    assert list(read_confirmed(listed, texts)) == suspects(texts)
    rows = list(csv.DictReader(listed.read_text().splitlines()))
    rows[0]["suggested"] = "prise"
    with listed.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(ReportError, match="'prise' is not a class"):
        read_confirmed(listed, texts)


def test_label_studios_table_is_read(texts: Audit, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(
        "annotation_id,sample_id,given_label,id,label\n1,m0,complaint,7,praise\n2,m3,praise,8,praise\n"
    )
    assert {name: one.new_label for name, one in read_confirmed(file, texts).items()} == {"m0": "praise"}


WRONG: dict[str, tuple[Any, str]] = {
    "another list": ([{"x": 1}], "has no 'sample_id'"),
    "an object": ({"answers": []}, "is not a list of labeled tasks"),
    "nobody answered": ([{"sample_id": "m0", "label": []}], "holds no answer"),
    "two labels": ([{"sample_id": "m0", "label": ["praise", "complaint"]}], "its label is"),
    "a box": ([{"data": {"sample_id": "m0"}, "annotations": 3}], "a list of answers was expected"),
    "two answers": (
        [{"sample_id": "m0", "label": one} for one in ("praise", "complaint")],
        "labeled both",
    ),
    "no such class": ([{"sample_id": "m0", "label": "prize"}], "'prize' is not a class"),
    "no such sample": ([{"sample_id": "q0", "label": "praise"}], "'q0' is not a sample"),
    "all right": ([{"sample_id": "m0", "label": "complaint"}], "finds no label wrong (answers: 1)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_files_are_refused(case: str, texts: Audit, tmp_path: Path) -> None:
    content, found = WRONG[case]
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ReportError) as caught:
        read_confirmed(file, texts)
    assert found in str(caught.value)


def test_tools_refuse_what_they_cannot_show(pictures: Audit) -> None:
    with pytest.raises(ReportError, match="doccano takes pictures as uploaded files only"):
        cohaudit.export(pictures, "doccano")
    with pytest.raises(ReportError, match="is unknown"):
        cohaudit.export(pictures, "label-studios")


def test_hostile_names_are_written_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audit = make_audit(hostile=True, suspects=6, samples=40, kind="text")
    for kind in TASK_FORMATS:
        names = [task.get("data", task.get("metadata", task))["sample_id"] for task in exported(audit, kind)]
        assert names == suspects(audit)
    ElementTree.parse("tasks.xml")
