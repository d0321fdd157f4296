"""The benchmarks that can be run: every module with a function `main`."""

from __future__ import annotations

import ast

from benchmarks.shared import paths


def commands() -> dict[str, str]:
    """Return what can be run by `python -m`: the module's name → the first line of its docstring.

    A group's main benchmark goes by the group's name. Files are parsed, not imported: no torch is loaded.
    """
    found = {}
    for group in sorted(path.parent for path in paths.PACKAGE.glob("*/__init__.py")):
        package = f"{paths.PACKAGE.name}.{group.name}"
        main_module = _main_module(group.name)
        for path in sorted(group.glob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
                name = f"{package}.{path.stem}"
                summary = (ast.get_docstring(tree) or "").partition("\n")[0]
                found[package if name == main_module else name] = summary
    return dict(sorted(found.items()))


def _main_module(group: str) -> str | None:
    """Return the module whose `main` a group runs; None if the group has no main benchmark."""
    path = paths.PACKAGE / group / "__main__.py"
    if not path.exists():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(node.module for node in tree.body if isinstance(node, ast.ImportFrom))
