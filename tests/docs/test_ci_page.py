"""docs/ci.md from top to bottom: its commands, then the pipelines that it writes, on the digits."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from support.hostile import HOSTILE
from support.pages import Reader, blocks
from support.pipelines import ACTION, GITLAB, ROOT, Machine

PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
ON_THE_PAGE = {block.file: yaml.safe_load(block.code) for block in blocks(PAGE) if block.language == "yaml"}


def with_of_the_action() -> dict[str, str]:
    """Return what the workflow on the page gives to the action."""
    steps = ON_THE_PAGE[".github/workflows/audit.yml"]["jobs"]["audit"]["steps"]
    (step,) = [step for step in steps if step["uses"].startswith("OWNER/cohaudit@")]
    return {name.replace("-", "_"): value for name, value in step["with"].items()}


WORKFLOWS = ("audit", "audit-nightly", "renew-baseline")


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        *(("vendor.github-workflows", f".github/workflows/{name}.yml") for name in WORKFLOWS),
        ("vendor.gitlab-ci", ".gitlab-ci.yml"),
    ],
)
def test_the_pipelines_on_the_page_keep_to_their_schemas(schema: str, file: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yml"
    path.write_text(yaml.safe_dump(_plain(ON_THE_PAGE[file])), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _plain(workflow: dict[Any, Any]) -> dict[str, Any]:
    """Return a workflow with the key that YAML 1.1 reads as true named again."""
    return {"on" if name is True else name: value for name, value in workflow.items()}


def test_the_workflows_give_the_action_what_it_has() -> None:
    for name in WORKFLOWS:
        (job,) = ON_THE_PAGE[f".github/workflows/{name}.yml"]["jobs"].values()
        (step,) = [step for step in job["steps"] if step.get("uses", "").startswith("OWNER/cohaudit@")]
        assert step["with"].keys() <= ACTION["inputs"].keys()


def test_the_renewed_baseline_becomes_a_pull_request(tmp_path: Path) -> None:
    (job,) = ON_THE_PAGE[".github/workflows/renew-baseline.yml"]["jobs"].values()
    script = job["steps"][-1]["run"]
    machine = Machine(tmp_path)
    machine.command("gh", f"{machine.note()}")
    made = machine.run(
        "git init --quiet --bare ../origin; git init --quiet --initial-branch=main; mkdir cohaudit-report\n"
        "echo old >baseline.json; echo new >cohaudit-report/audit.json; git add baseline.json\n"
        "git -c user.name=me -c user.email=me@example.org commit --quiet -m first\n"
        "git remote add origin ../origin; git push --quiet origin main"
    )
    assert made.returncode == 0, made.stderr
    done = machine.run(script, AUDIT="cohaudit-report/audit.json", BRANCH="renew-baseline-1", GH_TOKEN="x")
    assert done.returncode == 0, done.stderr
    (opened,) = machine.calls()
    assert opened[:4] == ["pr", "create", "--head", "renew-baseline-1"]
    pushed = machine.run("git -C ../origin show renew-baseline-1:baseline.json")
    assert pushed.stdout == "new\n"


def test_the_page_tells_every_input_output_and_default() -> None:
    rows = [
        [cell.strip() for cell in line.split("|")] for line in PAGE.splitlines() if line.startswith("| `")
    ]
    told = {name: row[2] for row in rows for name in re.findall(r"`([\w-]+)`", row[1])}
    assert ACTION["inputs"].keys() | ACTION["outputs"].keys() <= told.keys()
    for name, declared in ACTION["inputs"].items():
        default = declared.get("default", "")
        if default and not default.startswith(("$", "https:")):
            assert told[name] == f"`{default}`"
    assert {
        name for name in GITLAB["variables"] if f"`{name}`" not in PAGE and f"{name}:" not in PAGE
    } == set()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the project as the page leaves it."""
    reader = Reader(tmp_path_factory.mktemp("page") / "root")
    for block in blocks(PAGE):
        reader.follow(block)
    return reader.here


@pytest.mark.slow
def test_the_action_passes_with_the_workflow_of_the_page(project: Path, tmp_path: Path) -> None:
    run = Machine(tmp_path, project).github(**with_of_the_action(), install="false")
    assert run.code == 0, run.said
    assert run.outputs == {
        "exit-code": "0",
        "risk": "moderate",
        "gap": run.outputs["gap"],
        "expected-score": run.outputs["expected-score"],
        "wrong-labels": run.outputs["wrong-labels"],
        "suspects": "128",
        "report": "cohaudit-report/report.html",
        "audit": "cohaudit-report/audit.json",
    }
    # with the holdout that init found
    assert 0.08 < float(run.outputs["gap"]) < 0.12
    assert 0.85 < float(run.outputs["expected-score"]) < 0.95
    assert 0.05 < float(run.outputs["wrong-labels"]) < 0.15
    assert "128" in run.summary
    assert (project / "cohaudit-report/difference.html").exists()


