"""The command line: options, order of the work, output and exit codes. The scan itself is in test_scan.py."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.audits import make_audit

import cohaudit
from cohaudit.cli import main
from cohaudit.cli._output import print_plainly_in_a_cell
from cohaudit.config import KEYS, Config
from cohaudit.config.file import option_name
from cohaudit.config.keys import Function, Table, Texts, Thresholds
from cohaudit.errors import CheckpointError, Interrupted
from cohaudit.pipeline.progress import Progress, SilentProgress
from cohaudit.pipeline.resume import ResumableRun
from cohaudit.results import Audit
from cohaudit.review.gates import gate_results

COMPLETE = 'model = "net.py:build"\ndata = "train.npz"\n'
REPORT_FILES = ["audit.json", "report.html", "samples.csv"]
ENDED = CheckpointError("model.pt", "is only a test", "look at the configuration")
"""What a scan raises that need not write a report."""

NOTICE = "note: Measured on 240 of 480 samples.\n"
"""What must be known of the audit that `make_audit` gives, said where there is no summary."""

PATHS = {"PYTHONPATH": os.pathsep.join(sys.path)}

PACKAGE = Path(cohaudit.__file__).parent


@dataclass
class FakeScan:
    """Stands in for the measuring: returns an audit, or raises, and keeps what it was given."""

    result: Audit | BaseException = field(default_factory=make_audit)
    config: Config | None = None
    checkpoint: Path | None = None
    progress: Progress | None = None
    earlier: Sequence[Path] = ()

    def __call__(
        self,
        config: Config,
        checkpoint: Path,
        progress: Progress,
        earlier: Sequence[Path],
        resumable: ResumableRun,
        *,
        divided: object = None,
    ) -> Audit:
        self.config, self.checkpoint, self.progress = config, checkpoint, progress
        self.earlier = earlier
        logging.getLogger("cohaudit.loading.model").info("Weights: %s", "model of last.ckpt, epoch 12")
        with progress.stage("measure the gradients", 240) as advance:
            advance(240)
        if isinstance(self.result, BaseException):
            # as if cohaudit's own code had raised it: what a test raises counts as the user's code
            exec(
                compile("raise result", str(PACKAGE / "pipeline" / "scan.py"), "exec"),
                {"result": self.result},
            )
        return replace(self.result, gates=tuple(gate_results(config, self.result)))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeScan:
    """Put a complete configuration and a checkpoint in an empty working directory, and replace the scan."""
    monkeypatch.chdir(tmp_path)
    Path("cohaudit.toml").write_text(COMPLETE)
    Path("model.pt").touch()
    scan = FakeScan()
    monkeypatch.setattr("cohaudit.pipeline.scan.scan_checkpoint", scan)
    return scan


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def scan(*arguments: str) -> Result:
    return run("scan", "model.pt", *arguments)


def command(
    *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cohaudit", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | PATHS | (env or {}),
    )


OPTIONS: dict[Any, tuple[list[str], Any]] = {
    str: (["text"], "text"),
    Function: (["text"], "text"),
    bool: ([], True),
    int: (["64"], 64),
    float: (["0.625"], 0.625),
    Thresholds: (["0.1", "0.2", "0.3"], (0.1, 0.2, 0.3)),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_every_key_is_an_option(key: Any, fake: FakeScan) -> None:
    option = option_name(key.name)
    if key.name == "formats":  # refused before the scan, if there is none of that name
        arguments, expected = [option, "junit", option, "sarif,github"], ("junit", "sarif,github")
    elif key.name == "templates":  # likewise
        Path("own").mkdir()
        Path("own", "style.css").touch()
        arguments, expected = [option, "own"], "own"
    elif key.type == Texts:
        arguments, expected = [option, "loss>9", option, "risk>low"], ("loss>9", "risk>low")
    elif key.type == Table:
        arguments, expected = [option, "width=64", option, "name=wide"], {"width": 64, "name": "wide"}
    else:
        values, expected = OPTIONS[key.type]
        arguments = [option, *values]
    fake.result = ENDED
    assert scan(*arguments).stderr.endswith(f"error: {ENDED}\n")
    assert getattr(fake.config, key.name) == expected


def test_options_win_and_flags_can_be_taken_back(fake: FakeScan) -> None:
    Path("cohaudit.toml").write_text(COMPLETE + "seed = 1\nlimit = 50\ntrust_checkpoint = true")
    fake.result = ENDED
    scan("--seed", "2", "--no-trust-checkpoint")
    assert fake.config is not None
    assert (fake.config.seed, fake.config.limit, fake.config.trust_checkpoint) == (2, 50, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("relu", "relu"),
        ("a=b", "a=b"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_arguments_are_read_as_toml_or_text(fake: FakeScan, text: str, value: object) -> None:
    fake.result = ENDED
    scan("--model-arg", f"x={text}")
    assert fake.config is not None
    assert fake.config.model_args == {"x": value}


@pytest.mark.parametrize("argument", ["width", "=64"])
def test_an_argument_without_a_name_is_refused(fake: FakeScan, argument: str) -> None:
    result = scan("--model-arg", argument)
    assert result.exit_code == 2
    assert "is not NAME=VALUE" in result.stderr
    assert fake.config is None


def test_a_scan_writes_the_report_and_prints_a_summary(fake: FakeScan) -> None:
    result = scan()
    assert result.exit_code == 0
    assert "Generalization: HIGH." in result.stdout
    assert "Weights: model of last.ckpt, epoch 12\n" in result.stdout
    assert str(Path("cohaudit-report", "report.html")) in result.stdout
    assert sorted(path.name for path in Path("cohaudit-report").iterdir()) == REPORT_FILES
    assert result.stderr.splitlines()[:2] == [
        "settings from cohaudit.toml",
        "measure the gradients: 240 samples",
    ]
    assert fake.checkpoint == Path("model.pt")


@pytest.mark.usefixtures("fake")
def test_the_summary_ends_in_a_command_with_the_paths_of_this_run() -> None:
    Path("my data.npz").touch()
    last = scan("--data", "my data.npz", "--out", "my report").stdout.splitlines()[-1]
    assert shlex.split(last) == [
        *("cohaudit", "correct", "my report/audit.json"),
        *("--data", "my data.npz", "--out", "my data-corrected.npz"),
    ]


def test_a_model_that_cannot_be_judged_is_for_the_doctor_with_the_same_options(fake: FakeScan) -> None:
    fake.result = make_audit(auditable=False)
    subject = ("--model", "net.py:build", "--model-arg", 'x="3"', "--model-arg", "y=4", "--inputs", "a b")
    options = (*subject, "--no-trust-checkpoint", "--limit", "9")
    last = scan(*options).stdout.splitlines()[-1]
    assert shlex.split(last)[:3] == ["cohaudit", "doctor", "model.pt"]
    again = shlex.split(last)[3:]
    assert sorted(again) == sorted([*subject, "--no-trust-checkpoint"])
    scan(*options)
    first = fake.config
    scan(*again)
    assert first is not None
    assert fake.config is not None
    assert (fake.config.model_args, fake.config.inputs) == (first.model_args, first.inputs)


@pytest.mark.parametrize(
    ("written", "arguments", "origin"),
    [
        (True, [], "settings from cohaudit.toml"),
        (True, ["--limit", "3"], "settings from cohaudit.toml and the option --limit"),
        (
            False,
            ["--model", "m.py:f", "--data", "d.npz"],
            "settings from the options --model, --data",
        ),
    ],
)
@pytest.mark.parametrize("form", [[], ["--quiet"], ["--json"]])
@pytest.mark.usefixtures("fake")
def test_one_line_says_where_the_settings_come_from(
    written: bool, arguments: list[str], origin: str, form: list[str]
) -> None:
    if not written:
        Path("cohaudit.toml").unlink()
    assert scan(*arguments, *form).stderr.splitlines()[0] == origin


def test_the_training_data_is_not_replaced_by_the_report(fake: FakeScan) -> None:
    Path("samples.csv").write_text("a,label\n1,0\n")
    result = scan("--data", "samples.csv", "--out", ".")
    assert (result.exit_code, fake.config) == (2, None)
    assert "its samples.csv is the training data" in result.stderr
    assert Path("samples.csv").read_text() == "a,label\n1,0\n"


def test_the_holdout_is_not_replaced_by_the_report(fake: FakeScan) -> None:
    Path("samples.csv").write_text("a,label\n1,0\n")
    result = scan("--data", "train.csv", "--holdout", "samples.csv", "--out", ".")
    assert (result.exit_code, fake.config) == (2, None)
    assert "its samples.csv is the holdout" in result.stderr


def test_quiet_says_nothing_but_where_the_settings_come_from(fake: FakeScan) -> None:
    fake.result = replace(make_audit(), notices=())
    result = scan("--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "settings from cohaudit.toml\n")
    assert isinstance(fake.progress, SilentProgress)
    assert Path("cohaudit-report/report.html").is_file()


def test_quiet_says_that_there_is_no_verdict(fake: FakeScan) -> None:
    fake.result = replace(make_audit(auditable=False), notices=())
    result = scan("--quiet")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "\nnote: no verdict: no better than chance" in result.stderr


@pytest.mark.usefixtures("fake")
def test_json_is_the_file_on_standard_output() -> None:
    result = scan("--json", "--out", "here")
    assert result.stdout_bytes == Path("here/audit.json").read_bytes()
    assert json.loads(result.stdout)["schema_version"]
    assert "measure the gradients" in result.stderr
    origin = "settings from cohaudit.toml and the option --out\n"
    assert scan("--json", "--quiet", "--out", "here").stderr == origin + NOTICE


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("gate", "code", "word"), [("risk>=high", 1, "FAILED"), ("risk>=severe", 0, "passed")]
)
@pytest.mark.parametrize("form", ["", "--quiet", "--json"])
def test_a_failed_gate_is_exit_code_1_after_the_report(gate: str, code: int, word: str, form: str) -> None:
    result = scan("--fail-on", gate, *filter(None, [form]))
    assert result.exit_code == code
    (kept,) = json.loads(Path("cohaudit-report/audit.json").read_text())["gates"]
    assert (kept["expression"], kept["failed"]) == (gate, bool(code))
    assert (f"{gate}  {word}" in result.stdout) == (not form)
    said = [line for line in result.stderr.splitlines() if line.startswith("gate failed: ")]
    assert len(said) == (1 if code and form else 0), "the summary says it, or else a line on standard error"
    assert not said or said[0] == f"gate failed: {gate}: {kept['reason']}"
    origin = "settings from cohaudit.toml and the option --fail-on"
    assert form != "--quiet" or result.stderr.splitlines() == [origin, NOTICE.rstrip(), *said]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("form", ["", "--quiet"])
@pytest.mark.parametrize(
    "options", [("--warn-on", "risk>=high"), ("--fail-on", "predicted_gap>0.15")], ids=["to warn", "by part"]
)
def test_a_gate_that_warns_is_told_and_fails_nothing(options: tuple[str, str], form: str) -> None:
    result = scan(*options, *filter(None, [form]))
    assert result.exit_code == 0
    (kept,) = json.loads(Path("cohaudit-report/audit.json").read_text())["gates"]
    assert (kept["failed"], kept["warned"]) == (False, True)
    if form:
        origin = f"settings from cohaudit.toml and the option {options[0]}\n"
        assert result.stderr == f"{origin}{NOTICE}gate warned: {options[1]}: {kept['reason']}\n"
    else:
        assert f"{options[1]}  warned" in result.stdout
    assert scan(*options, "--gate-on-value").exit_code == int(options[0] == "--fail-on")


def test_listening_to_the_scan_ends_with_it(fake: FakeScan) -> None:
    logger = logging.getLogger("cohaudit")
    before = (logger.level, logger.handlers[:])
    scan()
    fake.result = ENDED
    scan()
    assert (logger.level, logger.handlers) == before


@pytest.mark.usefixtures("fake")
def test_gates_in_the_file_count_until_options_replace_them() -> None:
    Path("cohaudit.toml").write_text(COMPLETE + 'fail_on = ["risk>=high"]')
    assert scan().exit_code == 1
    assert scan("--fail-on", "risk>=severe").exit_code == 0


def test_a_gate_on_an_unknown_layer_costs_not_the_measurement(fake: FakeScan) -> None:
    # one that is in the model, but was not measured: any other is refused before (test_scan.py)
    result = scan("--fail-on", "coherence.layer.body.0.cf<0.1")
    assert result.exit_code == 1
    assert "did you mean" in " ".join(result.stdout.split())
    assert sorted(path.name for path in Path("cohaudit-report").iterdir()) == REPORT_FILES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-on", "riks>=high"], "error: --fail-on 'riks>=high': there is no metric 'riks'"),
        (["--out", "model.pt"], "is a file, not a folder"),
        (["--out", "model.pt/below"], "is a file, not a folder"),
        (["--batch-size", "0"], "error: --batch-size: found 0"),
        (["--batch-size", "many"], "'many' is not a valid integer"),
        (["--bacth-size", "3"], "--batch-size"),
        (["--model", ""], "a model factory is not named"),
        (["--data", ""], "training data is not named"),
        (["--config", "other.toml"], "error: other.toml: cannot be read"),
    ],
)
def test_what_can_be_refused_early_is(fake: FakeScan, arguments: list[str], message: str) -> None:
    result = scan(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert fake.config is None, "nothing expensive has happened"
    assert not Path("cohaudit-report").exists()


def test_a_missing_checkpoint_is_said_before_a_missing_model(fake: FakeScan) -> None:
    Path("cohaudit.toml").unlink()
    fake.result = CheckpointError("modle.pt", "no such file", "did you mean model.pt?")
    result = run("scan", "modle.pt")
    assert "error: modle.pt: no such file\n  → did you mean model.pt?\n" in result.stderr
    assert run("scan", "model.pt").stderr.startswith("error: configuration: a model factory is not named")


def test_an_error_is_one_message_and_nothing_written(fake: FakeScan) -> None:
    fake.result = CheckpointError("model.pt", "holds no \x1b[2Jtensors", "save it again")
    result = scan("--quiet")
    assert (result.exit_code, result.stdout) == (2, "")
    origin = "settings from cohaudit.toml\n"
    assert result.stderr == f"{origin}error: model.pt: holds no \\x1b[2Jtensors\n  → save it again\n"
    assert not Path("cohaudit-report").exists()


def test_a_bug_keeps_its_traceback(fake: FakeScan) -> None:
    fake.result = ZeroDivisionError("division by zero")
    result = scan()
    assert result.exit_code == 70
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.rstrip().splitlines()[-1].startswith("this is a bug in cohaudit")
    assert not Path("cohaudit-report").exists()


def test_an_interrupt_is_one_line(fake: FakeScan) -> None:
    fake.result = Interrupted()
    result = scan("--quiet")
    assert (result.exit_code, result.stderr) == (130, "settings from cohaudit.toml\ninterrupted\n")
    assert not Path("cohaudit-report").exists()


class TestReport:
    """`cohaudit report`."""

    @pytest.fixture(autouse=True)
    def _scanned(self, fake: FakeScan) -> None:
        assert scan("--quiet", "--out", "first").exit_code == 0

    def test_renders_the_same_page_again(self) -> None:
        before = Path("first/report.html").read_bytes()
        Path("first/report.html").unlink()
        result = run("report", "first/audit.json")
        assert (result.exit_code, result.stdout) == (0, f"Report: {Path('first', 'report.html')}\n")
        assert Path("first/report.html").read_bytes() == before

    def test_writes_where_it_is_told(self) -> None:
        assert run("report", "first/audit.json", "--out", "second/page.html").exit_code == 0
        assert [path.name for path in Path("second").iterdir()] == ["page.html"]

    @pytest.mark.parametrize("name", ["first/adit.json", "first/report.html", "first"])
    def test_of_what_is_no_audit_is_refused(self, name: str) -> None:
        result = run("report", name, "--out", "page.html")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {name}")
        assert not Path("page.html").exists()


def test_init_writes_what_it_finds(tmp_path: Path) -> None:
    (tmp_path / "train.npz").touch()
    result = run("init", str(tmp_path))
    assert result.exit_code == 0
    assert "  data: train.npz\n" in result.stdout
    assert 'data = "train.npz"' in (tmp_path / "cohaudit.toml").read_text()
    again = run("init", str(tmp_path))
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert run("init", str(tmp_path), "--force").exit_code == 0


class TestProcess:
    """What only a process of its own can show."""

    def test_help_comes_at_once_and_imports_nothing_heavy(self) -> None:
        seconds = []
        for _ in range(3):
            start = os.times()  # the processor's time: the clock's is also that of all else on the machine
            assert command("--help").returncode == 0
            seconds.append(sum(os.times()[2:4]) - sum(start[2:4]))
        assert min(seconds) < 0.4
        heavy = ("torch", "numpy", "pandas", "rich", "matplotlib", "jinja2", "PIL", "safetensors")
        code = (
            "import sys; from cohaudit.cli import main; main(['scan', '--help'], standalone_mode=False);"
            f"sys.exit(' '.join(sorted(sys.modules.keys() & {set(heavy)!r})))"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | PATHS
        )
        assert ended.stderr.strip() == ""

    def test_version(self) -> None:
        assert command("--version").stdout == f"cohaudit {cohaudit.__version__}\n"

    def test_bad_input(self, tmp_path: Path) -> None:
        (tmp_path / "cohaudit.toml").write_text("seeed = 1")
        ended = command("scan", "model.pt", cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("error: cohaudit.toml: seeed: there is no such key")

    def test_bad_usage(self) -> None:
        assert command("sacn").returncode == 2

    def test_output_that_cannot_show_every_character(self) -> None:
        ended = command("scan", "--help", env={"PYTHONIOENCODING": "ascii"})
        assert (ended.returncode, ended.stderr) == (0, "")

    @pytest.mark.skipif(os.name == "nt", reason="Windows reports a closed pipe in another way")
    @pytest.mark.parametrize(
        ("form", "gate", "code"),
        [("--json", "risk>=severe", 0), ("--json", "risk>=high", 1), ("--out=report", "risk>=severe", 0)],
    )
    def test_a_reader_that_stops_early_changes_no_exit_code(
        self, tmp_path: Path, form: str, gate: str, code: int
    ) -> None:
        (tmp_path / "cohaudit.toml").write_text(COMPLETE)
        (tmp_path / "model.pt").touch()
        script = (
            "import sys, types; from support.audits import gate, make_audit; from cohaudit.cli import main;"
            f"audit = make_audit(gates=(gate(failed={bool(code)}),));"
            "fake = types.SimpleNamespace(scan_checkpoint=lambda *_, **__: audit);"
            "sys.modules['cohaudit.pipeline.scan'] = fake;"
            f"main(['scan', 'model.pt', '--fail-on', {gate!r}, {form!r}])"
        )
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run(
            [sys.executable, "-c", script],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | PATHS,
        )
        os.close(writer)
        assert ended.returncode == code
        assert "Traceback" not in ended.stderr
        assert "BrokenPipe" not in ended.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_output_that_cannot_be_written(self, tmp_path: Path) -> None:
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(
                [sys.executable, "-m", "cohaudit", "init", str(tmp_path)],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                env=os.environ | PATHS,
            )
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: standard output: cannot be written: ")


class TestPackage:
    """The public face of the package."""

    def test_every_public_name_is_there(self) -> None:
        assert len(cohaudit.__all__) <= 24
        for name in cohaudit.__all__:
            assert getattr(cohaudit, name) is not None
            assert name in dir(cohaudit)

    def test_public_names_are_what_they_say(self) -> None:
        assert cohaudit.Config is Config
        assert cohaudit.Audit is Audit
        assert issubclass(CheckpointError, cohaudit.CohauditError)

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'scna'"):
            _ = cohaudit.scna  # type: ignore[attr-defined]  # that is what is tested


@pytest.mark.parametrize(
    ("environment", "plain"),
    [
        ({"JPY_PARENT_PID": "7"}, True),
        ({"CLICOLOR": "1", "PAGER": "cat", "GIT_PAGER": "cat"}, True),
        ({"CLICOLOR": "1", "PAGER": "less"}, False),
        ({}, False),
    ],
)
def test_a_command_in_a_cell_prints_plain_lines(environment: dict[str, str], plain: bool) -> None:
    given = {**environment, "TERM": "xterm-color", "FORCE_COLOR": "1"}
    print_plainly_in_a_cell(given)
    assert (given["TERM"], "FORCE_COLOR" in given) == (("dumb", False) if plain else ("xterm-color", True))
