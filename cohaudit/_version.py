"""The version of cohaudit that is running."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cohaudit")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+source"
