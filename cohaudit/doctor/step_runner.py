"""Runs the steps of `cohaudit doctor`: each one whose needs are met; the others say what they lack."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from cohaudit.doctor.finding import Finding, attempt, not_run

Value = TypeVar("Value")


@dataclass(frozen=True)
class Part(Generic[Value]):
    """Something that one step opens and others need, such as the model.

    Attributes:
        name: Name in words, as in "needs the model".
    """

    name: str


class Opened:
    """The parts that are open so far."""

    def __init__(self) -> None:
        self._values: dict[Part[Any], Any] = {}

    def __contains__(self, part: Part[Any]) -> bool:
        return part in self._values

    def __getitem__(self, part: Part[Value]) -> Value:
        # `add` lets in nothing but a value of the part's own type
        return cast(Value, self._values[part])

    def add(self, part: Part[Value], value: Value) -> None:
        """Add an open part."""
        self._values[part] = value


@dataclass(frozen=True)
class Step(Generic[Value]):
    """One check, what it needs, and what it opens.

    Attributes:
        check: Name of the check.
        needs: Parts that must be open.
        run: Takes the open parts; returns the finding, and the value of the part that it opens.
        opens: The part that it opens; None if no step needs anything of it.
        timed: Whether a scan does the same work, so that its seconds count in the forecast.
    """

    check: str
    needs: tuple[Part[Any], ...]
    run: Callable[[Opened], tuple[Finding, Value]]
    opens: Part[Value] | None = None
    timed: bool = False


@dataclass
class StepRunner:
    """Runs steps in order.

    Attributes:
        opened: The parts that are open so far.
        seconds: Time that the timed steps took together.
    """

    opened: Opened = field(default_factory=Opened)
    seconds: float = 0.0
    _causes: dict[Part[Any], list[Part[Any]]] = field(default_factory=dict)
    """Part that is not open → the parts whose absence is the reason."""

    def run(self, steps: Iterable[Step[Any]]) -> Iterator[Finding]:
        """Run the steps, and yield the finding of each."""
        for step in steps:
            # root causes, not needs: "needs the checkpoint" helps more than "needs weights that fit"
            causes = [cause for need in step.needs for cause in self._missing(need)]
            if causes:
                names = dict.fromkeys(cause.name for cause in causes)  # each once, in order
                yield not_run(step.check, " and ".join(names))
                if step.opens is not None:
                    self._causes[step.opens] = causes
            else:
                yield self._try(step)

    def _try(self, step: Step[Any]) -> Finding:
        start = time.perf_counter()
        finding, value = attempt(step.check, lambda: step.run(self.opened))
        if step.timed:
            self.seconds += time.perf_counter() - start
        # after a warning a scan would go on, and so do the steps
        if step.opens is not None and finding.status != "failed":
            self.opened.add(step.opens, value)
        return finding

    def _missing(self, part: Part[Any]) -> list[Part[Any]]:
        """Return why a part is not open: the parts that would have to be open first, or the part itself."""
        return [] if part in self.opened else self._causes.get(part, [part])
