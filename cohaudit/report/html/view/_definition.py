"""What one or several figures of the report are, in a formula and in plain words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """One or several figures that are defined together."""

    name: str
    formula: str
    words: str
    figures: tuple[str, ...]
    """What it defines: fields of results as `Class.field`, columns of the sample table as `samples.name`."""
    settings: tuple[str, ...] = ()
    """Settings that it quotes."""
    constants: tuple[str, ...] = ()
    """Constants that it quotes, as `module.NAME`."""
