"""The import arrows of the package, held by reading its source: which module may know which."""

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
LONGEST_FILE = 360
"""As long as the list of all figures in results, each with its docstring."""
LONGEST_OF_GRADIENTS = 400
"""The pass over the data and the plan for it are each one subject, and not short."""

MEASURING = {
    "cohaudit.loading.checkpoint",
    "cohaudit.loading.model",
    "cohaudit.loading.data",
    "cohaudit.gradients",
    "cohaudit.pipeline.scan",
}
READS_RESULTS_ONLY = (
    "cohaudit.config",
    "cohaudit.review.diff.compare",
    "cohaudit.report.terminal.diff_summary",
    "cohaudit.review.diff.suspects",
    "cohaudit.review.diff.width",
    "cohaudit.errors",
    "cohaudit.review.export",
    "cohaudit.review.gates",
    "cohaudit.report",
    "cohaudit.results",
    "cohaudit.report.terminal.summary",
)
PURE = (
    *(
        "cohaudit.analysis.class_conditional_noise",
        "cohaudit.analysis.coherence",
        "cohaudit.analysis.near_duplicates",
        "cohaudit.analysis.sample_kinds",
    ),
    *(
        "cohaudit.analysis.label_noise",
        "cohaudit.analysis.leave_one_out",
        "cohaudit.analysis.neighbor_support",
        "cohaudit.analysis.nearest_neighbors",
    ),
    *(
        "cohaudit.audits.weight_decay",
        "cohaudit.audits.depth",
        "cohaudit.analysis.gap_drivers",
        "cohaudit.analysis.generalization_gap",
        "cohaudit.analysis.sanity",
    ),
    *(
        "cohaudit.audits.winsorized_statistics",
        "cohaudit.audits.training.stability_bound",
        "cohaudit.audits.training.trajectory",
        "cohaudit.audits.width",
    ),
    *("cohaudit.doctor.extrapolation", "cohaudit.audits.input_features"),
)
PURE_MAY_IMPORT = {
    *(
        "cohaudit.analysis.class_conditional_noise",
        "cohaudit.config",
        "cohaudit.errors",
        "cohaudit.analysis.label_noise",
    ),
    *(
        "cohaudit.analysis.nearest_neighbors",
        "cohaudit.results.trajectory",
        "cohaudit.results",
        "cohaudit.results.audits",
        "cohaudit.results.gap",
    ),
    *("numpy", "pandas", "torch"),
    *("__future__", "collections", "dataclasses", "functools", "itertools", "math", "typing"),
}


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


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


def members(*parts: str) -> list[str]:
    """Return the modules of the named parts of the package; a part without any is a mistake in this file."""
    for part in parts:
        assert part in MODULES, f"there is no module {part}"
    return sorted(module for module in MODULES if any(within(module, part) for part in parts))


def breaches(modules: list[str], allowed: set[str]) -> list[str]:
    """Return 'importer → imported' for each import that is not within what is allowed."""
    return [
        f"{module} → {name}"
        for module in modules
        for name in sorted(imports_of(module))
        if not any(within(name, part) for part in allowed)
    ]


def forbidden(modules: list[str], parts: set[str]) -> list[str]:
    """Return 'importer → … → imported' for each forbidden import, at any remove inside the package."""
    found = []
    for start in modules:
        chains, seen = [[start]], {start}
        for chain in chains:
            for name in sorted(imports_of(chain[-1]) - seen):
                seen.add(name)
                if any(within(name, part) for part in parts):
                    found.append(" → ".join([*chain, name]))
                elif name in MODULES and name != "cohaudit":
                    chains.append([*chain, name])
    return found


def test_the_reader_finds_imports_wherever_they_are() -> None:
    source = """
import os.path
from cohaudit import results, scan
if TYPE_CHECKING:
    from .errors import CohauditError
def late():
    from ..gates import parse_gate
    from . import html
"""
    found = set(imports(ast.parse(source), "cohaudit.report"))
    assert found == {
        "os.path",
        "cohaudit.results",
        "cohaudit",
        "cohaudit.report.errors",
        "cohaudit.review.gates",
        "cohaudit.report.html.render",
    }


def test_only_the_entry_point_imports_the_command_line() -> None:
    others = [
        module for module in MODULES if not within(module, "cohaudit.cli") and module != "cohaudit.__main__"
    ]
    importers = [module for module in others if any(within(n, "cohaudit.cli") for n in imports_of(module))]
    assert importers == []


@pytest.mark.parametrize("part", READS_RESULTS_ONLY)
def test_what_reads_results_knows_neither_torch_nor_how_they_were_measured(part: str) -> None:
    assert forbidden(members(part), {"torch", *MEASURING}) == []


@pytest.mark.parametrize("module", PURE)
def test_the_mathematics_is_arrays_in_numbers_out(module: str) -> None:
    assert breaches(members(module), PURE_MAY_IMPORT) == []


def test_gradients_know_nothing_of_files_thresholds_or_judgment() -> None:
    inside = {name for m in members("cohaudit.gradients") for name in imports_of(m) if name in MODULES}
    allowed = ("cohaudit.errors", "cohaudit.results", "cohaudit.gradients")
    assert sorted(n for n in inside if not any(within(n, part) for part in allowed)) == []


def test_data_knows_no_model() -> None:
    above = {
        "cohaudit.gradients",
        "cohaudit.loading.model",
        "cohaudit.loading.checkpoint",
        "cohaudit.pipeline.scan",
    }
    assert forbidden(members("cohaudit.loading.data"), above) == []


def test_checkpoints_know_neither_model_nor_data() -> None:
    above = {
        "cohaudit.gradients",
        "cohaudit.loading.model",
        "cohaudit.loading.data",
        "cohaudit.pipeline.scan",
    }
    assert forbidden(members("cohaudit.loading.checkpoint"), above) == []


def test_no_import_cycles() -> None:
    graph = {module: imports_at_start(module) & MODULES.keys() - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError with the cycle in it


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = "import sys, cohaudit.cli; print(*{'torch', 'pandas', 'matplotlib', 'rich'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []


def test_files_are_of_one_subject_and_readable_in_one_sitting() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    longest = {True: LONGEST_OF_GRADIENTS, False: LONGEST_FILE}
    assert [name for name, n in lines.items() if n > longest[within(name, "cohaudit.gradients")]] == []
    assert [
        path for path in MODULES.values() if path.stem.strip("_") in {"utils", "util", "helpers", "misc"}
    ] == []
