"""Settings and folders that a scan refuses before anything is opened or measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cohaudit.config import Config
from cohaudit.errors import CohauditError
from cohaudit.report import check_templates, parsed_formats, refuse_data
from cohaudit.results.files import check_folder
from cohaudit.review.gates import parsed_gates


def refusals(config: Config) -> Iterator[tuple[str, CohauditError]]:
    """Yield the name of each check that failed, and its error; a scan stops at the first one.

    Args:
        config: Settings.
    """
    out = out_folder(config)
    templates = templates_folder(config)
    formats = config.formats
    if error := _refused(partial(parsed_gates, config)):
        yield "gates", error
    if error := _refused(partial(parsed_formats, formats)):
        yield "formats", error
        formats = ()  # the checks below can be done all the same
    if error := _refused(partial(check_folder, out)):
        yield "output folder", error
    if templates and (error := _refused(partial(check_templates, templates))):
        yield "templates", error
    # a report named like the data would replace it
    for name, path, called in (
        ("data kept", config.data, "the training data"),
        ("holdout kept", config.holdout, "the holdout"),
    ):
        if path and (error := _refused(partial(refuse_data, out, config.base / path, called, formats))):
            yield name, error


def out_folder(config: Config) -> Path:
    """Return the folder of the report, relative to the working directory if it lies inside."""
    return _seen_from_here(config.base / config.out)


def templates_folder(config: Config) -> Path | None:
    """Return the folder of the user's templates in the same way; None if there is none."""
    return _seen_from_here(config.base / config.templates) if config.templates else None


def _refused(check: Callable[[], object]) -> CohauditError | None:
    try:
        check()
    except CohauditError as error:
        return error
    return None


def _seen_from_here(path: Path) -> Path:
    here = Path.cwd()
    # short in messages, and still valid when the report is outside
    return path.relative_to(here) if path.is_relative_to(here) else path
