"""How large the report of a large audit is, section by section, and how long it takes to render and to open.

The audit is the hand-made one of the tests, of 50,000 samples, 100 classes and 54 layers, all further audits
included; its pictures are 32 × 32 pixels of noise: no real ones of that size take more bytes.
Needs chromium and the extra `test`. Prints a table and writes benchmarks/results/report_page.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from benchmarks.shared import paths
from benchmarks.shared.files import module_at
from cohaudit.report import render_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

RESULT = paths.RESULTS / "report_page.json"
TIMES = """
() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return {
    load: performance.getEntriesByType("navigation")[0].loadEventEnd / 1000,
    paint: paint ? paint.startTime / 1000 : null,
  };
}
"""

USE = """
async () => {
  const form = document.getElementById("filters");
  const next = document.querySelector("#paging [name=on]");
  const drawn = async act => {
    const start = performance.now();
    act();
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return (performance.now() - start) / 1000;
  };
  const set = (name, value) => () => {
    form.elements[name].value = value;
    form.dispatchEvent(new Event("input"));
  };
  return {
    search: await drawn(set("text", "1")),
    order: await drawn(set("order", "id")),
    turn: await drawn(() => next.click()),
    table: await drawn(set("view", "table")),
  };
}
"""
"""Seconds from an act of the reader until what comes of it is drawn: two frames at least, 0.03 s."""


def sizes(page: str) -> dict[str, int]:
    """Return the bytes of each section, of the style and scripts, and of what stands around them."""
    found = {
        f"<{tag}>": _bytes(re.findall(f"(?s)<{tag}[ >].*?</{tag}>", page)) for tag in ("style", "script")
    }
    for start in re.finditer('<section id="([^"]+)"', page):
        found[start[1]] = _bytes([page[start.start() : page.index("</section>", start.start())]])
    found["pictures, within these"] = _bytes(re.findall('"data:image/[^"]*"', page))
    return found


def _bytes(parts: list[str]) -> int:
    return sum(len(part.encode()) for part in parts)


def opened(page: str, turns: int) -> list[dict[str, float]]:
    """Return the seconds from navigation to the load event and the first paint, each in a fresh profile."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        sys.exit("needs chromium on the PATH")
    found = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = Path(folder) / "report.html"
        path.write_text(page, encoding="utf-8")
        browser = driver.chromium.launch(executable_path=executable, args=["--disable-gpu"])
        for turn in range(turns + 1):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            tab = context.new_page()
            tab.goto(path.as_uri(), wait_until="load")
            tab.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
            if turn:  # the first one starts the browser's processes
                found.append(tab.evaluate(TIMES) | tab.evaluate(USE))
            context.close()
        browser.close()
    return found


def main() -> None:
    """Build, render, open, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--suspects", type=int, default=2500)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--layers", type=int, default=54)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    shape = {name: getattr(given, name) for name in ("samples", "suspects", "classes", "layers")}
    make_audit = module_at(paths.ROOT / "tests/support/audits.py").make_audit
    audit = make_audit(**shape, image_side=32)
    start = time.perf_counter()
    page = render_html(audit)
    result: dict[str, Any] = {
        **shape,
        "render_s": round(time.perf_counter() - start, 2),
        "bytes": _bytes([page]),
        "sections": sizes(page),
    }
    times = opened(page, given.turns)
    result["load_average"] = round(os.getloadavg()[0], 1)  # other work on the machine slows the browser
    for name in ("paint", "load", "search", "order", "turn", "table"):
        result[f"{name}_s"] = round(statistics.median(turn[name] for turn in times), 3)
    result["load_of_each_s"] = [round(turn["load"], 3) for turn in times]
    for name, size in sorted(result["sections"].items(), key=lambda item: -item[1]):
        print(f"{name:<28}{size / 1e6:8.3f} MB")
    print(f"{'the page (aim: at most 3)':<28}{result['bytes'] / 1e6:8.3f} MB")
    print(f"rendered in {result['render_s']} s; opened in {result['load_s']} s (aim: under 1.5), ", end="")
    print(f"first painted after {result['paint_s']} s: medians of {given.turns}")
    acts = ", ".join(f"{name} {result[f'{name}_s']} s" for name in ("search", "order", "turn", "table"))
    print(f"until it has drawn what a reader asks for: {acts}")
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
