"""Finds the functions and classes of a Python file that make a model, by parsing it, never importing it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_BASE_CLASSES = frozenset({"Module", "LightningModule"})
"""Names of the base classes of models. The last part of the name counts: nn.Module, torch.nn.Module, …"""

_FACTORY_NAME = re.compile(r"(build|make|create|get)(_?(model|net|network))?")
"""Names of functions that probably return a model, if their return type does not say."""


@dataclass(frozen=True)
class Factory:
    """A function or class that returns a model when called."""

    name: str
    """Name in the file."""
    required: tuple[str, ...]
    """Names of the arguments without a default."""


def find_factories(source: str) -> list[Factory]:
    """Return the callables of a file that make a model, the likeliest first.

    Functions come before classes, because a project that has a function builds its models with it. Factories
    without required arguments come before others. Later definitions come before earlier ones, which are
    probably their building blocks.

    Args:
        source: Text of a Python file. A text that does not parse has no factories.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):  # ValueError: null bytes; RecursionError: deep nesting
        return []
    classes = _model_classes(body)
    functions = [
        Factory(node.name, _required(node))
        for node in body
        if isinstance(node, ast.FunctionDef) and _makes_model(node, set(classes))
    ]
    made = [Factory(name, _required_by_class(node, classes)) for name, node in classes.items()]
    # sorted() is stable: within both groups the order stays, functions first
    return sorted([*functions[::-1], *made[::-1]], key=lambda factory: bool(factory.required))


def _model_classes(body: list[ast.stmt]) -> dict[str, ast.ClassDef]:
    """Return the classes that inherit from torch's Module, directly or through an earlier class."""
    classes: dict[str, ast.ClassDef] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            bases = {_last_name(base) for base in node.bases}
            if bases & (_BASE_CLASSES | classes.keys()):
                classes[node.name] = node
    return classes


def _makes_model(function: ast.FunctionDef, classes: set[str]) -> bool:
    """Tell whether a function returns a model, by its return type, its name or the calls it returns."""
    if function.name.startswith("_"):
        return False
    if function.returns is not None:
        return _last_name(function.returns) in _BASE_CLASSES | classes
    return bool(_FACTORY_NAME.fullmatch(function.name)) or bool(_returned_calls(function) & classes)


def _returned_calls(function: ast.FunctionDef) -> set[str]:
    """Return the names of the callables whose result a function returns, directly or through a variable."""
    # assignments in any branch count: a wrong guess only adds a candidate to a list
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
    """Return the required arguments of a class's own or inherited `__init__`."""
    for owner in _lineage(node, classes):
        for statement in owner.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return _required(statement)[1:]  # without self
    return ()


def _lineage(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    """Yield a class and its ancestors in the same file."""
    yield node
    for base in node.bases:
        name = _last_name(base)
        # only earlier lines: a class that names itself or a later one as its base must not loop
        if name in classes and classes[name].lineno < node.lineno:
            yield from _lineage(classes[name], classes)


def _required(function: ast.FunctionDef) -> tuple[str, ...]:
    """Return the arguments without a default, positional ones first."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    bare = positional[: len(positional) - len(arguments.defaults)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return tuple(a.arg for a in [*bare, *(a for a, default in keywords if default is None)])


def _last_name(node: ast.expr | None) -> str:
    """Return the last part of a dotted name, written or quoted; '' for any other expression."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Constant(value=str(text)):
            return text.rpartition(".")[2]
        case _:
            return ""
