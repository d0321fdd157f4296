"""Which functions and classes of a Python file make a model: read from its syntax, without importing it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_ROOTS = frozenset({"Module", "LightningModule"})
_FACTORY_NAME = re.compile(r"(build|make|create|get)(_?(model|net|network))?")


@dataclass(frozen=True)
class Factory:
    """Something to call for a model."""

    name: str
    """Its name in the file."""
    required: tuple[str, ...]
    """Arguments without a default."""


def find_factories(source: str) -> list[Factory]:
    """Return what can be called for a model, the likeliest first.

    Functions come before classes, because a project that has one builds its models with it; what needs no
    arguments before what does; later definitions before the building blocks that they use.

    Args:
        source: The text of a Python file; one that is no Python has no factories.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):
        return []
    classes = _model_classes(body)
    functions = [
        Factory(node.name, _required(node))
        for node in body
        if isinstance(node, ast.FunctionDef) and _makes_model(node, set(classes))
    ]
    made = [Factory(name, _required_by_class(node, classes)) for name, node in classes.items()]
    return sorted([*functions[::-1], *made[::-1]], key=lambda factory: bool(factory.required))


def _model_classes(body: list[ast.stmt]) -> dict[str, ast.ClassDef]:
    """Return the classes that inherit from torch's Module, directly or from one before them."""
    found: dict[str, ast.ClassDef] = {}
    for node in body:
        if isinstance(node, ast.ClassDef) and {_last_name(base) for base in node.bases} & (
            _ROOTS | set(found)
        ):
            found[node.name] = node
    return found


def _makes_model(function: ast.FunctionDef, classes: set[str]) -> bool:
    if function.name.startswith("_"):
        return False
    if function.returns is not None:
        return _last_name(function.returns) in _ROOTS | classes
    return bool(_FACTORY_NAME.fullmatch(function.name)) or bool(_returned(function) & classes)


def _returned(function: ast.FunctionDef) -> set[str]:
    """Return the names of what is called for the function's result, directly or by way of a variable."""
    calls = {
        _last_name(target): _last_name(node.value.func)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
    }
    values = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    direct = {_last_name(value.func) for value in values if isinstance(value, ast.Call)}
    return direct | {calls.get(_last_name(value), "") for value in values if value is not None}


def _required_by_class(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> tuple[str, ...]:
    """Return the arguments that `__init__` cannot do without, its own or an inherited one."""
    for owner in _lineage(node, classes):
        for statement in owner.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return _required(statement)[1:]
    return ()


def _lineage(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    yield node
    for base in node.bases:
        name = _last_name(base)
        if name in classes and classes[name].lineno < node.lineno:
            yield from _lineage(classes[name], classes)


def _required(function: ast.FunctionDef) -> tuple[str, ...]:
    """Return the arguments without a default, those given by position first."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    bare = positional[: len(positional) - len(arguments.defaults)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return tuple(a.arg for a in [*bare, *(a for a, default in keywords if default is None)])


def _last_name(node: ast.expr | None) -> str:
    """Return the last part of a dotted name, as written or quoted; empty for anything else."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Constant(value=str(text)):
            return text.rpartition(".")[2]
        case _:
            return ""
