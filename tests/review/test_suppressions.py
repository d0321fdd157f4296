"""Suspects found to be right: what the file may hold, which samples it is for, what a scan makes of it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from support.audits import HOSTILE, make_audit
from support.scanning import scan
from support.small_datasets import KINDS
from torch.utils.data import TensorDataset

import cohaudit
from cohaudit.cli import main
from cohaudit.config.keys import toml_value
from cohaudit.errors import ConfigError
from cohaudit.loading.data import from_torch, open_dataset
from cohaudit.loading.factories import load_object
from cohaudit.report import render_html
from cohaudit.results import Audit, Risk
from cohaudit.results.suppression import Suppression
from cohaudit.review import export as exporting
from cohaudit.review.suppressions import REQUIRED_KEYS, active, match, read_suppressions

DIGITS = Path("fixtures/digits")
COUNT = 500
"""Digits that are scanned: enough for suspects to review, and the time of a scan grows with their square."""
HASH = "sha256:" + "0123456789abcdef" * 4
ENTRY = Suppression(HASH, "cat", "Ada", "an odd, real cat", "train/0012.png")
TODAY = date(2026, 7, 1)
fuzzing = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, *entries: Suppression, **more: Any) -> Path:
    """Write a file as a person would."""
    lines = []
    for entry in entries:
        texts = {key: toml_value(value) for key, value in asdict(entry).items() if value or key != "id"}
        expires = texts.pop("expires").strip('"')
        texts |= {"expires": expires} if expires else {}
        lines += ["[[suppress]]", *(f"{key} = {value}" for key, value in (texts | more).items()), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


# the file


def test_what_a_person_wrote_is_read(tmp_path: Path) -> None:
    ends = replace(ENTRY, label="dog", expires="2027-06-30")
    assert read_suppressions(write(tmp_path / "file.toml", ENTRY, ends)) == (ENTRY, ends)
    assert read_suppressions(write(tmp_path / "empty.toml")) == ()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"reviewer": '""'}, ["number 1 ('train/0012.png'): reviewer: is empty", REQUIRED_KEYS["reviewer"]]),
        ({"reason": '" \\t"'}, ["reason: is empty", REQUIRED_KEYS["reason"]]),
        ({"label": "3"}, ["label: found 3, a whole number", "give a text in quotes"]),
        (
            {"sample": '"sha256:12"'},
            ["sample: found 'sha256:12', not 'sha256:' with 64", REQUIRED_KEYS["sample"]],
        ),
        ({"sample": toml_value(HASH.upper())}, ["sample: found 'SHA256:", REQUIRED_KEYS["sample"]]),
        ({"sample": toml_value(HASH + "\n")}, ["sample: found", REQUIRED_KEYS["sample"]]),
        ({"reviwer": '"Ada"'}, ["number 1 ('train/0012.png'): reviwer: there is no such key", "reviewer?"]),
        ({"expires": '"2027-06-30"'}, ["expires: found '2027-06-30', not a day", "without quotes"]),
        ({"expires": "2027-06-30T00:00:00"}, ["expires: found datetime", "not a day"]),
        ({"id": "12"}, ["number 1: id: found 12, a whole number", "in quotes"]),
    ],
)
def test_a_wrong_entry_is_named(more: dict[str, str], told: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_suppressions(write(tmp_path / "file.toml", ENTRY, **more))
    assert [part for part in [str(tmp_path / "file.toml"), *told] if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[suppress]]\nlabel = 'x'", "number 1: sample: is missing"),
        ("[[supress]]\n", "supress: there is no such key\n  → did you mean suppress?"),
        ("[suppress]\nlabel = 'x'", "is not a list of tables"),
        ("suppress = [1]", "begin each entry with [[suppress]]"),
        ("[[suppress", "is not valid TOML"),
        ("\udcff", "is not UTF-8"),
        (f"a = {'9' * 5000}", "holds a number too long"),
        (f"a = {'[' * 50000}", "arrays too deep"),
    ],
)
def test_a_file_of_something_else(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError) as caught:
        read_suppressions(tmp_path / "file.toml")
    assert told in str(caught.value)


def test_an_entry_that_occurs_twice_names_both(tmp_path: Path) -> None:
    again = replace(ENTRY, id="elsewhere", reviewer="Bob")
    with pytest.raises(ConfigError, match=r"number 2 \('elsewhere'\): the same sample .* number 1 \('train"):
        read_suppressions(write(tmp_path / "file.toml", ENTRY, again))


# which samples it holds for


@given(st.dates(), st.dates())
def test_an_entry_holds_until_the_day_it_expires(today: date, expires: date) -> None:
    entry = replace(ENTRY, expires=expires.isoformat())
    assert bool(active([entry, ENTRY], today)[:-1]) == (today < expires)
    found = match([entry], {7: HASH}, ["cat"] * 8, today)
    assert (set(found.samples) == {7}) == (today < expires)
    assert bool(found.notices) == (today >= expires)


def test_it_holds_for_all_equal_samples_of_its_label_and_no_other() -> None:
    hashes = {0: HASH, 1: HASH, 2: "sha256:" + "f" * 64, 3: HASH}
    found = match([ENTRY], hashes, ["cat", "dog", "cat", "cat"], TODAY)
    assert found.samples == {0: ENTRY, 3: ENTRY}
    assert found.notices == ()


def test_an_entry_that_holds_for_nothing_is_told() -> None:
    ended = replace(ENTRY, sample=HASH[:-1] + "0", expires="2026-07-01")
    found = match([ENTRY, ended], {0: HASH}, ["dog"], TODAY)
    assert found.samples == {}
    expired, idle = found.notices
    assert "1 suppression has expired: 'train/0012.png' on 2026-07-01. Its sample can be" in expired
    assert "1 suppression applies to no audited sample: 'train/0012.png' as 'cat'." in idle


def test_the_file_of_a_large_dataset_is_held_against_it_at_once() -> None:
    many = [
        replace(ENTRY, sample=f"sha256:{i:064x}", expires="2020-01-01" if i % 2 else "")
        for i in range(20_000)
    ]
    found = match(many, {0: many[0].sample}, [ENTRY.label], TODAY)
    assert set(found.samples) == {0}
    assert "10,000 suppressions have expired" in found.notices[0]


@given(st.lists(st.text(), min_size=1, max_size=9))
def test_a_notice_stays_readable(names: list[str]) -> None:
    entries = [replace(ENTRY, sample=f"{HASH[:-1]}{k}", id=name * 99) for k, name in enumerate(names)]
    (notice,) = match(entries, {}, [], TODAY).notices
    assert len(notice) < 800


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_has_hashes_of_its_samples(kind: str, tmp_path: Path) -> None:
    dataset = open_dataset(KINDS[kind](tmp_path))
    hashes = [dataset.content_hash(i) for i in range(len(dataset))]
    assert len(set(hashes)) == len(dataset)
    assert hashes == [dataset.content_hash(i) for i in range(len(dataset))]
    assert {len(name) for name in hashes} == {len(HASH)}


def test_a_hash_is_of_type_shape_and_values_not_of_the_order_of_keys() -> None:
    numbers = torch.arange(4.0)
    inputs: list[Any] = [numbers, numbers.reshape(2, 2), numbers.int(), -numbers]
    inputs += [{"a": numbers, "b": -numbers}, {"b": -numbers, "a": numbers}, {"b": numbers, "a": -numbers}]
    inputs += [(numbers, -numbers), (-numbers, numbers)]
    dataset = [from_torch([(value, 0), (value, 1)]) for value in inputs]
    hashes = [one.content_hash(0) for one in dataset]
    assert hashes[4] == hashes[5]
    assert len(set(hashes)) == len(hashes) - 1
    assert all(one.content_hash(1) == known for one, known in zip(dataset, hashes, strict=True))


# the scan


@pytest.fixture(scope="module")
def plain() -> Audit:
    return digits()


def digits(rows: Any = slice(COUNT), change: Any = None, **keys: Any) -> Audit:
    """Scan the first digits in memory, or others, with other labels."""
    arrays = np.load(DIGITS / "train.npz")
    labels = arrays["labels"].copy()
    if change is not None:
        change(labels)
    images = torch.from_numpy(arrays["images"]).float().div(255).unsqueeze(1)
    dataset = TensorDataset(images[rows], torch.from_numpy(labels)[rows])
    model = load_object("net.py:build", DIGITS, "model")()
    model.load_state_dict(load_file(DIGITS / "model.safetensors"))
    return cohaudit.scan(model, dataset, **keys)


def reviewed(audit: Audit, count: int, **changes: Any) -> list[Suppression]:
    """Return entries for the first suspects."""
    labels = dict(zip(audit.samples["id"], audit.samples["label"], strict=True))
    return [
        Suppression(one.content, labels[one.id], "Ada", "a real one", one.id, **changes)
        for one in audit.evidence[:count]
    ]


def test_a_suppressed_sample_is_no_suspect_and_all_else_stays(plain: Audit, tmp_path: Path) -> None:
    entries = reviewed(plain, 3)
    audit = digits(suppressions=write(tmp_path / "file.toml", *entries))
    assert audit.suppressed == tuple(entries)
    names = {entry.id for entry in entries}
    cleared = plain.samples["id"].isin(names)
    expected = plain.samples.assign(
        suspect=plain.samples["suspect"] & ~cleared,
        kind=plain.samples["kind"].mask(cleared, "reviewed"),
        certainty=plain.samples["certainty"].mask(cleared, 1.0),
    )
    pd.testing.assert_frame_equal(audit.samples, expected)
    suspects = int(plain.samples["suspect"].sum())
    assert audit.evidence[: suspects - 3] == plain.evidence[3:suspects]
    assert isinstance(audit.risk, Risk)
    assert isinstance(plain.risk, Risk)
    assert replace(audit.risk, drivers=plain.risk.drivers) == plain.risk
    counts = audit.samples[audit.samples["suspect"]]["label"].value_counts()
    assert [one.suspects for one in audit.classes] == [counts.get(one.name, 0) for one in audit.classes]
    assert "3 more samples would be suspects, but are suppressed: reviewed by Ada." in audit.notices


def test_what_the_gap_comes_from_counts_no_suppressed_suspect(plain: Audit, tmp_path: Path) -> None:
    count = int(plain.samples["suspect"].sum())
    audit = digits(suppressions=str(write(tmp_path / "all.toml", *reviewed(plain, count))))
    assert isinstance(plain.risk, Risk)
    assert isinstance(audit.risk, Risk)
    assert "look mislabeled" in plain.risk.drivers[0].remedy
    assert "look mislabeled" not in audit.risk.drivers[0].remedy
    assert "memorized samples are rare or hard" in audit.risk.drivers[0].remedy
    assert not [one for one in audit.risk.drivers if "suspects first" in one.remedy]


def test_an_entry_survives_another_order_but_not_another_label(plain: Audit, tmp_path: Path) -> None:
    first, second = reviewed(plain, 2)
    path = write(tmp_path / "file.toml", first, second)

    def relabel(labels: np.ndarray) -> None:
        labels[int(second.id)] = (labels[int(second.id)] + 1) % 10

    audit = digits(np.arange(COUNT)[::-1].copy(), relabel, suppressions=path)
    place = str(COUNT - 1 - int(first.id))
    assert [(entry.sample, entry.id) for entry in audit.suppressed] == [(first.sample, place)]
    (idle,) = [notice for notice in audit.notices if "applies to no audited sample" in notice]
    assert repr(second.id) in idle


def test_the_command_says_who_suppressed_what_and_why(plain: Audit, tmp_path: Path) -> None:
    entries = reviewed(plain, 2, expires="9999-12-31")
    ended = replace(entries[1], expires="2020-01-01")
    path = write(tmp_path / "file.toml", entries[0], ended)
    suspects = int(plain.samples["suspect"].sum())
    with np.load(DIGITS / "train.npz") as arrays:
        np.savez(tmp_path / "first.npz", images=arrays["images"][:COUNT], labels=arrays["labels"][:COUNT])
    options = ["--suppressions", path, "--out", tmp_path / "out", "--fail-on", f"suspects>={suspects}"]
    options += ["--data", tmp_path / "first.npz"]
    result = scan(DIGITS / "model.safetensors", *options)
    assert result.exit_code == 0, result.output  # a gate counts what is left
    for part in ("Suppressed", "Ada", "a real one", "9999-12-31", "has expired"):
        assert part in result.stdout
    audit = cohaudit.read_audit(tmp_path / "out" / "audit.json")
    assert audit.samples["suspect"].sum() == suspects - 1
    assert audit.suppressed == (entries[0],)
    assert audit.settings["suppressions"] == str(path)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    for part in ("<h3>Suppressed</h3>", "a real one", "9999-12-31", "has expired: &#39;"):
        assert part in page


def test_a_bad_file_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "file.toml", replace(ENTRY, reviewer=""))
    for named, told in ((path, "reviewer: is empty"), (tmp_path / "none.toml", "cannot be read")):
        result = scan(DIGITS / "model.safetensors", "--suppressions", named, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert told in result.stderr
        assert "open the" not in result.stderr
        assert not (tmp_path / "out").exists()


def test_a_key_in_the_file_is_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "mine.toml", replace(ENTRY, reason=""))
    (tmp_path / "sub" / "cohaudit.toml").write_text('model = "x:y"\ndata = "z"\nsuppressions = "mine.toml"\n')
    result = scan(DIGITS / "model.safetensors", "--config", tmp_path / "sub" / "cohaudit.toml")
    assert (result.exit_code, "reason: is empty" in result.stderr) == (2, True)


@pytest.mark.parametrize("suspects", [0, 4])
def test_hostile_reviews_are_shown_and_escaped(suspects: int) -> None:
    audit = make_audit(suspects=suspects, suppressed=6)
    hostile = [
        replace(entry, reviewer=HOSTILE[k % 5], reason=HOSTILE[k % 5], id=HOSTILE[k % 5])
        for k, entry in enumerate(audit.suppressed)
    ]
    page = render_html(replace(audit, suppressed=tuple(hostile)))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert ("Every sample with a suspicion of at least 0.5 is suppressed" in page) == (suspects == 0)


# making the file


def entries_of(audit: Audit) -> list[dict[str, Any]]:
    found = tomllib.loads(exporting.export(audit, "suppressions").decode())
    return list(found.get("suppress", []))


def test_the_export_has_an_entry_a_suspect_for_a_person_to_complete(tmp_path: Path) -> None:
    audit = make_audit(suspects=5, hostile=True)
    found = entries_of(audit)
    ranked = audit.suspects
    assert [(entry["id"], entry["label"]) for entry in found] == list(
        ranked[["id", "label"]].itertuples(index=False, name=None)
    )
    assert {(entry["reviewer"], entry["reason"]) for entry in found} == {("", "")}
    hashes = {one.id: one.content for one in audit.evidence}
    assert [entry["sample"] for entry in found] == [hashes[entry["id"]] for entry in found]
    (tmp_path / "file.toml").write_bytes(exporting.export(audit, "suppressions"))
    with pytest.raises(ConfigError, match=r"number 1 \(.*\): reviewer: is empty"):
        read_suppressions(tmp_path / "file.toml")
    assert entries_of(make_audit(suspects=0)) == []


@fuzzing
@given(name=st.text(min_size=1), label=st.text(min_size=1))
def test_any_name_is_read_back(name: str, label: str, tmp_path: Path) -> None:
    audit = make_audit(suspects=1, samples=10)
    (one,) = audit.evidence
    samples = audit.samples.replace({"id": {one.id: name}})
    samples.loc[samples["suspect"], "label"] = label
    renamed = replace(audit, samples=samples, evidence=(replace(one, id=name),))
    completed = exporting.export(renamed, "suppressions").decode().replace('= ""\n', '= "x"\n')
    (tmp_path / "file.toml").write_text(completed, encoding="utf-8")
    if not label.strip():
        return
    (found,) = read_suppressions(tmp_path / "file.toml")
    assert (found.id, found.label, found.sample) == (name, label, one.content)


def test_equal_suspects_are_one_entry() -> None:
    audit = make_audit(suspects=3, samples=30)
    samples = audit.samples.assign(label="class 0")
    same = tuple(replace(one, content=HASH) for one in audit.evidence)
    (entry,) = entries_of(replace(audit, samples=samples, evidence=same))
    assert entry["id"] == audit.suspects["id"].iloc[0]


def test_the_notes_of_a_person_are_not_overwritten(tmp_path: Path) -> None:
    cohaudit.write_report(make_audit(), tmp_path)
    command = ["export", str(tmp_path / "audit.json"), "--format", "suppressions"]
    assert CliRunner().invoke(main, command).exit_code == 0
    (tmp_path / "suppressions.toml").write_text("notes")
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, "exists already" in result.output) == (2, True)
    assert (tmp_path / "suppressions.toml").read_text() == "notes"


def test_the_audit_holds_what_was_suppressed(tmp_path: Path) -> None:
    audit = make_audit(suppressed=3)
    cohaudit.write_report(audit, tmp_path)
    assert cohaudit.read_audit(tmp_path / "audit.json").suppressed == audit.suppressed
    assert len(json.loads((tmp_path / "audit.json").read_text())["suppressed"]) == 3
