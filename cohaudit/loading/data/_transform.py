"""The user's function that turns one raw input into the model's input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cohaudit.config import Config
from cohaudit.config.used import name_of
from cohaudit.errors import DataError, describe_error
from cohaudit.loading.data._inputs import Inputs, as_inputs
from cohaudit.loading.factories import load_object


class Transform:
    """A function of one raw input; its errors name the sample.

    Args:
        spec: Name of the function, as the user gave it.
        function: Function of one raw input: an array, a row as a dict, a PIL image, or the input of a torch
            dataset.
    """

    def __init__(self, spec: str, function: Callable[[Any], Any]) -> None:
        self.spec = spec
        self.function = function

    def __call__(self, raw: Any, where: str) -> Inputs:
        """Return the model's input for a raw input.

        Args:
            raw: The raw input.
            where: The sample, for messages.

        Raises:
            DataError: If the function fails, or returns something other than tensors.
        """
        # any exception: the function is the user's
        try:
            value = self.function(raw)
        except Exception as error:
            raise DataError(
                f"transform {self.spec}",
                f"failed on {where}: {describe_error(error)}",
                f"change it to accept this input, of type {type(raw).__qualname__}",
            ) from error
        function = self.spec.rpartition(":")[2]
        remedy = f"return a tensor from {function}"
        if value is None:
            remedy += ": its `return` may be missing"
        return as_inputs(value, f"transform {self.spec} on {where}", remedy)


def in_words(transform: Transform | None, otherwise: str = "") -> str:
    """Describe the preparation of an input: the transform, else the default of the kind of dataset."""
    if transform is not None:
        return f"transform {transform.spec}"
    return f"{otherwise}, no transform" if otherwise else "no transform"


def load_transform(config: Config) -> Transform | None:
    """Return the function that the key `transform` names, or that a Python caller gave; None without one.

    Raises:
        ConfigError: If the function cannot be imported.
    """
    if not config.transform:
        return None
    if not isinstance(config.transform, str):
        return Transform(name_of(config.transform), config.transform)
    return Transform(config.transform, load_object(config.transform, config.base, "transform"))
