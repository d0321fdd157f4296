"""What `import cohaudit` gives: each name, lazily, typed, and described."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from inspect import getdoc
from pathlib import Path
from typing import get_args

import pytest
from support.pages import ROOT

import cohaudit
from cohaudit.gradients import robust

USER = ROOT / "tests" / "support" / "typed_user.py"
PUBLIC = set(cohaudit.__all__)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_there_and_described(name: str) -> None:
    found = getattr(cohaudit, name)
    assert name in dir(cohaudit)
    # a type alias has members, and its description only in the source
    assert isinstance(found, str) or getdoc(found) or get_args(found)


def test_only_public_names_are_listed() -> None:
    assert dir(cohaudit) == sorted(PUBLIC)


def test_diff_has_its_former_name_too() -> None:
    assert cohaudit.diff is cohaudit.compare


def test_what_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = cohaudit.no_such_name  # type: ignore[attr-defined]


def test_modules_are_reached_without_importing_them() -> None:
    assert cohaudit.robust is robust
    names = {"Skipped", "Estimate", "Suppression", "Audit"}
    assert all(getattr(cohaudit.results, name) is getattr(cohaudit, name) for name in names)


def test_a_type_checker_knows_the_same_names() -> None:
    tree = ast.parse(Path(cohaudit.__file__).read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in typed.body if isinstance(node, ast.ImportFrom)]
    assert {alias.asname or alias.name for node in imports for alias in node.names} == PUBLIC


def test_the_script_uses_every_public_name() -> None:
    tree = ast.parse(USER.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names >= PUBLIC


def type_check(folder: Path, *scripts: Path) -> str:
    """Return what `mypy --strict`, run in a folder, says about scripts, and not about the package."""
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file="]
    done = subprocess.run(
        [*command, f"--cache-dir={os.devnull}", *map(str, scripts)],  # read by no later run
        cwd=folder,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


WRONG = """
import cohaudit
from torch import nn

model = nn.Linear(1, 2)
cohaudit.scan(model, 3)
cohaudit.scan(model, "train.npz", limit="ten")
cohaudit.scan(model, "train.npz", no_such_setting=1)
cohaudit.read_audit("audit.json").labels.suspects + 1
cohaudit.check("audit.json", fail_on=3)
"""


@pytest.mark.slow
def test_a_users_script_passes_mypy_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    script = tmp_path / "wrong.py"
    script.write_text(WRONG)
    told = type_check(tmp_path, USER, script)  # together, as reading the types of torch takes longest
    assert "(checked 2 source files)" in told
    first = WRONG.splitlines().index("cohaudit.scan(model, 3)") + 1
    found = [line.split(":")[:2] for line in told.splitlines() if ": error:" in line]
    assert found == [["wrong.py", str(line)] for line in range(first, first + 5)], told
