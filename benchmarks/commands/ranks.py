"""How much faster is a pass over the data by two ranks on two cores than by one on one?

    python -m benchmarks.commands.ranks --samples 20000 --turns 5

A small CNN on random images: the first pass of a scan with sums, on one core, and shared by ranks with a
core each, in turns. Seconds are those of the wall; the processor's are given beside them, because they do not
depend on what else the machine does.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.command_line import make_parser
from benchmarks.shared.results import Row, write_json
from cohaudit.config import Config

NET = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10),
    )
"""
"""Source of the network."""


def write_files(folder: Path, samples: int) -> None:
    """Write a network, its checkpoint and random images to a folder."""
    import torch
    from safetensors.torch import save_file

    (folder / "net.py").write_text(NET)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(samples, 1, 28, 28)).astype(np.float32)
    np.savez(folder / "data.npz", inputs=images, labels=generator.integers(0, 10, samples))
    scope: dict[str, Any] = {}
    exec(NET, scope)
    torch.manual_seed(0)
    save_file(scope["build"]().state_dict(), folder / "c.safetensors")


def rank_of(folder: Path, rank: int, ranks: int, port: int, results: Any) -> None:
    """Measure the first pass as one rank, on a core of its own; rank 0 gives its seconds."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    place = {"RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()} | {"OMP_NUM_THREADS": "1"}
    import torch

    from cohaudit.cli._interruption import interruptible
    from cohaudit.errors import Interrupted
    from cohaudit.pipeline.distributed.follower import follow
    from cohaudit.pipeline.distributed.launch import launched
    from cohaudit.pipeline.distributed.link import Link

    torch.set_num_threads(1)
    config = Config().updated(
        {"model": f"{folder / 'net.py'}:build", "data": str(folder / "data.npz"), "device": "cpu"}
    )
    launch = launched()
    link = Link(launch) if launch else None
    start = time.process_time()
    with interruptible():
        if link is not None and rank:
            try:
                follow(config, folder / "c.safetensors", link, folder / "blocks")
            except Interrupted:
                link.leave()
            results.put((rank, 0.0, time.process_time() - start))
            return
        wall, cpu = measured(config, folder, link)
    if link is not None:
        link.end(0)
    results.put((rank, wall, cpu))


def measured(config: Config, folder: Path, link: Any) -> tuple[float, float]:
    """Return the seconds of the wall, and of this process, of the first pass."""
    from cohaudit.loading.model import eval_mode, gradients_on
    from cohaudit.pipeline.cache_key import cache_key
    from cohaudit.pipeline.distributed.leader import Leader
    from cohaudit.pipeline.measuring import first_pass
    from cohaudit.pipeline.progress import SilentProgress
    from cohaudit.pipeline.sample import draw_sample
    from cohaudit.pipeline.scan_run import prepare_run
    from cohaudit.pipeline.subject import subject_from_files

    leader = Leader(link, folder / "blocks", fresh=True) if link else None
    run = prepare_run(config, SilentProgress(), None, leader)
    subject = subject_from_files(run, folder / "c.safetensors", ())
    with eval_mode(subject.model), gradients_on(subject.model):
        sample = draw_sample(subject, run)
        key = cache_key(config, subject, sample.source.labels, subject.provenance.sha256)
        blocks = run.blocks_of("training", sample.source, sample.positions, key)
        start, own = time.perf_counter(), time.process_time()
        first_pass(subject, sample.source, run, lambda _: None, None, blocks)
        seconds = time.perf_counter() - start, time.process_time() - own
    if leader:
        leader.remove()
    return seconds


def run_ranks(folder: Path, ranks: int) -> Row:
    """Return the seconds of one pass by so many ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=rank_of, args=(folder, rank, ranks, port, results)) for rank in range(ranks)
    ]
    load = os.getloadavg()[0]
    for process in processes:
        process.start()
    found = sorted(results.get() for _ in processes)
    for process in processes:
        process.join()
    cpu = [seconds for _, _, seconds in found]
    return {"ranks": ranks, "wall_seconds": found[0][1], "cpu_seconds": cpu, "load": load}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), args.samples)
        for _ in range(args.turns):
            for ranks in (1, args.ranks):
                rows.append(run_ranks(Path(name), ranks))
                cpu = " + ".join(f"{seconds:.1f}" for seconds in rows[-1]["cpu_seconds"])
                print(f"{ranks} rank(s): {rows[-1]['wall_seconds']:.1f} s, processors {cpu} s", flush=True)
    alone, shared = (
        statistics.median(row["wall_seconds"] for row in rows if row["ranks"] == ranks)
        for ranks in (1, args.ranks)
    )
    print(f"{args.samples:,} samples: {alone / shared:.2f} times as fast by {args.ranks} ranks (medians)")
    if args.json:
        write_json(args.json, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
