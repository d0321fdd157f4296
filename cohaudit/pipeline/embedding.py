"""Embeds the samples by the pretrained encoder that the user names, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cohaudit.loading.data import LabeledDataset
from cohaudit.loading.encoder import Encoder

if TYPE_CHECKING:
    from cohaudit.audits.registry import Advance

BATCH = 32
"""Samples that are encoded at once: enough to fill a CPU, and 512 tokens each take about 1 GB in a network
of BERT's size."""
SORTED_BATCHES = 8
"""Batches of texts that are read and sorted by length together: a batch is as slow as its longest text."""


def embed_samples(
    encoder: Encoder,
    dataset: LabeledDataset,
    positions: NDArray[np.int64],
    device: torch.device,
    advance: Advance,
) -> NDArray[np.float32]:
    """Return the encoder's vectors of some samples, float32 [N, F].

    Args:
        encoder: The encoder; its network is moved to the device and back.
        dataset: The data.
        positions: Positions of the samples in it, int64 [N].
        device: Device to run on.
        advance: Called with the number of samples done.

    Raises:
        DataError: If a sample cannot be read or encoded.
        ModelError: If the encoder fails.
    """
    vectors = np.empty((len(positions), encoder.width), np.float32)
    # images of any size may be large: only one batch of them is held
    read = BATCH if encoder.images else BATCH * SORTED_BATCHES
    encoder.network.module.to(device)
    try:
        for start in range(0, len(positions), read):
            places = positions[start : start + read].tolist()
            raws = [dataset.raw(i) for i in places]
            order = sorted(range(len(raws)), key=lambda k: 0 if encoder.images else len(str(raws[k])))
            for first in range(0, len(order), BATCH):
                chosen = order[first : first + BATCH]
                vectors[[start + k for k in chosen]] = encoder.embed(
                    [raws[k] for k in chosen], [dataset.where(places[k]) for k in chosen], device
                )
                advance(len(chosen))
    finally:
        encoder.network.module.cpu()
    return vectors
