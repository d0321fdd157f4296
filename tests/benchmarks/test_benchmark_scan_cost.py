"""The figures of `benchmarks.gradients.scan_cost` and of `benchmarks.gradients.dispatched`."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.gradients.dispatched import counted
from benchmarks.gradients.scan_cost import SINGLE_GRADIENTS, rows_of, table
from benchmarks.gradients.scan_process import CpuProgress


def spend(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def test_a_stage_within_another_is_not_counted_twice() -> None:
    progress = CpuProgress()
    with progress.stage("outer (about a minute)"):
        spend(0.02)
        with progress.stage("inner"):
            spend(0.06)
    spend(0.05)
    assert progress.seconds["outer"] == pytest.approx(0.02, abs=0.015)
    assert progress.seconds["inner"] == pytest.approx(0.06, abs=0.015)


def turn(epoch: float, measure: float | None) -> dict[str, Any]:
    memory = {"peak_mb": None, "step_mb": None}
    figures = {"epoch_seconds": epoch, "classes": 10, "run_on": 100}
    return memory | figures | {"stages": {"measure the gradients": measure, "total": measure}}


def test_figures_are_medians_in_epochs() -> None:
    rows = rows_of([turn(1.0, 4.0), turn(2.0, 6.0), turn(3.0, 5.0)], {"model": "GPT"})
    assert [row["stage"] for row in rows] == ["measure the gradients", "total"]
    assert [(row["cpu_seconds"], row["epochs"], row["turns"]) for row in rows] == [(5.0, 2.5, 3)] * 2


def test_small_scans_are_carried_on_along_a_line() -> None:
    # an epoch is a hundredth of a second a sample; a scan takes 3 s and an epoch, and .1 s a single gradient
    rows = []
    for samples, single in ((128, 40), (512, 100)):
        stages = {"measure the gradients": 3 + samples / 100, SINGLE_GRADIENTS: single / 10}
        scan = turn(samples / 100, None) | {"counts": {SINGLE_GRADIENTS: single}}
        scan["stages"] = stages | {"total": sum(stages.values())}
        rows += rows_of([scan], {"model": "GPT", "mode": "sums", "samples": samples})
    console = Console(width=150)
    with console.capture() as capture:
        console.print(table(rows))
    line = next(line for line in capture.get().splitlines() if "at 20,000" in line)
    cells = [cell.strip() for cell in line.split("│")]
    assert cells[4:6] == ["200.00", f"{(3 + 200 + 250) / 200:.2f}"]
    assert cells[9:11] == [cells[5], "1.25"]  # total, asked


def test_a_method_that_failed_has_no_figure() -> None:
    rows = rows_of([turn(1.0, None) | {"error": "no rule"}], {"model": "GPT", "mode": "trak", "samples": 9})
    assert {row["epochs"] for row in rows} == {None}
    assert {row["error"] for row in rows} == {"no rule"}
    table(rows)


def test_views_are_no_operations_and_reads_are_counted() -> None:
    weight = torch.randn(3, 3, requires_grad=True)

    def run() -> None:
        product: Tensor = (weight.T @ weight).reshape(9).sum()
        product.backward()
        assert bool(product > 0)

    operations, reads = counted(run)
    # forward: product, sum; backward: ones, two products and their sum; and the comparison and its read
    assert 6 <= operations <= 10
    assert reads == 1
