"""Follows docs/tutorial.md on Fashion-MNIST, and measures what its corrections are worth.

    python -m benchmarks.docs.tutorial --data-dir DIR   does what the page says, trains with more seeds, shows

DIR holds fashion_mnist.npz with the arrays x_train, y_train, x_test and y_test, as the page makes it. The
page's own blocks are run, so that page and numbers cannot drift apart; tests/test_tutorial.py holds the
page to `results/tutorial.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.shared import paths

ROOT = paths.ROOT
PAGE = ROOT / "docs/tutorial.md"
RESULTS = paths.RESULTS / "tutorial.json"
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
FIRST = "download.py"
"""The page's one step that is not taken: the data is there already."""

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
"""What a training is on: file → how the page calls it."""


def follow(page: str, folder: Path) -> dict[str, str]:
    """Do what a page says in a folder, and return what each command printed.

    Args:
        page: In Markdown. A block that begins with `# file: NAME` is written there; sh blocks are run.
        folder: Where; holds what the page wants downloaded.
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
    """Write the two data sets that the page does not: without the suspects, and with the true labels."""
    run("cohaudit correct cohaudit-report/audit.json --data train.npz --out dropped.npz --drop", folder)
    with np.load(folder / "train.npz") as data:
        names = list(data["class_names"])
        labels = np.array([names.index(name) for name in pd.read_csv(folder / "truth.csv")["true"]])
        np.savez(folder / "true.npz", images=data["images"], labels=labels)


def trained(name: str, seed: int, folder: Path, printed: Mapping[str, str]) -> float:
    """Return the test accuracy in per cent of a training; of seed 0 the page may have had it."""
    own = [text for command, text in printed.items() if command.startswith(f"python train.py {name}.npz ")]
    said = own[0] if own and not seed else run(f"python train.py {name}.npz x.pt --seed {seed}", folder)
    print(f"seed {seed}, {name}: {said.split()}", flush=True)
    return float(re.findall(r"test accuracy ([\d.]+)%", said)[0])


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


def main() -> None:
    """Measure, write and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = os.environ.get("COHAUDIT_DATA_DIR", "../shared/data")
    parser.add_argument("--data-dir", type=Path, default=Path(default))
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    source = args.data_dir / "fashion_mnist.npz"
    if not source.is_file():
        parser.error(f"no fashion_mnist.npz in {args.data_dir}: name its folder with --data-dir")
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
        for seed in range(args.seeds):  # each one is worth keeping
            for name, accuracies in results["test_accuracy"].items():
                accuracies.append(trained(name, seed, folder, printed))
            text = json.dumps({"seeds": seed + 1, **results}, indent=1, ensure_ascii=False)
            RESULTS.write_text(f"{text}\n", encoding="utf-8")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
