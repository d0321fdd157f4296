"""The training data, whatever holds it, as an indexed dataset of samples with ids, labels and class names.

One file per kind: `_arrays` (.npz, .safetensors, arrays in memory), `_table` (.csv, .parquet), `_images`
(a folder of class folders), `_torch_dataset` (a map-style torch Dataset, from Python or from a factory).
Every kind is a `LabeledDataset`, in a fixed order, checked when opened; docs/data.md is the user's side.
"""

from cohaudit.data._dataset import LabeledDataset
from cohaudit.data._inputs import Inputs
from cohaudit.data._open import as_dataset, open_dataset
from cohaudit.data._torch_dataset import from_torch

__all__ = ["Inputs", "LabeledDataset", "as_dataset", "from_torch", "open_dataset"]
