"""How many gradient steps lie between checkpoints, and at what learning rate they were made."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cohaudit.audits.optimizer_state import MAX_LEARNING_RATE
from cohaudit.errors import ConfigError
from cohaudit.results import Skipped

_NUMBER = re.compile(r"[0-9]+")
_STEP = re.compile(r"(?i)(?:step|checkpoint)[^0-9/]{0,3}([0-9]+)")
_EPOCH = re.compile(r"(?i)epoch[^0-9/]{0,3}([0-9]+)")


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rates as told by the user.

    Attributes:
        rates: (step, learning rate) from which on it holds, by step; empty where none is told.
        steps_per_epoch: Steps between successive numbers of checkpoints; 0 where it is not told.
    """

    rates: tuple[tuple[int, float], ...] = ()
    steps_per_epoch: int = 0

    def rate(self, start: int, stop: int, told: float) -> float:
        """Return the mean learning rate of the steps start..stop−1.

        Args:
            start: First step, from 0.
            stop: Behind the last one.
            told: What the checkpoint at their end says; NaN for nothing.
        """
        if not self.rates:
            return told
        total = 0.0
        covered = 0
        ends = [step for step, _ in self.rates[1:]] + [max(stop, self.rates[-1][0])]
        for (begin, rate), end in zip(self.rates, ends, strict=True):
            own = max(0, min(stop, end) - max(start, begin))
            total = total + own * rate
            covered = covered + own
        return total / covered if covered else self.rates[0][1]


def read_schedule(lr: str, steps_per_epoch: int, base: Path) -> Schedule:
    """Return the schedule that the settings tell.

    Args:
        lr: A learning rate, the path of a CSV file with the columns step and lr, or empty.
        steps_per_epoch: As in `Schedule`.
        base: Folder that a path is relative to.

    Raises:
        ConfigError: If it is neither, or the file cannot be read or does not hold such numbers.
    """
    if not lr:
        return Schedule((), steps_per_epoch)
    try:
        return Schedule(((0, _rate(lr, "--lr")),), steps_per_epoch)
    except ValueError:
        return Schedule(_from_file(base / lr), steps_per_epoch)


def _rate(text: str, where: str) -> float:
    rate = float(text)
    if not 0 < rate <= MAX_LEARNING_RATE:
        raise ConfigError(
            where, f"found {text}", f"give a learning rate above 0, up to {MAX_LEARNING_RATE:g}"
        )
    return rate


def _from_file(path: Path) -> tuple[tuple[int, float], ...]:
    remedy = "give a number, or a CSV file with the columns step and lr"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        found = [(int(row["step"]), _rate(row["lr"], f"--lr {path}")) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        told = error.strerror if isinstance(error, OSError) else "is no CSV text"
        raise ConfigError(f"--lr {path}", f"cannot be read: {told}", remedy) from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"--lr {path}", "has no numbers under step and lr", remedy) from None
    if not found or sorted({step for step, _ in found}) != [step for step, _ in found] or found[0][0] < 0:
        raise ConfigError(f"--lr {path}", "its steps do not rise from 0 or more", remedy)
    return tuple(found)


def steps_at(names: Sequence[str], steps: Sequence[int], schedule: Schedule) -> list[int] | Skipped:
    """Return how many gradient steps were made up to each checkpoint.

    Args:
        names: Paths of the checkpoints, in the order of the training.
        steps: As their optimizers count them; −1 where one does not tell.
        schedule: What the user tells.

    Returns:
        Rising numbers; or why they are not told.
    """
    told = list(steps)
    if min(told) < 0:
        named = [_step_named(name, schedule.steps_per_epoch) for name in names]
        known = [step for step in named if step is not None]
        if len(known) < len(named):
            return Skipped(
                "stability",
                "how many steps lie between the checkpoints is not told: give --steps-per-epoch where their "
                "names hold the epoch, or checkpoints with their optimizer's state",
            )
        told = known
    if any(after <= before for before, after in pairwise(told)):
        return Skipped("stability", "the steps of the checkpoints do not rise")
    return told


def _step_named(name: str, steps_per_epoch: int) -> int | None:
    """Return the step that a name tells: behind the word step or checkpoint, or by its epoch; else None."""
    found = _STEP.findall(name)
    if found:
        return int(found[-1])
    epochs = _EPOCH.findall(name) or _NUMBER.findall(Path(name).stem)
    if not steps_per_epoch or not epochs or (not _EPOCH.search(name) and len(epochs) > 1):
        return None
    return int(epochs[-1]) * steps_per_epoch
