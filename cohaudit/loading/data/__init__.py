"""Data: opens the training data of any kind as a `LabeledDataset`, checked and in a fixed order.

There is one file for each kind: `_arrays` (.npz, .safetensors, arrays in memory), `_table` (.csv, .parquet,
.jsonl), `_images` (a folder of class folders), and for Python `_objects` (what it is), `_frame` (a DataFrame)
and `_torch_dataset` (a map-style torch Dataset). `originals` writes corrected copies of stored data.
docs/data.md is written for users.
"""

from cohaudit.loading.data._accepted import DatasetLike
from cohaudit.loading.data._array_files import open_array_file
from cohaudit.loading.data._dataset import LabeledDataset
from cohaudit.loading.data._describe import describe_inputs
from cohaudit.loading.data._full_view import full_view
from cohaudit.loading.data._inputs import Inputs
from cohaudit.loading.data._objects import from_torch
from cohaudit.loading.data._open import as_dataset, hash_original, open_dataset, open_original, with_columns
from cohaudit.loading.data.originals import Original
from cohaudit.results.audit import IN_MEMORY

__all__ = [
    "IN_MEMORY",
    "DatasetLike",
    "Inputs",
    "LabeledDataset",
    "Original",
    "as_dataset",
    "describe_inputs",
    "from_torch",
    "full_view",
    "hash_original",
    "open_array_file",
    "open_dataset",
    "open_original",
    "with_columns",
]
