"""The wheel: built from the source archive, it holds all it needs and works away from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from support.audits import make_audit

from cohaudit.results.json_encode import audit_to_json

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed, without anything of this process's own import path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel that was built from the source archive, as an index would have it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", out, cwd=ROOT)
    (archive,) = out.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", out, archive, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts of an environment that has the wheel, and borrows what it depends on."""
    base = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(base, symlinks=True)
    paths = sysconfig.get_paths("venv", vars={"base": str(base), "platbase": str(base)})
    scripts, packages = Path(paths["scripts"]), Path(paths["purelib"])
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=base)
    borrowed = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    return scripts


def test_the_wheel_holds_all_that_runs_and_no_more(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {f"cohaudit/{path.relative_to(ROOT)}" for path in (ROOT / "templates").rglob("*.*")}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "cohaudit").rglob("*.py")}
    assert "cohaudit/templates/report.html.j2" in templates
    assert templates | sources | {"cohaudit/py.typed"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"cohaudit"}


def test_it_runs_from_where_it_was_installed(installed: Path, tmp_path: Path) -> None:
    code = "import cohaudit; print(cohaudit.__file__)"
    imported = Path(run(installed / "python", "-c", code, cwd=tmp_path).strip())
    assert imported.is_relative_to(installed.parent)
    assert not imported.is_relative_to(ROOT)


def test_it_says_its_version(installed: Path, wheel: Path, tmp_path: Path) -> None:
    version = wheel.name.split("-")[1]
    assert run(installed / "cohaudit", "--version", cwd=tmp_path) == f"cohaudit {version}\n"


def test_it_renders_a_report_from_an_audit_alone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(audit_to_json(make_audit()), encoding="utf-8")
    run(installed / "cohaudit", "report", "audit.json", cwd=tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
