"""Finds functions of a Python file that prepare one input for a model; the file is parsed, not imported."""

from __future__ import annotations

import ast
import re

_NAME = re.compile(
    r"(?:(?P<use>eval|evaluation|val|valid|validation|test|inference|predict)_)?"
    r"(?:transforms?|preprocess(?:ing)?|preprocessor|normalize|prepare(?:_input)?|to_input)"
    r"(?:_(?P<after>eval|evaluation|val|valid|validation|test|inference))?"
)
"""Name of a preparation. One for training is not meant: it may change an input at random. Nor is one such as
`get_transform`, which returns the preparation that the key asks for."""
_RANDOM = re.compile(r"rand", re.IGNORECASE)
"""Sign of random augmentation, which an audit must not do."""


def find_transforms(source: str) -> list[str]:
    """Return the names of functions that turn one raw input into a model's input, the likeliest first.

    A function counts if its name says so and it takes one required argument; an assignment at the top level,
    such as `transform = Compose([…])`, if its name says so and it calls something. Anything random does not.
    Those named for evaluation come first.

    Args:
        source: Text of a Python file. A text that does not parse has none.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):  # ValueError: null bytes; RecursionError: deep nesting
        return []
    names = {name: node for node in body if (name := _defined(node))}
    found = [
        name
        for name, node in names.items()
        if _NAME.fullmatch(name) and not _RANDOM.search(ast.unparse(node))
    ]
    # sorted() is stable: within both groups the order stays
    return sorted(found, key=lambda name: not _for_evaluation(name))


def _defined(node: ast.stmt) -> str:
    """Return the name of a function of one required argument, or of an assigned call; else ''."""
    match node:
        case ast.FunctionDef(name=name, args=arguments):
            positional = [*arguments.posonlyargs, *arguments.args]
            required = len(positional) - len(arguments.defaults)
            needed = any(default is None for default in arguments.kw_defaults)
            return name if required == 1 and not needed else ""
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() | ast.Lambda()):
            return name
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() | ast.Lambda()):
            return name
        case _:
            return ""


def _for_evaluation(name: str) -> bool:
    found = _NAME.fullmatch(name)
    return found is not None and bool(found["use"] or found["after"])
