"""Files of reviewed labels: what they may hold, and which samples their answers are about."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.audits import HOSTILE, make_audit

from cohaudit.cli import main
from cohaudit.errors import ConfigError, ReportError
from cohaudit.results import Answer, Skipped
from cohaudit.results.json_encode import audit_to_json
from cohaudit.review.answers import match_answers, read_answers, unmatched_notice
from cohaudit.review.questions import questions_of

HASH = "0123456789abcdef"
ANSWER = Answer(HASH, "cat", "wrong", "dog", "train/0012.png")
fuzzing = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def write(path: Path, *answers: Answer, **more: Any) -> Path:
    """Write a file as the review page does."""
    path.write_text(json.dumps({"data": "f", "answers": [asdict(one) | more for one in answers]}), "utf-8")
    return path


def write_table(path: Path, *answers: Answer) -> Path:
    """Write a table as a person fills it in."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["id", "content", "label", "suggested", "answer", "true_label"])
        table.writeheader()
        table.writerows(asdict(one) | {"suggested": "x"} for one in answers)
        table.writerow({"id": "7", "content": HASH, "label": "not answered", "answer": ""})
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_answers(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@given(
    st.lists(st.tuples(TEXTS, st.sampled_from(["right", "wrong", "unsure"]), TEXTS), min_size=1, max_size=5)
)
@fuzzing
def test_what_a_person_said_is_read_from_both_forms(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, Any, str]]
) -> None:
    folder = tmp_path_factory.mktemp("answers")
    answers = tuple(
        Answer(f"{i:016x}", label, answer, f"{label}?" if answer == "wrong" else "", name)
        for i, (label, answer, name) in enumerate(said)
    )
    assert read_answers(write(folder / "reviewed.json", *answers)).answers == answers
    assert read_answers(write_table(folder / "reviewed.csv", *answers)).answers == answers


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"answer": "wrnog"}, "answer 1: answer: found 'wrnog'\n  → did you mean wrong"),
        ({"answer": 1}, "answer: found 1, a whole number\n  → give a text in quotes"),
        ({"content": "12"}, "content: found '12', not 16 hexadecimal digits"),
        ({"content": HASH.upper()}, "not 16 hexadecimal digits"),
        ({"true_label": "cat"}, "true_label: found 'cat', but the label 'cat' is said to be wrong"),
        ({"answer": "right"}, "true_label: found 'dog', but the label 'cat' is said to be right"),
        ({"anwser": "right"}, "anwser: there is no such key\n  → did you mean answer?"),
    ],
)
def test_a_wrong_answer_is_named(more: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert told in refused(write(tmp_path / "file.json", ANSWER, **more))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.json", "{", "is not JSON, or was cut short"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", "[]", "has no list 'answers' of objects"),
        ("a.json", '{"answers": [1]}', "has no list 'answers' of objects"),
        ("a.json", '{"answers": []}', "holds no answer"),
        ("a.json", '{"answers": [{"label": "x", "answer": "right"}]}', "content: is missing"),
        ("a.json", "\udcff", "is not UTF-8 (byte 0)"),
        ("a.csv", "id,content,label\n", "has no column 'answer'"),
        ("a.csv", "content,label,answer,answer\n", "has two columns 'answer'"),
        ("a.csv", f"content,label,answer\n{HASH},a,b,right\n", "line 2: does not have 3 cells"),
        ("a.csv", f'content,label,answer\n{HASH},"a"b,right\n', "is not valid CSV"),
        ("a.csv", f"content,label,answer\n{HASH},a,\n", "holds no answer"),
    ],
)
def test_a_file_of_something_else_is_refused(name: str, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    assert told in refused(tmp_path / name)


def test_a_file_that_is_missing_or_huge_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(10**9)
    assert "is 1,000 MB large" in refused(tmp_path / "huge.json")


def test_answers_that_contradict_each_other_are_refused_and_equal_ones_are_one(tmp_path: Path) -> None:
    again = replace(ANSWER, id="copy")
    assert read_answers(write(tmp_path / "a.json", ANSWER, again)).answers == (ANSWER,)
    told = refused(write(tmp_path / "b.json", ANSWER, replace(again, answer="right", true_label="")))
    assert "answer 2: contradicts" in told
    assert "answer 1, which is about the same input and label" in told


def test_an_answer_is_about_all_equal_samples_of_its_label_and_no_other() -> None:
    other = replace(ANSWER, content="f" * 16)
    found = match_answers([ANSWER, other], [HASH, HASH, "e" * 16, HASH], ["cat", "dog", "cat", "cat"])
    assert found.samples == {0: ANSWER, 3: ANSWER}
    assert found.unmatched == (other,)
    notice = unmatched_notice(found.unmatched, "reviewed.json")
    assert "1 answer applies to no audited sample: 'train/0012.png' as 'cat' (reviewed.json)." in notice
    assert unmatched_notice((), "reviewed.json") == ""


# the command


def test_the_command_writes_the_page_and_a_table_that_can_be_filled_in(tmp_path: Path) -> None:
    audit = make_audit(hostile=True, classes=6, questions=5)
    (tmp_path / "audit.json").write_text(audit_to_json(audit), encoding="utf-8")

    def review(*options: str) -> Any:
        return CliRunner().invoke(main, ["review", str(tmp_path / "audit.json"), *options])

    done = review("--count", "4")
    assert (done.exit_code, "review.html (4 labels to review)" in done.stdout) == (0, True)
    done = review("--format", "csv", "--count", "5")
    assert done.exit_code == 0, done.output
    table = tmp_path / "review.csv"
    rows = list(csv.DictReader(io.StringIO(table.read_bytes().decode("utf-8"), newline="")))
    assert [row["id"] for row in rows] == list(HOSTILE)
    known = audit.samples.set_index("id")
    for row in rows:
        assert [row[name] for name in ("content", "label", "suggested")] == [
            known.loc[row["id"], name] for name in ("content", "label", "suggested")
        ]
    table.write_text(table.read_text("utf-8").replace('"",""', '"right",""').replace(",,\n", ",right,\n"))
    assert {one.answer for one in read_answers(table).answers} == {"right"}
    again = review("--format", "csv", "--count", "4")
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    more = review("--count", "6")
    assert (more.exit_code, "the audit suggests 5 labels to review" in more.stderr) == (2, True)


def test_an_audit_without_questions_is_refused() -> None:
    with pytest.raises(ReportError, match="no label was judged"):
        questions_of(make_audit(auditable=False), 5)
    with pytest.raises(ReportError, match="every audited label is reviewed"):
        questions_of(make_audit(questions=0), 5)
    assert isinstance(make_audit().calibration, Skipped)
