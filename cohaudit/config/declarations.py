"""How a key of the configuration is declared: by its section, its range, and what it changes."""

from __future__ import annotations

import math
from dataclasses import field
from functools import partial
from typing import Any

from cohaudit.config.keys import Effect, Interval

SHARE = Interval(0, 1)
"""Range of a share: 0 and 1 are allowed."""

POSITIVE = Interval(0, math.inf, open=True)
"""Range of a number above 0."""


def declared_key(
    default: Any,
    help: str,
    interval: Interval | None = None,
    *,
    section: str,
    affects: Effect = Effect.NOTHING,
    path: bool = False,
) -> Any:
    """Declare a configuration key; see `Key` for the arguments."""
    about = {"help": help, "interval": interval, "section": section, "affects": affects, "path": path}
    # a dataclass refuses a mutable default, which all instances would share
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=about)
    return field(default=default, metadata=about)


subject_key = partial(declared_key, section="Model and data")
"""Declares a key that says what is audited."""

run_key = partial(declared_key, section="Run")
"""Declares a key of how the scan runs."""

measure_key = partial(declared_key, section="Measurement")
"""Declares a key of how gradients are measured."""

crossfit_key = partial(declared_key, section="Cross-fit", affects=Effect.FINDINGS)
"""Declares a key of how the network is trained again without the samples that it then predicts."""

judge_key = partial(declared_key, section="Judgment")
"""Declares a key of what is concluded from the measurements."""

output_key = partial(declared_key, section="Output")
"""Declares a key of what is written, and where."""

GRADIENTS = Effect.GRADIENTS
"""Short name of the effect, so that a key's declaration fits a line."""

SUMS = Effect.SUMS
"""Short name of the effect, as above."""

FINDINGS = Effect.FINDINGS
"""Short name of the effect, as above."""
