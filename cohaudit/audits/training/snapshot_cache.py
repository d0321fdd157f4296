"""Snapshots in files, so that a checkpoint is measured once.

The file of a snapshot is named by a hash of everything that it depends on (the checkpoint's content, the
data, the model's code, the settings), so that one cannot be mistaken for another.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from cohaudit._version import __version__
from cohaudit.audits.training.snapshot import Snapshot
from cohaudit.config import Config, Effect
from cohaudit.results.files import working_folder

LOGGER = logging.getLogger(__name__)


class SnapshotCache:
    """Snapshots in a folder, each in a file named by a hash of what it depends on.

    Args:
        folder: Folder of the files; None saves nothing.
        fingerprints: Fingerprints of the data and of the holdout.
        config: Settings.
        model: The network, whose code counts too.
    """

    def __init__(
        self, folder: Path | None, fingerprints: Sequence[str], config: Config, model: nn.Module
    ) -> None:
        self._folder = folder
        self._fingerprints = fingerprints
        self._config = config
        self._model = model

    @cached_property
    def _dependencies(self) -> list[Any]:
        """What all snapshots depend on besides their checkpoint.

        Unlike in `pipeline.cache_key`, torch's version, the device, threads and batch size do not
        count: they change a whole snapshot by rounding alone, while sums of which half came from another
        device would be those of no pass. Nor does class_memory: it is for cosines between classes, which no
        snapshot holds.
        """
        config = self._config
        settings = {key: str(value) for key, value in config.values_affecting(Effect.GRADIENTS).items()}
        code = code_of(config, self._model)
        return [__version__, *self._fingerprints, config.model, code, settings]

    def load(self, checkpoint: str, shape: tuple[int, int]) -> Snapshot | None:
        """Return the snapshot of a checkpoint; None if there is none that can be read.

        Args:
            checkpoint: SHA-256 of its content; empty for one in memory, which is never cached.
            shape: N and C.
        """
        path = self._path(checkpoint)
        if path is None or not path.is_file():
            return None
        try:
            # the folder may have been written by anybody: no pickle, and any damage means measuring again
            with np.load(path, allow_pickle=False) as arrays:
                snapshot = Snapshot.from_arrays(arrays)
            samples = {len(snapshot.corrected), len(snapshot.share)}
            if snapshot.probability.shape == shape and samples == {shape[0]}:
                return snapshot
        except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile):
            pass
        LOGGER.info("Snapshot: %s cannot be used, measuring again", path)
        return None

    def save(self, checkpoint: str, snapshot: Snapshot) -> None:
        """Write the snapshot of a checkpoint, whole or not at all; after a failure, nothing more is saved.

        Args:
            checkpoint: SHA-256 of the checkpoint's content; empty for one in memory, which is not saved.
            snapshot: Its snapshot.
        """
        path = self._path(checkpoint)
        samples, classes = snapshot.probability.shape
        if path is None or self.load(checkpoint, (samples, classes)):
            return
        arrays: dict[str, Any] = snapshot.to_arrays()
        try:
            with working_folder(path.parent) as aside:
                np.savez(aside / path.name, **arrays)
                (aside / path.name).replace(path)
        except OSError as error:
            # a cache is a convenience: a full disk must not end the scan
            LOGGER.info("Snapshots are not saved, %s: %s", path.parent, error.strerror)
            self._folder = None

    def _path(self, checkpoint: str) -> Path | None:
        """Return the file of a checkpoint's snapshot; None if it is not cached."""
        if self._folder is None or not checkpoint:
            return None
        # sorted, so that the hash does not depend on the order of settings
        text = json.dumps([checkpoint, *self._dependencies], sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def code_of(config: Config, model: nn.Module) -> str:
    """Return a hash of the code that model and data depend on.

    That is the Python files in the folders of the model's factory, the transform, the data's factory and the
    function that trains it again, and the files that define the model's modules, except torch's.

    Args:
        config: Settings, which name the factories and the transform.
        model: The network.
    """
    digest = hashlib.sha256()
    for named in (config.model, config.transform, config.data, config.crossfit_recipe):
        # a function that a Python caller gave is in no file that is named
        file = config.base / (named.rpartition(":")[0] if isinstance(named, str) else "")
        if file.suffix == ".py" and file.is_file():
            # the file may import its neighbors; sorted, because a folder lists files in any order
            for beside in sorted(file.parent.glob("*.py")):
                digest.update(beside.read_bytes())
    names = {type(module).__module__ for module in model.modules()}
    # sorted, because a set has no order and the hash must always be the same
    for name in sorted(name for name in names if name.partition(".")[0] != "torch"):
        source = getattr(sys.modules.get(name), "__file__", None)
        if source and Path(source).is_file():
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()
