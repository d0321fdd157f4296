"""Which settings an audit records, and which mean nothing for a model in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cohaudit.config import KEYS, Config, Effect
from cohaudit.errors import ConfigError

RECORDED = (Effect.GRADIENTS, Effect.SUMS, Effect.FINDINGS)
"""Effects of the settings that an audit records: those that change a number."""
MEASUREMENT_KEYS = tuple(name for name, key in KEYS.items() if key.affects in RECORDED)
"""Keys that an audit records, in the order of the configuration; the report lists them."""
MEANINGLESS_IN_MEMORY: Mapping[str, str] = {
    "model": "give the model itself",
    "model_args": "give them to the code that builds the model",
    "weights": "load them into the model",
    "prefix": "load the checkpoint into the model yourself",
    "ignore_keys": "load the checkpoint into the model yourself",
    "trust_checkpoint": "load the checkpoint into the model yourself",
    "data": "give the dataset, or its path, as the second argument",
    "crossfit_recipe": "give the function itself: fit=…",
    "device": "move the model: model.to(device)",
    "formats": "name them there: cohaudit.write_report(audit, folder, formats=…)",
    "out": "write the report with cohaudit.write_report(audit, folder)",
    "templates": "give them to cohaudit.write_report(audit, folder, templates=…)",
}
"""Keys about files and devices that do not apply to a model in memory → what to do instead."""


def used_settings(config: Config, device: str) -> dict[str, object]:
    """Return the settings that changed a number, in types that audit.json can hold.

    Args:
        config: Settings of the scan.
        device: Type of the device that it ran on.
    """
    recorded = config.values_affecting(*RECORDED)
    return {key: _plain(value) for key, value in recorded.items()} | {"device": device}


def setting(settings: Mapping[str, object], name: str) -> Any:
    """Return a setting of an audit, or its default if the audit does not record it.

    Args:
        settings: Settings of an audit.
        name: Key of the configuration.

    Raises:
        ConfigError: If the recorded value is not a valid one.
    """
    key = KEYS[name]
    return key.checked(settings.get(name, key.default), f"settings.{name} of the audit")


def refuse_meaningless(config: Config, given: Iterable[str]) -> None:
    """Refuse settings that an audit of a model in memory would ignore.

    Args:
        config: Settings.
        given: Keys that the caller set, even to their defaults.

    Raises:
        ConfigError: If a key is set that has no effect for a model in memory.
    """
    for key, remedy in MEANINGLESS_IN_MEMORY.items():
        if key in given or getattr(config, key) != KEYS[key].default:
            raise ConfigError(key, "has no effect for a model in memory", remedy)


def name_of(function: str | Callable[..., Any]) -> str:
    """Return a function's name as a reader knows it, or the text that names it."""
    if isinstance(function, str):
        return function
    # an object that can be called, such as torchvision's Compose, has no name of its own
    return str(getattr(function, "__name__", type(function).__name__))


def _plain(value: Any) -> Any:
    """Return a setting in JSON's types; a value that JSON cannot hold, such as a date or NaN, as text."""
    if callable(value):
        return name_of(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        # tuples, as read_audit returns arrays: an audit that was read must equal the written one
        return tuple(_plain(inner) for inner in value)
    # other readers of JSON hold integers in 64 bits
    is_number = isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**63
    return value if value is None or is_number or isinstance(value, str) else str(value)
