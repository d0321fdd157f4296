"""Finding an array or a column: by the name configured, else by a well-known one, never by a guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cohaudit.config.file import option_name
from cohaudit.errors import DataError, did_you_mean

_MOST = 16
"""Names listed at most in a message."""


def setting(key: str) -> str:
    """Return what to call a setting, whether the user knows it from a file or from the command line."""
    return f"{key} ({option_name(key)})"


class Names:
    """The names of the arrays or columns in a file.

    Args:
        source: The file, for messages.
        available: Its names, in order.
        describe: Says what is behind a name, for messages.
    """

    def __init__(self, source: str, available: Sequence[str], describe: Callable[[str], str] = repr) -> None:
        self._source = source
        self._available = available
        self._describe = describe

    def find(self, option: str, wanted: str, known: Sequence[str] = ()) -> str | None:
        """Return the name that an option gives, else the only available one that is well known, else None.

        Args:
            option: The configuration key that names it.
            wanted: The key's value; empty when not set.
            known: Well-known names, lower case.

        Raises:
            DataError: If `wanted` is not available, or several well-known names are.
        """
        if wanted and wanted not in self._available:
            raise DataError(
                f"{self._source}, {setting(option)} = {wanted!r}",
                f"not found among {self._listing()}",
                did_you_mean(wanted, self._available),
            )
        if wanted:
            return wanted
        found = [name for name in self._available if name.lower() in known]
        if len(found) > 1:
            raise DataError(
                self._source,
                f"several candidates for {option}: {', '.join(found)}",
                f"name the one to use with {setting(option)}",
            )
        return found[0] if found else None

    def require(self, option: str, wanted: str, known: Sequence[str] = ()) -> str:
        """Return the name that `find` finds.

        Raises:
            DataError: If it finds none.
        """
        name = self.find(option, wanted, known)
        if name is None:
            raise DataError(
                self._source,
                f"no {option} found by a well-known name ({', '.join(known)}) among {self._listing()}",
                f"name the one to use with {setting(option)}",
            )
        return name

    def _listing(self) -> str:
        """List the names; of many, the first and the last, where labels mostly are."""
        names = list(self._available)
        if len(names) <= _MOST:
            return ", ".join(map(self._describe, names)) or "nothing: it is empty"
        first = names[: _MOST // 2]
        last = names[-_MOST // 2 :]
        more = f"… {len(names) - _MOST} more …"
        return ", ".join([*map(self._describe, first), more, *map(self._describe, last)])
