"""Finds what a Python file does on import besides defining things, by parsing it, never importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CERTAIN_CALLS = frozenset(
    {"backward", "torch.save", "save_file", "save_model", "save_pretrained", "save_checkpoint"}
)
"""Calls that train or save a model, on any object."""
LIKELY_CALLS = frozenset({"step", "fit"})
"""Calls that usually train a model; but `fit` can be a scaler's."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SideEffect:
    """A call or loop that runs when a file is imported, and that probably trains or saves a model."""

    line: int
    """Line number, from 1; for work inside a function, the line that calls the function."""
    what: str
    """The call as written, shortened, or 'a loop'."""
    certain: bool
    """True if the file certainly trains or saves a model; False if that is only likely."""


def find_side_effects(source: str) -> list[SideEffect]:
    """Return the training, saving and loops that importing a file runs, certain ones first.

    Functions of the file that it calls on import count. Code under `if __name__ == "__main__":` does not.

    Args:
        source: Text of a Python file. A text that does not parse does nothing.
    """
    try:
        return sorted(_side_effects(ast.parse(source).body), key=lambda effect: not effect.certain)
    except (SyntaxError, ValueError, RecursionError):  # ValueError: null bytes; RecursionError: deep nesting
        return []


def _side_effects(body: list[ast.stmt]) -> Iterator[SideEffect]:
    """Yield the loops and the calls that run with the body of a file, in order."""
    functions = {node.name: node for node in body if isinstance(node, _Function)}
    for node in _run(body):
        # a loop at the top level of a script is often the training loop
        if isinstance(node, ast.For | ast.While):
            yield SideEffect(node.lineno, "a loop", certain=False)
        elif isinstance(node, ast.Call):
            signs = set(_signs(node, functions))
            if signs:
                yield SideEffect(node.lineno, _shown(node), bool(signs & CERTAIN_CALLS))


def _shown(call: ast.Call) -> str:
    """Return a call as written, without its arguments; an object that is not a plain name becomes '…'."""
    name = ast.unparse(call.func)
    short = name if name.replace(".", "").isidentifier() else f"….{name.rpartition('.')[2]}"
    return f"{short}({'…' if call.args or call.keywords else ''})"


def _signs(call: ast.Call, functions: dict[str, _Function]) -> Iterator[str]:
    """Yield the names of calls that train or save: the call itself, and those in the functions it reaches.

    Args:
        call: The call.
        functions: Name → functions of the file that have not been searched yet. Searched ones are removed,
            so that recursion ends and the time stays linear.
    """
    name = ast.unparse(call.func)
    yield from {name, name.rpartition(".")[2]} & (CERTAIN_CALLS | LIKELY_CALLS)
    function = functions.pop(name, None)
    for node in _run(function.body) if function else ():
        if isinstance(node, ast.Call):
            yield from _signs(node, functions)


def _run(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes that run together with a body; the inside of definitions does not."""
    for node in body:
        if isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            continue
        yield node
        # the guarded block does not run on import, but its else branch does
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            yield from _run(node.orelse)
        else:
            yield from _run(ast.iter_child_nodes(node))
