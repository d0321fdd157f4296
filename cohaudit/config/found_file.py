"""What a configuration file may set that was merely found beside a checkpoint.

Such a file can come with the checkpoint. Its author may say how the numbers are to be read: labels, columns,
sizes, thresholds. Code runs, and files are read or written elsewhere, only in the name of a person: by an
option, by `--config`, or by a configuration in the working directory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cohaudit.config import KEYS
from cohaudit.config.keys import Table
from cohaudit.errors import ConfigError

_CODE = {"model", "transform", "crossfit_recipe", "templates"}
"""Keys whose values are run as code."""
_LIMITS = {"read_memory", "read_seconds"}
"""Keys that lift what protects against the checkpoint itself."""


def refuse_foreign(path: Path, settings: Mapping[str, Any], overridden: Collection[str]) -> None:
    """Raise an error if a file that was found sets what only a person may set.

    Args:
        path: The file.
        settings: Key → value, as written in it.
        overridden: Keys that the user gives as options: what the file says of them is not used.

    Raises:
        ConfigError: If there is such a key.
    """
    for key, value in settings.items():
        if key in overridden or key not in KEYS:
            continue
        if reason := _foreign(key, value, path.parent):
            raise ConfigError(
                f"{path}: {key}",
                f"{reason}, in a file that was found beside the checkpoint and not named",
                f"if you trust its author, name the file: --config {path}",
            )


def _foreign(key: str, value: Any, folder: Path) -> str:
    """Say what is wrong with a key in a file that was found; '' if nothing is."""
    if key in _LIMITS:
        return f"{str(value).lower()} lifts a protection against the checkpoint"
    if not value:
        return ""
    if key in _CODE or (KEYS[key].path and names_code(str(value))):
        return f"{value!r:.80} names code to run"
    if KEYS[key].type == Table and not all(isinstance(one, bool | int | float) for one in _values(value)):
        return f"{value!r:.80} passes more than numbers to code"
    is_path = KEYS[key].path or (key == "lr" and not _is_number(value))
    if is_path and isinstance(value, str) and not _is_inside(folder, value):
        return f"{value!r:.80} leads out of the file's folder"
    return ""


def names_code(value: str) -> bool:
    """Tell whether a text is `file.py:function` or `package.module:function` by its form."""
    _, colon, name = value.rpartition(":")
    return bool(colon) and name.isidentifier()


def _values(value: Any) -> Collection[Any]:
    return list(value.values()) if isinstance(value, Mapping) else [value]


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_inside(folder: Path, value: str) -> bool:
    """Tell whether a path lies in a folder, with links followed."""
    try:
        return (folder / value).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a circle of links, or a name that no file has
        return False
