"""The suspects as SARIF: valid, pointing at their rows and files, and the same when these move."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from support.audits import HOSTILE, make_audit

from cohaudit.report.formats import sarif
from cohaudit.report.formats.sarif import render_sarif
from cohaudit.results import Audit

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "sarif-2.1.0-rtm.5.json").read_text("utf-8"))
VALIDATOR = Draft4Validator(SCHEMA)
AUDIT = make_audit(kind="row", suspects=12)
SMALL = make_audit(samples=6, suspects=1, evidence=0, classes=2)


def run_of(audit: Audit) -> dict[str, Any]:
    content = render_sarif(audit)
    assert content.isascii()
    log = json.loads(content)
    VALIDATOR.validate(log)
    run: dict[str, Any] = log["runs"][0]
    return run


def artifact(result: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = result["locations"][0]["physicalLocation"]["artifactLocation"]
    return found


def notifications(run: dict[str, Any]) -> list[str]:
    return [one["message"]["text"] for one in run["invocations"][0]["toolExecutionNotifications"]]


def moved(audit: Audit, place: str, line: int = 0) -> Audit:
    return replace(audit, evidence=tuple(replace(one, place=place, line=line) for one in audit.evidence))


def test_each_suspect_is_a_result_at_its_line() -> None:
    results = run_of(AUDIT)["results"]
    rows = AUDIT.samples.set_index("id")
    for result, evidence in zip(results, AUDIT.evidence, strict=True):
        location = result["locations"][0]
        assert location["physicalLocation"]["region"] == {"startLine": evidence.line}
        assert location["logicalLocations"][0]["name"] == evidence.id
        row = rows.loc[evidence.id]
        for expected in (evidence.id, row["label"], row["suggested"]):
            assert expected in result["message"]["text"]
        assert result["rank"] == pytest.approx(100 * row["suspicion"], abs=1e-4)
        assert artifact(result) == {"uri": "data/train.csv", "uriBaseId": "%SRCROOT%"}


def test_the_level_follows_the_suspicion() -> None:
    suspicions = dict(zip(AUDIT.samples["id"], AUDIT.samples["suspicion"], strict=True))
    values = itertools.chain((1.0, 0.9, 0.89, 0.5, 0.4), itertools.repeat(0.3))
    suspicions |= {one.id: value for one, value in zip(AUDIT.evidence, values, strict=False)}
    audit = replace(AUDIT, samples=AUDIT.samples.assign(suspicion=AUDIT.samples["id"].map(suspicions)))
    levels = [result["level"] for result in run_of(audit)["results"]]
    assert levels[:5] == ["error", "error", "warning", "warning", "note"]


def test_an_image_is_its_own_file_and_an_array_has_the_sample_as_a_part() -> None:
    (first, *_) = run_of(make_audit())["results"]
    assert artifact(first)["uri"].startswith("data/train/")
    (first, *_) = run_of(moved(AUDIT, "train.npz"))["results"]
    assert artifact(first)["uri"] == "train.npz"
    assert first["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == AUDIT.evidence[0].id
    assert first["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def test_fingerprints_survive_reordering_and_renaming_but_not_other_content() -> None:
    def prints(audit: Audit) -> set[str]:
        return {
            result["partialFingerprints"]["primaryLocationLineHash"] for result in run_of(audit)["results"]
        }

    shuffled = replace(AUDIT, evidence=AUDIT.evidence[::-1], samples=AUDIT.samples[::-1])
    assert prints(moved(shuffled, "other/name.csv", 7)) == prints(AUDIT)
    changed = replace(AUDIT.evidence[0], content="sha256:" + "0" * 64)
    assert len(prints(replace(AUDIT, evidence=(changed, *AUDIT.evidence[1:]))) - prints(AUDIT)) == 1


def test_equal_samples_have_fingerprints_of_their_own() -> None:
    same = tuple(replace(one, content="sha256:" + "0" * 64) for one in AUDIT.evidence)
    results = run_of(replace(AUDIT, evidence=same))["results"]
    assert len({result["partialFingerprints"]["primaryLocationLineHash"] for result in results}) == 12


@pytest.mark.parametrize(
    ("place", "uri"),
    [
        ("data/a b#c?d%e:f.csv", "data/a%20b%23c%3Fd%25e%3Af.csv"),
        ("c:d.csv", "c%3Ad.csv"),
        ("猫.csv", "%E7%8C%AB.csv"),
        ("bad\udcff.csv", "bad%FF.csv"),
        ("/somewhere else/train.csv", "file:///somewhere%20else/train.csv"),
        ("C:/data/my train.csv", "file:///C:/data/my%20train.csv"),
    ],
)
def test_paths_are_uris(place: str, uri: str) -> None:
    (result, *_) = run_of(moved(AUDIT, place))["results"]
    assert artifact(result)["uri"] == uri
    assert ("uriBaseId" in artifact(result)) == (not uri.startswith("file:"))


@settings(max_examples=200)
@given(st.text(min_size=1, max_size=20))
def test_a_path_is_found_again_in_its_uri(place: str) -> None:
    (result,) = run_of(moved(SMALL, f"data/{place}"))["results"]
    parts = urlsplit(artifact(result)["uri"])
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert unquote(parts.path) == f"data/{place}"


def test_no_more_results_than_github_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sarif.MAX_RESULTS == 5_000
    monkeypatch.setattr(sarif, "MAX_RESULTS", 5)
    run = run_of(AUDIT)
    listed = [result["locations"][0]["logicalLocations"][0]["name"] for result in run["results"]]
    assert listed == [one.id for one in AUDIT.evidence[:5]]
    assert notifications(run)[0].startswith("7 suspects of 12 left out")


def test_what_is_no_result_is_a_notification() -> None:
    run = run_of(make_audit(auditable=False, suspects=0))
    assert run["results"] == []
    told = notifications(run)
    assert told[0].startswith("No label was judged: ")
    assert told[1] == "Measured on 240 of 480 samples."
    run = run_of(moved(AUDIT, ""))
    assert "physicalLocation" not in run["results"][0]["locations"][0]
    assert notifications(run)[0].startswith("12 suspects without a file")


def test_hostile_names_are_no_placeholders_and_no_links() -> None:
    names = (*HOSTILE, "{0} {x", "[text](https://evil.example)")
    audit = make_audit(samples=40, suspects=1, evidence=0, classes=2)
    (one,) = audit.evidence
    ids = [f"{name}{k}" for k in range(5) for name in names]
    count = len(ids)
    audit = replace(
        audit,
        samples=audit.samples[:count].assign(id=ids, label=ids, suggested=ids, suspect=True),
        evidence=tuple(replace(one, id=known, place=known) for known in ids),
    )
    results = run_of(audit)["results"]
    assert len(results) == count
    for result in results:
        words = result["message"]["text"]
        assert "](" not in words
        assert words.replace("{{", "").replace("}}", "").count("{") == 0
        assert not {c for c in words if c < " "}
