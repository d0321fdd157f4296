"""The further audits: which of them are run on a scanned model, and in what order.

Each tests one claim of the theory on it (see `theory`). Those that need no pass over the data beside the
scan's own are run unless told otherwise; the rest when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from cohaudit.config import Config
from cohaudit.depth import depth_trend
from cohaudit.errors import ConfigError
from cohaudit.gradients import Measurement, Options, Source
from cohaudit.gradients.inputs import input_sums
from cohaudit.input_features import input_features
from cohaudit.judgment import NO_VERDICT, Judgment
from cohaudit.nearest import did_you_mean
from cohaudit.theory import DepthTrend, Inputs, Memory, Theory
from cohaudit.verdict import Skipped

ALL, NONE = "all", "none"

Advance = Callable[[int], None]
"""Told the number of samples done."""


@dataclass(frozen=True)
class Scanned:
    """What a further audit may use; the model is on `device`, in eval mode, and is left as it was.

    Attributes:
        model: The audited one.
        source: The samples measured.
        measured: What the gradient pass gave.
        judged: What was made of it.
        config: Settings.
        options: How gradients are measured.
        device: Where.
        memory: What the checkpoint's optimizer remembers.
        columns: Names of the input columns; empty where the data has none.
    """

    model: nn.Module
    source: Source
    measured: Measurement
    judged: Judgment
    config: Config
    options: Options
    device: torch.device
    memory: Memory | Skipped
    columns: Sequence[str] = ()


def _depth(scanned: Scanned, advance: Advance) -> DepthTrend | Skipped:
    told = [
        (layer.name, layer.coherence.alpha)
        for layer in scanned.judged.layers
        if not isinstance(layer.coherence, Skipped)
    ]
    return depth_trend([name for name, _ in told], [alpha for _, alpha in told], len(scanned.source.labels))


def _memory(scanned: Scanned, advance: Advance) -> Memory | Skipped:
    return scanned.memory


def _inputs(scanned: Scanned, advance: Advance) -> Inputs | Skipped:
    sums = input_sums(scanned.model, scanned.source, scanned.options, scanned.device, advance)
    if isinstance(sums, Skipped):
        return sums
    named = not sums.tokens and len(scanned.columns) == len(sums.columns)
    names = scanned.columns if named else [f"{'token ' * sums.tokens}{j}" for j in sums.columns]
    return input_features(names, sums.layer, sums.squared_sum, sums.squares, sums.norms, sums.constant)


@dataclass(frozen=True)
class _Audit:
    """A further audit.

    Attributes:
        run: What it is.
        passes: Passes over the samples that it takes beside the scan's own; one without is run by default.
    """

    run: Callable[[Scanned, Advance], Any]
    passes: int = 0


AUDITS: Mapping[str, _Audit] = {
    "depth": _Audit(_depth),
    "memory": _Audit(_memory),
    "inputs": _Audit(_inputs, 1),
}
"""By the name of their field in `Theory`, in the order of the report."""
BY_DEFAULT = tuple(name for name, audit in AUDITS.items() if not audit.passes)


def asked_for(names: Sequence[str]) -> frozenset[str]:
    """Return which further audits are asked for; those by default where none is named.

    Args:
        names: Names, `all`, or `none`; several in one are separated by commas.

    Raises:
        ConfigError: If there is none of that name.
    """
    found: set[str] = set()
    given = [part.strip() for name in names for part in name.split(",")]
    for name in given:
        if name not in {*AUDITS, ALL, NONE}:
            raise ConfigError(
                "--audits", f"there is no audit {name!r}", did_you_mean(name, (*AUDITS, ALL, NONE))
            )
        found |= set(AUDITS) if name == ALL else set() if name == NONE else {name}
    return frozenset(found if given else BY_DEFAULT)


def run_further_audits(
    scanned: Scanned, stage: Callable[[str, int | None], AbstractContextManager[Any]]
) -> Theory:
    """Run the further audits that are asked for.

    Args:
        scanned: The model, and what the scan found.
        stage: Opens a stage of the given name and number of samples, and gives what it is advanced by.
    """
    wanted = asked_for(scanned.config.audits)
    return Theory(**dict(_results(scanned, wanted, stage)))


def _results(
    scanned: Scanned,
    wanted: frozenset[str],
    stage: Callable[[str, int | None], AbstractContextManager[Any]],
) -> Iterator[tuple[str, Any]]:
    assert [field.name for field in fields(Theory)] == list(AUDITS)
    for name, audit in AUDITS.items():
        if name not in wanted:
            yield name, Skipped(name, f"not asked for: --audits {name}")
        elif not scanned.judged.sanity.auditable:
            yield name, Skipped(name, NO_VERDICT)
        else:
            total = audit.passes * len(scanned.source.labels) or None
            with stage(f"audit {name}", total) as advance:
                yield name, audit.run(scanned, advance)
