"""Finds an array or a column by its configured name, else by a usual name, never by a guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cohaudit.config import Config
from cohaudit.config.file import option_name
from cohaudit.errors import ConfigError, DataError, did_you_mean

_MAX_NAMES_LISTED = 16
"""Names to list in a message."""


def setting(key: str) -> str:
    """Return a setting's name for messages: as in a file and as on the command line."""
    return f"{key} ({option_name(key)})"


def refuse_keys(config: Config, kind: str, *keys: str) -> None:
    """Raise an error if one of these keys is set, because none applies to this kind of data.

    Args:
        config: Settings.
        kind: The kind of data, in words.
        *keys: The keys.

    Raises:
        ConfigError: If one of them is set.
    """
    for key in keys:
        if getattr(config, key):
            raise ConfigError(
                setting(key) if config.data else key,
                f"is set, but does not apply to {kind} ({config.data or 'passed as an object'})",
                f"leave out {key}",
            )


class ColumnNames:
    """The names of the columns or arrays in a file, or in what a Python caller gives.

    Args:
        source: The file, for messages.
        available: Names in the file, in order.
        describe: Returns a name with a description of its content, for messages.
        container: What has the names, for messages.
    """

    def __init__(
        self,
        source: str,
        available: Sequence[str],
        describe: Callable[[str], str] = repr,
        container: str = "the file",
    ) -> None:
        self._source = source
        self._available = available
        self._describe = describe
        self._container = container

    def find(self, option: str, wanted: str, known: Sequence[str] = ()) -> str | None:
        """Return the configured name, else the only usual name that the file has, else None.

        Args:
            option: Configuration key for the name.
            wanted: Value of the key; empty if not set.
            known: Usual names, in lower case.

        Raises:
            DataError: If the file does not have the configured name, or has several usual ones.
        """
        if wanted and wanted not in self._available:
            raise DataError(
                f"{self._source}, {setting(option)} = {wanted!r}",
                f"not found; {self._container} has {self._listing()}",
                did_you_mean(wanted, self._available),
            )
        if wanted:
            return wanted
        # several usual names are an error: `x` and `images` could be two versions of the inputs
        usual = [name for name in self._available if name.lower() in known]
        if len(usual) > 1:
            raise DataError(
                self._source,
                f"has several candidates for {option}: {', '.join(usual)}",
                f"name the one to use with {setting(option)}",
            )
        return usual[0] if usual else None

    def require(self, option: str, wanted: str, known: Sequence[str] = ()) -> str:
        """Return the name that `find` returns, for the same arguments.

        Raises:
            DataError: If `find` raises one or returns None.
        """
        name = self.find(option, wanted, known)
        if name is None:
            raise DataError(
                self._source,
                f"has no {option} under a usual name ({', '.join(known)}); it has {self._listing()}",
                f"name the one to use with {setting(option)}",
            )
        return name

    def _listing(self) -> str:
        """List the names; of many names only the first and the last."""
        names = list(self._available)
        if len(names) <= _MAX_NAMES_LISTED:
            return ", ".join(map(self._describe, names)) or "nothing, it is empty"
        first = names[: _MAX_NAMES_LISTED // 2]
        last = names[-_MAX_NAMES_LISTED // 2 :]  # where tables usually have their labels
        more = f"… {len(names) - _MAX_NAMES_LISTED} more …"
        return ", ".join([*map(self._describe, first), more, *map(self._describe, last)])
