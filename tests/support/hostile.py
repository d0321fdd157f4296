"""Texts that break whoever does not quote them."""

from __future__ import annotations

HOSTILE = """it's "a" $(touch pwned) `touch pwned` ; touch pwned & \\ ${HOME} * 名"""
"""As a path and as an argument; whoever puts it into code unquoted makes a file named pwned."""
