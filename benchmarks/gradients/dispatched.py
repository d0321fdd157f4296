"""How many operations does a pass send to the device, and how often does it wait for it?

    python -m benchmarks.gradients.dispatched              all networks, each way to measure gradients
    python -m benchmarks.gradients.dispatched --show       show the saved results

On a GPU a pass over a small network is as long as its operations are many: each is a launch, and each number
that the host reads waits for all launches before it. Both can be counted on a CPU: operations below autograd
that do not merely look at a tensor in another shape, and reads by the host. They are counted per batch of 256
samples of one class, and per class, whose sum is finished after its last batch, as differences between passes
over more and fewer of them; what is done once does not count. `a sample` is for 20,000 samples, with the
network's number of classes, and `ratio` is that over forward and backward as in training. The few samples
whose gradients `fast` and `sums` measure one by one, in a second pass, cost what they cost in `exact`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gradients import methods
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import CPU
from benchmarks.shared.networks import GPT, ViT
from benchmarks.shared.recipes import cnn
from benchmarks.shared.results import Row, read_rows, replace_rows, write_rows
from benchmarks.shared.workloads import Workload

RESULTS = paths.RESULTS / "dispatched.json"
BATCH = 256
"""Samples of a batch."""
SAMPLES = 20_000
"""Samples of a scan that a sample's share is computed for."""
READS: frozenset[Any] = frozenset(
    (
        Tensor.cpu,
        Tensor.item,
        Tensor.tolist,
        Tensor.__bool__,
        Tensor.__int__,
        Tensor.__float__,
        Tensor.nonzero,
    )
)
"""What makes the host wait for a GPU; `nonzero` must tell it the number of entries."""
NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor], int]] = {
    "small CNN": (lambda: cnn(28, 1, 10), lambda n: torch.randn(n, 1, 28, 28), 10),
    "ViT": (partial(ViT, 48, 6, 3), lambda n: torch.randn(n, 3, 32, 32), 10),
    "GPT": (partial(GPT, 64, 64, 48, 4, 4), lambda n: torch.randint(64, (n, 64)), 64),
}
"""Name → network, inputs of so many samples, classes; narrow, as width does not change the operations."""


class Operations(TorchDispatchMode):
    """Counts operations that are no views.

    Attributes:
        count: Their number.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation of torch."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class HostReads(TorchFunctionMode):
    """Counts reads of tensors by the host.

    Attributes:
        count: Their number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        self.count += func in READS
        return func(*args, **(kwargs or {}))


def counted(run: Callable[[], object]) -> tuple[int, int]:
    """Return the operations and the reads of a run."""
    with HostReads() as reads, Operations() as operations:
        run()
    return operations.count, reads.count


def count_pass(method: methods.Method, name: str) -> Row:
    """Return the operations and the reads of one batch, of one class, and of a sample among SAMPLES."""
    build, inputs, classes = NETWORKS[name]
    torch.manual_seed(0)
    model = build().eval()

    def of(present: int, batches: int) -> Tensor:
        labels = torch.arange(present).repeat_interleave(batches * BATCH)
        workload = Workload(model, inputs(len(labels)), labels, classes, BATCH, CPU)
        run = method(workload)
        return torch.tensor(counted(lambda: run(workload)), dtype=torch.float64)

    fewest = of(2, 2)
    batch = (of(2, 4) - fewest) / 4
    of_class = (of(4, 2) - fewest - 4 * batch) / 2
    batches = math.ceil(SAMPLES / classes / BATCH)
    sample = classes * (batches * batch + of_class) / SAMPLES
    parts = {"batch": batch, "class": of_class, "sample": sample}
    return {
        f"{what}_{part}": counts[i].item()
        for part, counts in parts.items()
        for i, what in enumerate(("operations", "reads"))
    }


METHODS: Mapping[str, methods.Method] = {
    "plain": methods.plain,
    "fast": partial(methods.observing, sums=False),
    "sums": partial(methods.observing, sums=True),
    "exact": methods.cohaudit,
}
"""Way to measure → pass over all samples; `plain` is forward and backward alone."""


def table(rows: Sequence[Row]) -> Table:
    """Return the rows for the terminal."""
    result = Table("network", "pass", title=f"Operations, and reads by the host, of batches of {BATCH}")
    for name in ("a batch", "a class", "a sample", "ratio", "reads a batch", "a class"):
        result.add_column(name, justify="right")
    plain = {row["model"]: row["operations_sample"] for row in rows if row["mode"] == "plain"}
    counts = ("operations_batch", "operations_class"), ("reads_batch", "reads_class")
    for row in rows:
        operations, reads = ([f"{row[name]:,.0f}" for name in names] for names in counts)
        ratio = f"{row['operations_sample'] / plain[row['model']]:.2f}" if row["model"] in plain else ""
        cells = (*operations, f"{row['operations_sample']:.2f}", ratio, *reads)
        result.add_row(row["model"], row["mode"], *cells)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, or show the saved results; return the exit code."""
    parser = make_parser(__doc__, show=True)
    parser.add_argument("--mode", nargs="+", choices=METHODS, default=list(METHODS), metavar="MODE")
    parser.add_argument("--name", help="name of the one mode in the results, to keep it beside later ones")
    args = parser.parse_args(arguments)
    if args.name and len(args.mode) > 1:
        parser.error("--name needs a single --mode")
    if not args.show:
        for name in NETWORKS:
            for mode in args.mode:
                about = {"model": name, "mode": args.name or mode, "torch": torch.__version__}
                row = about | count_pass(METHODS[mode], name)
                write_rows(RESULTS, replace_rows(read_rows(RESULTS), [row], ("model", "mode")))
    Console(width=110).print(table(read_rows(RESULTS)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
