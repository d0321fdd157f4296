"""No code that a scan calls can make it succeed, and a file that was merely found runs no code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.hostile_files import support

from cohaudit.cli import main
from cohaudit.errors import BAD_INPUT

RAISES = {
    "forward": """
class Net(nn.Linear):
    def forward(self, x):
        raise {0}

def build():
    return Net(4, 3)
""",
    "factory": "def build():\n    raise {0}\n",
    "import": "raise {0}\n",
}
EXCEPTIONS = ("SystemExit(0)", "SystemExit()", "KeyboardInterrupt", "Own", "GeneratorExit", "os._exit(0)")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    support(tmp_path)


def scan(*options: str, checkpoint: str = "good.safetensors", out: str = "out") -> Result:
    gate = ["--fail-on", "suspects>0", "-q"]
    return CliRunner().invoke(main, ["scan", checkpoint, *gate, *(["--out", out] if out else []), *options])


@pytest.mark.parametrize("place", RAISES)
@pytest.mark.parametrize("exception", EXCEPTIONS)
def test_an_exception_that_is_no_error(place: str, exception: str) -> None:
    code = "import os\n\nfrom torch import nn\n\nclass Own(BaseException):\n    pass\n\n"
    code += RAISES[place].format(exception)
    Path("own.py").write_text(code)
    result = scan("--model", "own.py:build", "--data", "good.npz")
    assert result.exit_code == BAD_INPUT
    assert "Traceback" not in result.stderr
    assert exception.partition("(")[0] in result.stderr
    assert "own.py" in result.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("method", "end", "named"),
    [
        ("__len__", "raise SystemExit(0)", "SystemExit"),
        ("__getitem__", "raise SystemExit(0)", "SystemExit"),
        ("ids", "raise SystemExit(0)", "SystemExit"),
        ("classes", "raise SystemExit(0)", "SystemExit"),
        ("__getitem__", "os._exit(0)", "os._exit(0)"),
        ("__len__", "os.execl('/bin/true', 'true')", "os.execv("),
    ],
)
def test_what_ends_the_program_in_a_dataset(method: str, end: str, named: str) -> None:
    code = f"""
import os

class Data:
    ids = classes = None
    def __len__(self): return 30
    def __getitem__(self, i): return [0.0] * 4, i % 3
    {"@property" if method in {"ids", "classes"} else ""}
    def {method}(self, *a): {end}

def build(): return Data()
"""
    Path("own.py").write_text(code)
    result = scan("--model", "net.py:build", "--data", "own.py:build")
    assert result.exit_code == BAD_INPUT
    assert "own.py" in result.stderr
    assert named in result.stderr


class TestAFileThatWasFound:
    """A configuration beside a checkpoint that is not in the working directory."""

    def found(self, text: str, *options: str, out: str = "out") -> Result:
        folder = Path("download")
        folder.mkdir()
        Path("good.safetensors").rename(folder / "good.safetensors")
        (folder / "cohaudit.toml").write_text(text)
        (folder / "evil.py").write_text(
            "from pathlib import Path\n\nPath('ran').touch()\n\ndef f(*a):\n    return 1\n"
        )
        subject = ["--model", "net.py:build", "--data", "good.npz"]
        return scan(*subject, *options, checkpoint="download/good.safetensors", out=out)

    @pytest.mark.parametrize(
        "line",
        [
            'transform = "evil.py:f"',
            'crossfit_recipe = "evil.py:f"',
            'templates = "tpl"',
            'holdout = "evil.py:f"',
            'out = "../elsewhere"',
            'suppressions = "/etc/hostname"',
            'lr = "../rates.csv"',
            'model_args = { path = "/etc" }',
            "read_memory = 100000",
        ],
    )
    def test_names_no_code_and_no_path_elsewhere(self, line: str) -> None:
        # what an option overrides is not used
        result = self.found(line, out="" if line.startswith("out") else "out")
        assert result.exit_code == BAD_INPUT
        assert f"download/cohaudit.toml: {line.partition(' ')[0]}" in result.stderr
        assert "--config download/cohaudit.toml" in result.stderr
        assert not Path("ran").exists()
        assert not Path("out").exists()

    def test_may_say_how_numbers_are_read(self) -> None:
        result = self.found(
            'labels = "labels"\nseed = 3\nbatch_size = 16\nmodel = "evil.py:f"', "--limit", "6"
        )
        assert "settings from download/cohaudit.toml" in result.stderr
        assert "found beside the checkpoint" not in result.stderr
        assert not Path("ran").exists()

    def test_may_be_trusted_by_the_configuration_in_the_working_directory(self) -> None:
        Path("cohaudit.toml").write_text('trusted = ["download/cohaudit.toml"]')
        result = self.found('transform = "evil.py:f"')
        assert "found beside the checkpoint" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_sigterm_ends_a_scan_with_a_line(tmp_path: Path) -> None:
    Path("slow.py").write_text("import time\nopen('started', 'w')\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "cohaudit", "scan", "good.safetensors"]
    command += ["--model", "slow.py:build", "--data", "good.npz"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        end = time.monotonic() + 60
        while not Path("started").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith("interrupted")
