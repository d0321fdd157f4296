"""Writes what scans cost, and a plan for large ones, into docs/scale.md.

    python -m benchmarks.docs.scale          write the page's blocks anew
    python -m benchmarks.docs.scale --show   print the blocks; write nothing

It reads what `benchmarks.gradients.{scan_cost,many_classes,verdict_pieces,energy}` and
`benchmarks.commands.forecast` saved. The plan is arithmetic on these, and on the assumptions of `CASES`. A
block of the page stands between `<!-- scale: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.docs.blocks import Page
from benchmarks.docs.verdict_tables import NOTHING, markdown
from benchmarks.gradients import energy, many_classes, scan_cost, verdict_pieces
from benchmarks.gradients.verdict_pieces import DUPLICATES, LEAVE_ONE_OUT, POOL, WIDTH
from benchmarks.shared import paths
from benchmarks.shared.results import Row, read_rows
from cohaudit.gradients.passes.blocks import MAX_BLOCKS

PASS, OUTSIDE = "measure the gradients", "predict labels from the raw data"
DRAWS = {"‖r‖², balanced": "‖r‖², half of it within classes: what a scan does", "uniform": "chance"}
"""Kinds of draws → what they are called."""
PLANNED = ("the pass", "raw data", "judge the labels", "near-duplicates", "the rest")
"""Stages of the plan."""
AT_ONCE = (PASS, OUTSIDE, "judge the labels", "compare the samples", "total")
"""Stages that are no part of the rest: they have a column of their own."""
FIXED = ("open the data", "look at some samples", "measure single gradients", "compare the gradients")
"""Stages that take as long for many samples as for more."""
ARRAYS_IN_SUM = 3
"""Arrays of the size of the parameters that a block's file holds at most, in float64."""
SIZES = (10**6, 10**7, 10**8, 10**9)
"""Samples that are planned."""


@dataclass(frozen=True)
class Case:
    """Assumptions of a plan.

    Attributes:
        name: What is scanned.
        classes: Number of classes, one of those that the pieces were measured with.
        views: Views of the layers: six layers, each whole and averaged over positions where there are any.
        width: Numbers kept of a view.
        parameters: Parameters of the network.
        epoch: Seconds of an epoch of training by one processor or GPU, per sample; None takes that of the
            network of `many_classes`.
        raw: Whether labels are predicted from a table's columns too.
    """

    name: str
    classes: int
    views: int
    width: int
    parameters: int
    epoch: float | None
    raw: bool


IMAGES = Case("ViT-B/16, images of 1,000 classes", 1000, 12, WIDTH, 86_000_000, 1 / 500, raw=False)
TABLE = Case("perceptron, table of 10 classes", 10, 3, 128, 100_000, None, raw=True)
CASES = (IMAGES, TABLE)


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        scans: Rows of `scan_cost`.
        many: Rows of `many_classes`.
        pieces: Rows of `verdict_pieces`.
        reports: Rows of `forecast`.
        energies: Rows of `energy`.
    """

    scans: list[Row]
    many: list[Row]
    pieces: list[Row]
    reports: list[Row]
    energies: list[Row]

    def piece(self, name: str, classes: int) -> float:
        """Return the seconds a sample of a piece."""
        return next(
            float(row["seconds_per_sample"])
            for row in self.pieces
            if row["piece"] == name and row["classes"] == classes
        )

    def stage(self, name: str) -> float:
        """Return the seconds a sample of a stage of the scans of a thousand classes: those added per sample.

        Of a single size, all of the stage's seconds count, with those that it takes once.
        """
        cells = {int(row["samples"]): float(row["cpu_seconds"]) for row in self.many if row["stage"] == name}
        *smaller, large = sorted(cells)
        before = smaller[-1] if smaller else 0
        return max(0.0, (cells[large] - cells.get(before, 0.0)) / (large - before))

    def epochs(self) -> float:
        """Return what a pass of sums takes, in epochs, of the ViT; 1 before it is measured."""
        found = [
            row
            for row in self.scans
            if row["mode"] == "sums" and row["stage"] == PASS and row["model"] == "ViT"
        ]
        return float(max(found, key=lambda row: row["samples"])["epochs"]) if found else 1.0

    def report_bytes(self) -> float:
        """Return the bytes a sample of a report's files."""
        small, large = (pick(self.reports, key=lambda row: row["samples"]) for pick in (min, max))
        more = large["scan"]["report_bytes"] - small["scan"]["report_bytes"]
        return float(more / (large["samples"] - small["samples"]))


