"""How long do the pages take for 200 verdicts, and how much of five minutes is left for looking?

    python -m benchmarks.commands.review_speed          measure, and write results/review_speed.json
    python -m benchmarks.commands.review_speed --show   show the saved results

The report and the review page of the hand-made audit of the tests are opened in a browser. A script presses
one key a sample, each as soon as the page has drawn the sample before, and checks that every verdict was
counted. A person has what is left of the five minutes to look. Needs chromium and the extra `test`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from benchmarks.commands.report_page import BROWSERS
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.files import module_at
from benchmarks.shared.results import Row, read_rows, write_json
from cohaudit.report import render_html, render_review

if TYPE_CHECKING:
    from playwright.sync_api import Page

RESULTS = paths.RESULTS / "review_speed.json"
VERDICTS = 200
"""Verdicts that a reviewer gives."""
AIM_S = 300
"""Seconds in which a person should be able to give them."""
SHAPE = {"samples": 5_000, "suspects": 500, "questions": VERDICTS, "classes": 20, "layers": 4}
"""Shape of the audit; its images are 32 × 32 pixels of noise."""
KEYS = ("r", "w", "u")
"""Keys pressed in turn: right, wrong, unsure."""
TIMEOUT_MS = 300_000
"""Longest wait for the page, on a machine that does other work too."""
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Script that waits until the page is drawn: two frames, 0.03 s."""


@dataclass(frozen=True)
class Way:
    """A way to give verdicts."""

    name: str
    opens: str
    """What to click before the first key; empty for nothing."""
    wrong: tuple[str, ...]
    """Keys that call a label wrong and lead to the next sample."""
    counter: str
    """Element whose text begins with the number of verdicts."""


REPORT = Way("report, one by one", "#judging [name=focus]", ("w",), "#focus output")
REVIEW = Way("review", "", ("w", "Enter"), "#count")


def judge(page: Page, way: Way) -> Row:
    """Give the verdicts, and return the seconds until the first and the last, and between two of them."""
    start = time.perf_counter()
    page.reload(wait_until="load")
    if way.opens:
        page.click(way.opens)
    took = []
    first = 0.0
    for i in range(VERDICTS):
        key = KEYS[i % len(KEYS)]
        before = time.perf_counter()
        for press in way.wrong if key == "w" else (key,):
            page.keyboard.press(press)
        page.evaluate(DRAWN)
        took.append(time.perf_counter() - before)
        if i == 0:
            first = time.perf_counter() - start
    total = time.perf_counter() - start
    counted = int(page.inner_text(way.counter).split()[0])
    if counted != VERDICTS:
        raise AssertionError(f"{way.name}: {counted} of {VERDICTS} verdicts were counted")
    return {
        "way": way.name,
        "verdicts": VERDICTS,
        "first_s": round(first, 2),
        "last_s": round(total, 2),
        "median_s": round(statistics.median(took), 3),
        "longest_s": round(max(took), 3),
        "left_per_look_s": round((AIM_S - total) / VERDICTS, 2),
        "load_average": round(os.getloadavg()[0], 1),
    }


def measure() -> list[Row]:
    """Open both pages and judge."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        sys.exit("no chromium on the PATH: install it, or show the saved results with --show")
    audit = module_at(paths.ROOT / "tests/support/audits.py").make_audit(**SHAPE, image_side=32)
    pages = ((REPORT, render_html(audit)), (REVIEW, render_review(audit, audit.questions)))
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=executable, args=["--disable-gpu"], timeout=TIMEOUT_MS
        )
        for way, html in pages:
            path = Path(folder) / "page.html"
            path.write_text(html, encoding="utf-8")
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.set_default_timeout(TIMEOUT_MS)
            tab = context.new_page()
            tab.goto(path.as_uri())  # the first visit starts the browser's processes
            rows.append(judge(tab, way))
            context.close()
        browser.close()
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        write_json(RESULTS, measure())
    show(read_rows(RESULTS))
    return 0


def show(rows: Sequence[Row]) -> None:
    """Print what was measured."""
    print(f"{'':<20}{'first':>8}{'200th':>8}{'median':>9}{'longest':>9}{'left for a look':>17}{'load':>6}")
    for row in rows:
        times = f"{row['first_s']:>6} s{row['last_s']:>6} s{row['median_s']:>7} s{row['longest_s']:>7} s"
        print(f"{row['way']:<20}{times}{row['left_per_look_s']:>15} s{row['load_average']:>6}")


if __name__ == "__main__":
    raise SystemExit(main())
