"""Settings: what they are, the file they are read from, and which of them shaped an audit."""

from cohaudit.config.settings import KEYS, Config

__all__ = ["KEYS", "Config"]