def load() -> Measured:
    """Read what was measured."""
    return Measured(
        read_rows(scan_cost.RESULTS),
        read_rows(many_classes.RESULTS),
        read_rows(verdict_pieces.RESULTS),
        read_rows(paths.RESULTS / "forecast.json"),
        read_rows(energy.RESULTS),
    )


def scans(found: Measured) -> str:
    """Return the table of whole scans, in epochs."""
    kinds: dict[tuple[str, int, str], dict[str, Row]] = {}
    for row in found.scans:
        kinds.setdefault((row["model"], row["samples"], row["mode"]), {})[row["stage"]] = row
    lines = []
    for (model, samples, mode), stages in sorted(kinds.items()):
        total = stages.get("total")
        if total is None:
            continue
        pass_ = sum(row["epochs"] for name, row in stages.items() if name.startswith("measure"))
        verdict = sum(
            row["epochs"]
            for name, row in stages.items()
            if name.startswith(("predict labels", "compare the samples", "judge"))
        )
        lines.append(
            [
                model,
                mode,
                f"{samples:,}",
                f"{total['epoch_seconds']:.1f}",
                f"{pass_:.2f}",
                f"{verdict:.2f}",
                f"{total['epochs'] - pass_ - verdict:.2f}",
                f"{total['epochs']:.2f}",
                f"{total['peak_mb']:,.0f}",
            ]
        )
    header = ("network", "`coherence`", "samples", "epoch, s", "passes", "verdict", "rest", "total", "MB")
    return markdown(header, lines, texts=2)


def thousand(found: Measured) -> str:
    """Return the table of scans of a thousand classes, stage by stage."""
    sizes = sorted({row["samples"] for row in found.many})
    cells = {(row["samples"], row["stage"]): row for row in found.many}
    stages = list(dict.fromkeys(row["stage"] for row in found.many))
    lines = [
        [stage, *(_cell(cells.get((size, stage))) for size in sizes)]
        for stage in stages
        if any(cells.get((size, stage), {}).get("cpu_seconds", 0) >= 0.05 for size in sizes)
    ]
    return markdown(("stage: s / MB", *(f"{size:,} samples" for size in sizes)), lines)


def _cell(row: Row | None) -> str:
    return NOTHING if row is None else f"{row['cpu_seconds']:,.1f} / {row['peak_mb']:,}"


def errors(found: Measured) -> str:
    """Return the table of errors of Σ‖g‖² by 2,000 drawn samples."""
    return markdown(
        ("network", "of", "drawn by", "all", "a layer", "a class"),
        [
            [
                row["network"],
                f"{row['of']:,}",
                DRAWS[row["sizes"]],
                *(f"{100 * row[part]:.1f}%" for part in ("total", "layers", "classes")),
            ]
            for row in found.energies
            if row["samples"] == 2000 and row["sizes"] in DRAWS
        ],
        texts=3,
    )


def pieces(found: Measured) -> str:
    """Return the table of the pieces of the verdict."""
    classes = sorted({row["classes"] for row in found.pieces})
    lines = [
        [name, *(f"{1e6 * found.piece(name, count):,.0f}" for count in classes)]
        for name in (LEAVE_ONE_OUT, POOL, DUPLICATES)
    ]
    return markdown((f"µs a sample, {WIDTH:,} numbers", *(f"{count:,} classes" for count in classes)), lines)


def seconds(case: Case, found: Measured) -> dict[str, float]:
    """Return what each stage takes, in seconds a sample of one processor or GPU."""
    width = case.width / WIDTH
    stages = {row["stage"] for row in found.many} - {*AT_ONCE}
    rest = sum(found.stage(name) for name in sorted(stages) if name not in FIXED)
    epoch = found.stage(PASS) if case.epoch is None else case.epoch * found.epochs()
    return {
        "the pass": epoch,
        "raw data": found.stage(OUTSIDE) if case.raw else 0.0,
        "judge the labels": case.views * width * found.piece(LEAVE_ONE_OUT, case.classes)
        + (case.views + 2) * found.piece(POOL, case.classes),
        # the views are joined to one, as wide as the widest
        "near-duplicates": width * found.piece(DUPLICATES, case.classes),
        "the rest": rest,
    }


def disk(case: Case) -> int:
    """Return the bytes a sample of temporary files: views, answers, and a prediction of the labels."""
    return 4 * (case.views * case.width + 3 * case.classes)


