"""docs/cli.md shows the help as printed; it lists every command, and in its short form few options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cohaudit.cli import main
from cohaudit.cli._main import GROUPS
from cohaudit.cli._options import FREQUENT
from cohaudit.config import KEYS
from cohaudit.config.file import option_name

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


COMMANDS = (
    "",
    "scan",
    "merge",
    "trajectory",
    "doctor",
    "check",
    "diff",
    "inspect",
    "report",
    "review",
    "export",
    "correct",
    "init",
)


def printed(*arguments: str) -> str:
    """Return what the help prints on a terminal of 100 characters."""
    return CliRunner().invoke(main, arguments, prog_name="cohaudit", terminal_width=100).stdout


@pytest.mark.parametrize("command", [*(f"{name} --help".lstrip() for name in COMMANDS), "scan --help-all"])
def test_the_page_shows_the_help_as_printed(command: str) -> None:
    shown = re.search(
        rf"^```text\n\$ cohaudit {command}\n(.*?)^```$",
        PAGE.read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert shown, f"docs/cli.md has no block for cohaudit {command}"
    assert shown[1] == printed(*command.split())


def test_every_command_has_a_place_and_a_line_that_is_not_cut() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(main.commands) == sorted(name for name in COMMANDS if name)
    narrow = CliRunner().invoke(main, ["-h"], prog_name="cohaudit", terminal_width=80).stdout
    assert "..." not in narrow.partition("Start:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_short_option_asks_for_the_same_help(command: str) -> None:
    assert printed(*command.split(), "-h") == printed(*command.split(), "--help")


@pytest.mark.parametrize("command", ["scan", "merge", "trajectory", "doctor"])
def test_all_options_are_one_option_away(command: str) -> None:
    short, whole = printed(command, "-h"), printed(command, "--help-all")
    assert all(option_name(name) in whole for name in KEYS)
    assert {name for name in KEYS if re.search(rf"^  {option_name(name)}\b", short, re.MULTILINE)} == FREQUENT
    assert short.endswith(f"{len(KEYS) - len(FREQUENT)} more options: cohaudit {command} --help-all\n")
    assert "more options" not in whole
