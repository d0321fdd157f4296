"""The house, held by reading its source: which room may know which, and nothing loose beside them."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import cohaudit

PACKAGE = Path(cohaudit.__file__).parent
LOOSE = {"__init__", "__main__", "_version", "errors"}
FLOORS = (
    {"errors", "_version"},
    {"untrusted", "arrays"},
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
PACKAGES = {
    "arrays": {"numpy"},
    "analysis": {"numpy", "pandas", "scipy", "sklearn", "threadpoolctl", "torch"},
    "gradients": {"numpy", "torch"},
    "results": {"numpy", "pandas", "pyarrow"},
    "config": set[str](),
}
"""Room of numbers or data → packages that it may import. It knows `errors`, `_version`, `untrusted`, `arrays`
and, but for config, `results`."""
WITHOUT_TORCH = ("config", "errors", "report", "results", "review", "untrusted")
LONGEST_FILE = 400


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def room(module: str) -> str:
    """Return the room of a module of cohaudit; empty for the package itself and for other packages."""
    return module.split(".")[1] if module.startswith("cohaudit.") else ""


def names(node: ast.AST) -> set[str]:
    """Return the modules that a statement imports; relative imports are not used here."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom):
        return set()
    assert node.module is not None
    assert not node.level
    members = {f"{node.module}.{alias.name}" for alias in node.names}
    return (members & MODULES.keys()) or {node.module}


@cache
def imports(module: str) -> frozenset[str]:
    """Return every import of a module, also those inside functions and for type checking."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return frozenset(name for node in ast.walk(tree) for name in names(node))


def chain_to(start: str, package: str) -> list[str]:
    """Return a chain of imports from a module to another package; empty where there is none."""
    chains, seen = [[start]], {start}
    for chain in chains:
        for name in sorted(imports(chain[-1]) - seen):
            seen.add(name)
            if name.partition(".")[0] == package:
                return [*chain, name]
            if name in MODULES and name != "cohaudit":
                chains.append([*chain, name])
    return []


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
        for name in sorted(imports(module))
        if room(module) in ROOMS and room(name) not in {"", room(module)}
        if floor[room(name)] >= floor[room(module)]
    ] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_a_room_of_numbers_or_data_imports_nothing_else(name: str) -> None:
    rooms = {name, "errors", "_version", "untrusted", "arrays"} | ({"results"} if name != "config" else set())
    allowed = {*PACKAGES[name], *sys.stdlib_module_names}
    assert [
        f"{module} → {imported}"
        for module in MODULES
        if room(module) == name
        for imported in sorted(imports(module))
        if (room(imported) not in rooms if room(imported) else imported.partition(".")[0] not in allowed)
    ] == []


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_reads_an_audit_knows_no_torch(name: str) -> None:
    chains = [chain_to(module, "torch") for module in MODULES if room(module) == name]
    # `cohaudit correct` opens the data, by the code that a scan opens them with
    assert [" → ".join(chain) for chain in chains if "loading" not in map(room, chain) and chain] == []


@pytest.mark.parametrize(("part", "other"), [("checkpoint", "data"), ("data", "checkpoint")])
def test_the_parts_of_loading_know_neither_the_model_nor_each_other(part: str, other: str) -> None:
    strangers = ("cohaudit.gradients", "cohaudit.loading.model", f"cohaudit.loading.{other}")
    assert [
        f"{module} → {name}"
        for module in MODULES
        if module.startswith(f"cohaudit.loading.{part}")
        for name in imports(module)
        if name.startswith(strangers)
    ] == []


def test_no_import_cycles() -> None:
    # also for type checking and inside functions; the package itself names everything lazily
    graph = {module: imports(module) & MODULES.keys() - {module, "cohaudit"} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError with the cycle in it


@pytest.mark.parametrize(
    "code", ["import cohaudit", "from cohaudit.cli import main; main(['--help'], '', None, False)"]
)
def test_it_starts_without_heavy_imports(code: str) -> None:
    heavy = (
        "print('heavy:', *{'torch', 'pandas', 'numpy', 'matplotlib', 'rich', 'scipy', 'sklearn'} "
        "& {*__import__('sys').modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{heavy}"],
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
