"""`cohaudit diff`: exit codes, output, and the page, whatever names the audits hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.audits import HOSTILE, make_audit
from support.differences import with_gap, with_suspicions
from support.page import Page

from cohaudit.cli import main
from cohaudit.report import render_difference
from cohaudit.results.json_encode import audit_to_json
from cohaudit.review.diff.compare import compare
from cohaudit.review.diff.difference import Difference


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "base.json", tmp_path / "head.json"
    for path, audit in zip(paths, (with_gap(0.1), with_gap(0.3)), strict=True):
        path.write_text(audit_to_json(audit), encoding="utf-8")
    return paths


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["diff", *map(str, arguments)])


def test_only_a_regression_that_is_asked_for_fails(files: tuple[Path, Path]) -> None:
    base, head = files
    assert run(base, head).exit_code == 0
    failed = run(base, head, "--fail-on-regression")
    assert failed.exit_code == 1
    assert "WORSE" in failed.stdout
    assert "The score on new data fell to 70.0%, from 90.0%." in " ".join(failed.stdout.split())
    assert run(head, base, "--fail-on-regression").exit_code == 0
    assert run(base, base, "--fail-on-regression").exit_code == 0


def test_the_json_holds_all_of_it(files: tuple[Path, Path]) -> None:
    result = run(*files, "--json", "--fail-on-regression")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["headline"], found["schema_version"]) == (1, "worse", "1.0")
    assert found["gap"]["head"]["value"] == 0.3
    assert len(found["suspects"]["still"]) == 12
    assert len(found["layers"]) == 5
    assert result.stderr.splitlines() == [f"regression: {one}" for one in found["regressions"]]
    assert "70.0%" in found["regressions"][0]


def test_the_page_is_written_whole_and_never_over_an_audit(files: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "new" / "difference.html"
    assert run(*files, "--html", page).stdout.endswith(f"Written: {page}\n")
    assert page.read_text("utf-8").startswith("<!doctype html>")
    link = tmp_path / "link.html"
    link.symlink_to(files[1])
    before = [path.read_bytes() for path in files]
    for target in (*files, link):
        refused = run(*files, "--html", target)
        assert (refused.exit_code, refused.stderr.split(":")[1]) == (2, f" --html {target}")
    folder = run(*files, "--html", tmp_path)
    assert (folder.exit_code, folder.stdout) == (2, "")
    assert f"--html {tmp_path}" in folder.stderr
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize("spoiled", [0, 1])
@pytest.mark.parametrize("text", [None, "{", "{}", "no JSON", '{"schema_version": "0.1"}'])
def test_what_is_no_audit_is_refused(files: tuple[Path, Path], spoiled: int, text: str | None) -> None:
    if text is None:
        files[spoiled].unlink()
    else:
        files[spoiled].write_text(text)
    result = run(*files, "--fail-on-regression", "--html", files[0].parent / "page.html")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {files[spoiled]}")
    assert not (files[0].parent / "page.html").exists()


def hostile_difference() -> Difference:
    head = make_audit(hostile=True, seed=3, suspects=40)
    return compare(make_audit(hostile=True, classes=6), head)


def test_names_stay_text_on_the_page() -> None:
    html = render_difference(hostile_difference())
    page = Page(html)
    assert page.open == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "link", "form"})
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert HOSTILE[0] in page.words
    assert "\u202e" not in html
    assert "7 * 7" in page.words
    policy = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "http://" not in html.replace("http-equiv", "")
    assert html == render_difference(hostile_difference())


def test_the_page_says_what_is_new_and_what_is_not_the_same() -> None:
    page = Page(render_difference(compare(with_gap(0.1), with_gap(0.3, audit=make_audit(suspects=20)))))
    assert "Worse than the base" in page.words
    assert "The score on new data fell to 70.0%, from 90.0%." in page.words
    assert "Number of samples audited: 120 in the base, 240 in the head." in page.words
    assert "Width by layer" in " ".join(str(a.get("aria-label")) for _, a in page.tags)
    assert "Nothing to compare" in Page(render_difference(compare(*[make_audit(auditable=False)] * 2))).words


def test_long_lists_of_suspects_are_cut_on_the_page() -> None:
    head = with_suspicions(dict.fromkeys(range(400), 0.9), make_audit(samples=500))
    page = Page(render_difference(compare(with_suspicions({}, make_audit(samples=500)), head)))
    assert "100 more suspects: cohaudit diff --json lists all." in page.words


def test_hostile_names_can_do_nothing_in_a_terminal(tmp_path: Path) -> None:
    paths = tmp_path / "base.json", tmp_path / "head.json"
    audits = make_audit(hostile=True, classes=6), make_audit(hostile=True, seed=3, suspects=40)
    for path, audit in zip(paths, audits, strict=True):
        path.write_text(audit_to_json(audit), encoding="utf-8")
    result = run(*paths)
    assert result.exit_code == 0
    assert not {c for c in result.stdout if not c.isprintable()} - {"\n"}
    assert len(result.stdout.splitlines()) < 100
