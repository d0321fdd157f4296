"""A pass that is not finished, as it can be kept and gone on with: what it must tell, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class DamagedError(Exception):
    """What was kept of a pass cannot be used; whoever keeps it has said so."""


@dataclass(frozen=True)
class PassState:
    """A pass between two batches.

    Attributes:
        done: Samples measured, the first ones in the order of the pass.
        sums: Name → what changes with every batch.
        facts: What else must be known to go on, in JSON's types.
        rows: From, to → name → what is known of these samples, in the order of the pass; it changes no more.
        row_bytes: What it takes for one sample.
    """

    done: int
    sums: Arrays
    facts: Mapping[str, Any]
    rows: Callable[[int, int], Arrays]
    row_bytes: int


@dataclass(frozen=True)
class ResumeState:
    """A pass as it was kept.

    Attributes:
        done: See `PassState`.
        sums: See `PassState`.
        facts: See `PassState`.
        shards: From, to, and the `rows` of `PassState` in between; read one at a time, as they are asked for.
    """

    done: int
    sums: Arrays
    facts: Mapping[str, Any]
    shards: Iterable[tuple[int, int, Arrays]]


class CheckpointStore(Protocol):
    """Whoever keeps an unfinished pass."""

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        """Hand over what was kept of this pass before, if anything was.

        Raises:
            DamagedError: If it cannot be used; `restore` may have used some of it.
        """

    def watching(self) -> AbstractContextManager[None]:
        """Put off an interruption within the block until `maybe_save`, which raises it."""

    def maybe_save(self, state: Callable[[], PassState]) -> None:
        """Keep the state if it is time to.

        Args:
            state: Gives it: the pass is between two batches.
        """

    def keep(self, state: PassState) -> None:
        """Keep the state, whatever the time; what is kept already stays if that fails."""


class NullStore:
    """Keeps nothing: for models in memory, and for passes that nobody waits for."""

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        """See `CheckpointStore`."""

    def watching(self) -> AbstractContextManager[None]:
        """See `CheckpointStore`."""
        return nullcontext()

    def maybe_save(self, state: Callable[[], PassState]) -> None:
        """See `CheckpointStore`."""

    def keep(self, state: PassState) -> None:
        """See `CheckpointStore`."""


def fill(target: NDArray[Any], value: NDArray[Any]) -> None:
    """Write one array over another of the same shape and type.

    Raises:
        ValueError: If they differ in these.
    """
    if target.shape != value.shape or target.dtype != value.dtype:
        found = f"{value.dtype} {list(value.shape)}, not {target.dtype} {list(target.shape)}"
        raise ValueError(found)
    target[...] = value


def part(arrays: Mapping[str, NDArray[Any]], indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the rows of some samples of each array."""
    return {name: np.asarray(array[indices]) for name, array in arrays.items()}
