"""Two directives that write reference pages from the source: the settings, and the schema of audit.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cohaudit.config import KEYS
from cohaudit.config.file import option_name
from cohaudit.results.schema import audit_schema


class Settings(SphinxDirective):
    """Every key of `cohaudit.config.KEYS`, by section."""

    def run(self) -> list[nodes.Node]:
        """Return the parsed reference."""
        return self.parse_text_to_nodes("\n".join(settings()), allow_section_headings=True)


class AuditSchema(SphinxDirective):
    """Every object of the JSON Schema of audit.json, with its fields."""

    def run(self) -> list[nodes.Node]:
        """Return the parsed reference."""
        return self.parse_text_to_nodes("\n".join(objects(audit_schema())), allow_section_headings=True)


def settings() -> Iterator[str]:
    """Yield the lines of the settings in MyST."""
    for section, keys in groupby(KEYS.values(), key=lambda key: key.section):
        yield f"## {section}\n"
        for key in keys:
            yield f"```{{confval}} {key.name}"
            yield f":type: {key.expected}"
            yield f":default: `{json.dumps(key.default)}`"
            yield f"\n{key.help} Option `{option_name(key.name)}`.\n```\n"


def objects(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the schema in MyST: first the audit, then its parts."""
    for name, what in {"Audit": schema, **schema["$defs"]}.items():
        yield f"(schema-{name.lower()})=\n\n## {name}\n\n{what.get('description', '')}\n"
        if "properties" in what:
            yield "| field | type | |\n|---|---|---|"
            for field, about in what["properties"].items():
                description = about.get("description", "").replace("|", r"\|")
                yield f"| `{field}` | {kind(about)} | {description} |"
            yield ""


def kind(about: Mapping[str, Any]) -> str:
    """Return the type of a field in words, with links to other objects."""
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        return f"[{name}](#schema-{name.lower()})"
    if "oneOf" in about or "anyOf" in about:
        return " or ".join(map(kind, about.get("oneOf") or about["anyOf"]))
    if "enum" in about or "const" in about:
        return ", ".join(f"`{json.dumps(value)}`" for value in about.get("enum", [about.get("const")]))
    if about.get("type") == "array":
        items = about.get("items") or {}
        return f"list of {kind(items)}" if items else "list"
    if isinstance(about.get("additionalProperties"), dict):
        return f"object of {kind(about['additionalProperties'])}"
    types = about.get("type", "any value")
    return types if isinstance(types, str) else " or ".join(types)


def setup(app: Sphinx) -> Mapping[str, bool]:
    """Called by Sphinx."""
    app.add_directive("settings", Settings)
    app.add_directive("audit-schema", AuditSchema)
    return {"parallel_read_safe": True}
