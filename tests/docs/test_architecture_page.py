"""docs/architecture.md names only what exists: paths, functions, classes, constants, and rooms."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from support.pages import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", PAGE, flags=re.DOTALL | re.MULTILINE))
FUNCTIONS = sorted({name for name in CODE if re.fullmatch(r"cohaudit\.[\w.]+:\w+", name)})
ROOTS = ("cohaudit/", "templates/", "tests/", "docs/", "benchmarks/", "fixtures/")
PATHS = sorted({word for name in CODE for word in name.split() if word.startswith(ROOTS)})
NAMES = sorted({name for name in CODE if re.fullmatch(r"[A-Z]\w*", name)})
PLACES = sorted(set(re.findall(r"`([A-Z]\w*)`\s+in\s+`(cohaudit/[\w/]+\.py)`", PAGE)))
ROOMS = re.compile(r"^cli → .*$", re.MULTILINE)


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Return the classes and constants that a file defines at its top level."""
    names = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def test_the_page_has_ten_stops_and_names_code_at_each() -> None:
    stops = re.findall(r"^\| (\d+)\. [^|]+\| ([^|]+)\|", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in stops] == list(range(1, 11))
    assert all(set(re.findall(r"`([^`]+)`", names)) <= set(FUNCTIONS) for _, names in stops)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_exists(name: str) -> None:
    module, _, function = name.partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_class_and_constant_exists(name: str) -> None:
    assert any(name in defined_in(path) for path in (ROOT / "cohaudit").rglob("*.py"))


def test_a_class_or_constant_is_in_the_file_that_the_page_names() -> None:
    assert ("GATE_METRICS", "cohaudit/review/gate_condition.py") in PLACES
    assert [(name, path) for name, path in PLACES if name not in defined_in(ROOT / path)] == []


def test_every_room_is_in_the_table_and_on_the_map() -> None:
    rooms = {path.parent.name for path in (ROOT / "cohaudit").glob("*/__init__.py")}
    (drawn,) = ROOMS.findall(PAGE)
    assert set(re.findall(r"\w+", drawn)) == rooms | {"errors"}
    assert {f"cohaudit/{room}/" for room in rooms} <= set(PATHS)


def test_the_readme_draws_the_same_map() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ROOMS.findall(readme) == ROOMS.findall(PAGE)
