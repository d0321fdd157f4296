"""audit.json: what is written is what is read, the schema describes it, and nothing else is accepted."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from dataclasses import replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import jsonschema
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.audits import make_audit

from cohaudit import results
from cohaudit._version import __version__
from cohaudit.errors import ReportError
from cohaudit.results import SAMPLE_COLUMNS, Audit, Skipped
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.read import read_audit
from cohaudit.results.schema import audit_schema

SCHEMA = audit_schema()
VARIANTS: dict[str, dict[str, Any]] = {
    "images": {},
    "hostile names": {"hostile": True, "classes": 6},
    "rows of two classes": {"classes": 2, "kind": "row", "sketched": True},
    "texts": {"kind": "text", "classes": 3},
    "no previews": {"kind": "none"},
    "not auditable": {"auditable": False},
    "no suspects": {"suspects": 0},
    "many": {"classes": 40, "layers": 120, "samples": 400},
    "a class of one sample": {"classes": 9, "samples": 10},
}
each_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
BLANK = make_audit(samples=10, suspects=0, classes=2)
WHOLE_AUDITS = 30
"""Examples of tests that make an audit for each."""
fuzzing = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def assert_equal(one: Audit, other: Audit) -> None:
    for field in dataclasses.fields(Audit):
        if field.name == "samples":
            # the index is the caller's own, and in no file
            tables = (audit.samples.reset_index(drop=True) for audit in (one, other))
            pd.testing.assert_frame_equal(*tables)
        else:
            assert getattr(one, field.name) == getattr(other, field.name), field.name


@each_variant
def test_what_is_written_is_what_is_read(variant: dict[str, Any], tmp_path: Path) -> None:
    audit = make_audit(**variant)
    again = read_audit(write(tmp_path / "audit.json", audit_to_json(audit)))
    assert_equal(again, audit)
    assert audit_to_json(again) == audit_to_json(audit)


@fuzzing
@given(name=st.text(), reason=st.text(), value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_number_survives(name: str, reason: str, value: float, tmp_path: Path) -> None:
    audit = replace(
        BLANK,
        skipped=(Skipped(name, reason),),
        settings={name: (value, name, {reason: None})},
        timings={reason: value},
    )
    assert_equal(read_audit(write(tmp_path / "audit.json", audit_to_json(audit))), audit)


@settings(fuzzing, max_examples=WHOLE_AUDITS)
@given(
    classes=st.integers(2, 5),
    layers=st.integers(1, 4),
    suspects=st.integers(0, 6),
    kind=st.sampled_from(["image", "wave", "row", "text", "none"]),
    flags=st.tuples(*[st.booleans()] * 4),
    seed=st.integers(0, 2**16),
)
def test_reading_is_the_inverse_of_writing(
    classes: int,
    layers: int,
    suspects: int,
    kind: Any,
    flags: tuple[bool, bool, bool, bool],
    seed: int,
    tmp_path: Path,
) -> None:
    auditable, sketched, hostile, holdout = flags
    audit = make_audit(
        classes=classes,
        layers=layers,
        samples=20,
        suspects=suspects,
        suppressed=2,
        evidence=1,
        kind=kind,
        auditable=auditable,
        sketched=sketched,
        hostile=hostile,
        holdout=holdout,
        seed=seed,
    )
    again = read_audit(write(tmp_path / "audit.json", audit_to_json(audit)))
    assert again == audit
    assert hash(again) == hash(audit)


def test_stages_and_columns_keep_their_order(tmp_path: Path) -> None:
    audit = make_audit(kind="row")
    again = read_audit(write(tmp_path / "audit.json", audit_to_json(audit)))
    for sample_id, preview in audit.previews.items():
        assert list(again.previews[sample_id].row) == list(preview.row)
    assert list(again.timings) == list(audit.timings)


def test_the_order_of_mappings_changes_nothing() -> None:
    audit = make_audit()
    backwards = replace(
        audit,
        settings=dict(reversed(audit.settings.items())),
        previews=dict(reversed(audit.previews.items())),
    )
    assert audit_to_json(backwards) == audit_to_json(audit)


def test_the_text_is_strict_json_with_the_version_first() -> None:
    text = audit_to_json(make_audit(auditable=False))
    assert text.endswith("}\n")
    assert "NaN" not in text
    content = json.loads(text)
    assert next(iter(content)) == "schema_version"
    assert content["risk"]["skipped"]["reason"] == "the model is not auditable"
    assert set(content["samples"]["support"]) == {None}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_lacks_is_a_bug(value: float) -> None:
    audit = make_audit()
    broken = replace(audit, sanity=replace(audit.sanity, mean_loss=value))
    with pytest.raises(ValueError, match="JSON compliant"):
        audit_to_json(broken)


def test_stray_bytes_in_a_file_name_are_escaped() -> None:
    audit = make_audit()
    odd = replace(audit, subject=replace(audit.subject, checkpoint="model\udcff.pt"))
    assert json.loads(audit_to_json(odd).encode())["subject"]["checkpoint"] == "model\\udcff.pt"


# the schema


@each_variant
def test_the_schema_accepts_every_audit(variant: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(audit_to_json(make_audit(**variant))))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), 1),
        (("risk", "level"), "dreadful"),
        (("risk", "value"), 1.5),
        (("layers", 0, "path"), "magic"),
        (("layers", 0, "surplus"), 1),
        (("samples", "suspect", 0), "yes"),
        (("coherence",), None),
    ],
)
def test_the_schema_refuses(place: tuple[str | int, ...], value: object) -> None:
    content = json.loads(audit_to_json(make_audit()))
    put(content, place, value)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(content)


def put(content: Any, place: tuple[str | int, ...], value: object) -> None:
    for key in place[:-1]:
        content = content[key]
    content[place[-1]] = value


def dataclasses_below(kind: Any) -> set[type]:
    if get_origin(kind) in {types.UnionType, Union, tuple} or get_args(kind):
        return set().union(*(dataclasses_below(inner) for inner in get_args(kind)))
    if not dataclasses.is_dataclass(kind):
        return set()
    return {kind}.union(*(dataclasses_below(hint) for hint in get_type_hints(kind).values()))


@pytest.mark.parametrize("kind", sorted(dataclasses_below(Audit), key=str), ids=lambda kind: kind.__name__)
def test_the_schema_describes_every_field(kind: type) -> None:
    definition = SCHEMA if kind is Audit else SCHEMA["$defs"][kind.__name__]
    names = [field.name for field in dataclasses.fields(kind)]
    assert sorted(definition["properties"]) == sorted(names)
    assert sorted(definition["required"]) == sorted(names)


def test_the_schema_describes_every_column_and_leaves_no_gap() -> None:
    assert tuple(SCHEMA["$defs"]["SampleRow"]["properties"]) == SAMPLE_COLUMNS
    assert SCHEMA["properties"]["schema_version"]["enum"] == [results.SCHEMA_VERSION]
    for definition in (SCHEMA, *SCHEMA["$defs"].values()):
        assert definition["additionalProperties"] is False
        assert all(inner["description"].endswith(".") for inner in definition["properties"].values())


# what is not an audit


def refusal(path: Path) -> str:
    with pytest.raises(ReportError) as caught:
        read_audit(path)
    return str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "audit.json")


def test_a_folder(tmp_path: Path) -> None:
    assert f"name the file in it: {tmp_path / 'audit.json'}" in refusal(tmp_path)


def test_a_path_through_a_file(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    assert "cannot be read" in refusal(tmp_path / "file" / "audit.json")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is not JSON, or was cut short"),
        ("<html>", "is not JSON, or was cut short"),
        ("[]", "it has no schema_version"),
        ("{}", "it has no schema_version"),
        (
            '{"schema_version": "0.9", "version": "0.0.7"}',
            "use the version of cohaudit that wrote the file, 0.0.7",
        ),
        ('{"schema_version": 5.0}', "has schema version 5.0; this cohaudit reads '5.0'"),
        ('{"schema_version": NaN}', "holds NaN"),
        ('{"schema_version": "5.0"}', "at $: has no 'version'"),
        ("[" * 100_000, "too deep"),
        ("1" * 5_000, "too long"),
    ],
)
def test_a_text_that_is_no_audit(text: str, found: str, tmp_path: Path) -> None:
    assert found in refusal(write(tmp_path / "audit.json", text))


def test_ids_that_differ_only_far_behind_the_start_are_read_back(tmp_path: Path) -> None:
    text = audit_to_json(BLANK)
    for name in BLANK.samples["id"]:
        text = text.replace(f'"{name}"', f'"{"folder/" * 40}{name}"')
    assert audit_to_json(read_audit(write(tmp_path / "audit.json", text))) == text


def test_settings_that_are_nested_too_deeply(tmp_path: Path) -> None:
    deep = '{"a": ' * 900 + "1" + "}" * 900
    text = audit_to_json(BLANK).replace('"settings": {', f'"settings": {{"aa": {deep}, ', 1)
    assert "too deeply" in refusal(write(tmp_path / "audit.json", text))


def test_the_version_that_runs_is_no_remedy(tmp_path: Path) -> None:
    text = json.dumps({"schema_version": "4.0", "version": __version__})
    remedy = refusal(write(tmp_path / "audit.json", text)).partition("→")[2]
    assert remedy.strip() == "run cohaudit scan again"


def test_a_checkpoint_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x81\xff\x00")
    assert "is not text" in refusal(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("place", "value", "found"),
    [
        (("version",), 1, "at $.version: is a whole number, where text belongs"),
        (("sanity", "auditable"), 1, "at $.sanity.auditable: is a whole number, where true or false belongs"),
        (("sanity", "accuracy"), True, "at $.sanity.accuracy: is true or false, where a number belongs"),
        (("sanity", "accuracy"), 10**400, "at $.sanity.accuracy: is too large"),
        (("subject", "samples"), 10**30, "at $.subject.samples: is too large"),
        (("subject", "samples"), 1.0, "at $.subject.samples: is a number, where a whole number belongs"),
        (("layers",), {}, "at $.layers: is an object, where an array belongs"),
        (("layers", 3, "energy"), None, "at $.layers[3].energy: is null, where a number belongs"),
        (("layers", 0, "path"), "magic", "is 'magic', not one of closed form, vmap, loop"),
        (("layers", 0, "surplus"), 1, "at $.layers[0]: has 'surplus', which no audit has there"),
        (("risk",), {"skipped": {"name": "risk"}}, "at $.risk.skipped: has no 'reason'"),
        (("samples", "loss", 2), "x", "at $.samples.loss[2]: is text, where a number belongs"),
        (("samples", "suspect", 2), None, "at $.samples.suspect[2]: is null, where true or false belongs"),
        (("samples", "loss"), [], "at $.samples.loss: has 0 values for 240 ids"),
        (("class_cosines", "matrix"), [[1.0]], "is not 10 × 10, the number of classes"),
        (("samples", "id", 1), "train/0000.png", "at $.samples.id: has 'train/0000.png' twice"),
        (("samples", "duplicate_of", 2), "x", "duplicate_of[2]: names 'x', which is not among the samples"),
        (("evidence", 0, "id"), "elsewhere", "names 'elsewhere', which is not among the samples"),
        (("previews",), {}, "which has no preview"),
        (
            ("previews", "x"),
            {"kind": "image", "image": "http://x", "row": {}, "text": ""},
            "data URI of a PNG or JPEG",
        ),
        (("previews", "\x1b[2J"), 1, r"at $.previews['\x1b[2J']: is a whole number"),
        (("skipped", 0, "name"), "\udcff", "broken character"),
    ],
)
def test_a_file_changed_by_hand(
    place: tuple[str | int, ...], value: object, found: str, tmp_path: Path
) -> None:
    content = json.loads(audit_to_json(make_audit()))
    put(content, place, value)
    message = refusal(write(tmp_path / "audit.json", json.dumps(content)))
    assert found in message
    assert "run cohaudit scan again" in message


def test_a_number_beyond_all_numbers(tmp_path: Path) -> None:
    text = audit_to_json(make_audit()).replace('"chance": 0.1', '"chance": 1e999')
    assert "at $.sanity.chance: is too large" in refusal(write(tmp_path / "audit.json", text))


SMALL = audit_to_json(make_audit(samples=12, suspects=1, classes=2, layers=2, evidence=1))


@fuzzing
@given(length=st.integers(0, len(SMALL) - 2))
def test_a_file_cut_short(length: int, tmp_path: Path) -> None:
    refusal(write(tmp_path / "audit.json", SMALL[:length]))


def places(content: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    return [found for key, inner in items for found in [(*place, key), *places(inner, (*place, key))]]


@fuzzing
@given(place=st.sampled_from(places(json.loads(SMALL))), value=json_values)
def test_a_change_anywhere_is_an_audit_or_a_refusal(
    place: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    content = json.loads(SMALL)
    put(content, place, value)
    path = write(tmp_path / "audit.json", json.dumps(content))
    try:
        audit = read_audit(path)
    except ReportError:
        return
    assert_equal(read_audit(write(path, audit_to_json(audit))), audit)
