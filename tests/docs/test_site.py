"""The documentation hangs together: every link leads somewhere, on GitHub and in the site of Sphinx."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from support.pages import ROOT
from support.warm import warm_python

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]


def tokens(path: Path) -> list[Token]:
    parsed = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    return [inner for token in parsed for inner in [token, *(token.children or [])]]


def links(path: Path) -> list[str]:
    found = (token.attrGet("href") or token.attrGet("src") for token in tokens(path))
    return [str(link) for link in found if link]


def anchors(path: Path) -> set[str]:
    """Return what GitHub calls the headings of a page."""
    read = tokens(path)
    titles = [
        "".join(part.content for part in after.children or [])
        for token, after in pairwise(read)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_between_files_lead_somewhere_on_github(page: Path) -> None:
    broken = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.exists() or (parts.fragment and parts.fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


class Html(HTMLParser):
    """What a built page leads to, and what leads into it.

    Args:
        path: The page.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in {"href", "src"} and value and tag in {"a", "img", "link", "script"}:
                self.links.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Html]:
    """Return every page of the built site; a warning of Sphinx is an error.

    COHAUDIT_SITE names the folder of a site that has been built from this checkout with the same options, as
    `.ci/run` does; without it, the site is built here.
    """
    if built := os.environ.get("COHAUDIT_SITE"):
        pages = {path: Html(path) for path in Path(built).resolve().glob("*.html")}
        assert pages, f"COHAUDIT_SITE: there is no page in {built}; build it with sphinx-build, or unset it"
        return pages
    out = tmp_path_factory.mktemp("site")
    options = ("-W", "--keep-going", "-n", "-q", "-d", f"{out}.doctrees")
    build = [*shlex.split(warm_python()), "-m", "sphinx", *options]
    done = subprocess.run([*build, DOCS, out], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Html(path) for path in out.glob("*.html")}


def within_site(page: Path, link: str) -> tuple[Path, str] | None:
    """Return the file and the anchor that a link leads to, or None where it leaves the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page, unquote(parts.fragment)


@pytest.mark.slow
def test_no_link_within_the_site_is_broken(site: dict[Path, Html]) -> None:
    broken = []
    for page, html in site.items():
        for link in html.links:
            leads = within_site(page, link)
            if leads is None:
                continue
            target, anchor = leads
            known = site[target].anchors if target in site else set()
            if not target.exists() or (anchor and anchor not in known):
                broken.append(f"{page.name}: {link}")
    assert broken == []


@pytest.mark.slow
def test_every_page_is_reached_from_the_first(site: dict[Path, Html]) -> None:
    (first,) = (page for page in site if page.name == "index.html")
    reached, waiting = {first}, [first]
    while waiting:
        page = waiting.pop()
        targets = {leads[0] for link in site[page].links if (leads := within_site(page, link))}
        new = targets & site.keys() - reached
        reached |= new
        waiting += new
    wanted = {f"{page.stem}.html" for page in DOCS.glob("*.md")}
    assert wanted - {page.name for page in reached} == set()


@pytest.mark.slow
def test_the_first_page_leads_to_a_report_that_the_build_made(site: dict[Path, Html]) -> None:
    (first,) = (page for page in site if page.name == "index.html")
    assert "sample-report/report.html" in site[first].links
    report = (first.parent / "sample-report/report.html").read_text(encoding="utf-8")
    assert "fixtures/digits/model.safetensors" in report


@pytest.mark.slow
def test_formulas_are_drawn_by_the_browser_and_words_are_found(site: dict[Path, Html]) -> None:
    texts = {page.stem: page.read_text(encoding="utf-8") for page in site}
    assert "<math" in texts["inputs"]
    assert [
        name
        for name, text in texts.items()
        if "$$" in re.sub(r"<pre>.*?</pre>|<code.*?</code>", "", text, flags=re.DOTALL)
    ] == []
    (first,) = (page for page in site if page.name == "index.html")
    assert "huggingfac" in (first.parent / "searchindex.js").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: dict[Path, Html]) -> None:
    """Links may lead away; pictures, styles and scripts may not."""
    loaded = {
        found
        for page in site
        for found in re.findall(
            r"<(?:script|img|link)\b[^>]*?(?:src|href)=\"(https?://[^\"]+)", page.read_text(encoding="utf-8")
        )
    }
    assert loaded == set()
