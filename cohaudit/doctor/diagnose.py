"""Would a scan run, and for how long? Every part of it tried in turn, and nothing written.

A part that fails does not end the examination: what does not depend on it is tried all the same. The parts
are opened and run by the code that a scan runs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cohaudit.config import KEYS, Config
from cohaudit.config.file import FILE_NAME, load_config, require_subject
from cohaudit.config.keys import toml_value
from cohaudit.doctor.environment import devices, extras, versions
from cohaudit.doctor.finding import Figures, Finding, amount, attempt, not_run
from cohaudit.errors import ConfigError

PARTS = ("model", "weights", "data", "first batch", "gradients", "forecast")
"""What depends on the settings, in order."""
MENDED = {"gates": ("fail_on", "warn_on"), "formats": ("formats",)}
"""Check that failed → the settings that are left out of what is tried after it."""


def examine(
    checkpoints: Sequence[Path], options: Mapping[str, Any], file: Path | None = None
) -> Iterator[Finding]:
    """Try what a scan would do, one finding after the other, as each is made.

    Args:
        checkpoints: As a scan takes them, in the order of the training; none tries what needs none.
        options: Key → value, for the options given.
        file: Configuration file to use instead of searching for one.
    """
    yield (packages := versions())
    yield extras()
    found, config = attempt("settings", lambda: settings(checkpoints, options, file))
    yield found
    refused = refused_settings(config) if config else []
    yield from refused
    if config:  # what was told is not told again by what is tried next
        config = config.updated({key: () for finding in refused for key in MENDED.get(finding.check, ())})
    if packages.status == "failed":
        yield from (not_run(part, "the packages that cannot be imported") for part in ("device", *PARTS))
    elif config is None:
        yield attempt("device", lambda: (devices("auto"), None))[0]
        if checkpoints:
            from cohaudit.doctor.checks import opened_checkpoint

            weights = options.get("weights", "")
            trust = bool(options.get("trust_checkpoint"))
            yield attempt("checkpoint", lambda: opened_checkpoint(checkpoints[-1], weights, trust))[0]
        yield from (not_run(part, "the settings") for part in PARTS)
    else:
        start = time.perf_counter()
        from cohaudit.doctor.stages import Parts

        imports = float(packages.figures["seconds"] or 0) + time.perf_counter() - start
        yield from Parts(config, checkpoints, imports).examine()
    if "output folder" not in {finding.check for finding in refused}:
        yield attempt("output folder", lambda: folder(config, options))[0]


def refused_settings(config: Config) -> list[Finding]:
    """Return a finding for each thing that a scan would refuse before it opens anything."""
    from cohaudit.pipeline.preflight import refusals

    return [
        Finding(check, "failed", f"{error.where}: {error.found}", error.remedy)
        for check, error in refusals(config)
    ]


def settings(
    checkpoints: Sequence[Path], options: Mapping[str, Any], file: Path | None
) -> tuple[Finding, Config]:
    """Read the settings, and say what they alone show to be wrong; the rest of them is tried all the same.

    Args:
        checkpoints: As for `examine`; without one, model and data may be missing.
        options: Likewise.
        file: Likewise.

    Raises:
        ConfigError: If they cannot be read.
    """
    config = load_config(checkpoints[-1] if checkpoints else Path(FILE_NAME), options, file)
    usual = {name: key.default for name, key in KEYS.items()} | {"out": str(Path.cwd() / KEYS["out"].default)}
    changed = [name for name in KEYS if getattr(config, name) not in (KEYS[name].default, usual[name])]
    values = ", ".join(f"{name} = {toml_value(_plain(getattr(config, name)))}" for name in changed)
    words = f"{config.source or 'no file was found'}; {values or 'all defaults'}"
    figures: Figures = {"file": config.source, "changed": len(changed)}
    try:
        _refuse(config, bool(checkpoints))
    except ConfigError as error:
        found = f"{words}; {error.where}: {error.found}"
        usable = config.updated({"suppressions": ""})
        return Finding("settings", "failed", found, error.remedy, figures), usable
    if not config.model and not config.data:
        remedy = "run `cohaudit init` where the model lies: it writes cohaudit.toml"
        return Finding("settings", "warning", words, remedy, figures), config
    return Finding("settings", "ok", words, figures=figures), config


def _refuse(config: Config, scanned: bool) -> None:
    """Refuse what a scan would refuse of settings that could be read.

    Raises:
        ConfigError: If the file of suppressions is wrong, or a scan lacks model or data.
    """
    from cohaudit.review.suppressions import read_suppressions

    if config.suppressions:
        read_suppressions(config.base / config.suppressions)
    if scanned:
        require_subject(config)


def _plain(value: Any) -> Any:
    return {name: str(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def folder(config: Config | None, options: Mapping[str, Any]) -> tuple[Finding, None]:
    """Try the folder that the report goes to, and the one for sketches that memory has no room for.

    Args:
        config: Settings; None where they could not be read, then the folder is that of the options.
        options: Key → value, for the options given.

    Raises:
        ReportError: If it cannot be written to.
    """
    import shutil

    from cohaudit.report import try_folder

    out = config.base / config.out if config else Path(str(options.get("out", KEYS["out"].default)))
    formats = config.formats if config else ()
    free = try_folder(out, formats)
    beside = shutil.disk_usage(tempfile.gettempdir()).free
    state = "is there" if out.exists() else "will be made"
    words = (
        f"{out} {state} and may be written, {amount(free)} free; {amount(beside)} in {tempfile.gettempdir()}"
    )
    figures: Figures = {"folder": str(out), "bytes_free": free, "temporary_bytes_free": beside}
    if free < SCARCE:
        remedy = "make room, or name a folder on another disk with --out"
        return Finding("output folder", "warning", words, remedy, figures), None
    return Finding("output folder", "ok", words, figures=figures), None


SCARCE = 50_000_000
"""Bytes free below which a report (3 MB, and 1 kB a sample) may not find room."""
