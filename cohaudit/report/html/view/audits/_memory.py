"""The section on the optimizer's state."""

from __future__ import annotations

from markupsafe import Markup

from cohaudit.report.html.view._tables import Table
from cohaudit.report.html.view.audits._body import AuditBody
from cohaudit.report.words import count, percent, text
from cohaudit.results import Memory


def build_memory(found: Memory) -> AuditBody:
    """Return table and reading of the gradients' steadiness; there is no figure."""
    rows = tuple(
        (text(one.name, 40), (percent(max(0.0, one.coherence)), count(one.steps))) for one in found.layers
    )
    reading = (
        f"From the averages that the optimizer keeps ({found.optimizer}), without data: the share of the "
        "gradient energy of the last steps that had one steady direction. It measures how successive steps "
        "agree, not how samples agree: near 0, further training would hardly move the weights. The steps are "
        "taken for independent: batches of an epoch without replacement lower it a little."
    )
    return AuditBody(Markup(), (Table("Steadiness by layer", ("Layer", "Steady", "Steps"), rows),), reading)
