"""Cost of cohaudit's pass and of a plain one against samples, width, batch size and classes, drawn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, StrMethodFormatter
from rich.console import Console
from torch import nn

from benchmarks.gradients.memory import measure_apart
from benchmarks.gradients.methods import cohaudit, plain
from benchmarks.shared.figures import save_figure
from benchmarks.shared.networks import mlp, resnet18
from benchmarks.shared.results import write_json
from benchmarks.shared.workloads import SPECS, Spec, make

AXES = ("samples", "parameters", "batch size", "classes")
"""What the cost is measured against."""
MEMORY_SAMPLES = (2000, 20_000, 60_000, 200_000)
"""Numbers of samples at which memory is measured."""
STYLE = {"font.size": 9, "savefig.bbox": "tight"}
"""Settings of matplotlib."""


@dataclass(frozen=True)
class Family:
    """A kind of network, and along each axis the sizes to measure while the others stay as in `base`."""

    base: Spec
    build: Callable[[int, int], nn.Module]
    width: int
    samples: Sequence[int]
    widths: Sequence[int]
    batch_sizes: Sequence[int]
    classes: Sequence[int]

    def along(self, axis: str) -> list[Spec]:
        """Return one spec per size on an axis."""
        if axis == "samples":
            return [replace(self.base, samples=n) for n in self.samples]
        if axis == "batch size":
            return [replace(self.base, batch_size=b) for b in self.batch_sizes]
        if axis == "classes":
            return [
                replace(self.base, classes=c, build=partial(self.build, self.width, c)) for c in self.classes
            ]
        return [replace(self.base, build=partial(self.build, w, self.base.classes)) for w in self.widths]


FAMILIES: Mapping[str, Family] = {
    "perceptron": Family(
        replace(SPECS["mlp"], samples=2048),
        mlp,
        512,
        samples=(2000, 6000, 20_000, 60_000, 200_000),
        widths=(64, 128, 256, 512, 1024, 2048),
        batch_sizes=(8, 16, 32, 64, 128, 256, 512),
        classes=(2, 10, 50, 200, 1000),
    ),
    "ResNet-18": Family(
        replace(SPECS["resnet18-32"], samples=128, batch_size=32),
        resnet18,
        32,
        samples=(32, 64, 128, 256, 512),
        widths=(8, 16, 32, 64),
        batch_sizes=(4, 8, 16, 32, 64, 128),
        classes=(2, 10, 50, 128),
    ),
}


def _size(axis: str, spec: Spec) -> int:
    """Return where a spec stands on an axis."""
    if axis == "parameters":
        return sum(p.numel() for p in spec.build().parameters())
    return {"samples": spec.samples, "batch size": spec.batch_size, "classes": spec.classes}[axis]


def _seconds(spec: Spec, device: torch.device, repeats: int) -> dict[str, float]:
    """Return the median seconds of both passes, run in turns."""
    workload = make(spec, device)
    passes = {"plain": plain(workload), "cohaudit": cohaudit(workload)}
    turns: dict[str, list[float]] = {name: [] for name in passes}
    for run in passes.values():
        run(workload.head(spec.batch_size))
    for _ in range(repeats):
        for name, run in passes.items():
            start = time.perf_counter()
            run(workload)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            turns[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in turns.items()}


def measure_scaling(device: torch.device, repeats: int, console: Console) -> list[dict[str, Any]]:
    """Return a row per family, axis and size with the seconds of both passes."""
    rows = []
    for name, family in FAMILIES.items():
        for axis in AXES:
            for spec in family.along(axis):
                size = _size(axis, spec)
                seconds = _seconds(spec, device, repeats)
                console.print(
                    f"{name}, {size:,} {axis}: {seconds['cohaudit'] / seconds['plain']:.2f} × plain"
                )
                rows.append({"family": name, "axis": axis, "size": size, "device": device.type} | seconds)
    return rows


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the rows as a grid, a line of panels per family, to path.svg and path.png."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.6), layout="constrained")
        grid = figure.subplots(len(FAMILIES), len(AXES))
        for line, family in zip(grid, FAMILIES, strict=True):
            for panel, axis in zip(line, AXES, strict=True):
                chosen = [row for row in rows if row["family"] == family and row["axis"] == axis]
                _panel(panel, f"{family}: {axis}", chosen)
        grid[0][0].legend(frameon=False)
        save_figure(figure, path, ("svg", "png"))


def _panel(panel: Axes, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw seconds against size; the ratio stands at each of cohaudit's points."""
    sizes = [row["size"] for row in rows]
    for name, color in (("plain", "tab:gray"), ("cohaudit", "tab:blue")):
        panel.plot(sizes, [row[name] for row in rows], marker="o", markersize=3.5, color=color, label=name)
    for row in rows:
        panel.annotate(
            f"{row['cohaudit'] / row['plain']:.1f}×",
            (row["size"], row["cohaudit"]),
            (0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color="tab:blue",
        )
    panel.set(xscale="log", yscale="log", title=title, ylabel="seconds")
    panel.set_xticks(sizes, [EngFormatter(places=0, sep="")(size) for size in sizes], minor=False)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.margins(x=0.1, y=0.2)


def measure_memory(device: torch.device, threads: int, console: Console) -> list[dict[str, Any]]:
    """Return a row per number of samples with the peak memory of both passes on the perceptron, in MB.

    Data and model are there before the pass begins and do not count; `result_mb` is what the pass gives.
    """
    rows = []
    for samples in MEMORY_SAMPLES:
        peaks = {
            name: measure_apart("mlp", name, device.type, threads, samples) for name in ("plain", "cohaudit")
        }
        errors = [f"{name}: {peak['error']}" for name, peak in peaks.items() if "error" in peak]
        if errors:
            raise RuntimeError(f"{samples} samples: {'; '.join(errors)}")
        if any("peak_mb" not in peak for peak in peaks.values()):
            console.print("this system has no measure of memory")
            return []
        row = {name: peak["peak_mb"] for name, peak in peaks.items()}
        # on a GPU what a pass gives is not in the GPU's memory
        result_mb = peaks["cohaudit"]["result_mb"] if device.type == "cpu" else 0.0
        console.print(
            f"perceptron, {samples:,} samples: peak {row}, of which {result_mb:,.0f} MB are its result"
        )
        rows.append({"samples": samples, "device": device.type, "result_mb": result_mb} | row)
    return rows


def draw_memory(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw peak memory against the number of samples, to path.svg and path.png."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        panel = figure.subplots()
        sizes = [row["samples"] for row in rows]
        beyond = [row["cohaudit"] - row["result_mb"] for row in rows]
        lines = (
            ("plain", [row["plain"] for row in rows], "tab:gray"),
            ("cohaudit", [row["cohaudit"] for row in rows], "tab:blue"),
            ("cohaudit, without its result", beyond, "tab:orange"),
        )
        for name, values, color in lines:
            panel.plot(sizes, values, marker="o", markersize=3.5, color=color, label=name)
        panel.set(xscale="log", title="perceptron: peak memory", xlabel="samples", ylabel="MB")
        panel.set_xticks(sizes, [EngFormatter(places=0, sep="")(size) for size in sizes], minor=False)
        panel.xaxis.set_minor_locator(NullLocator())
        panel.legend(frameon=False)
        save_figure(figure, path, ("svg", "png"))


def draw_scaling(out: Path, device: torch.device, repeats: int, console: Console) -> None:
    """Measure, and write scaling.json and memory.json, and both as .svg and .png."""
    out.mkdir(parents=True, exist_ok=True)
    memory = measure_memory(device, torch.get_num_threads(), console)
    write_json(out / "memory.json", memory)
    if memory:
        draw_memory(memory, out / "memory")
    rows = measure_scaling(device, repeats, console)
    write_json(out / "scaling.json", rows)
    draw(rows, out / "scaling")
    console.print(f"Drawn: {out / 'scaling.svg'}, {out / 'memory.svg'}")
