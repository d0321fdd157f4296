"""The flatness of the network, measured before the judgment: the expected score uses it."""

from __future__ import annotations

from cohaudit.audits.flatness import flatness
from cohaudit.audits.registry import selected_audits
from cohaudit.pipeline.observations import FLATNESS_NOT_SELECTED
from cohaudit.pipeline.progress import MEASURE_FLATNESS
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import Flatness, Skipped

AUDIT = "flatness"
"""Name of the audit that selects it."""


def measure_flatness(subject: ScanSubject, sample: Sample, run: ScanRun) -> Flatness | Skipped:
    """Measure how many answers stay when noise is added to the weights, if that audit is selected.

    Args:
        subject: Model and data; the model is in eval mode and left as it is.
        sample: The samples.
        run: The scan's instructions.
    """
    if AUDIT not in selected_audits(run.config.audits):
        return FLATNESS_NOT_SELECTED
    with run.stages(MEASURE_FLATNESS, len(sample.positions)) as advance:
        return flatness(
            subject.model, sample.source, options=run.options, device=subject.device, advance=advance
        )
