"""Follows docs/tutorial.md on Fashion-MNIST, and measures what its corrections are worth.

    python -m benchmarks.docs.tutorial --data-dir DIR   follow the page, train with more seeds, and show
    python -m benchmarks.docs.tutorial --show           show the saved results

DIR holds fashion_mnist.npz with the arrays x_train, y_train, x_test and y_test, as the page makes it. The
page's own blocks are run, so that page and numbers cannot drift apart; tests/docs/test_tutorial.py compares
the page with `results/tutorial.json`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import read_json

ROOT = paths.ROOT
PAGE = ROOT / "docs/tutorial.md"
RESULTS = paths.RESULTS / "tutorial.json"
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
FIRST = "download.py"
"""The one step of the page that is left out: the data exists already."""

PYTHON = [sys.executable]
"""The command that the page calls `python`."""

LABELS = {
    "train": "as given, 15 % wrong",
    "looked": "confirmed by looking at the first 200",
    "sure": "unseen, from suspicion 0.9 on",
    "all": "all suspects, unseen",
    "dropped": "all suspects left out",
    "true": "the true labels, for comparison",
}
"""File that a network is trained on → its name on the page."""


def follow(page: str, folder: Path) -> dict[str, str]:
    """Follow a page in a folder, and return what each command printed.

    Args:
        page: Text of the page, in Markdown. Blocks that begin with `# file: NAME` are written, sh blocks run.
        folder: Folder to work in; holds what the page downloads.
    """
    printed = {}
    for _, language, indented in FENCE.findall(page):
        code = dedent(indented)
        named = re.match(r"# file: (\S+)", code)
        if named:
            (folder / named[1]).write_text(code, encoding="utf-8")
        elif language == "sh" and FIRST not in code:
            printed |= {command: run(command, folder) for command in code.splitlines()}
    return printed


def run(command: str, folder: Path) -> str:
    """Run one command of the page, and return what it printed on standard output.

    Raises:
        RuntimeError: If it fails.
    """
    words = {"python": PYTHON, "cohaudit": [*PYTHON, "-m", "cohaudit"]}
    first, *rest = command.split()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    done = subprocess.run(
        [*words[first], *rest], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def corrections(folder: Path) -> dict[str, dict[str, int]]:
    """Count what each correction of the page did: labels changed, wrong before, right after."""
    true = np.asarray(pd.read_csv(folder / "truth.csv")["true"])

    def names(file: str) -> np.ndarray:
        with np.load(folder / file) as data:
            return data["class_names"][data["labels"]]

    before = names("train.npz")
    done = {}
    for name in ("looked", "sure", "all"):
        after = names(f"{name}.npz")
        changed = after != before
        done[name] = {
            "changed": int(changed.sum()),
            "were_wrong": int((changed & (before != true)).sum()),
            "now_right": int((changed & (after == true)).sum()),
            "wrong_left": int((after != true).sum()),
        }
    return done


def prepare_others(folder: Path) -> None:
    """Write the two data sets that the page does not write: without suspects, and with true labels."""
    run("cohaudit correct cohaudit-report/audit.json --data train.npz --out dropped.npz --drop", folder)
    with np.load(folder / "train.npz") as data:
        names = list(data["class_names"])
        labels = np.array([names.index(name) for name in pd.read_csv(folder / "truth.csv")["true"]])
        np.savez(folder / "true.npz", images=data["images"], labels=labels)


def trained(name: str, seed: int, folder: Path, printed: Mapping[str, str]) -> float:
    """Return the test accuracy of a training run in percent; that of seed 0 may be on the page already."""
    own = [text for command, text in printed.items() if command.startswith(f"python train.py {name}.npz ")]
    output = own[0] if own and not seed else run(f"python train.py {name}.npz x.pt --seed {seed}", folder)
    print(f"seed {seed}, {name}: {output.split()}", flush=True)
    return float(re.findall(r"test accuracy ([\d.]+)%", output)[0])


def table(results: Mapping[str, Any]) -> list[str]:
    """Return the page's table of what the corrections are worth, in Markdown."""
    seeds = results["seeds"]
    rows = [
        f"| labels | changed | of them wrong before | right after | test accuracy, mean of {seeds} |",
        "|---|---|---|---|---|",
    ]
    for name, what in LABELS.items():
        done = results["corrections"].get(name)
        counts = [f"{done[key]:,}" for key in ("changed", "were_wrong", "now_right")] if done else ["–"] * 3
        accuracies = results["test_accuracy"][name]
        spread = f"{min(accuracies):.1f} to {max(accuracies):.1f}"
        rows.append(f"| {what} | {' | '.join(counts)} | {statistics.mean(accuracies):.1f} % ({spread}) |")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    args = parser.parse_args(arguments)
    source = args.data_dir / "fashion_mnist.npz"
    if not args.show:
        if not source.is_file():
            parser.error(f"{source} does not exist: name its folder with --data-dir")
        measure(source, args.seeds)
    print("\n".join(table(read_json(RESULTS))))
    return 0


def measure(source: Path, seeds: int) -> None:
    """Follow the page and train with more seeds; write the results after each seed.

    Args:
        source: File of the data.
        seeds: Number of seeds.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copyfile(source, folder / source.name)
        printed = follow(PAGE.read_text("utf-8"), folder)
        prepare_others(folder)
        results: dict[str, Any] = {
            "printed": {command: text.splitlines() for command, text in printed.items()},
            "corrections": corrections(folder),
            "test_accuracy": {name: [] for name in LABELS},
        }
        for seed in range(seeds):
            for name, accuracies in results["test_accuracy"].items():
                accuracies.append(trained(name, seed, folder, printed))
            text = json.dumps({"seeds": seed + 1, **results}, indent=1, ensure_ascii=False)
            RESULTS.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
