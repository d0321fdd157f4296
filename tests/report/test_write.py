"""The report's files: whole or not at all, whatever is in the way."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.audits import make_audit

from cohaudit.errors import ReportError
from cohaudit.report import render_html, write_html, write_report
from cohaudit.report.commands import Places, default_places
from cohaudit.results import SAMPLE_COLUMNS
from cohaudit.results.files import check_folder, check_target
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.read import read_audit

pytestmark = pytest.mark.usefixtures("undrawn_figures")


def run_python(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return run.stdout


def test_the_report_is_three_files(tmp_path: Path) -> None:
    audit = make_audit(hostile=True, classes=6)
    written = write_report(audit, tmp_path / "new" / "report")
    assert [path.name for path in written] == ["report.html", "audit.json", "samples.csv"]
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(path.name for path in written)
    saved = str(tmp_path / "new" / "report" / "audit.json")
    page = render_html(audit, None, Places(saved, default_places(audit).data))
    assert written[0].read_text(encoding="utf-8") == page
    assert written[1].read_text(encoding="utf-8") == audit_to_json(audit)


def test_samples_csv_holds_the_table_unrounded(tmp_path: Path) -> None:
    audit = make_audit(hostile=True, classes=6)
    path = write_report(audit, tmp_path)[2]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == SAMPLE_COLUMNS
    for row, (_, expected) in zip(rows, audit.samples.iterrows(), strict=True):
        assert [row[c] for c in ("id", "label", "suggested")] == list(expected[["id", "label", "suggested"]])
        assert (float(row["suspicion"]), float(row["loss"])) == (expected["suspicion"], expected["loss"])
        assert row["suspect"] == str(expected["suspect"])


def test_an_old_report_is_replaced_and_other_files_stay(tmp_path: Path) -> None:
    write_report(make_audit(suspects=0), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    written = write_report(make_audit(), tmp_path)
    assert read_audit(written[1]).evidence
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_bug_while_rendering_leaves_nothing(tmp_path: Path) -> None:
    audit = make_audit()
    broken = replace(audit, sanity=replace(audit.sanity, mean_loss=float("nan")))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_report(broken, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from support.audits import make_audit
from support.page import undrawn
from cohaudit.errors import ReportError
from cohaudit.report import write_report
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
audit = make_audit(samples=2000, suspects=0)
for out in sys.argv[2:]:
    try:
        with undrawn():
            write_report(audit, Path(out))
    except ReportError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of a file")
@pytest.mark.parametrize("limit", [1_000, 300_000], ids=["at the first file", "at a later file"])
def test_a_full_disk_leaves_the_old_report_and_makes_no_folder(limit: int, tmp_path: Path) -> None:
    old = write_report(make_audit(suspects=0), tmp_path / "old")
    before = [path.read_bytes() for path in old]
    outs = [str(tmp_path / "old"), str(tmp_path / "new" / "report")]
    printed = run_python(FULL_DISK, str(limit), *outs)
    assert all(f"--out {out}: cannot be written: File too large" in printed for out in outs)
    assert [path.read_bytes() for path in old] == before
    assert sorted(path.name for path in (tmp_path / "old").iterdir()) == sorted(path.name for path in old)
    assert not (tmp_path / "new").exists()


def test_a_file_where_the_folder_is_to_be(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    for out in (tmp_path / "report", tmp_path / "report" / "inner"):
        for refuse in (check_folder, lambda out: write_report(make_audit(suspects=0), out)):
            with pytest.raises(ReportError, match="report is a file, not a folder"):
                refuse(out)
    assert (tmp_path / "report").read_text() == "mine"


def test_a_folder_where_a_file_is_to_be(tmp_path: Path) -> None:
    (tmp_path / "audit.json").mkdir()
    with pytest.raises(ReportError, match=re.escape(f"{tmp_path / 'audit.json'}: is a folder")):
        write_report(make_audit(suspects=0), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ReportError, match="is not a regular file"):
        write_html(make_audit(), pipe)
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="there are no such devices")
@pytest.mark.parametrize("device", ["/dev/null", "/dev/stdout"])
def test_a_device_is_no_place_for_a_file(device: str) -> None:
    with pytest.raises(ReportError, match="is not a regular file"):
        check_target(Path(device))  # as root, writing there for real would replace it


def test_a_file_name_that_the_file_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be written: File name too long"):
        write_html(make_audit(), tmp_path / ("x" * 300))
    assert not list(tmp_path.iterdir())


def test_a_name_that_the_file_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be written: File name too long"):
        write_report(make_audit(suspects=0), tmp_path / "outer" / ("x" * 300))
    assert list(tmp_path.iterdir()) == []


def test_the_page_alone_can_be_written_again(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("old")
    audit = make_audit(suspects=0)
    assert write_html(audit, tmp_path / "page.html") == tmp_path / "page.html"
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render_html(audit)
    assert len(list(tmp_path.iterdir())) == 1


def test_reporting_never_imports_torch() -> None:
    code = (
        "import sys; from support.audits import make_audit; from cohaudit.report import render_html;"
        "render_html(make_audit(suspects=1)); print({'torch', 'matplotlib.pyplot'} & {*sys.modules})"
    )
    assert run_python(code) == "set()\n"
