"""Would a scan run, and for how long? Tries every part of it in turn, and writes nothing.

A failed check does not end the examination: checks that do not depend on it are run all the same. Nothing
that needs torch is imported at the top: a broken torch is one of the findings.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cohaudit.config import KEYS, Config, Effect
from cohaudit.config.file import FILE_NAME, load_config, require_subject
from cohaudit.config.keys import toml_value
from cohaudit.doctor.environment import devices, extras, versions
from cohaudit.doctor.finding import Figures, Finding, amount, attempt, not_run
from cohaudit.errors import ConfigError

CHECKS_OF_SETTINGS = ("model", "weights", "data", "first batch", "gradients", "forecast")
"""Checks that cannot be run without valid settings, in order."""
DROPPED_SETTINGS = {"gates": ("fail_on", "warn_on"), "formats": ("formats",)}
"""Failed check → settings that the checks after it leave out, so as not to report them again."""
MIN_FREE_BYTES = 50_000_000
"""Free bytes below which a report (3 MB, and 1 kB per sample) may not fit."""


def examine(
    checkpoints: Sequence[Path], options: Mapping[str, Any], file: Path | None = None
) -> Iterator[Finding]:
    """Try what a scan would do, and yield each finding as soon as it is made.

    Args:
        checkpoints: Checkpoints, oldest first; without any, the checks that need none are run.
        options: Key → value, for the options given.
        file: Configuration file to use instead of searching for one.
    """
    yield (packages := versions())
    yield extras()
    finding, config = attempt("settings", lambda: settings(checkpoints, options, file))
    yield finding
    refused = refused_settings(config) if config else []
    yield from refused
    if config:  # what was reported once is not reported again by a later check
        dropped = (key for finding in refused for key in DROPPED_SETTINGS.get(finding.check, ()))
        config = config.updated(dict.fromkeys(dropped, ()))
    if packages.status == "failed":
        missing = "the packages that cannot be imported"
        yield from (not_run(check, missing) for check in ("device", *CHECKS_OF_SETTINGS))
    elif config is None:
        yield attempt("device", lambda: (devices("auto"), None))[0]
        if checkpoints:
            from cohaudit.doctor.checks import opened_checkpoint

            weights = options.get("weights", "")
            trust = bool(options.get("trust_checkpoint"))
            yield attempt("checkpoint", lambda: opened_checkpoint(checkpoints[-1], weights, trust))[0]
        yield from (not_run(check, "the settings") for check in CHECKS_OF_SETTINGS)
    else:
        start = time.perf_counter()
        from cohaudit.doctor.steps import examine_parts

        imports = float(packages.figures["seconds"] or 0) + time.perf_counter() - start
        yield from examine_parts(config, checkpoints, imports)
    if "output folder" not in {finding.check for finding in refused}:
        yield attempt("output folder", lambda: folder(config, options))[0]


def refused_settings(config: Config) -> list[Finding]:
    """Return a finding for each setting that a scan would refuse before it opens anything."""
    from cohaudit.pipeline.preflight import refusals

    return [
        Finding(check, "failed", f"{error.where}: {error.found}", error.remedy)
        for check, error in refusals(config)
    ]


def settings(
    checkpoints: Sequence[Path], options: Mapping[str, Any], file: Path | None
) -> tuple[Finding, Config]:
    """Read the settings, and report errors that they alone show; the other settings are tried all the same.

    Args:
        checkpoints: See `examine`; without any, model and data may be missing.
        options: See `examine`.
        file: See `examine`.

    Raises:
        ConfigError: If the settings cannot be read.
    """
    config = load_config(checkpoints[-1] if checkpoints else Path(FILE_NAME), options, file)
    # the default of `out` is stored with the working directory before it
    usual = {name: key.default for name, key in KEYS.items()} | {"out": str(Path.cwd() / KEYS["out"].default)}
    all_values = config.values_affecting(*Effect)
    changed = {k: value for k, value in all_values.items() if value not in (KEYS[k].default, usual[k])}
    shown = ", ".join(f"{name} = {toml_value(_plain(value))}" for name, value in changed.items())
    words = f"{config.source or 'no file was found'}; {shown or 'all defaults'}"
    figures: Figures = {"file": config.source, "changed": len(changed)}
    try:
        _refuse(config, bool(checkpoints))
    except ConfigError as error:
        found = f"{words}; {error.where}: {error.found}"
        # a wrong file of suppressions or answers would also stop the dry run: the rest is tried without it
        usable = config.updated({"suppressions": "", "reviewed": ""})
        return Finding("settings", "failed", found, error.remedy, figures), usable
    if not config.model and not config.data:
        remedy = (
            f"name model and data in {config.source}"
            if config.source
            else "run `cohaudit init` where the model lies: it writes cohaudit.toml"
        )
        return Finding("settings", "warning", words, remedy, figures), config
    return Finding("settings", "ok", words, figures=figures), config


def _refuse(config: Config, scanned: bool) -> None:
    """Refuse settings that are valid one by one, but that a scan would refuse.

    Args:
        config: Settings.
        scanned: Whether a checkpoint was named, so that model and data are needed.

    Raises:
        ConfigError: If a file of suppressions or answers is wrong, or model or data is missing.
    """
    from cohaudit.review.answers import read_answers
    from cohaudit.review.suppressions import read_suppressions

    if config.suppressions:
        read_suppressions(config.base / config.suppressions)
    if config.reviewed:
        read_answers(config.base / config.reviewed)
    if scanned:
        require_subject(config)


def _plain(value: Any) -> Any:
    return {name: str(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def folder(config: Config | None, options: Mapping[str, Any]) -> tuple[Finding, None]:
    """Try the folder of the report, and the one for sketches that do not fit into memory.

    Args:
        config: Settings; None if they could not be read. The folder is then taken from the options.
        options: Key → value, for the options given.

    Raises:
        ReportError: If the folder cannot be written to.
    """
    import shutil

    from cohaudit.report import try_folder

    # the folder is tried even if the settings cannot be read
    out = config.base / config.out if config else Path(str(options.get("out", KEYS["out"].default)))
    formats = config.formats if config else ()
    free = try_folder(out, formats)
    beside = shutil.disk_usage(tempfile.gettempdir()).free
    state = "exists" if out.exists() else "will be created"
    words = f"{out} {state} and can be written, {amount(free)} free; "
    words += f"{amount(beside)} free in {tempfile.gettempdir()}"
    figures: Figures = {"folder": str(out), "bytes_free": free, "temporary_bytes_free": beside}
    if free < MIN_FREE_BYTES:
        remedy = "make room, or name a folder on another disk with --out"
        return Finding("output folder", "warning", words, remedy, figures), None
    return Finding("output folder", "ok", words, figures=figures), None
