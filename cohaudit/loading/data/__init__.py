"""The training data, whatever holds it, as an indexed dataset of samples with ids, labels and class names.

One file per kind: `_arrays` (.npz, .safetensors, arrays in memory), `_table` (.csv, .parquet, and with
`_jsonl` .jsonl), `_images` (a folder of class folders), `_torch_dataset` (a map-style torch Dataset, from
Python or from a factory).
Every kind is a `LabeledDataset`, in a fixed order, checked when opened; docs/data.md is the user's side.
`originals` writes corrected copies of those that are stored.
"""

from cohaudit.loading.data._accepted import DatasetLike
from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._describe import describe_inputs
from cohaudit.loading.data._inputs import Inputs
from cohaudit.loading.data._open import as_dataset, hash_original, open_dataset, open_original, with_columns
from cohaudit.loading.data._torch_dataset import from_torch
from cohaudit.loading.data.originals import Original

__all__ = [
    "DatasetLike",
    "Inputs",
    "LabeledDataset",
    "Original",
    "as_dataset",
    "describe_inputs",
    "from_torch",
    "hash_original",
    "open_dataset",
    "open_original",
    "with_columns",
]
