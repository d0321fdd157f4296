"""Options of `cohaudit scan`: one for each key of the configuration, made from its declaration."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from cohaudit.config import KEYS, Config
from cohaudit.config.file import option_name
from cohaudit.config.keys import Function, Key, Table, Texts, Thresholds, toml_value

Command = TypeVar("Command", bound=Callable[..., Any])


FREQUENT = frozenset(
    {"model", "data", "holdout", "labels", "transform", "encoder", "device", "limit", "crossfit", "audits"}
    | {"reviewed", "fail_on", "warn_on", "formats", "out"}
)
"""Keys that --help explains: what is audited, and what most scans choose. --help-all explains all."""
HELP_ALL = "--help-all"
"""Option that shows the help with every option."""


class SectionedCommand(click.Command):
    """A command whose help groups the options by the sections of the configuration, and has a short form."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with --help-all last."""
        about = "Show all options and exit."
        everything = click.Option(
            [HELP_ALL], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, help=about
        )
        return [*super().get_params(ctx), everything]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, after --help only the frequent ones; those that are not keys come last."""
        sections: dict[str, list[tuple[str, str]]] = {key.section: [] for key in KEYS.values()}
        left_out = 0
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is None:
                continue
            if parameter.name in KEYS and parameter.name not in FREQUENT and not ctx.meta.get(HELP_ALL):
                left_out += 1
                continue
            section = "This command"
            if parameter.name in KEYS:
                # few options need no sections
                section = KEYS[parameter.name].section if ctx.meta.get(HELP_ALL) else "Frequent options"
            sections.setdefault(section, []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=32)
        if left_out:
            formatter.write_paragraph()
            formatter.write_text(f"{left_out} more options: {ctx.command_path} {HELP_ALL}")


def _show_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[HELP_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def config_options(command: Command) -> Command:
    """Add every key of the configuration to a command, as an option that is None if not given."""
    # the last decorator applied comes first in the help
    for key in reversed(list(KEYS.values())):
        command = click.option(_declaration(key), key.name, help=_help(key), **_kind(key))(command)
    return command


def reading_options(command: Command) -> Command:
    """Add the limits of reading a file to a command that takes no other key of the configuration."""
    for key in (KEYS["read_seconds"], KEYS["read_memory"]):
        command = click.option(_declaration(key), key.name, help=_help(key), **_kind(key))(command)
    return command


def checkpoint_options(command: Command) -> Command:
    """Add the checkpoints of one training run, at least one, --fresh and `scan_options` to a command."""
    fresh = "Measure from the start, even if an interrupted scan could be resumed."
    command = click.option("--fresh", is_flag=True, help=fresh)(command)
    return click.argument(
        "checkpoints", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="CHECKPOINT..."
    )(scan_options(command))


def scan_options(command: Command) -> Command:
    """Add every key of the configuration, --config and --quiet to a command."""
    quiet = "Print no progress and no summary; what a log needs is still printed: settings, notes, errors."
    command = click.option("--quiet", "-q", is_flag=True, help=quiet)(command)
    command = click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Configuration file to use instead of searching for one.",
    )(command)
    return config_options(command)


def templates_option(command: Command) -> Command:
    """Add --templates to a command that renders a page and reads no configuration."""
    return click.option(
        "--templates", type=click.Path(path_type=Path), metavar="DIR", help=KEYS["templates"].help
    )(command)


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return key → value for the options of configuration keys that were given."""
    # click gives () for an option that may be repeated and was not given
    return {name: value for name, value in values.items() if value is not None and value != ()}


def describe_origin(config: Config, given: Mapping[str, Any]) -> str:
    """Return in one line where the settings of a scan come from; empty if all are defaults.

    Args:
        config: Settings.
        given: Key → value, for the options given.
    """
    options = ", ".join(option_name(name) for name in given)
    sources = [config.source, f"the option{'s' * (len(given) > 1)} {options}" if given else ""]
    named = " and ".join(source for source in sources if source)
    return f"settings from {named}" if named else ""


def subject_arguments(given: Mapping[str, Any]) -> list[str]:
    """Return the given options that say what is audited, as arguments of another command."""
    own = KEYS["model"].section
    return as_arguments({name: value for name, value in given.items() if KEYS[name].section == own})


def as_arguments(given: Mapping[str, Any]) -> list[str]:
    """Return options that were given as arguments of another command."""
    arguments: list[str] = []
    for name in given:
        value = given[name]
        option = option_name(name)
        match value:
            case bool():
                arguments.append(option if value else f"--no-{option.removeprefix('--')}")
            case Mapping():
                for key, inner in value.items():
                    # a text that would be read as a number needs its quotes
                    plain = isinstance(inner, str) and _toml_or_text(inner) == inner
                    arguments += [option, f"{key}={inner if plain else toml_value(inner)}"]
            case tuple():
                for text in value:
                    arguments += [option, text]
            case _:
                arguments += [option, str(value)]
    return arguments


def _declaration(key: Key) -> str:
    option = option_name(key.name)
    # both forms: an option must also be able to turn off what the file turns on
    return f"{option}/--no-{option.removeprefix('--')}" if key.type is bool else option


def _kind(key: Key) -> dict[str, Any]:
    """Return the arguments of `click.option` for the type of a key."""
    kinds: dict[Any, dict[str, Any]] = {
        Function: {"type": str},
        Texts: {"multiple": True, "metavar": "TEXT"},
        Thresholds: {"nargs": 3, "type": float, "metavar": "LOW MIDDLE HIGH"},
        Table: {"multiple": True, "metavar": "NAME=VALUE", "callback": _named_values},
        # None, not False: a flag that was not given must not override the file
        bool: {"is_flag": True, "default": None},
    }
    return kinds.get(key.type, {"type": key.type})


def _help(key: Key) -> str:
    several = " May be repeated." if key.type in {Texts, Table} else ""
    shown = " ".join(map(str, key.default)) if key.type == Thresholds else toml_value(key.default).strip('"')
    default = f" [default: {shown}]" if key.default or key.type in {int, float} else ""
    return key.help + several + default


def _named_values(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any] | None:
    """Split each NAME=VALUE; the value is read as TOML, or as a text if it is not valid TOML.

    Raises:
        BadParameter: If an argument is not NAME=VALUE.
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, for example width=64")
        values[name.strip()] = _toml_or_text(value.strip())
    # None, so that an option that was not given does not replace the table of the file
    return values or None


def _toml_or_text(text: str) -> Any:
    try:
        values = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # a text with line breaks could hold more keys: then it is not one value
    return values["value"] if len(values) == 1 else text
