"""Describes the inputs of a model in one line, so that a user can see wrong preprocessing."""

from __future__ import annotations

import numpy as np

from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._inputs import parts
from cohaudit.results.wording import rounded

_MAX_SAMPLES_READ = 16
"""Samples to read, spread over the dataset: enough for a range, and fast for image folders."""


def describe_inputs(dataset: LabeledDataset) -> str:
    """Return the shape, type and range of the inputs, and how they were prepared.

    Args:
        dataset: The dataset. Its first sample gives the shape, a few samples give the range.

    Raises:
        DataError: If an input cannot be read.
    """
    rows = np.linspace(0, len(dataset) - 1, min(_MAX_SAMPLES_READ, len(dataset)), dtype=int).tolist()
    inputs = [dict(parts(dataset.sample(row))) for row in rows]
    words = []
    for name, first in inputs[0].items():
        values = [part[name].float() for part in inputs if name in part and part[name].numel()]
        shape = "×".join(map(str, first.shape)) or "one"
        words.append(f"{name}: " * bool(name) + f"{shape} {str(first.dtype).removeprefix('torch.')}")
        if values and not first.is_complex():
            low = min(float(v.min()) for v in values)
            high = max(float(v.max()) for v in values)
            words[-1] += f" from {rounded(low, 3)} to {rounded(high, 3)}"
    return f"{', '.join(words)} (in {len(inputs)} samples); {dataset.preparation}"
