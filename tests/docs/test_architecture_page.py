"""docs/architecture.md names only what exists: paths, functions, and the rooms on its map."""

from __future__ import annotations

import re
from importlib import import_module

import pytest
from support.pages import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", PAGE, flags=re.DOTALL | re.MULTILINE))
FUNCTIONS = sorted({name for name in CODE if re.fullmatch(r"cohaudit\.[\w.]+:\w+", name)})
ROOTS = ("cohaudit/", "templates/", "tests/", "docs/", "benchmarks/", "fixtures/")
PATHS = sorted({word for name in CODE for word in name.split() if word.startswith(ROOTS)})
ROOMS = re.compile(r"^cli → .*$", re.MULTILINE)


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


def test_every_room_is_in_the_table_and_on_the_map() -> None:
    rooms = {path.parent.name for path in (ROOT / "cohaudit").glob("*/__init__.py")}
    (drawn,) = ROOMS.findall(PAGE)
    assert set(re.findall(r"\w+", drawn)) == rooms | {"errors"}
    assert {f"cohaudit/{room}/" for room in rooms} <= set(PATHS)


def test_the_readme_draws_the_same_map() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ROOMS.findall(readme) == ROOMS.findall(PAGE)
