"""The house, held by reading its source: which room may know which, and nothing loose beside them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import cohaudit

PACKAGE = Path(cohaudit.__file__).parent
LOOSE = {"__init__", "__main__", "_version", "errors"}
FLOORS: tuple[set[str], ...] = (
    {"errors", "_version"},
    {"config", "results"},
    {"loading", "analysis", "gradients"},
    {"audits"},
    {"review"},
    {"report"},
    {"pipeline"},
    {"doctor"},
    {"cli"},
)
"""The rooms from the ground up: each may know those below it, never one beside or above it."""
MAY_IMPORT = {
    "analysis": {
        "cohaudit.analysis",
        "cohaudit.results",
        "cohaudit.errors",
        "numpy",
        "pandas",
        "torch",
        "scipy",
    },
    "gradients": {"cohaudit.gradients", "cohaudit.results", "cohaudit.errors", "numpy", "torch"},
    "results": {"cohaudit.results", "cohaudit.errors", "numpy", "pandas", "pyarrow"},
    "config": {"cohaudit.config", "cohaudit.errors"},
}
"""Room → everything that it may import beside the standard library."""
WITHOUT_TORCH = (
    "cohaudit.config",
    "cohaudit.errors",
    "cohaudit.report",
    "cohaudit.results",
    "cohaudit.review",
)
LONGEST_FILE = 400


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def room(module: str) -> str:
    """Return the room that a module of the package lies in."""
    return module.split(".")[1] if "." in module else ""


def imports(body: ast.AST, package: str) -> Iterator[str]:
    """Yield what a piece of source imports, as the dotted names of modules."""
    for node in ast.walk(body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                member = f"{base}.{alias.name}"
                yield member if member in MODULES else base


@cache
def parsed(module: str) -> tuple[ast.Module, str]:
    """Return the source of a module, and the package that its relative imports start from."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return ast.parse(path.read_text(encoding="utf-8")), package


@cache
def imports_of(module: str) -> set[str]:
    """Return every import of a module, also those inside functions and for type checking."""
    return set(imports(*parsed(module)))


def imports_at_start(module: str) -> set[str]:
    """Return what is imported while the module itself is: neither in functions nor for type checking."""
    tree, package = parsed(module)
    at_start = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {name for node in at_start for name in imports(node, package)}


def within(module: str, part: str) -> bool:
    """Return whether a module is `part` or lies inside it."""
    return module == part or module.startswith(f"{part}.")


def reaching(start: str, target: str) -> list[str]:
    """Return a chain of imports from a module to a package outside, empty where there is none."""
    chains, seen = [[start]], {start}
    for chain in chains:
        for name in sorted(imports_of(chain[-1]) - seen):
            seen.add(name)
            if within(name, target):
                return [*chain, name]
            if name in MODULES and name != "cohaudit":
                chains.append([*chain, name])
    return []


def test_the_reader_finds_imports_wherever_they_are() -> None:
    source = """
import os.path
from cohaudit import results, scan
if TYPE_CHECKING:
    from .errors import CohauditError
def late():
    from ..review.gate_condition import parse_gate
    from . import html
"""
    found = set(imports(ast.parse(source), "cohaudit.report"))
    assert found == {
        "os.path",
        "cohaudit.results",
        "cohaudit",
        "cohaudit.report.errors",
        "cohaudit.review.gate_condition",
        "cohaudit.report.html",
    }


def test_nothing_stands_loose_beside_the_rooms() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == LOOSE
    assert set.union(*FLOORS) - LOOSE == ROOMS
    assert len(FLOORS) <= 12
    assert "scan" not in {path.name for path in PACKAGE.rglob("*") if path.is_dir()}


def test_a_room_knows_only_rooms_below_it() -> None:
    floor = {name: height for height, rooms in enumerate(FLOORS) for name in rooms}
    assert [
        f"{module} → {name}"
        for module in MODULES
        for name in sorted(imports_of(module))
        if room(module) in ROOMS and room(name) in floor and room(name) != room(module)
        if floor[room(name)] >= floor[room(module)]
    ] == []


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_room_of_numbers_or_data_imports_nothing_else(name: str) -> None:
    allowed = {*MAY_IMPORT[name], *sys.stdlib_module_names}
    assert [
        f"{module} → {imported}"
        for module in MODULES
        if room(module) == name
        for imported in sorted(imports_of(module))
        if not any(within(imported, part) for part in allowed)
    ] == []


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_what_reads_an_audit_knows_no_torch(part: str) -> None:
    chains = [reaching(module, "torch") for module in MODULES if within(module, part)]
    assert [" → ".join(chain) for chain in chains if chain and "loading" not in map(room, chain)] == []


def test_no_import_cycles() -> None:
    graph = {module: imports_at_start(module) & MODULES.keys() - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError with the cycle in it


@pytest.mark.parametrize(
    "code", ["import cohaudit", "import cohaudit.cli as c; c.main(['--help'], standalone_mode=False)"]
)
def test_it_starts_without_heavy_imports(code: str) -> None:
    ask = (
        "import sys; print('heavy:', *{'torch', 'pandas', 'numpy', 'matplotlib', 'rich'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ask}"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == "heavy:"


def test_files_are_of_one_subject_and_readable_in_one_sitting() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert [name for name, count in lines.items() if count > LONGEST_FILE] == []
    assert [p for p in MODULES.values() if p.stem.strip("_") in {"utils", "util", "helpers", "misc"}] == []
