"""What it costs to keep a pass while it runs, so that an interrupted scan can be resumed.

One pass over made-up data, on the CPU, kept as `cohaudit scan` keeps it: how often, how long that took, and
how much it wrote. At the end it is kept as upon Ctrl-C; then it is taken up again.

    python -m benchmarks.commands.resume mlp 200000
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.shared.networks import SPECS, make
from cohaudit.config import Config
from cohaudit.gradients import ResumeState, Source, State, measure
from cohaudit.pipeline.resume import PassStore
from cohaudit.pipeline.scan import options_of


class Timed(PassStore):
    """Counts how often a pass is kept, and how long that takes."""

    times, seconds = 0, 0.0

    def keep(self, state: State) -> None:
        """See `PassStore`."""
        start = time.perf_counter()
        super().keep(state)
        self.seconds += time.perf_counter() - start
        self.times += 1

    def offer(self, state: Callable[[], State]) -> None:
        """See `PassStore`."""
        super().offer(state)
        self.last = state

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        """See `PassStore`."""
        start = time.perf_counter()
        super().load(restore)
        self.seconds += time.perf_counter() - start


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=SPECS)
    parser.add_argument("samples", type=int)
    parser.add_argument("--folder", type=Path, help="Disk to keep it on [default: that of temporary files].")
    parser.add_argument("--json", type=Path, help="File to write the figures to.")
    args = parser.parse_args()
    load = make(SPECS[args.network], torch.device("cpu"), args.samples)
    labels, names = load.labels.numpy(), [str(c) for c in range(load.classes)]
    ids = [str(i) for i in range(len(labels))]
    source = Source(lambda indices: load.inputs[list(indices)], labels, ids, names)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        kept = Path(folder, "kept")
        found = {"network": args.network, "samples": args.samples}
        for turn in ("pass", "again"):
            keeper, start = Timed(kept, {}), time.perf_counter()
            measure(load.model, source, options_of(Config()), load.device, lambda count: None, store=keeper)
            found |= {f"{turn}_seconds": time.perf_counter() - start, f"{turn}_kept_seconds": keeper.seconds}
            if turn == "pass":
                found |= {"kept_times": keeper.times}
                keeper.keep(keeper.last())
                found |= {"with_the_end_seconds": keeper.seconds}
                found |= {"megabytes": sum(path.stat().st_size for path in kept.glob("*")) / 1e6}
    for name, value in found.items():
        print(f"{name:20} {value if isinstance(value, int | str) else round(value, 2)}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
