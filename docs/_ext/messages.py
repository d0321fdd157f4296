"""Lists the messages of errors that a user can cause, each with its remedy, from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PACKAGE = Path(__file__).parents[2] / "cohaudit"
"""The source that is read."""
SUBJECTS = {
    "CheckpointError": "Checkpoint",
    "ConfigError": "Settings and options",
    "DataError": "Data",
    "EngineError": "Measuring",
    "ModelError": "Model",
    "ReportError": "Files that are read or written",
    "UserTemplateError": "Templates",
}
"""Class of errors → heading of its messages."""
GAP = "…"
"""Stands for what a message fills in."""


@dataclass(frozen=True, order=True)
class Message:
    """One message; what differs from case to case is `GAP`."""

    kind: str
    """Class of the error."""
    found: str
    """What was found."""
    remedy: str
    """What to do."""


def messages() -> list[Message]:
    """Return all messages whose words stand in the source where the error is raised."""
    found = set[Message]()
    for path in sorted(PACKAGE.rglob("*.py")):
        found |= set(_of_module(ast.parse(path.read_text(encoding="utf-8"))))
    return sorted(found)


def _of_module(module: ast.Module) -> Iterator[Message]:
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef):
            continue
        named = _assigned(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SUBJECTS:
                texts = [_text(argument, named) for argument in node.args[1:3]]
                if len(texts) == 2 and all(_says(text) for text in texts):
                    yield Message(node.func.id, texts[0], texts[1])


def _assigned(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """Return the names that a function assigns once, with what they stand for."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, []).append(value)
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                found.setdefault(name, []).append(value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _text(node: ast.expr, named: dict[str, ast.expr]) -> str:
    """Return a text as it stands in the source, with gaps for everything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, named) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, named) + _text(right, named)
        case ast.Name(id=name) if name in named:
            # without the name itself: it may stand for something made of itself
            return _text(named[name], {key: value for key, value in named.items() if key != name})
        case _:
            return GAP


def _says(text: str) -> bool:
    """Return whether more than one word of a text is known."""
    return len(text.replace(GAP, " ").split()) > 1


class Messages(SphinxDirective):
    """Every message, in a table for each kind of error."""

    def run(self) -> list[nodes.Node]:
        """Return the parsed tables."""
        lines: list[str] = []
        for kind, group in groupby(messages(), key=lambda message: message.kind):
            lines += [f"### {SUBJECTS[kind]}", "", "| message | what to do |", "|---|---|"]
            lines += [f"| {_cell(one.found)} | {_cell(one.remedy)} |" for one in group]
            lines.append("")
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _cell(text: str) -> str:
    """Return a text as Markdown that shows it as it is."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", text)
    return escaped.replace("\n", " ")


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Called by Sphinx."""
    app.add_directive("messages", Messages)
    return {"parallel_read_safe": True}
