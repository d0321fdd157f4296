"""The report and the page of a difference: valid HTML by the checker of the W3C, accessible by axe-core."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.audits import gate, make_audit
from support.browser import OpenPage
from support.page import html_of

from cohaudit.report import render_difference
from cohaudit.review.diff.compare import compare

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHECKER = Path(__file__).parents[2] / "node_modules/vnu-jar/build/dist/vnu.jar"
REPORTS: dict[str, dict[str, Any]] = {
    "images": {"gates": (gate(failed=True), gate(failed=False)), "suppressed": 3, "holdout": True},
    "hostile rows": {"hostile": True, "classes": 6, "kind": "row", "suspects": 3, "evidence": 2},
    "hostile texts": {"hostile": True, "classes": 5, "kind": "text", "suspects": 3, "evidence": 2},
    "no previews": {"classes": 3, "layers": 2, "kind": "none", "suspects": 3},
    "no suspects": {"suspects": 0, "classes": 3, "layers": 2},
    "not auditable": {"auditable": False},
}


@cache
def difference() -> str:
    """Return the page of a difference whose lists are all filled, with hostile names."""
    head = make_audit(hostile=True, seed=3, suspects=40)
    return render_difference(compare(make_audit(hostile=True, classes=6), head))


PAGES = [*REPORTS, "difference"]


def page_of(name: str) -> str:
    """Return a page by its name in `PAGES`."""
    return difference() if name == "difference" else html_of(**REPORTS[name])


def violations(page: Page, options: dict[str, Any]) -> list[str]:
    """Return what axe-core finds on a page, be it serious or minor, with all that is folded unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    found = axe.Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(name: str, open_page: OpenPage) -> None:
    assert violations(open_page(page_of(name)), {"resultTypes": ["violations"]}) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "difference"])
def test_axe_finds_enough_contrast_in_the_dark(name: str, open_page: OpenPage) -> None:
    options = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}
    assert violations(open_page(page_of(name), scheme="dark"), options) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="needs java on the PATH")
@pytest.mark.skipif(not CHECKER.exists(), reason="needs `npm ci --prefix tests --ignore-scripts`")
def test_pages_are_valid_html(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.html" for name in PAGES]
    for path in paths:
        path.write_text(page_of(path.stem), encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text("<!doctype html><title>no language</title><p><table>", encoding="utf-8")
    assert complaints(broken) != []
    assert complaints(*paths) == []


def complaints(*paths: Path) -> list[str]:
    """Return what the checker says of pages, warnings included."""
    command = ["java", "-Xss4m", "-jar", CHECKER, "--format", "json", "--exit-zero-always", *paths]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(run.stderr)["messages"]
    return [
        f"{Path(one['url']).name}, line {one.get('lastLine')}: {one['message']}"
        for one in found
        if not mistaken(one)
    ]


def mistaken(complaint: dict[str, Any]) -> bool:
    """Return whether it is what the checker wrongly says of the Content-Security-Policy.

    It holds that `img-src data:` forbids a data URI, and that a script is forbidden whose hash the policy
    names: no browser does, and the tests of the samples would find it if one did.
    """
    message: str = complaint["message"]
    image = "blocked by “img-src” directive" in message and "image “data:" in message
    return image or message.startswith("Inline script violates Content Security Policy (meta tag)")
