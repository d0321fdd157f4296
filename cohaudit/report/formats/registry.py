"""The further formats that a scan or a check writes: their names, files and renderers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.report.formats.badge import render_badge
from cohaudit.report.formats.junit import render_junit
from cohaudit.report.formats.markdown import render_markdown
from cohaudit.report.formats.sarif import render_sarif
from cohaudit.results import Audit
from cohaudit.results.tables import require_pyarrow, table_to_parquet

FILES: Mapping[str, str] = {
    "markdown": "summary.md",
    "junit": "junit.xml",
    "sarif": "suspects.sarif",
    "parquet": "samples.parquet",
    "badge": "badge.json",
}
"""Format → name of its file."""
GITHUB = "github"
"""The format that is printed."""
_OPTION = "--formats"
"""How a user names the formats, for messages."""


def parsed_formats(given: Sequence[str]) -> tuple[str, ...]:
    """Return the requested formats, each once, in the order of `FILES`.

    Args:
        given: Names of formats; one entry may hold several, separated by commas.

    Raises:
        ConfigError: A format does not exist.
        MissingExtraError: A format needs a package that is not installed.
    """
    names = [part.strip() for name in given for part in name.split(",")]
    known = (*FILES, GITHUB)
    for name in names:
        if name not in known:
            raise ConfigError(_OPTION, f"there is no format {name!r}", did_you_mean(name, known))
    # Refused here, before a scan of hours, instead of when the file is written.
    if "parquet" in names:
        require_pyarrow(f"{_OPTION} parquet")
    return tuple(name for name in known if name in names)


def render_formats(audit: Audit, formats: Sequence[str]) -> dict[str, str | bytes]:
    """Return file name → content for each format that has a file.

    Args:
        audit: Result of a scan.
        formats: Names of formats, as `parsed_formats` takes them.
    """
    forms: Mapping[str, Callable[[Audit], str | bytes]] = {
        "markdown": render_markdown,
        "junit": render_junit,
        "sarif": render_sarif,
        "parquet": lambda audit: table_to_parquet(audit.samples, f"{_OPTION} parquet"),
        "badge": render_badge,
    }
    return {FILES[name]: forms[name](audit) for name in parsed_formats(formats) if name in FILES}
