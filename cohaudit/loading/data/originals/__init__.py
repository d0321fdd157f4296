"""Originals: writes corrected copies of stored data, with labels replaced and samples left out.

There is one file for each kind of data. Nothing is prepared for a model: everything that does not change is
copied as it is stored.
"""

from cohaudit.loading.data.originals._arrays import ArrayOriginal
from cohaudit.loading.data.originals._images import ImageOriginal
from cohaudit.loading.data.originals._original import Original
from cohaudit.loading.data.originals._table import CsvOriginal, JsonlOriginal, ParquetOriginal

__all__ = ["ArrayOriginal", "CsvOriginal", "ImageOriginal", "JsonlOriginal", "Original", "ParquetOriginal"]
