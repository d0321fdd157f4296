"""How the checkpoints of the stopping benchmark classify crossed samples, as in `cohaudit trajectory`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.audits.stopping_networks import NETWORKS
from benchmarks.audits.stopping_plan import Plan
from benchmarks.audits.stopping_runs import load_run, samples
from benchmarks.shared.measuring import BATCH, CPU, silent, source_of
from cohaudit.audits.training.crossing import cross_samples
from cohaudit.audits.training.rating import CrossedAccuracy, believe
from cohaudit.gradients import answers
from cohaudit.results import Skipped


def crossed_accuracy(plan: Plan, folder: Path) -> CrossedAccuracy:
    """Return how the checkpoints of a finished run classify crossed samples; saved once it was measured.

    Args:
        plan: The run.
        folder: Folder of the data.
    """
    file = plan.file.with_suffix(".crossed.npz")
    if not file.exists():
        found = _measured(plan, folder)
        unfinished = file.with_suffix(".part.npz")
        np.savez(unfinished, samples=found.samples, share=found.share.astype(np.float32))
        unfinished.replace(file)
    with np.load(file) as saved:
        return CrossedAccuracy(saved["samples"], saved["share"].astype(np.float64))


def _measured(plan: Plan, folder: Path) -> CrossedAccuracy:
    run = load_run(plan)
    data = samples(plan, folder)
    source = source_of(data.train, data.labels, data.classes)
    expected = believe([run.outside], run.labels).expected.argmax(1)
    crossed = cross_samples(source, expected, plan.seed)
    assert not isinstance(crossed, Skipped), crossed.reason
    model = NETWORKS[plan.network](data)
    rows = []
    for state in torch.load(plan.file.with_suffix(".pt"), weights_only=True).values():
        model.load_state_dict(state)
        predicted = answers(model.eval(), crossed.source, BATCH, CPU, silent).argmax(1)
        rows.append(crossed.accuracy(predicted))
    return CrossedAccuracy(crossed.samples, np.stack(rows))
