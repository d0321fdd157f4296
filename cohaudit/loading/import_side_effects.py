"""What a Python file does on import beside defining things: read from its syntax, without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CERTAIN = frozenset(
    {"backward", "torch.save", "save_file", "save_model", "save_pretrained", "save_checkpoint"}
)
"""Calls that train or save a model, whatever they are called on."""
TRAINS = frozenset({"step", "fit"})
"""Calls that mostly train one; `fit` can be that of a scaler."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Work:
    """Something that happens when a file is imported."""

    line: int
    """Where, from 1; of what a function does, where it is called."""
    what: str
    """As written, or in words."""
    certain: bool
    """The file trains or saves a model; else it is only likely."""


def find_work(source: str) -> list[Work]:
    """Return the training, saving and loops that importing a file runs, the certain before the likely.

    Functions of the file that it calls while it is imported count; what stands under
    `if __name__ == "__main__":` does not.

    Args:
        source: The text of a Python file; one that is no Python does nothing.
    """
    try:
        return sorted(_work(ast.parse(source).body), key=lambda work: not work.certain)
    except (SyntaxError, ValueError, RecursionError):
        return []


def _work(body: list[ast.stmt]) -> Iterator[Work]:
    functions = {node.name: node for node in body if isinstance(node, _Function)}
    for node in _run(body):
        if isinstance(node, ast.For | ast.While):
            yield Work(node.lineno, "a loop", certain=False)
        elif isinstance(node, ast.Call):
            signs = set(_signs(node, functions))
            if signs:
                yield Work(node.lineno, _shown(node), bool(signs & CERTAIN))


def _shown(call: ast.Call) -> str:
    """Return a call as written, but for its arguments and for what it is called on if that is no name."""
    name = ast.unparse(call.func)
    short = name if name.replace(".", "").isidentifier() else f"….{name.rpartition('.')[2]}"
    return f"{short}({'…' if call.args or call.keywords else ''})"


def _signs(call: ast.Call, functions: dict[str, _Function]) -> Iterator[str]:
    """Yield the names that train or save, of a call and of what the functions do that it leads to.

    Args:
        call: The call.
        functions: Those of the file, by name; each is taken out as it is looked into, so that it is once.
    """
    name = ast.unparse(call.func)
    yield from {name, name.rpartition(".")[2]} & (CERTAIN | TRAINS)
    function = functions.pop(name, None)
    for node in _run(function.body) if function else ():
        if isinstance(node, ast.Call):
            yield from _signs(node, functions)


def _run(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield what runs when the body does, not what it only defines."""
    for node in body:
        if isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            continue
        yield node
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            yield from _run(node.orelse)
        else:
            yield from _run(ast.iter_child_nodes(node))
