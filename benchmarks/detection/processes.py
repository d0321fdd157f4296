"""Cases judged side by side in processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from rich.console import Console

from benchmarks.detection.runs import Case
from benchmarks.shared.results import Row


def judge_cases(
    jobs: Mapping[Case, Callable[[], list[Row]]], workers: int, console: Console
) -> Iterator[list[Row]]:
    """Yield each case's rows as they are done; a case whose data does not exist is left out with a message.

    Args:
        jobs: What judges each case; can be pickled.
        workers: Number of processes.
        console: Where progress goes.
    """
    # fork would copy torch's threads in an undefined state
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = {pool.submit(job): case for case, job in jobs.items()}
        for future in as_completed(futures):
            case = futures[future]
            try:
                rows = future.result()
            except FileNotFoundError as error:
                console.print(f"{case.data}: left out, {error.filename} does not exist")
                continue
            console.print(f"[dim]{case.data}, {case.noise}, {case.model}, seed {case.seed}[/dim]")
            yield rows
