"""`--templates`: single templates replaced, and everything refused that cannot be used, with what to do."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.audits import HOSTILE, make_audit

import cohaudit
from cohaudit.cli import main
from cohaudit.cli._run import data_path
from cohaudit.config.file import load_config
from cohaudit.errors import ConfigError, UserTemplateError
from cohaudit.report import check_templates, render_difference, render_html
from cohaudit.report.commands import Places
from cohaudit.results.json_encode import audit_to_json
from cohaudit.review.diff.compare import compare

pytestmark = pytest.mark.usefixtures("undrawn_figures")

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "templates.md"
EXTENDS = '{% extends "cohaudit/report.html.j2" %}\n'
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def folder(tmp_path: Path, files: dict[str, str]) -> Path:
    made = tmp_path / "own"
    made.mkdir()
    for name, content in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(content, encoding="utf-8")
    return made


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_a_block_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    files = {"report.html.j2": EXTENDS + "{% block before_verdict %}<p>Ours</p>{% endblock %}"}
    audit = make_audit()
    own, shipped = render_html(audit, folder(tmp_path, files)), render_html(audit)
    assert own.replace("<p>Ours</p>", "") == shipped


def test_a_section_and_a_macro_are_replaced_by_their_names(tmp_path: Path) -> None:
    section = '{% include "cohaudit/sections/depth.html.j2" %}<p>{{ page.depth.rows | length }} layers</p>'

    files = {"sections/depth.html.j2": section, "sections/skipped.html.j2": ""}
    html = render_html(make_audit(), folder(tmp_path, files))
    assert "<p>5 layers</p>" in html
    assert 'id="depth"' in html
    assert 'id="skipped"' not in html


BLOCKS = {
    "report.html.j2": (
        *("title", "style", "head", "header", "nav", "before_verdict", "verdict", "actions", "suspects"),
        *("classes", "depth", "audits", "method", "certificate", "skipped", "after_sections", "footer"),
    ),
    "diff.html.j2": (
        *("title", "style", "head", "header", "nav", "before_verdict", "verdict", "suspects", "layers"),
        *("classes", "width", "subjects", "after_sections", "footer"),
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_every_documented_block_is_there_and_no_other(name: str, tmp_path: Path) -> None:
    source = (ROOT / "templates" / name).read_text("utf-8")
    assert tuple(re.findall(r"{% block (\w+) %}", source)) == BLOCKS[name]
    guide = GUIDE.read_text("utf-8")
    assert all(f"`{block}`" in guide for block in BLOCKS[name])
    outer = [block for block in BLOCKS[name] if block != "nav"]  # it lies in the header
    marked = "".join(f"{{% block {block} %}}[{block}]{{% endblock %}}" for block in outer)
    own = folder(tmp_path, {name: f'{{% extends "cohaudit/{name}" %}}{marked}'})
    audit = make_audit(layers=2, classes=2, suspects=1)
    html = (
        render_html(audit, own) if name == "report.html.j2" else render_difference(compare(audit, audit), own)
    )
    assert [found for found in re.findall(r"\[(\w+)\]", html) if found in outer] == outer


def test_names_stay_escaped_in_a_template_of_the_user(tmp_path: Path) -> None:
    own = folder(
        tmp_path, {"report.html.j2": EXTENDS + "{% block head %}{{ audit.classes[0].name }}{% endblock %}"}
    )
    html = render_html(make_audit(hostile=True, classes=6), own)
    assert HOSTILE[0] not in html
    assert html.count("<script") == 2, "the page's own, and its data"


REFUSED = {
    "an unknown name": (
        EXTENDS + "{% block head %}{{ pag }}{% endblock %}",
        ":2: there is no 'pag'",
        "did you mean page",
    ),
    "an unknown field": (
        EXTENDS + "{% block head %}\n{{ page.verdit.headline }}{% endblock %}",
        ":3: Page has no 'verdit'",
        "did you mean verdict",
    ),
    "an unknown macro": (
        EXTENDS + "{% block head %}{{ show.nam(page.subject) }}{% endblock %}",
        ":2: macros.html.j2 has no 'nam'",
        "did you mean name",
    ),
    "an unknown filter": (
        EXTENDS + "{% block head %}{{ page | nosuch }}{% endblock %}",
        ":2: is not a valid template: No filter",
        "correct",
    ),
    "no Jinja": (EXTENDS + "{% block head %}{{ page. }}", ":2: is not a valid template", "correct that line"),
    "an open block": (EXTENDS + "{% block head %}", "is not a valid template", "correct that line"),
    "a failing expression": (
        EXTENDS + "{% block head %}{{ 1 / 0 }}{% endblock %}",
        ":2: fails: ZeroDivisionError",
        "docs/templates.md",
    ),
    "a missing file": (
        EXTENDS + "{% block head %}{% include 'sections/dept.html.j2' %}{% endblock %}",
        ":2: loads 'sections/dept.html.j2', which does not exist",
        "did you mean sections/depth.html.j2",
    ),
    "a missing file by a computed name": (
        EXTENDS + "{% block head %}{% include 'lo' ~ 'go' %}{% endblock %}",
        ":2: loads 'logo', which does not exist",
        "name a file of that folder",
    ),
    "itself": (
        '{% extends "report.html.j2" %}',
        ":1: loads or calls itself endlessly",
        '{% extends "cohaudit/report.html.j2" %}',
    ),
    "a recursion": (
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        ":1: loads or calls itself endlessly",
        "remove the recursion",
    ),
}


@pytest.mark.parametrize(("source", "found", "remedy"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_by_file_and_line(
    source: str, found: str, remedy: str, tmp_path: Path
) -> None:
    own = folder(tmp_path, {"report.html.j2": source})
    with pytest.raises(UserTemplateError) as refusal:
        render_html(make_audit(suspects=1), own)
    assert f"{own / 'report.html.j2'}" in refusal.value.where
    assert found in str(refusal.value)
    assert remedy in str(refusal.value)


def test_two_that_load_each_other_are_refused(tmp_path: Path) -> None:
    files = {"report.html.j2": '{% include "other.j2" %}', "other.j2": '{% include "report.html.j2" %}'}
    with pytest.raises(UserTemplateError, match="itself endlessly"):
        render_html(make_audit(suspects=1), folder(tmp_path, files))


def test_a_macro_that_a_shipped_template_needs_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserTemplateError, match=r"macros.html.j2 has no '\w+'"):
        render_html(
            make_audit(suspects=1), folder(tmp_path, {"macros.html.j2": "{% macro x() %}{% endmacro %}"})
        )


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "has no templates"),
        ({".hidden": ""}, "has no templates"),
        ({"raport.html.j2": ""}, "did you mean report.html.j2"),
        ({"sections/verdikt.html.j2": ""}, "did you mean sections/verdict.html.j2"),
        ({"cohaudit/report.html.j2": ""}, "does not replace a shipped template"),
        ({"report.html.j2": EXTENDS, "logo.base64": ""}, "{% include 'logo.base64' %}"),
    ],
)
def test_a_folder_or_file_that_does_nothing_is_refused(
    files: dict[str, str], found: str, tmp_path: Path
) -> None:
    with pytest.raises(UserTemplateError) as refusal:
        check_templates(folder(tmp_path, files))
    assert found in str(refusal.value)


def test_files_that_others_may_load_are_not_refused(tmp_path: Path) -> None:
    source = EXTENDS + "{% block head %}{% include ['a.j2', 'none.j2'] %}{% include 'no.j2' ignore missing %}"
    files = {"report.html.j2": source + "{% include 'b.' ~ 'j2' %}{% endblock %}", "a.j2": "", "b.j2": "B!"}
    assert "B!" in render_html(make_audit(suspects=1), folder(tmp_path, files))


def test_a_folder_that_is_none_and_a_file_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserTemplateError, match="does not exist"):
        check_templates(tmp_path / "nowhere")
    own = folder(tmp_path, {"style.css": ""})
    with pytest.raises(UserTemplateError, match="is a file, not a folder"):
        check_templates(own / "style.css")
    (own / "style.css").write_bytes(b"\xff\xfe")
    with pytest.raises(UserTemplateError, match="cannot be read"):
        check_templates(own)


# the commands


@pytest.fixture
def audit_file(tmp_path: Path) -> Path:
    path = tmp_path / "audit.json"
    path.write_bytes(audit_to_json(make_audit(suspects=1)).encode())
    return path


def test_report_renders_with_them_or_writes_nothing(audit_file: Path, tmp_path: Path) -> None:
    own = folder(tmp_path, {"report.html.j2": EXTENDS + "{% block head %}OURS{% endblock %}"})
    assert run("report", audit_file, "--templates", own).exit_code == 0
    before = (tmp_path / "report.html").read_bytes()
    assert b"OURS" in before
    (own / "report.html.j2").write_text("{{ nosuch }}")
    done = run("report", audit_file, "--templates", own)
    assert done.exit_code == 2
    assert "there is no 'nosuch'" in done.stderr
    assert (tmp_path / "report.html").read_bytes() == before


def test_diff_renders_with_them_and_needs_a_page(audit_file: Path, tmp_path: Path) -> None:
    own = folder(
        tmp_path, {"diff.html.j2": '{% extends "cohaudit/diff.html.j2" %}{% block title %}OURS{% endblock %}'}
    )
    page = tmp_path / "difference.html"
    assert run("diff", audit_file, audit_file, "--html", page, "--templates", own).exit_code == 0
    assert "<title>OURS</title>" in page.read_text("utf-8")
    done = run("diff", audit_file, audit_file, "--templates", own)
    assert done.exit_code == 2
    assert "--html FILE" in done.stderr


def test_the_key_is_relative_to_the_file_and_the_option_to_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cohaudit.toml").write_text('templates = "brand"')
    named = Path("run/cohaudit.toml")
    config = load_config(Path("run/model.pt"), {}, named)
    assert config.base / config.templates == tmp_path / "run" / "brand"
    given = load_config(Path("run/model.pt"), {"templates": "mine"}, named)
    assert given.base / given.templates == tmp_path / "mine"


def test_a_scan_refuses_them_before_it_measures(tmp_path: Path) -> None:
    checkpoint = ROOT / "fixtures" / "digits" / "model.safetensors"
    own = folder(tmp_path, {"raport.html.j2": ""})
    done = run("scan", checkpoint, "--out", tmp_path / "out", "--templates", own)
    assert done.exit_code == 2
    assert "did you mean report.html.j2" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_scan_loses_nothing_when_a_template_fails_in_the_end(tmp_path: Path) -> None:
    checkpoint, out = ROOT / "fixtures" / "digits" / "model.safetensors", tmp_path / "out"
    own = folder(tmp_path, {"report.html.j2": EXTENDS + "{% block head %}{{ page.nosuch }}{% endblock %}"})
    quick = ("--limit", "60", "--quiet", "--bootstrap", "20")
    done = run("scan", checkpoint, "--out", out, "--templates", own, *quick)
    assert done.exit_code == 2
    assert f"cohaudit report {out / 'audit.json'} --templates {own}" in done.stderr
    assert {path.name for path in out.iterdir()} == {"report.html", "audit.json", "samples.csv"}
    places = Places(str(out / "audit.json"), str(data_path(load_config(checkpoint, {}))))
    shipped = render_html(cohaudit.read_audit(out / "audit.json"), None, places)
    assert (out / "report.html").read_text("utf-8") == shipped


def test_a_model_in_memory_takes_them_where_the_report_is_written(tmp_path: Path) -> None:
    own = folder(tmp_path, {"report.html.j2": EXTENDS + "{% block head %}OURS{% endblock %}"})
    page, *_ = cohaudit.write_report(make_audit(suspects=1), tmp_path / "out", templates=own)
    assert "OURS" in page.read_text("utf-8")
    with pytest.raises(ConfigError, match="write_report"):
        cohaudit.scan(None, None, templates=str(own))


# the guide


def test_the_example_of_the_guide_works_as_shown(tmp_path: Path) -> None:
    shown = re.findall(
        r"^```text\n# file: brand/(\S+)\n(.*?)^```$", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert [name for name, _ in shown] == ["report.html.j2", "style.css"]
    logo = base64.b64encode(PIXEL).decode()
    own = folder(tmp_path, {**dict(shown), "logo.base64": logo + "\n"})
    audit = make_audit()
    html = render_html(audit, own)
    assert "<title>Example Ltd – High risk: about 6.2% of the labels are wrong" in html
    assert f'src="data:image/png;base64,{logo}"' in html
    assert ".letterhead img" in html[: html.index("</style>")]
    assert "--page: #f4f6f8" in html
    release = html[html.index('<section id="release">') :]
    for one in audit.classes:
        assert (f">{one.name}<" in release) == (one.suspects > 0)
    assert '<a href="#release">Release</a>' in html
    assert "Content-Security-Policy" in html
