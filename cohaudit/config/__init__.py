"""Settings: their declaration, the file they are read from, and which of them an audit records."""

from cohaudit.config.keys import Effect
from cohaudit.config.settings import KEYS, Config

__all__ = ["KEYS", "Config", "Effect"]
