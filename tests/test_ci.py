"""The GitHub Action, the GitLab job and the hooks: well formed, and what their commands do, run here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.audits import gate, make_audit
from support.hostile import HOSTILE
from support.pipelines import ACTION, ARTIFACT, GITLAB, ROOT, Machine

from cohaudit.results.json_encode import audit_to_json


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture
def scanned(tmp_path: Path) -> Path:
    """Return a folder as a scan leaves it."""
    folder = tmp_path / "scanned"
    folder.mkdir()
    (folder / "audit.json").write_text(
        audit_to_json(make_audit(gates=(gate(failed=True),))), encoding="utf-8"
    )
    (folder / "report.html").write_text("<!doctype html>", encoding="utf-8")
    (folder / "summary.md").write_text("# Summary\n", encoding="utf-8")
    return folder


SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def files(machine: Machine) -> set[str]:
    return {path.name for path in machine.workspace.rglob("*")}


# ---------------------------------------------------------------- form


SCHEMAS = (
    ("vendor.github-actions", "action.yml"),
    ("vendor.github-workflows", ".github/workflows/ci.yml"),
    ("vendor.github-workflows", ".github/workflows/docs.yml"),
    ("vendor.gitlab-ci", ".gitlab/cohaudit.yml"),
)


@pytest.mark.parametrize(("schema", "file"), SCHEMAS)
def test_the_files_keep_to_their_schemas(schema: str, file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def scripts() -> dict[str, str]:
    found = {step["name"]: step["run"] for step in ACTION["runs"]["steps"] if "run" in step}
    return found | {"gitlab": "\n".join([*GITLAB["before_script"], *GITLAB["script"]])}


@pytest.mark.parametrize("name", scripts())
def test_shellcheck_finds_nothing(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(scripts()[name], encoding="utf-8")
    done = subprocess.run(
        [SHELLCHECK, "--shell=bash", "--severity=warning", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_no_expression_is_pasted_into_code() -> None:
    assert [name for name, script in scripts().items() if "${{" in script] == []


def test_other_actions_are_pinned_to_a_commit() -> None:
    for file in (
        "action.yml",
        *(f".github/workflows/{p.name}" for p in (ROOT / ".github/workflows").iterdir()),
    ):
        used = re.findall(r"uses: (\S+)(.*)", (ROOT / file).read_text(encoding="utf-8"))
        assert used
        for action, comment in used:
            assert action == "./" or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            assert action == "./" or re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


# ---------------------------------------------------------------- GitHub


def test_what_is_installed_is_this_version_pinned_and_torch_without_cuda(machine: Machine) -> None:
    packages = "timm\n\n-rmy requirements.txt\n"
    machine.github(checkpoint="nowhere.pt", packages=packages)
    torch, rest = machine.calls()
    quiet = ["-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = ["--constraint", f"{ROOT}/constraints.txt"]
    index = "https://download.pytorch.org/whl/cpu"
    assert torch == [*quiet, *pinned, "--no-deps", "--index-url", index, "torch>=2.6"]
    assert rest == [*quiet, *pinned, str(ROOT), "timm", "-rmy requirements.txt"]


COMPILED = ["torchvision", "torchaudio>=2.6"]


def test_what_is_compiled_for_torch_comes_from_its_index(machine: Machine) -> None:
    """PyPI's torchvision is built with CUDA, and does not import beside a torch without it."""
    lines = "\n".join([*COMPILED, "torchvision-extra", "torchmetrics"])
    machine.github(checkpoint="nowhere.pt", packages=lines)
    torch, rest, *imports = machine.calls()
    assert torch[-4:] == ["https://download.pytorch.org/whl/cpu", "torch>=2.6", *COMPILED]
    assert rest[-5:] == [str(ROOT), *COMPILED, "torchvision-extra", "torchmetrics"]
    assert [call[-1] for call in imports] == ["import torchvision", "import torchaudio"]
    machine.calls_file.unlink()
    machine.gitlab(COHAUDIT_INSTALL=lines)
    torch, rest = machine.calls()
    assert torch[-3:] == ["torch>=2.6", *COMPILED]
    assert rest[-4:] == ["torchvision-extra", "torchmetrics", *COMPILED]


def test_a_torchvision_that_does_not_fit_is_named_at_once(machine: Machine) -> None:
    machine.fail_imports()
    run = machine.github(checkpoint="m.pt", packages="torchvision==0.15", python_version="")
    assert run.code == 2
    assert "::error title=cohaudit::torchvision does not fit the installed torch" in run.said