@pytest.mark.slow
def test_the_action_fails_by_a_gate_whatever_the_files_are_called(project: Path, tmp_path: Path) -> None:
    folder = project / HOSTILE
    folder.mkdir()
    os.link(project / "model.safetensors", folder / "model.safetensors")
    run = Machine(tmp_path, project).github(
        checkpoint=f"{HOSTILE}/model.safetensors",
        config="cohaudit.toml",
        fail_on="suspects>5%",
        baseline="baseline.json",
        out=f"{HOSTILE}/report",
        install="false",
    )
    assert run.code == 1, run.said
    assert (run.outputs["exit-code"], run.outputs["suspects"]) == ("1", "128")
    assert "suspects>5%" in run.summary
    assert re.search(r"^::error ", run.said, re.MULTILINE)
    written = {path.name for path in (folder / "report").iterdir()}
    assert {"report.html", "audit.json", "summary.md", "suspects.sarif", "difference.md"} <= written
    assert json.loads((folder / "report/suspects.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"
    assert not list(project.rglob("pwned"))


def retrain(project: Path, data: str) -> None:
    """Train the project's network on a file of data, and save its checkpoint."""
    torch.manual_seed(0)
    model = runpy.run_path(str(project / "net.py"))["build"]()
    arrays = np.load(project / data)
    x = torch.from_numpy(arrays["images"])[:, None].float() / 255
    y = torch.from_numpy(arrays["labels"])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(10):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    save_file(model.state_dict(), project / "model.safetensors")


@pytest.mark.slow
def test_a_pull_request_that_fixes_labels_goes_green(project: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path, project)
    corrected = machine.run(
        "cohaudit scan model.safetensors --quiet --out fixing\n"
        "cohaudit correct fixing/audit.json --data train.npz --out train-corrected.npz"
    )
    assert corrected.returncode == 0, corrected.stderr
    retrain(project, "train-corrected.npz")
    run = machine.github(**(with_of_the_action() | {"data": "train-corrected.npz"}), install="false")
    assert run.code == 0, run.said
    assert "128 fixed" in run.said
    said = " ".join(run.said.split())
    assert "Fewer labels are wrong: of 128 changed labels, " in said


@pytest.mark.slow
def test_the_job_of_the_page_runs_on_gitlab(project: Path, tmp_path: Path) -> None:
    variables = ON_THE_PAGE[".gitlab-ci.yml"]["cohaudit"]["variables"]
    run = Machine(tmp_path, project).gitlab(**variables)
    assert run.code == 0, run.said
    assert (project / GITLAB["artifacts"]["reports"]["junit"]).exists()


@pytest.mark.slow
def test_the_hook_refuses_a_baseline_that_the_gates_refuse(project: Path, tmp_path: Path) -> None:
    """The hook comes from a repository that holds the list of hooks alone: it needs no more."""
    hooks = tmp_path / "hooks"
    machine = Machine(tmp_path, hooks)
    machine.environment |= {"PRE_COMMIT_HOME": str(tmp_path / "cache")}
    (hooks / ".pre-commit-hooks.yaml").write_bytes((ROOT / ".pre-commit-hooks.yaml").read_bytes())
    identity = "git -c user.name=me -c user.email=me@example.org"
    done = machine.run(f"git init --quiet; git add .; {identity} commit --quiet -m hooks; git rev-parse HEAD")
    assert done.returncode == 0, done.stderr
    machine.workspace = project
    settings = project / ".pre-commit-config.yaml"
    text = settings.read_text(encoding="utf-8").replace("https://github.com/OWNER/cohaudit", hooks.as_uri())
    settings.write_text(text.replace("v0.1.0", done.stdout.strip()), encoding="utf-8")
    asked = f"{sys.executable} -m pre_commit run --files baseline.json"
    passed = machine.run(asked)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "Passed" in passed.stdout
    settings.write_text(text.replace("v0.1.0", done.stdout.strip()).replace("12%", "5%"), encoding="utf-8")
    refused = machine.run(asked)
    assert refused.returncode == 1
    assert "128 of 1300" in refused.stdout
    assert "no files to check" in machine.run(asked.replace("baseline.json", "net.py")).stdout
