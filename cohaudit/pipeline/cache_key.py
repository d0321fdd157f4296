"""Everything that the numbers of one pass over the data depend on, bit for bit."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit._version import __version__
from cohaudit.audits.training.snapshot_cache import code_of
from cohaudit.config import Config, Effect
from cohaudit.pipeline.subject import ScanSubject


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
    settings = config.values_affecting(Effect.GRADIENTS, Effect.SUMS)
    return {
        "cohaudit": __version__,
        "torch": torch.__version__,
        **machine_parts(subject.device),
        "checkpoint": checkpoint,
        "data": subject.dataset.fingerprint,
        "samples": hashlib.sha256(labels.tobytes()).hexdigest(),
        "code": code_of(config, subject.model),
        "model": config.model,
        **{name: str(value) for name, value in settings.items()},
    }


def machine_parts(device: torch.device) -> dict[str, str]:
    """Return the parts of the key that are of this machine, by name.

    Args:
        device: Device to run on.
    """
    # kernels, and so the order of additions, differ between GPUs and between instruction sets of CPUs
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else sys.platform
    return {
        "device": f"{device.type} ({machine}, {torch.backends.cpu.get_cpu_capability()})",
        "threads": str(torch.get_num_threads()),
    }