def duration(value: float) -> str:
    """Return a time in words."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 1.5 * length:
            return f"{value / length:,.0f} {unit}"
    return f"{value:,.0f} s"


def size(value: float) -> str:
    """Return a number of bytes in words."""
    for unit, length in (("TB", 1e12), ("GB", 1e9)):
        if value >= length:
            return f"{value / length:,.3g} {unit}"
    return f"{value / 1e6:,.0f} MB"


def plan(found: Measured) -> str:
    """Return the plan: a line for each case, number of samples and number of ranks."""
    return markdown(
        ("scan", "samples", "ranks", *PLANNED, "temporary files", "report", "blocks on disk"),
        [line for case in CASES for line in _lines(case, found)],
    )


def _lines(case: Case, found: Measured) -> Iterator[list[str]]:
    each = seconds(case, found)
    for samples in SIZES:
        for ranks in (1, 8):
            shared = {**each, "the pass": each["the pass"] / ranks}
            rows = 4 * (case.views * case.width + case.classes) * samples
            blocks = MAX_BLOCKS * ARRAYS_IN_SUM * 8 * case.parameters + rows
            yield [
                case.name,
                f"{samples:,}",
                str(ranks),
                *(duration(shared[name] * samples) for name in PLANNED),
                size(disk(case) * samples),
                size(found.report_bytes() * samples),
                size(blocks) if ranks > 1 else NOTHING,
            ]


def first(found: Measured) -> str:
    """Return in sentences what breaks first."""
    report = found.report_bytes()
    lines = [_breaks(case, found) for case in CASES]
    lines.append(
        f"- **The report** takes {report:,.0f} bytes a sample and is written whole, by one process: "
        f"{size(report * 1e8)} at 100 million samples."
    )
    return "\n".join((*lines, f"- **Memory.** {_memory(found)}"))


def _breaks(case: Case, found: Measured) -> str:
    each = seconds(case, found)
    alone = {name: value for name, value in each.items() if name != "the pass"}
    eight = {**alone, "the pass": each["the pass"] / 8}
    one, shared, longest = (max(some, key=some.__getitem__) for some in (each, eight, alone))
    share = sum(alone.values()) / sum(each.values())
    return (
        f"- **{case.name}.** By one process the longest stage is *{one}*, by eight *{shared}*. What "
        f"rank 0 does alone is {share:.0%} of one process's time; its longest stage, *{longest}*, takes a "
        f"day of one core at {0.0864 / alone[longest]:,.0f} million samples. Temporary files take "
        f"{disk(case) / 1000:,.1f} kB a sample: a disk of 1 TB holds {1e6 / disk(case):,.0f} million samples."
    )


def _memory(found: Measured) -> str:
    """Return in a sentence what a sample takes in memory."""
    peaks = {row["samples"]: row["peak_mb"] for row in found.many if row["stage"] == "total"}
    *smaller, large = sorted(peaks)
    if not smaller:
        return "A thousand classes were measured at one size, which does not tell what a sample takes."
    each = 1e6 * (peaks[large] - peaks[smaller[-1]]) / (large - smaller[-1])
    return (
        f"A sample more took {each / 1000:,.1f} kB between {smaller[-1]:,} and {large:,} samples of a "
        f"thousand classes: at that rate, 64 GB hold {6.4e4 / each:,.0f} million samples."
    )


def assumptions(found: Measured) -> str:
    """Return in sentences what the plan assumes."""
    images, table = IMAGES, TABLE
    assert images.epoch is not None
    own = 1e6 * seconds(table, found)["the pass"]
    return (
        f"*{images.name}*: one GPU trains on {1 / images.epoch:,.0f} images a second (an assumption: the "
        f"pass is in proportion, put in your own figure); the pass takes {found.epochs():.2f} epochs; "
        f"{images.views} views of {images.width:,} numbers; {images.parameters / 1e6:,.0f} million "
        f"parameters; without a look at the raw images. *{table.name}*: a pass of {own:,.0f} µs a sample on "
        f"one core, as measured above; {table.views} views of {table.width} numbers; "
        f"{table.parameters:,} parameters. Everything but the pass runs on one core of rank 0."
    )


PAGE: Page[Measured] = Page(
    paths.ROOT / "docs/scale.md",
    "scale",
    {
        "scans": scans,
        "errors": errors,
        "thousand": thousand,
        "pieces": pieces,
        "assumptions": assumptions,
        "plan": plan,
        "first": first,
    },
)
"""The page and its blocks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    return PAGE.main(__doc__, load, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
