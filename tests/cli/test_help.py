"""docs/cli.md shows the help as the commands print it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cohaudit.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


COMMANDS = (
    "",
    "scan",
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


@pytest.mark.parametrize("command", [f"{name} ".lstrip() for name in COMMANDS])
def test_the_page_shows_the_help_as_printed(command: str) -> None:
    shown = re.search(
        rf"^```text\n\$ cohaudit {command}--help\n(.*?)^```$",
        PAGE.read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert shown, f"docs/cli.md has no block for cohaudit {command}--help"
    printed = CliRunner().invoke(main, [*command.split(), "--help"], prog_name="cohaudit", terminal_width=100)
    assert shown[1] == printed.stdout
