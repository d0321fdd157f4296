"""Which settings shaped an audit, and which mean nothing for a model in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from cohaudit.config import KEYS, Config
from cohaudit.errors import ConfigError

MEASUREMENT_KEYS = (
    "weights",
    "model_args",
    "data_args",
    "inputs",
    "labels",
    "ids",
    "transform",
    "class_names",
    "batch_size",
    "bf16",
    "limit",
    "seed",
    "temperature",
    "sketch_size",
    "feature_size",
    "class_memory",
    "neighbors",
    "bootstrap",
    "confidence",
    "suspicion_threshold",
    "risk_levels",
    "holdout",
    "gate_on_value",
    "suppressions",
    "evidence",
    "gallery",
    "audits",
    "lr",
    "steps_per_epoch",
    "certificate_samples",
    "certificate_tolerance",
)
"""Configuration keys that shape the numbers; the report lists them."""

MEANINGLESS_IN_MEMORY: Mapping[str, str] = {
    "model": "give the model itself",
    "model_args": "give them to the code that builds the model",
    "weights": "load them into the model",
    "trust_checkpoint": "load the checkpoint into the model yourself",
    "data": "give the dataset, or its path, as the second argument",
    "device": "move the model: model.to(device)",
    "formats": "name them there: cohaudit.write_report(audit, folder, formats=…)",
    "out": "write the report with cohaudit.write_report(audit, folder)",
    "templates": "give them to cohaudit.write_report(audit, folder, templates=…)",
}
"""Keys about files and devices that a model in memory has no use for, and what to do in their place."""


def used_settings(config: Config, device: str) -> dict[str, object]:
    """Return the settings that shaped the numbers, as audit.json can hold them.

    Args:
        config: Settings of the scan.
        device: Type of the device that it ran on.
    """
    return {key: _plain(getattr(config, key)) for key in MEASUREMENT_KEYS} | {"device": device}


def setting(settings: Mapping[str, object], name: str) -> Any:
    """Return a setting of an audit, or the default of one that it does not hold.

    Args:
        settings: Those of an audit.
        name: A key of the configuration.

    Raises:
        ConfigError: When what it holds is no value of the key.
    """
    key = KEYS[name]
    return key.checked(settings.get(name, key.default), f"settings.{name} of the audit")


def refuse_meaningless(config: Config, given: Iterable[str]) -> None:
    """Refuse what would be ignored by an audit of a model in memory.

    Args:
        config: Settings.
        given: Keys that the caller set, even to their defaults.

    Raises:
        ConfigError: When a key is set that means nothing for a model in memory.
    """
    for key, remedy in MEANINGLESS_IN_MEMORY.items():
        if key in given or getattr(config, key) != KEYS[key].default:
            raise ConfigError(key, "means nothing for a model in memory", remedy)


def _plain(value: Any) -> Any:
    """Return a setting in JSON's types; what JSON has no word for, such as a date, as text."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(inner) for inner in value)
    is_number = isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**63
    return value if value is None or is_number or isinstance(value, str) else str(value)
