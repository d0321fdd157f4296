"""The command line. Nothing here imports torch, pandas or rich before a command needs it."""

from cohaudit.cli._main import main

__all__ = ["main"]
