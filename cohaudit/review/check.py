"""Gates on the audit of an earlier scan, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cohaudit.config import Config
from cohaudit.errors import ConfigError
from cohaudit.results import Audit, GateResult
from cohaudit.results.read import AuditSource, as_audit
from cohaudit.review.gates import gate_results, refuse_unknown_names

SKIPPED_PARAMETER = "parameter "
"""Start of the name of a `Skipped` that says why a parameter was not measured; its qualified name follows."""


@dataclass(frozen=True)
class CheckResult:
    """The results of the gates on an audit."""

    gates: tuple[GateResult, ...]
    """One result per gate: first those of `fail_on`, then those of `warn_on`."""

    @property
    def passed(self) -> bool:
        """Whether no gate failed; warnings do not count."""
        return not self.failed

    @property
    def failed(self) -> bool:
        """Whether at least one gate failed."""
        return any(gate.failed for gate in self.gates)


def check(
    audit: AuditSource,
    *,
    fail_on: str | Sequence[str] = (),
    warn_on: str | Sequence[str] = (),
    gate_on_value: bool = False,
) -> CheckResult:
    """Evaluate gates on an audit: the same as `cohaudit check`.

    The gates that the scan itself was given do not count.

    Args:
        audit: An audit, or the path of an audit.json.
        fail_on: Conditions that fail, such as 'risk>=high' or 'suspects>2%'; one, or several.
        warn_on: Conditions that only warn.
        gate_on_value: Whether a gate fails when its condition holds on the value itself, rather than on its
            whole interval.

    Returns:
        The results of the gates.

    Raises:
        ConfigError: There is no condition, or a condition cannot be parsed, or it names a layer or class that
            the audit does not have.
        ReportError: The file cannot be read.
    """
    config = Config(fail_on=_texts(fail_on), warn_on=_texts(warn_on), gate_on_value=gate_on_value)
    # a build that lost its gates must not pass
    if not config.fail_on and not config.warn_on:
        raise ConfigError("check", "no gate was given", "give one, for example fail_on='risk>=high'")
    audit = as_audit(audit)
    # a name with a typing error is a mistake of the caller, not a gate that failed
    refuse_unknown_names(config, _layer_names(audit), [one.name for one in audit.classes])
    return CheckResult(tuple(gate_results(config, audit)))


def _texts(given: str | Sequence[str]) -> tuple[str, ...]:
    # a text is a sequence too: its letters would become conditions; what is neither, the settings refuse
    return (given,) if isinstance(given, str) or not isinstance(given, Sequence) else tuple(given)


def _layer_names(audit: Audit) -> list[str]:
    """Return the names of the layers, including those whose parameters were not measured."""
    skipped = [part.name for part in audit.skipped if part.name.startswith(SKIPPED_PARAMETER)]
    owners = [name.removeprefix(SKIPPED_PARAMETER).rpartition(".")[0] for name in skipped]
    return [*(layer.name for layer in audit.layers), *(owner or "(model)" for owner in owners)]
