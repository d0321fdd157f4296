"""What an unfinished pass saves to be resumed, and the interface of the store that it is saved in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from cohaudit.gradients.features import ViewShape

Arrays = Mapping[str, NDArray[Any]]


class DamagedError(Exception):
    """A saved pass cannot be used; the store has reported it."""


@dataclass(frozen=True)
class PassMetadata:
    """What must be known, beside arrays, to resume a pass.

    Attributes:
        looped: Names of the parameters that had to be measured by the loop in a finished block.
        looped_in_block: Names of those measured by the loop now.
        features: Shapes of the stored layer inputs.
        activations: Shapes of the stored activations.
    """

    looped: tuple[str, ...]
    looped_in_block: tuple[str, ...]
    features: tuple[ViewShape, ...]
    activations: tuple[ViewShape, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the metadata in JSON's types."""
        return {
            "looped": list(self.looped),
            "looped_in_block": list(self.looped_in_block),
            "features": [list(shape) for shape in self.features],
            "activations": [list(shape) for shape in self.activations],
        }

    @classmethod
    def from_json(cls, metadata: Mapping[str, Any]) -> PassMetadata:
        """Return the metadata from JSON's types.

        Raises:
            KeyError: If one is missing.
            ValueError: If a shape has too few or too many entries.
        """
        return cls(
            looped=tuple(metadata["looped"]),
            looped_in_block=tuple(metadata["looped_in_block"]),
            features=_view_shapes(metadata["features"]),
            activations=_view_shapes(metadata["activations"]),
        )


def _view_shapes(shapes: Iterable[Iterable[Any]]) -> tuple[ViewShape, ...]:
    return tuple(ViewShape(layer, averaged, width) for layer, averaged, width in shapes)


@dataclass(frozen=True)
class PassState:
    """A pass between two batches.

    Attributes:
        done: Samples measured, the first ones in the order of the pass.
        sums: Name → array that changes with every batch.
        metadata: What else must be known to resume, in JSON's types.
        rows: (from, to) → name → array with a row for each of these samples, in the order of the pass; they
            do not change any more.
        row_bytes: Bytes of the rows of one sample.
    """

    done: int
    sums: Arrays
    metadata: Mapping[str, Any]
    rows: Callable[[int, int], Arrays]
    row_bytes: int


@dataclass(frozen=True)
class ResumeState:
    """A pass as it was saved.

    Attributes:
        done: See `PassState`.
        sums: See `PassState`.
        metadata: See `PassState`.
        shards: From, to, and the `rows` of `PassState` in between; each is read when the iteration reaches
            it.
    """

    done: int
    sums: Arrays
    metadata: Mapping[str, Any]
    shards: Iterable[tuple[int, int, Arrays]]


class CheckpointStore(Protocol):
    """Saves an unfinished pass."""

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        """Call `restore` with the saved state of this pass, if there is one.

        Raises:
            DamagedError: If it cannot be used; `restore` may have used some of it.
        """

    def watching(self) -> AbstractContextManager[None]:
        """Delay an interruption within the block until `maybe_save`, which raises it."""

    def maybe_save(self, state: Callable[[], PassState]) -> None:
        """Save the state if enough time has passed.

        Args:
            state: Returns the state; the pass is between two batches.
        """

    def keep(self, state: PassState) -> None:
        """Save the state now; an earlier one stays if that fails."""


class NullStore:
    """Saves nothing: for models in memory, and for passes that nobody will resume."""

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        """See `CheckpointStore`."""

    def watching(self) -> AbstractContextManager[None]:
        """See `CheckpointStore`."""
        return nullcontext()

    def maybe_save(self, state: Callable[[], PassState]) -> None:
        """See `CheckpointStore`."""

    def keep(self, state: PassState) -> None:
        """See `CheckpointStore`."""
