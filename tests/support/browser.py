"""A real browser for tests: fixtures that open a page and hold that it stays quiet and asks for nothing.

`open_report(width=360, scheme="dark", hostile=True)` renders `make_audit(hostile=True)` and returns the page
in Playwright. `open_undrawn` does so without the drawings, `open_page(html)` with any other page. What a page
says on its console, throws, asks a person or loads besides itself fails the test in the end; a test that
expects it reads and clears `trouble`. `reload(page)` loads a page again with what it has stored.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from support.page import html_of, undrawn_html_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # what a page asks for is reported, and still never sent
)
HEIGHT = 900
RELOADS = 10
READ_STORE = "Object.entries(localStorage).sort()"
WRITE_STORE = """entries => {
  localStorage.clear();
  for (const [key, value] of entries) localStorage.setItem(key, value);
}"""

Scheme = Literal["light", "dark"]
OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start the machine's own browser once for all tests; none is ever downloaded."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("needs chromium on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def trouble() -> Iterator[list[str]]:
    """Collect what pages did that a report must not do; there is none left in the end."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def open_page(chromium: Browser, tmp_path: Path, trouble: list[str]) -> Iterator[OpenPage]:
    """Return a function that opens HTML from a file, at a width and in a color scheme."""
    contexts = []

    def open_html(html: str, *, width: int = 1280, scheme: Scheme = "light") -> Page:
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        context = chromium.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        _watch(page, path.as_uri(), trouble)
        page.goto(path.as_uri(), wait_until="load")
        return page

    yield open_html
    for context in contexts:
        trouble.extend("a name was run" for page in context.pages if page.evaluate("'__hacked' in window"))
        context.close()


@pytest.fixture
def open_report(open_page: OpenPage) -> OpenPage:
    """Return a function that opens the report of `make_audit(**variant)` as `open_page` does."""

    def open_variant(*, width: int = 1280, scheme: Scheme = "light", **variant: Any) -> Page:
        return open_page(html_of(**variant), width=width, scheme=scheme)

    return open_variant


@pytest.fixture
def open_undrawn(open_page: OpenPage) -> OpenPage:
    """Return a function that opens the report of `make_audit(**variant)` with empty figures."""

    def open_variant(**variant: Any) -> Page:
        return open_page(undrawn_html_of(**variant))

    return open_variant


def reload(page: Page) -> None:
    """Load the page again until it starts with all that it had stored.

    Chromium hands the store of a `file:` page to the next document in the background: on a loaded machine a
    document that starts at once may read an older store, and a young store is sometimes never handed on. What
    a document reads first is what its scripts go by, so that is compared; what was lost is stored once more.
    """
    stored = page.evaluate(READ_STORE)
    page.add_init_script(f"window.firstRead = {READ_STORE}")
    for _ in range(RELOADS):
        page.reload()
        found = page.evaluate("firstRead")
        if found == stored:
            return
        page.evaluate(WRITE_STORE, stored)
    pytest.fail(f"after {RELOADS} reloads the page still starts with {found}, and had stored {stored}")


def _watch(page: Page, address: str, trouble: list[str]) -> None:
    page.on("console", lambda message: trouble.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("crash", lambda _: trouble.append("crash"))
    page.on("popup", lambda _: trouble.append("a window was opened"))
    page.on("request", lambda request: _note_request(request.url, address, trouble))

    def refuse(dialog: Any) -> None:
        trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", refuse)


def _note_request(url: str, address: str, trouble: list[str]) -> None:
    own = url.partition("#")[0] == address or url.startswith(("data:", "blob:"))
    if not own:
        trouble.append(f"request: {url}")
