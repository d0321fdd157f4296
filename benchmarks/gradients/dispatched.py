"""How many operations does a pass send to the device, and how often does it wait for it?

    python -m benchmarks.gradients.dispatched              all networks, each way to measure gradients
    python -m benchmarks.gradients.dispatched --show       show the saved results

On a GPU a pass over a small network is as long as its operations are many: each is a launch, and each number
that the host reads waits for all launches before it. Both can be counted on a CPU. Counted are operations
below autograd that do not merely look at a tensor in another shape, and reads by the host, in a batch of 256
samples of one class, as most batches of a large data set are: the pass over four batches less that over two,
so that what is done once does not count. `ratio` is over forward and backward as in training.
"""

from __future__ import annotations

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


def per_batch(method: methods.Method, name: str) -> tuple[float, float]:
    """Return the operations and the reads of one batch."""
    build, inputs, classes = NETWORKS[name]
    torch.manual_seed(0)
    model = build().eval()
    found = []
    for batches in (2, 4):
        count = batches * BATCH
        labels = torch.arange(batches).repeat_interleave(BATCH)
        workload = Workload(model, inputs(count), labels, classes, BATCH, CPU)
        run = method(workload)
        found.append(counted(lambda run=run, workload=workload: run(workload)))  # type: ignore[misc]
    (few, few_reads), (many, many_reads) = found
    return (many - few) / 2, (many_reads - few_reads) / 2


METHODS: Mapping[str, methods.Method] = {"plain": methods.plain, "exact": methods.cohaudit}
"""Way to measure → pass; `plain` is forward and backward alone."""


def table(rows: Sequence[Row]) -> Table:
    """Return the rows for the terminal."""
    result = Table("network", "pass", title=f"A batch of {BATCH} samples")
    for name in ("operations", "a sample", "ratio", "reads"):
        result.add_column(name, justify="right")
    plain = {row["model"]: row["operations"] for row in rows if row["mode"] == "plain"}
    for row in rows:
        ratio = f"{row['operations'] / plain[row['model']]:.2f}" if row["model"] in plain else ""
        each = f"{row['operations'] / row['batch']:.2f}"
        result.add_row(
            row["model"], row["mode"], f"{row['operations']:,.0f}", each, ratio, f"{row['reads']:,.0f}"
        )
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
                operations, reads = per_batch(METHODS[mode], name)
                about = {"model": name, "mode": args.name or mode, "batch": BATCH}
                row = about | {"operations": operations, "reads": reads, "torch": torch.__version__}
                write_rows(RESULTS, replace_rows(read_rows(RESULTS), [row], ("model", "mode")))
    Console(width=110).print(table(read_rows(RESULTS)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
