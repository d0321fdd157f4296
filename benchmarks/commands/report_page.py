"""How large is the report of a large audit, and how long does it take to render and to open?

    python -m benchmarks.commands.report_page          measure, and write results/report_page.json
    python -m benchmarks.commands.report_page --show   show the saved results

The audit is the hand-made one of the tests, with 50,000 samples, 100 classes, 54 layers and all further
audits; its images are 32 × 32 pixels of noise: no real image of that size takes more bytes. Needs chromium
and the extra `test`.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.files import module_at
from benchmarks.shared.results import Row, read_json, write_json
from cohaudit.report import render_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Names of programs that can open the page, the first found is used."""

RESULTS = paths.RESULTS / "report_page.json"
SHAPE = {"samples": 50_000, "suspects": 2500, "classes": 100, "layers": 54}
"""Shape of the audit."""
ACTS = ("search", "order", "turn", "table")
"""Actions of a reader that are timed."""
LOAD_TIMES = """
() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return {
    load: performance.getEntriesByType("navigation")[0].loadEventEnd / 1000,
    paint: paint ? paint.startTime / 1000 : null,
  };
}
"""
"""Script that returns the seconds from navigation to the load event and to the first paint."""

ACT_TIMES = """
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
"""Script that returns seconds from an action until its result is drawn: at least two frames, 0.03 s."""


def sizes(page: str) -> dict[str, int]:
    """Return the bytes of each section, of the style, and of the scripts."""
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
        sys.exit("no chromium on the PATH: install it, or show the saved results with --show")
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
                found.append(tab.evaluate(LOAD_TIMES) | tab.evaluate(ACT_TIMES))
            context.close()
        browser.close()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    for name, count in SHAPE.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"default: {count:,}")
    parser.add_argument("--turns", type=int, default=5, help="times that the page is opened (default: 5)")
    args = parser.parse_args(arguments)
    if not args.show:
        write_json(RESULTS, measure({name: getattr(args, name) for name in SHAPE}, args.turns))
    show(read_json(RESULTS))
    return 0


def measure(shape: Mapping[str, int], turns: int) -> Row:
    """Render a report and open it some times.

    Args:
        shape: Numbers of samples, suspects, classes and layers.
        turns: Times that it is opened.
    """
    audit = module_at(paths.ROOT / "tests/support/audits.py").make_audit(**shape, image_side=32)
    start = time.perf_counter()
    page = render_html(audit)
    row: Row = {
        **shape,
        "render_s": round(time.perf_counter() - start, 2),
        "bytes": _bytes([page]),
        "sections": sizes(page),
    }
    times = opened(page, turns)
    row["load_average"] = round(os.getloadavg()[0], 1)  # other work on the machine slows the browser
    for name in ("paint", "load", *ACTS):
        row[f"{name}_s"] = round(statistics.median(turn[name] for turn in times), 3)
    row["load_of_each_s"] = [round(turn["load"], 3) for turn in times]
    return row


def show(row: Row) -> None:
    """Print sizes and times."""
    for name, size in sorted(row["sections"].items(), key=lambda item: -item[1]):
        print(f"{name:<28}{size / 1e6:8.3f} MB")
    print(f"{'the page (aim: at most 3)':<28}{row['bytes'] / 1e6:8.3f} MB")
    print(f"rendered in {row['render_s']} s; opened in {row['load_s']} s (aim: under 1.5), ", end="")
    print(f"first painted after {row['paint_s']} s: medians of {len(row['load_of_each_s'])}")
    acts = ", ".join(f"{name} {row[f'{name}_s']} s" for name in ACTS)
    print(f"from a reader's action until its result is drawn: {acts}")


if __name__ == "__main__":
    raise SystemExit(main())
