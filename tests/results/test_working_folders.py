"""Outputs appear as a set, whatever ends a run, and a later run tidies up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cohaudit.results.files import write_files

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
NAMES = ("report.html", "samples.csv", "audit.json")


def contents(version: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, version)


def texts(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in NAMES if (folder / name).exists()]


@needs_fork
@pytest.mark.parametrize("renames", range(7))
def test_a_run_that_is_killed_between_two_renames(renames: int, tmp_path: Path, monkeypatch) -> None:
    write_files(tmp_path, contents("old"))
    child = os.fork()
    if child == 0:
        left = [renames]
        rename = Path.replace

        def counted(self: Path, target: Path) -> Path:
            if not left[0]:
                os.kill(os.getpid(), 9)
            left[0] -= 1
            return rename(self, target)

        Path.replace = counted  # type: ignore[method-assign]
        write_files(tmp_path, contents("new"))
        os._exit(0)
    os.waitpid(child, 0)
    seen = texts(tmp_path)
    assert len({*seen}) <= 1, "never files of two sets"
    assert not (tmp_path / "audit.json").exists() or len(seen) == 3, "whoever finds the audit finds all"
    write_files(tmp_path, {"other.txt": "x"})
    assert texts(tmp_path) in (["old"] * 3, ["new"] * 3)
    assert list(tmp_path.glob(".cohaudit-*")) == []


def test_an_error_leaves_the_former_files(tmp_path: Path, monkeypatch) -> None:
    write_files(tmp_path, contents("old"))
    rename = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if (
            self.name == "samples.csv"
            and ".cohaudit-replaced" not in str(target)
            and self.read_text() == "new"
        ):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(Exception, match="No space left"):
        write_files(tmp_path, contents("new"))
    assert texts(tmp_path) == ["old"] * 3
