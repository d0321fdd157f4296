"""Hashes a data file, to tell whether two audits used the same data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cohaudit.errors import DataError
from cohaudit.untrusted import open_regular


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with open_regular(path, DataError) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read: {error.strerror}", "check the file's permissions"
        ) from error
