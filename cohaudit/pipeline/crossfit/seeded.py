"""Training that repeats: seeds within a block, and the caller's random numbers as before after it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(seed: int, part: int) -> int:
    """Return a seed of 32 bits for one part of the work, unrelated to those of the other parts.

    Args:
        seed: Seed of the scan.
        part: Number of the part, from 0.
    """
    return int(np.random.SeedSequence((seed, part)).generate_state(1)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and torch within the block, and restore their states at its end, also on error.

    cuDNN's kernels are repeatable ones in the block; others of a GPU may still round differently from run to
    run.

    Args:
        seed: In [0, 2³²).
    """
    of_python = random.getstate()
    # the global generator: a user's function may draw from it, and a caller goes on with its own numbers
    of_numpy = np.random.get_state()
    # torch.manual_seed seeds every GPU; if none was used so far, there is no state to keep
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    cudnn = torch.backends.cudnn
    kernels = cudnn.deterministic, cudnn.benchmark
    # not one of the devices that fork_rng restores together
    of_mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        with torch.random.fork_rng(devices=gpus):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            cudnn.deterministic, cudnn.benchmark = True, False
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = kernels
        if of_mps is not None:
            torch.mps.set_rng_state(of_mps)
        np.random.set_state(of_numpy)
        random.setstate(of_python)