def test_the_pinned_torchvision_is_the_one_for_the_pinned_torch() -> None:
    pinned = dict(
        re.findall(r"^(torch|torchvision)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    )
    # torch 2.n goes with torchvision 0.(n + 15)
    assert (
        pinned["torchvision"]
        == f"0.{int(pinned['torch'].split('.')[1]) + 15}.{pinned['torch'].split('.')[2]}"
    )


def test_the_python_that_is_there_keeps_its_packages(machine: Machine) -> None:
    run = machine.github(checkpoint="nowhere.pt", python_version="", torch_index="")
    assert run.used == {}
    (installed,) = machine.calls()
    assert "--constraint" not in installed
    assert installed[-1] == str(ROOT)
    machine.calls_file.unlink()
    machine.github(checkpoint="nowhere.pt", install="false")
    assert machine.calls() == []


def test_inputs_arrive_as_they_are(machine: Machine, scanned: Path) -> None:
    machine.pretend_scan(scanned)
    run = machine.github(
        checkpoint=f"--first.pt\n{HOSTILE}.pt\n",
        config=HOSTILE,
        model=f"{HOSTILE}.py:build",
        data=HOSTILE,
        fail_on=f"risk>=high\n\ncoherence.layer.{HOSTILE}<0\n",
        args=f"--limit=10\n--ids={HOSTILE}",
        out=f"{HOSTILE}\nrisk=low",
        baseline=f"{HOSTILE}.json",
        install="false",
        comment="true",
    )
    scan, diff = machine.calls()
    out = f"{HOSTILE}\nrisk=low"
    assert scan[4:] == [
        f"--out={out}",
        "--formats=markdown,sarif,github",
        f"--config={HOSTILE}",
        f"--model={HOSTILE}.py:build",
        f"--data={HOSTILE}",
        "--fail-on=risk>=high",
        f"--fail-on=coherence.layer.{HOSTILE}<0",
        "--limit=10",
        f"--ids={HOSTILE}",
        "--",
        "--first.pt",
        f"{HOSTILE}.pt",
    ]
    assert diff[-3:] == ["--", f"{HOSTILE}.json", f"{out}/audit.json"]
    assert run.outputs["report"] == f"{out}/report.html"
    assert run.outputs["risk"] == "high"
    assert run.code == 0
    assert "pwned" not in files(machine)


@pytest.mark.parametrize(
    ("scan", "compared", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 2, 1), (0, 2, 2)]
)
def test_after_a_failed_gate_all_is_written_and_then_the_job_fails(
    machine: Machine, scanned: Path, scan: int, compared: int, code: int
) -> None:
    machine.pretend_scan(scanned, scan, compared)
    run = machine.github(checkpoint="m.pt", baseline="base.json", install="false", sarif="true")
    assert run.code == code
    assert run.outputs == {
        "exit-code": str(code),
        "expected-score": "0.84375",
        "wrong-labels": "0.0625",
        "risk": "high",
        "gap": "0.15625",
        "suspects": "12",
        "report": "cohaudit-report/report.html",
        "audit": "cohaudit-report/audit.json",
    }
    assert "# Summary" in run.summary
    assert run.used["actions/upload-artifact"] == {"name": "cohaudit-report", "path": "cohaudit-report"}
    assert run.used["github/codeql-action/upload-sarif"] == {"sarif_file": "cohaudit-report/suspects.sarif"}


@pytest.mark.parametrize("code", [2, 70])
def test_without_an_audit_an_older_one_is_not_taken_for_it(
    machine: Machine, scanned: Path, code: int
) -> None:
    machine.pretend_scan(scanned, code)
    run = machine.github(
        checkpoint="m.pt", baseline="base.json", install="false", comment="true", sarif="true"
    )
    assert run.code == code
    assert run.outputs == dict.fromkeys(ACTION["outputs"], "") | {"exit-code": str(code)}
    assert f"exit code {code}" in run.summary
    assert "actions/upload-artifact" not in run.used
    assert len(machine.calls()) == 1


def test_where_installing_fails_nothing_else_is_tried(machine: Machine) -> None:
    machine.command("python", f"{machine.note()}exit 9")
    run = machine.github(checkpoint="m.pt", baseline="base.json", comment="true", sarif="true")
    assert run.code == 9
    assert len(machine.calls()) == 1
    assert run.used.keys() == {"actions/setup-python"}
    assert set(run.outputs.values()) == {""}


def test_a_model_without_a_verdict_has_no_risk(machine: Machine, scanned: Path) -> None:
    (scanned / "audit.json").write_text(audit_to_json(make_audit(auditable=False)), encoding="utf-8")
    machine.pretend_scan(scanned, 1)
    run = machine.github(checkpoint="m.pt", install="false")
    empty = ("expected-score", "wrong-labels", "risk", "gap")
    assert [run.outputs[name] for name in (*empty, "suspects")] == ["", "", "", "", "0"]


PULL_REQUEST = {
    "PULL_REQUEST": "7",
    "GITHUB_REPOSITORY": "me/mine",
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_RUN_ID": "3",
    "GITHUB_WORKFLOW": "audit",
    "GITHUB_JOB": "scan",
}
FOUND = "https://github.example/me/mine/pull/7#issuecomment-42"


@pytest.mark.parametrize("found", ["", FOUND])
def test_one_comment_is_kept_up_to_date(machine: Machine, scanned: Path, found: str) -> None:
    machine.pretend_scan(scanned, 1)
    machine.environment |= PULL_REQUEST
    machine.command("gh", f'{machine.note()}if [ "$1 $2" = "pr view" ]; then echo "{found}"; fi')
    run = machine.github(checkpoint="m.pt", install="false", comment="true")
    assert run.code == 1
    _, look, write = machine.calls()
    body = (machine.home / "temp/cohaudit-comment.md").read_text(encoding="utf-8")
    mark, _, rest = body.partition("\n")
    assert re.fullmatch(r"<!-- cohaudit \d+-\d+ -->", mark)
    assert mark in look[-1]
    assert rest == f"# Summary\n\n[The whole report]({ARTIFACT})\n"
    if found:
        assert write[:4] == ["api", "--method", "PATCH", "repos/me/mine/issues/comments/42"]
    else:
        assert write[:5] == ["pr", "comment", "7", "--repo", "me/mine"]


@pytest.mark.parametrize("allowed", ["pr view", "nothing"])
def test_a_token_that_may_not_comment_warns_and_changes_no_result(
    machine: Machine, scanned: Path, allowed: str
) -> None:
    machine.pretend_scan(scanned)
    machine.environment |= PULL_REQUEST
    machine.command("gh", f'[ "$1 $2" = "{allowed}" ]')
    run = machine.github(checkpoint="m.pt", install="false", comment="true")
    assert run.code == 0
    assert "::warning title=cohaudit::No comment was written" in run.said


def test_there_is_no_comment_without_a_pull_request(machine: Machine, scanned: Path) -> None:
    machine.pretend_scan(scanned)
    machine.command("gh", "exit 1")
    assert "No comment" not in machine.github(checkpoint="m.pt", install="false", comment="true").said


# ---------------------------------------------------------------- GitLab


def test_the_job_installs_what_the_pipeline_names(machine: Machine) -> None:
    machine.gitlab(COHAUDIT_INSTALL="cohaudit @ git+https://example.org/cohaudit@v1\n-rmy requirements.txt\n")
    torch, rest = machine.calls()
    assert torch[-3:] == ["--index-url", "https://download.pytorch.org/whl/cpu", "torch>=2.6"]
    assert rest[-2:] == ["cohaudit @ git+https://example.org/cohaudit@v1", "-rmy requirements.txt"]


@pytest.mark.parametrize(
    ("scan", "compared", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 2, 1), (0, 2, 2), (2, 0, 2)]
)
def test_the_job_ends_as_the_scan_or_else_the_comparison(
    machine: Machine, scanned: Path, scan: int, compared: int, code: int
) -> None:
    machine.pretend_scan(scanned, scan, compared)
    run = machine.gitlab(
        COHAUDIT_CHECKPOINT=f"{HOSTILE}\n--second.pt",
        COHAUDIT_FAIL_ON=f"suspects>5%\n{HOSTILE}",
        COHAUDIT_ARGS=f"--ids={HOSTILE}",
        COHAUDIT_BASELINE=HOSTILE,
        COHAUDIT_TORCH_INDEX="",
    )
    assert run.code == code
    scanned_with, *compared_with = machine.calls()
    assert scanned_with[4:] == [
        "--out=cohaudit-report",
        "--formats=markdown,junit",
        "--fail-on=suspects>5%",
        f"--fail-on={HOSTILE}",
        f"--ids={HOSTILE}",
        "--",
        HOSTILE,
        "--second.pt",
    ]
    assert [call[-3:] for call in compared_with] == [["--", HOSTILE, "cohaudit-report/audit.json"]] * (
        scan < 2
    )
    assert "pwned" not in files(machine)
