"""What `cohaudit doctor` reports about a cross-fit: whether copies can be trained, and for how long."""

from __future__ import annotations

from torch import nn

from cohaudit.config import Config
from cohaudit.doctor.finding import Figures, Finding
from cohaudit.loading.checkpoint import Checkpoint
from cohaudit.loading.data import LabeledDataset
from cohaudit.loading.model import eval_mode
from cohaudit.pipeline.crossfit.plan import CrossfitPlan, plan_crossfit
from cohaudit.pipeline.crossfit.retraining import retraining_from_files
from cohaudit.pipeline.progress import SilentProgress
from cohaudit.pipeline.sample import draw_sample
from cohaudit.pipeline.scan_run import prepare_run
from cohaudit.pipeline.subject import subject_of_parts


def planned_crossfit(
    config: Config, checkpoint: Checkpoint, model: nn.Module, dataset: LabeledDataset
) -> tuple[Finding, CrossfitPlan]:
    """Divide the samples, try an untrained network, and time a few steps of training.

    Args:
        config: Settings, which ask for a cross-fit.
        checkpoint: The open checkpoint.
        model: The model with its weights, on its device.
        dataset: The training data.

    Returns:
        The finding, and what will be done.

    Raises:
        CohauditError: If a scan would stop.
    """
    device = next(model.parameters()).device
    subject = subject_of_parts(config, checkpoint, model, dataset, retraining_from_files(config, device))
    run = prepare_run(config, SilentProgress())
    with eval_mode(model):
        plan = plan_crossfit(subject, draw_sample(subject, run), run)
    assert plan is not None  # the settings ask for one
    words = f"{plan.count} copies by {plan.trainer.words}; {plan.forecast}"
    figures: Figures = {"folds": plan.count, "seconds": plan.seconds, "unseen": plan.unseen}
    if plan.notices:
        remedy = "docs/crossfit.md says what that means for the result"
        return Finding("cross-fit", "warning", f"{words}. {' '.join(plan.notices)}", remedy, figures), plan
    return Finding("cross-fit", "ok", words, figures=figures), plan
