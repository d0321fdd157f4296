"""Training data as it lies on the disk, to write corrected copies of: labels replaced, samples left out.

One file per kind, like the datasets beside this folder. Here nothing is prepared for a model: what is not
changed goes into the copy as it is stored.
"""

from cohaudit.loading.data.originals._arrays import ArrayOriginal
from cohaudit.loading.data.originals._images import ImageOriginal
from cohaudit.loading.data.originals._original import Original
from cohaudit.loading.data.originals._table import CsvOriginal, JsonlOriginal, ParquetOriginal

__all__ = ["ArrayOriginal", "CsvOriginal", "ImageOriginal", "JsonlOriginal", "Original", "ParquetOriginal"]
