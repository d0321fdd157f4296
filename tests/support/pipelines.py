"""Runs the steps of a composite action, and the scripts of a GitLab job, as their runners do.

Of GitHub's expressions it supports those that action.yml has: names, strings, comparisons,
`&&`, `||` and `always()`.
Steps that use other actions are recorded and not run.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from support.warm import warm_python

import cohaudit

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
GITLAB: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab/cohaudit.yml").read_text(encoding="utf-8"))[
    "cohaudit"
]

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
TOKEN = re.compile(r"\s*('(?:[^']|'')*'|always\(\)|&&|\|\||==|!=|[\w.-]+)\s*")
ARTIFACT = "https://github.example/artifacts/1"


@dataclass
class Run:
    """Result of an action or a job."""

    code: int
    said: str
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    used: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name of another action, without version → its inputs."""


@dataclass
class Machine:
    """A workspace, and a PATH with the `python` and `cohaudit` under test.

    Args:
        home: An empty folder for all of it.
        workspace: The checkout; an empty folder unless given.
    """

    home: Path
    workspace: Path = Path()
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.workspace == Path():
            self.workspace = self.home / "workspace"
        for folder in (self.workspace, self.home / "bin", self.home / "temp"):
            folder.mkdir(parents=True, exist_ok=True)
        self.calls_file = self.home / "calls"
        self.command("cohaudit", f'exec {warm_python()} -P -m cohaudit "$@"')
        self._python()

    def command(self, name: str, script: str) -> None:
        """Put a command of this name on the PATH."""
        path = self.home / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def pretend_scan(self, result: Path, code: int = 0, compared: int = 0) -> None:
        """Let a scan copy the files of a folder to its report, and set the exit codes of scan and diff."""
        copy = f'mkdir -p "${{OUT:=cohaudit-report}}"; cp -R {shlex.quote(str(result))}/. "$OUT"'
        self._python(
            f'{self.note()}if [ "$4" = scan ]; then {copy}; exit {code}; fi\n'
            f'if [ "$4" = diff ]; then exit {compared}; fi'
        )

    def calls(self) -> list[list[str]]:
        """Return the arguments of each recorded command."""
        if not self.calls_file.exists():
            return []
        rest = self.calls_file.read_bytes().decode().split("\0")[:-1]
        calls = []
        while rest:
            count = int(rest.pop(0))
            calls.append(rest[:count])
            del rest[:count]
        return calls

    def note(self) -> str:
        """Return shell code that records the arguments of the command it is part of."""
        return f'printf \'%s\\0\' "$#" "$@" >>{shlex.quote(str(self.calls_file))}\n'

    def fail_imports(self) -> None:
        """Let every import that the action tries fail, as that of a package for another torch does."""
        self._python(imported=1)

    def _python(self, scanning: str = "", imported: int = 0) -> None:
        """Let `python` record what pip should install and what is imported, and do neither."""
        cases = (
            f"pip) {self.note()}exit;;\n'import '*) {self.note()}exit {imported};;\ncohaudit) {scanning};;"
        )
        self.command("python", f'case "$3" in\n{cases}\nesac\nexec {warm_python()} "$@"')

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script in the workspace, by the bash command that both GitHub and GitLab use."""
        file = self.home / "temp" / "script.sh"
        file.write_text(script, encoding="utf-8")
        environment = os.environ | {
            "PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(cohaudit.__file__).parents[1]),
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", file],
            cwd=self.workspace,
            env=environment | self.environment | variables,
            capture_output=True,
            text=True,
        )

    def gitlab(self, **variables: str) -> Run:
        """Run the job of the GitLab template with these variables set by the pipeline."""
        unknown = variables.keys() - GITLAB["variables"].keys()
        assert not unknown, f"the template has no {unknown}"
        script = "\n".join([*GITLAB["before_script"], *GITLAB["script"]])
        done = self.run(script, **(GITLAB["variables"] | variables))
        return Run(done.returncode, done.stdout + done.stderr)

    def github(self, **inputs: str) -> Run:
        """Run the action with these inputs; `_` stands for `-` in a name."""
        return Composite(self, {name.replace("_", "-"): value for name, value in inputs.items()}).run()


class Composite:
    """One run of action.yml."""

    def __init__(self, machine: Machine, inputs: dict[str, str]) -> None:
        unknown = inputs.keys() - ACTION["inputs"].keys()
        assert not unknown, f"the action has no {unknown}"
        self._machine = machine
        self._names = {
            "github.token": "a-token",
            "github.event.pull_request.number": machine.environment.get("PULL_REQUEST", ""),
        }
        for name, declared in ACTION["inputs"].items():
            assert name in inputs or not declared.get("required"), f"{name} is required"
            self._names[f"inputs.{name}"] = inputs.get(name, self.text(declared.get("default", "")))
        self._steps = ACTION["runs"]["steps"]
        self._ids = {step["id"] for step in self._steps if "id" in step}
        self._failed = False

    def run(self) -> Run:
        """Run the steps, each where its condition holds."""
        result = Run(0, "")
        self._machine.environment |= {"GITHUB_ACTION_PATH": str(ROOT)}
        summary = self._machine.home / "temp" / "summary.md"
        for step in self._steps:
            condition = step.get("if", "")
            if (self._failed and "always()" not in condition) or (condition and not self.value(condition)):
                continue
            if "uses" in step:
                given = {name: self.text(value) for name, value in step["with"].items()}
                result.used[step["uses"].partition("@")[0]] = given
                self._names[f"steps.{step.get('id')}.outputs.artifact-url"] = ARTIFACT
                continue
            written = self._machine.home / "temp" / "output"
            written.write_text("", encoding="utf-8")
            variables = {name: self.text(value) for name, value in step["env"].items()}
            files = {"GITHUB_OUTPUT": str(written), "GITHUB_STEP_SUMMARY": str(summary)}
            done = self._machine.run(
                step["run"], **variables, **files, RUNNER_TEMP=str(self._machine.home / "temp")
            )
            result.said += done.stdout + done.stderr
            if done.returncode:
                result.code = done.returncode
                self._failed = True
            for name, value in outputs(written.read_text(encoding="utf-8")).items():
                self._names[f"steps.{step['id']}.outputs.{name}"] = value
        result.summary = summary.read_text(encoding="utf-8") if summary.exists() else ""
        result.outputs = {name: self.text(declared["value"]) for name, declared in ACTION["outputs"].items()}
        return result

    def text(self, template: str) -> str:
        """Return a string with the expressions in it replaced."""
        return EXPRESSION.sub(lambda match: str(self.value(match[1])), str(template))

    def value(self, expression: str) -> Any:
        """Return the value of an expression."""
        words = TOKEN.findall(expression)
        assert "".join(words).replace(" ", "") == re.sub(r"\s", "", expression), expression
        python = {"&&": "and", "||": "or", "always()": "True", "==": "==", "!=": "!="}
        return eval(" ".join(python.get(word) or repr(self._word(word)) for word in words))

    def _word(self, word: str) -> str:
        if word.startswith("'"):
            return word[1:-1].replace("''", "'")
        if word.startswith("steps."):
            assert word.split(".")[1] in self._ids, f"there is no step of {word}"
            return self._names.get(word, "")
        return self._names[word]


def outputs(text: str) -> dict[str, str]:
    """Return the outputs that a step wrote to $GITHUB_OUTPUT."""
    lines = iter(text.splitlines())
    values = {}
    for line in lines:
        name, heredoc, end = line.partition("<<")
        if heredoc and "=" not in name:
            values[name] = "\n".join(iter(lambda end=end: next(lines), end))
        else:
            name, _, value = line.partition("=")
            values[name] = value
    return values
