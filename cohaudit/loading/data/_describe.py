"""What a model is fed, in one line: a wrong preprocessing is easier seen than guessed."""

from __future__ import annotations

import numpy as np

from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._inputs import parts

_READ = 16


def describe_inputs(dataset: LabeledDataset) -> str:
    """Return shape, type and range of the inputs, and what was done to what is stored.

    Args:
        dataset: Its first sample gives the shape; a few, spread over it, give the range.
    """
    rows = np.linspace(0, len(dataset) - 1, min(_READ, len(dataset)), dtype=int).tolist()
    read = [dict(parts(dataset.sample(row))) for row in rows]
    words = []
    for name, first in read[0].items():
        values = [part[name].float() for part in read if name in part and part[name].numel()]
        shape = "×".join(map(str, first.shape)) or "one"
        words.append(f"{name}: " * bool(name) + f"{shape} {str(first.dtype).removeprefix('torch.')}")
        if values and not first.is_complex():
            low = min(float(v.min()) for v in values)
            high = max(float(v.max()) for v in values)
            words[-1] += f" from {low:.4g} to {high:.4g}"
    return f"{', '.join(words)} (in {len(read)} samples); {dataset.preparation}"
