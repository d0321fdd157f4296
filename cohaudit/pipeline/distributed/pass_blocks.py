"""Where a scan takes blocks of its passes from, if it does not measure them itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cohaudit.gradients import BlockReader, Source

Part = Literal["training", "holdout"]
"""The data that a pass goes through."""


@dataclass(frozen=True)
class PassBlocks:
    """The blocks of the passes over some samples.

    Attributes:
        first: Returns those of the first pass.
        drawn: Indices of drawn samples → what returns the blocks of the pass that measures their gradients;
            None if that is measured by this process.
    """

    first: BlockReader
    drawn: Callable[[NDArray[np.int64]], BlockReader] | None = None


class Divided(Protocol):
    """Other processes that measure, or have measured, a part of the passes."""

    def blocks_of(
        self, part: Part, source: Source, positions: NDArray[np.int64], key: Mapping[str, str]
    ) -> PassBlocks | None:
        """Return the blocks of the passes over some samples; None if this process measures them.

        Args:
            part: The data.
            source: The samples.
            positions: Position of each in the data.
            key: Everything that the numbers of a pass over them depend on.
        """
