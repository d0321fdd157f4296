"""Whether this process is one of several that torchrun, or another launcher, started for one scan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cohaudit.errors import ConfigError


@dataclass(frozen=True)
class Launch:
    """The place of this process among those of one scan, called ranks.

    Attributes:
        rank: Its number, from 0; rank 0 judges and writes the report.
        ranks: Number of ranks.
        local_rank: Its number on this machine, from 0.
        local_ranks: Number of ranks on this machine.
        threads_given: Whether the launcher says how many threads a rank may use.
    """

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int
    threads_given: bool


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Return the place of this process; None if it runs alone.

    Args:
        environment: Variables of the process; torchrun sets `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and others.

    Raises:
        ConfigError: If a variable is not a number, or the numbers do not fit.
    """
    if "RANK" not in environment or "MASTER_ADDR" not in environment:
        return None
    values = []
    for name, default in (("RANK", ""), ("WORLD_SIZE", ""), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1")):
        text = environment.get(name, default)
        if not text.isdecimal():
            remedy = "start the ranks by torchrun, or unset RANK to scan in one process"
            raise ConfigError(f"environment variable {name}", f"is {text!r}, not a number", remedy)
        values.append(int(text))
    rank, ranks, local_rank, local_ranks = values
    if rank >= ranks:
        remedy = "give each rank a number below WORLD_SIZE"
        raise ConfigError("environment variable RANK", f"is {rank}, of WORLD_SIZE {ranks}", remedy)
    if ranks == 1:
        return None
    return Launch(rank, ranks, local_rank, max(1, local_ranks), "OMP_NUM_THREADS" in environment)
