"""What does it cost to save a pass while it runs, so that an interrupted scan can be resumed?

    python -m benchmarks.commands.resume mlp 200000

One pass over random data, on the CPU, saved as `cohaudit scan` saves it: how often, how many seconds that
takes, and how much is written. At the end it is saved as upon Ctrl-C; then it is resumed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import CPU, default_options, silent, source_of
from benchmarks.shared.results import Row, write_json
from benchmarks.shared.workloads import SPECS, make
from cohaudit.gradients import PassState, ResumeState, measure
from cohaudit.pipeline.resume import PassStore


class TimedStore(PassStore):
    """Counts how often a pass is saved, and how many seconds saving and loading take.

    Attributes:
        times: How often the pass was saved.
        seconds: Seconds of all saving and loading.
        last: Gives the state of the pass between its last two batches.
    """

    times: int = 0
    seconds: float = 0.0
    last: Callable[[], PassState] | None = None

    def keep(self, state: PassState) -> None:
        """See `PassStore`."""
        start = time.perf_counter()
        super().keep(state)
        self.seconds += time.perf_counter() - start
        self.times += 1

    def maybe_save(self, state: Callable[[], PassState]) -> None:
        """See `PassStore`."""
        super().maybe_save(state)
        self.last = state

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        """See `PassStore`."""
        start = time.perf_counter()
        super().load(restore)
        self.seconds += time.perf_counter() - start


def measure_saving(network: str, samples: int, parent: Path | None) -> Row:
    """Run a pass that is saved, and a second one that resumes it at its end.

    Args:
        network: Name of the workload.
        samples: Number of samples.
        parent: Folder to save the pass in; None for that of temporary files.
    """
    load = make(SPECS[network], CPU, samples)
    source = source_of(load.inputs, load.labels, load.classes)
    row: Row = {"network": network, "samples": samples}
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        saved = Path(folder, "kept")
        for turn in ("pass", "again"):
            store = TimedStore(saved, {})
            start = time.perf_counter()
            measure(load.model, source, default_options(), load.device, silent, store=store)
            row |= {f"{turn}_seconds": time.perf_counter() - start, f"{turn}_kept_seconds": store.seconds}
            if turn == "pass":
                assert store.last is not None
                row |= {"kept_times": store.times}
                store.keep(store.last())
                row |= {"with_the_end_seconds": store.seconds}
                row |= {"megabytes": sum(path.stat().st_size for path in saved.glob("*")) / 1e6}
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__)
    parser.add_argument("network", choices=SPECS)
    parser.add_argument("samples", type=int)
    parser.add_argument("--folder", type=Path, help="disk to save on (default: that of temporary files)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args(arguments)
    row = measure_saving(args.network, args.samples, args.folder)
    for name, value in row.items():
        print(f"{name:20} {value if isinstance(value, int | str) else round(value, 2)}")
    if args.json:
        write_json(args.json, row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
