"""How many gradient steps lie between checkpoints, and at which learning rate they were made."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cohaudit.audits.optimizer_state import MAX_LEARNING_RATE
from cohaudit.errors import ConfigError
from cohaudit.results import Skipped
from cohaudit.untrusted import read_text

# names of checkpoints: "epoch=3-step=1200.ckpt", "checkpoint-500", "model_12.pt"
_NUMBER = re.compile(r"[0-9]+")
_STEP = re.compile(r"(?i)(?:step|checkpoint)[^0-9/]{0,3}([0-9]+)")
_EPOCH = re.compile(r"(?i)epoch[^0-9/]{0,3}([0-9]+)")


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rates as given by the user.

    Attributes:
        rates: Pairs (step, learning rate from that step on), by step; empty if none are given.
        steps_per_epoch: Steps per epoch, or between consecutively numbered checkpoints; 0 if not given.
    """

    rates: tuple[tuple[int, float], ...] = ()
    steps_per_epoch: int = 0

    def rate(self, start: int, stop: int, fallback: float) -> float:
        """Return the mean learning rate of the steps start to stop − 1.

        Args:
            start: First step, counted from 0.
            stop: Step after the last one.
            fallback: Returned if no rates are given.
        """
        if not self.rates:
            return fallback
        total = 0.0
        covered = 0
        # each rate holds until the next one begins, the last one to the end
        ends = [step for step, _ in self.rates[1:]] + [max(stop, self.rates[-1][0])]
        for (begin, rate), end in zip(self.rates, ends, strict=True):
            own = max(0, min(stop, end) - max(start, begin))
            total += own * rate
            covered += own
        # the file may begin after these steps: its first rate stands for them
        return total / covered if covered else self.rates[0][1]


def read_schedule(lr: str, steps_per_epoch: int, base: Path) -> Schedule:
    """Return the schedule that the settings give.

    Args:
        lr: A learning rate, the path of a CSV file with the columns step and lr, or empty.
        steps_per_epoch: Steps per epoch; 0 if not given.
        base: Folder that a path is relative to.

    Raises:
        ConfigError: If `lr` is neither, or the file cannot be read or does not hold such numbers.
    """
    if not lr:
        return Schedule((), steps_per_epoch)
    try:
        return Schedule(((0, _rate(lr, "--lr")),), steps_per_epoch)
    except ValueError:
        return Schedule(_from_file(base / lr), steps_per_epoch)


def _rate(text: str, where: str) -> float:
    """Return a learning rate; `where` names it in the error.

    Raises:
        ConfigError: If it is not in (0, MAX_LEARNING_RATE].
    """
    rate = float(text)
    if not 0 < rate <= MAX_LEARNING_RATE:
        raise ConfigError(
            where, f"found {text}", f"give a learning rate above 0, up to {MAX_LEARNING_RATE:g}"
        )
    return rate


def _from_file(path: Path) -> tuple[tuple[int, float], ...]:
    """Return the pairs of step and learning rate in a CSV file.

    Raises:
        ConfigError: If the file cannot be read, or its steps do not increase.
    """
    remedy = "give a number, or a CSV file with the columns step and lr"
    try:
        # utf-8-sig: the byte order mark that Excel writes would become part of the first column's name
        rows = list(csv.DictReader(io.StringIO(read_text(path, ConfigError), newline="")))
        rates = [(int(row["step"]), _rate(row["lr"], f"--lr {path}")) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not CSV text"
        raise ConfigError(f"--lr {path}", f"cannot be read: {reason}", remedy) from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"--lr {path}", "has no numbers under step and lr", remedy) from None
    steps = [step for step, _ in rates]
    if not steps or sorted({*steps}) != steps or steps[0] < 0:
        raise ConfigError(f"--lr {path}", "its steps do not increase from 0 or more", remedy)
    return tuple(rates)


def steps_at(names: Sequence[str], steps: Sequence[int], schedule: Schedule) -> list[int] | Skipped:
    """Return how many gradient steps were made up to each checkpoint.

    Args:
        names: Paths of the checkpoints, oldest first.
        steps: Steps by their optimizers' states; −1 if unknown.
        schedule: Steps and learning rates, as given by the user.

    Returns:
        Increasing numbers of steps, or why they are unknown.
    """
    known = list(steps)
    # all from one source: counts of the optimizer and of the names may start at different steps
    if min(known) < 0:
        named = [_step_named(name, schedule.steps_per_epoch) for name in names]
        known = [step for step in named if step is not None]
        if len(known) < len(named):
            return Skipped(
                "stability",
                "the number of steps between the checkpoints is unknown: give --steps-per-epoch if their "
                "names "
                "contain the epoch, or checkpoints with their optimizer's state",
            )
    if any(after <= before for before, after in pairwise(known)):
        return Skipped("stability", "the steps of the checkpoints do not increase")
    return known


def _step_named(name: str, steps_per_epoch: int) -> int | None:
    """Return the step in a name, after the word step or checkpoint, or from its epoch; None if unknown."""
    steps = _STEP.findall(name)
    if steps:
        return int(steps[-1])
    epochs = _EPOCH.findall(name) or _NUMBER.findall(Path(name).stem)
    # several bare numbers, none called epoch, could mean anything
    if not steps_per_epoch or not epochs or (not _EPOCH.search(name) and len(epochs) > 1):
        return None
    return int(epochs[-1]) * steps_per_epoch
