"""The user's own function from one raw input to what the model takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cohaudit.config import Config
from cohaudit.errors import DataError, describe_error
from cohaudit.loading.data._inputs import Inputs, as_inputs
from cohaudit.loading.factories import load_object


class Transform:
    """A function of one raw input, whose failures name the sample.

    Args:
        spec: The function, as the user named it.
        function: Takes one raw input: an array, a row as a dict, a PIL image, or what a torch dataset gives.
    """

    def __init__(self, spec: str, function: Callable[[Any], Any]) -> None:
        self.spec = spec
        self.function = function

    def __call__(self, raw: Any, where: str) -> Inputs:
        """Return what the model takes for a raw input.

        Raises:
            DataError: If the function fails, or returns anything but tensors.
        """
        try:
            value = self.function(raw)
        except Exception as error:
            raise DataError(
                f"transform {self.spec}",
                f"failed on {where}: {describe_error(error)}",
                f"make it accept this input, a {type(raw).__qualname__}",
            ) from error
        function = self.spec.rpartition(":")[2]
        remedy = f"return a tensor from {function}"
        if value is None:
            remedy += ": a `return` seems to be missing in it"
        return as_inputs(value, f"transform {self.spec} on {where}", remedy)


def in_words(transform: Transform | None, otherwise: str = "") -> str:
    """Say what is done to an input: the transform, or else what a kind of dataset does by itself."""
    if transform is not None:
        return f"transform {transform.spec}"
    return f"{otherwise}, no transform" if otherwise else "no transform"


def load_transform(config: Config) -> Transform | None:
    """Import the function that the key `transform` names; None when the key is not set."""
    if not config.transform:
        return None
    return Transform(config.transform, load_object(config.transform, config.base, "transform"))
