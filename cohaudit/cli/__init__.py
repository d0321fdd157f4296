"""The command line. Nothing here imports torch, pandas or rich before a command needs it."""

from cohaudit.cli._main import main, program

__all__ = ["main", "program"]
