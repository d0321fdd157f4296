"""docs/troubleshooting.md quotes what the product says, and lists the messages that a user can cause."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache

import pytest
from support.pages import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_ext"))

from messages import GAP, SUBJECTS, Message, messages

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)


@cache
def said() -> tuple[str, ...]:
    """Return every text of the source, with gaps where a value is filled in."""
    found = [one.found for one in messages()]
    for path in sorted((ROOT / "cohaudit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
                found.append("".join(map(str, parts)))
    return tuple(found)


@pytest.mark.parametrize("message", QUOTED)
def test_the_product_says_what_the_page_quotes(message: str) -> None:
    parts = [part.strip() for part in re.split(rf"{GAP}|\.\.\.", message) if part.strip(" .:()")]
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    # a message that begins with what differs from file to file may be put together from two texts
    assert any(pattern.search(text) for text in said()), message


def test_the_page_explains_a_good_number_of_messages() -> None:
    assert len(QUOTED) == len(set(QUOTED)) >= 20


def test_the_list_has_the_messages_of_every_kind_and_each_says_what_to_do() -> None:
    listed = messages()
    assert {one.kind for one in listed} == set(SUBJECTS)
    assert len(listed) > 200
    assert Message("ConfigError", "exists already", "edit it, or replace it with --force") in listed
    assert all(one.remedy.strip(f" {GAP}") for one in listed)
