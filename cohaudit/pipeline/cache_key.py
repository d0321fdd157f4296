"""Everything that the numbers of one pass over the data depend on, bit for bit."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit._version import __version__
from cohaudit.audits.training.snapshot_cache import code_of
from cohaudit.config import KEYS, Config, Effect
from cohaudit.config.file import option_name

if TYPE_CHECKING:  # the subject knows the run, and the run the store that names differences between keys
    from cohaudit.pipeline.subject import ScanSubject

_HASHES = {
    "checkpoint": "another checkpoint",
    "data": "other data",
    "samples": "other samples",
    "code": "other code of the model or the data",
}
"""Parts of a key that are hashes, which mean nothing to a reader → what a difference in one means."""
LONGEST_DIFFERENCE = 80
"""Characters shown of one difference."""


def cache_key(
    config: Config, subject: ScanSubject, labels: NDArray[np.int64], checkpoint: str
) -> dict[str, str]:
    """Return the parts of the key of a pass, by name.

    A resumed pass must give the same bits as one that was not interrupted. So everything counts that changes
    even the order of an addition: the versions, the device, the number of threads, the batch size.

    Args:
        config: Settings.
        subject: Model and data.
        labels: Labels of the samples that are measured, int64 [N].
        checkpoint: SHA-256 of the checkpoint whose weights the model has.
    """
    device = subject.device
    # kernels, and so the order of additions, differ between GPUs and between instruction sets of CPUs
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else sys.platform
    settings = config.values_affecting(Effect.GRADIENTS, Effect.SUMS)
    return {
        "cohaudit": __version__,
        "torch": torch.__version__,
        "device": f"{device.type} ({machine}, {torch.backends.cpu.get_cpu_capability()})",
        "threads": str(torch.get_num_threads()),
        "checkpoint": checkpoint,
        "data": subject.dataset.fingerprint,
        "samples": hashlib.sha256(labels.tobytes()).hexdigest(),
        "code": code_of(config, subject.model),
        "model": config.model,
        **{name: str(value) for name, value in settings.items()},
    }


def describe_difference(name: str, stored: str | None) -> str:
    """Return in words how a stored pass differs from the one that is wanted.

    Args:
        name: Part of the key that differs.
        stored: Its value in the stored pass; None if it has none.
    """
    called = option_name(name) if name in KEYS else name
    # cut: the stored value comes from a file, and can be of any length
    return _HASHES.get(name, f"{called} {stored}"[:LONGEST_DIFFERENCE])
