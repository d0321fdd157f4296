"""The report in a real browser: no script runs, no request leaves, nothing makes the page scroll sideways."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from audits import gate, make_audit

from cohaudit.report import render_html
from cohaudit.theory import Theory

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
)
FRAME = '<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{page}"></iframe>'
MEASURE = """
<!doctype html><meta charset="utf-8"><title>measuring</title>
{frames}
<script>
const measured = frame => {{
  const page = frame.contentDocument;
  const images = [...page.images];
  return {{
    window: page.documentElement.clientWidth,
    content: page.documentElement.scrollWidth,
    images: images.length,
    decoded: images.filter(image => image.naturalWidth > 0).length,
    scripts: page.scripts.length,
    sections: page.querySelectorAll("section").length,
    ids: new Set([...page.querySelectorAll("[id]")].map(element => element.id)).size,
    elements: page.querySelectorAll("[id]").length,
    background: getComputedStyle(page.body).backgroundColor,
    hidden: [...page.querySelectorAll(".figure, .scroll")].filter(
      part => part.scrollWidth > part.clientWidth && getComputedStyle(part).backgroundImage == "none"
    ).length,
    cut: [...page.querySelectorAll(".figure")].filter(part => part.scrollWidth > part.clientWidth).length,
  }};
}};
onload = () => {{ document.title = JSON.stringify([...document.querySelectorAll("iframe")].map(measured)); }};
</script>
"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium on the PATH")


def browse(path: Path, *flags: str) -> tuple[str, list[str]]:
    """Open a page; return its document as the browser holds it, and what stands on its console."""
    command = [
        str(BROWSER),
        *FLAGS,
        *flags,
        f"--user-data-dir={path.parent / 'profile'}",
        "--dump-dom",
        path.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def measure(folder: Path, widths: Sequence[int], *flags: str, **variant: Any) -> list[dict[str, Any]]:
    """Lay the page out in frames of these widths, and return what the browser made of each."""
    page = html.escape(render_html(make_audit(**variant)))
    frames = "".join(FRAME.format(width=width, page=page) for width in widths)
    (folder / "measure.html").write_text(MEASURE.format(frames=frames), encoding="utf-8")
    document, console = browse(folder / "measure.html", "--window-size=1800,1000", *flags)
    assert console == []
    title = re.search("<title>(.*?)</title>", document)
    assert title is not None
    found: list[dict[str, Any]] = json.loads(html.unescape(title[1]))
    return found


def test_hostile_names_stay_text_and_the_console_stays_empty(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_html(make_audit(hostile=True, classes=6)), encoding="utf-8")
    document, console = browse(page)
    assert console == []
    assert "<script" not in document
    assert "&lt;script&gt;alert('name')&lt;/script&gt;" in document
    assert "onerror" not in re.sub('(?s)>[^<]*<|"[^"]*"', "", document)


@pytest.mark.parametrize(
    "variant",
    [
        {"gates": (gate(failed=True),)},
        {"hostile": True, "classes": 6},
        {"hostile": True, "classes": 6, "kind": "row"},
        {"hostile": True, "classes": 5, "kind": "text"},
        {"classes": 40, "layers": 120, "samples": 400, "kind": "none"},
    ],
    ids=["images", "hostile images", "hostile rows", "hostile texts", "many"],
)
def test_no_page_scrolls_sideways(variant: dict[str, Any], tmp_path: Path) -> None:
    widths = (360, 800, 1600)
    for width, found in zip(widths, measure(tmp_path, widths, **variant), strict=True):
        assert found["window"] in range(width - 20, width + 1)
        assert found["content"] == found["window"]
        assert found["sections"] == 7 + len(fields(Theory))
        assert found["scripts"] == 0
        assert found["decoded"] == found["images"]
        assert found["ids"] == found["elements"]
        assert found["hidden"] == 0, "what scrolls sideways shows that there is more"
        assert (found["cut"] > 0) == (width == 360)


def test_dark_is_dark(tmp_path: Path) -> None:
    colors = {
        measure(tmp_path, [800], f"--blink-settings=preferredColorScheme={scheme}", suspects=0)[0][
            "background"
        ]
        for scheme in (0, 1)
    }
    assert colors == {"rgb(15, 19, 24)", "rgb(244, 246, 248)"}
