"""The schema of audit.json is whole, describes everything, and is printed by its module."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import jsonschema
import pytest

from cohaudit.results import SCHEMA_VERSION, Audit, GateResult, Skipped
from cohaudit.results.schema import audit_schema, field_docs

SCHEMA = audit_schema()
OBJECTS = {"Audit": SCHEMA, **SCHEMA["$defs"]}


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_and_every_field_is_described(name: str) -> None:
    definition = OBJECTS[name]
    assert definition["additionalProperties"] is False
    assert definition["required"] == list(definition["properties"])
    texts = [definition["description"], *(one["description"] for one in definition["properties"].values())]
    assert [text for text in texts if not text.endswith(".") or "  " in text or "\n" in text] == []


def test_every_reference_leads_to_a_definition_and_none_is_unused() -> None:
    text = json.dumps(SCHEMA)
    assert {name for name in SCHEMA["$defs"] if f'"#/$defs/{name}"' not in text} == set()
    assert text.count('"$ref"') == sum(text.count(f'"#/$defs/{name}"') for name in SCHEMA["$defs"])


def test_it_names_its_version() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"].endswith(SCHEMA_VERSION)
    assert SCHEMA["properties"]["schema_version"]["enum"] == [SCHEMA_VERSION]


def test_the_texts_are_those_under_the_fields() -> None:
    docs = field_docs(Skipped)
    assert docs == {
        "name": "What was skipped: a layer, a parameter, or a section of the audit.",
        "reason": "Why, in words that the user can act on.",
    }
    assert set(field_docs(Audit)) == {field.name for field in fields(Audit)}
    assert "outcome" not in field_docs(GateResult), "a property is not a field"


def test_the_ranges_of_the_types_are_its_bounds() -> None:
    sanity = SCHEMA["$defs"]["Sanity"]["properties"]
    assert (sanity["accuracy"]["minimum"], sanity["accuracy"]["maximum"]) == (0, 1)
    assert (sanity["mean_loss"]["minimum"], "maximum" in sanity["mean_loss"]) == (0, False)
    row = SCHEMA["$defs"]["SampleRow"]["properties"]
    assert row["suspicion"]["items"]["type"] == ["number", "null"]
    assert row["support_count"]["items"] == {"type": ["integer", "null"], "minimum": 0}
    assert (
        "(data:image/png;base64,|data:image/jpeg;base64,)"
        in SCHEMA["$defs"]["Preview"]["properties"]["image"]["pattern"]
    )


def test_the_module_prints_it() -> None:
    command = [sys.executable, "-m", "cohaudit.results.schema"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert json.loads(done.stdout) == SCHEMA
