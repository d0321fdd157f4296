"""Reads the settings: from the configuration file, which it finds, and from options, which override it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohaudit.config import KEYS, Config
from cohaudit.config.found_file import refuse_foreign
from cohaudit.errors import ConfigError
from cohaudit.untrusted import read_text

FILE_NAME = "cohaudit.toml"
"""Name of the configuration file."""
_MAX_TOML_BYTES = 1_000_000
"""Most bytes of a TOML file: thousands of suppressions fit, and the parser takes a second."""
TRUSTED = "trusted"
"""Key of a configuration in the working directory: other configurations, whose code may run when found."""
PYPROJECT = "pyproject.toml"
"""File of a Python project, which can hold the settings in a table."""


def load_config(checkpoint: Path, options: Mapping[str, Any], file: Path | None = None) -> Config:
    """Read the configuration file that applies, and override it with the options of the command line.

    Paths in the file are relative to its folder. Paths in options, and the default of `out`, are relative to
    the working directory.

    Args:
        checkpoint: Checkpoint to audit; a cohaudit.toml beside it comes first.
        options: Key → value, for the options given.
        file: File to read instead of searching for one.

    Returns:
        The validated configuration.

    Raises:
        ConfigError: If the file cannot be read, a key is unknown, a value is wrong, or a file that was found
            and not named asks to trust the checkpoint, or lies elsewhere and names code or files elsewhere.
    """
    path = file or find_config(checkpoint)
    settings = _read_settings(path) if path else {}
    # absolute, not resolved: paths in a linked file are relative to the link
    base = path.absolute().parent if path else Path.cwd()
    # file and options in two steps: a wrong value is reported where it was written
    config = Config(base=base, source=str(path or "")).updated(settings, lambda key: f"{path}: {key}")
    if path and file is None and not _is_own(path):
        refuse_foreign(path, settings, options)
    if config.trust_checkpoint and file is None and "trust_checkpoint" not in options:
        # such a file can come with the checkpoint: its author would be trusting their own checkpoint
        raise ConfigError(
            f"{path}: trust_checkpoint",
            "true, in a file that was found and not named",
            "remove it; if you trust the author of the checkpoint, pass --trust-checkpoint, "
            f"or name the file with --config {path}",
        )
    # a default is not written in the file, and so not relative to it
    if "out" not in settings:
        options = {"out": config.out, **options}
    return config.updated({key: _given_here(config, key, options[key]) for key in options}, option_name)


def find_config(checkpoint: Path) -> Path | None:
    """Return the configuration file that applies if none is named, or None.

    The first of: cohaudit.toml beside the checkpoint, cohaudit.toml in the working directory, pyproject.toml
    there if it has a table [tool.cohaudit].

    Args:
        checkpoint: Checkpoint to audit.

    Raises:
        ConfigError: If that pyproject.toml cannot be read.
    """
    for candidate in (checkpoint.parent / FILE_NAME, Path(FILE_NAME)):
        if is_there(candidate):
            return candidate
    pyproject = Path(PYPROJECT)
    # a table that only names other files as trusted holds no settings
    if is_there(pyproject) and (_pyproject_table(read_toml(pyproject)) or {TRUSTED: ()}).keys() != {TRUSTED}:
        return pyproject
    return None


def _is_own(path: Path) -> bool:
    """Tell whether a file lies in the working directory, or is named as trusted by one that does."""
    here = Path.cwd()
    # its folder, not what a link leads to: the link itself was put here by somebody
    if path.parent.resolve() == here.resolve():
        return True
    trusted: list[Any] = []
    for own in (Path(FILE_NAME), Path(PYPROJECT)):
        if is_file(own):
            content = read_toml(own)
            table = content if own.name == FILE_NAME else _pyproject_table(content)
            listed = (table or {}).get(TRUSTED, [])
            trusted += listed if isinstance(listed, list) else [listed]
    return any(isinstance(one, str) and (here / one).resolve() == path.resolve() for one in trusted)


def require_subject(config: Config) -> None:
    """Check that the configuration names a model and data.

    Raises:
        ConfigError: If it does not.
    """
    examples = {"model": ("a model factory", "net.py:build"), "data": ("training data", "train.npz")}
    for key, (what, example) in examples.items():
        if not getattr(config, key):
            raise ConfigError(
                config.source or "configuration",
                f"{what} is not named",
                f'write {key} = "{example}" in {config.source or FILE_NAME}, or pass --{key} {example}; '
                "`cohaudit init` writes that file for you",
            )


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: If it cannot be read, or is not TOML in UTF-8.
    """
    try:
        # utf-8-sig: editors on Windows may begin a file with a byte order mark, which TOML does not know
        return tomllib.loads(read_text(path, ConfigError, _MAX_TOML_BYTES))
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read ({error.strerror})", "name a file that can be read"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8 (byte {error.start})", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), f"is not valid TOML: {error}", "correct that line") from None
    # last: the errors of UTF-8 and TOML are ValueErrors too; here remain Python's limits of digits and depth
    except (ValueError, RecursionError):
        found = "holds a number too long, or arrays too deep, to be read"
        raise ConfigError(str(path), found, "remove it, or name another file") from None


def option_name(key: str) -> str:
    """Return the command-line option of a key; an option that takes NAME=VALUE is in the singular."""
    return "--" + key.replace("_", "-").replace("-args", "-arg")


def is_there(path: Path) -> bool:
    """Return whether there is a file of this name, or a pipe, which whoever opens it refuses."""
    try:
        return path.exists() and not path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Return whether the file exists; a name that the system refuses, such as a too long one, does not."""
    try:
        return path.is_file()
    except OSError:
        return False


def _read_settings(path: Path) -> dict[str, Any]:
    content = read_toml(path)
    table = content if path.name != PYPROJECT else _pyproject_table(content)
    if table is None:
        raise ConfigError(str(path), "has no table [tool.cohaudit]", "add one, or name another file")
    # about other files, and read where these are found
    return {key: value for key, value in table.items() if key != TRUSTED}


def _pyproject_table(content: dict[str, Any]) -> dict[str, Any] | None:
    tool = content.get("tool")
    table = tool.get("cohaudit") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _given_here(config: Config, key: str, value: Any) -> Any:
    """Fit an option to a configuration that was read from another folder.

    A path becomes absolute, unless the configuration's base is the working directory. Keyword arguments are
    added to those in the file.
    """
    if isinstance(value, Mapping):
        return {**getattr(config, key), **value}
    # the name of an encoder in a cache may look like a path
    if key == "encoder" and not (Path.cwd() / value).is_dir():
        return value
    # an empty path unsets the key, and must not become the working directory
    if KEYS[key].path and value and not _names_module(value) and config.base != Path.cwd():
        return str(Path.cwd() / value)
    return value


def _names_module(value: str) -> bool:
    """Return whether a value is package.module:name, which Python imports, not a path or file.py:name."""
    module, _, name = value.partition(":")
    parts = [*module.split("."), name]
    return all(part.isidentifier() for part in parts) and not module.endswith(".py")
