"""What the settings decide about a scan, read and checked before any file of the user's is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohaudit.audits.registry import MULTI_CHECKPOINT_AUDITS, selected_audits
from cohaudit.audits.training.lr_schedule import Schedule, read_schedule
from cohaudit.config import Config
from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.gradients import Options, Source
from cohaudit.pipeline.distributed.pass_blocks import Divided, Part, PassBlocks
from cohaudit.pipeline.progress import Progress, Stages
from cohaudit.pipeline.resume import ResumableRun
from cohaudit.results.suppression import Suppression
from cohaudit.review.answers import AnswerFile, read_answers
from cohaudit.review.suppressions import read_suppressions

FAST: Final = "fast"
"""Value of the setting `coherence`: a forward pass, and the gradients of some samples."""
SUMS: Final = "sums"
"""Value of the setting `coherence`: sums over all samples, and the gradients of some."""
EXACT: Final = "exact"
"""Value of the setting `coherence`: the gradients of all samples."""


@dataclass(frozen=True)
class ScanRun:
    """The instructions of one scan, and the services that its stages share.

    Attributes:
        config: Settings.
        options: How gradients are measured.
        audits: Names of the audits to run.
        schedule: Steps and learning rates that the user gave.
        suppressions: Suspects that a person has cleared.
        reviewed: Labels that a person reviewed, in a file that the settings name; None if they name none.
        stages: Announces and times each stage.
        resumable: Stores the pass over the data, so that an interrupted scan can be resumed.
        divided: Other processes that measure, or have measured, a part of the passes; None if there are none.
    """

    config: Config
    options: Options
    audits: frozenset[str]
    schedule: Schedule
    suppressions: Sequence[Suppression]
    reviewed: AnswerFile | None
    stages: Stages
    resumable: ResumableRun
    divided: Divided | None = None

    def blocks_of(
        self, part: Part, source: Source, positions: NDArray[np.int64], key: Mapping[str, str]
    ) -> PassBlocks | None:
        """Return the blocks of the passes over some samples; see `Divided.blocks_of`."""
        return None if self.divided is None else self.divided.blocks_of(part, source, positions, key)

    @property
    def follows_training(self) -> bool:
        """Whether an audit needs the gradients at the earlier checkpoints, not only their predictions."""
        return bool(self.audits & MULTI_CHECKPOINT_AUDITS)


def prepare_run(
    config: Config,
    progress: Progress,
    resumable: ResumableRun | None = None,
    divided: Divided | None = None,
) -> ScanRun:
    """Read what the settings name apart from the model and the data.

    These files are short and written by hand: a mistake in them is reported in the first second, and not
    after the gradients were measured.

    Args:
        config: Settings.
        progress: Told about each stage.
        resumable: Stores the pass over the data; None stores nothing.
        divided: Other processes that measure, or have measured, a part of the passes; None if there are none.

    Raises:
        ConfigError: If an audit or a kind of coherence is unknown, or the learning rates, suppressions or
            answers cannot be read.
    """
    _refuse_unknown_coherence(config)
    return ScanRun(
        config=config,
        options=options_of(config),
        # an unknown name is refused here, although the audits run last
        audits=selected_audits(config.audits),
        schedule=read_schedule(config.lr, config.steps_per_epoch, config.base),
        suppressions=read_suppressions(config.base / config.suppressions) if config.suppressions else (),
        reviewed=_reviewed(config),
        stages=Stages(progress),
        resumable=resumable or ResumableRun(None),
        divided=divided,
    )


def _refuse_unknown_coherence(config: Config) -> None:
    """Refuse a setting `coherence` that means nothing.

    Raises:
        ConfigError: If it is not one of the three.
    """
    known = (FAST, SUMS, EXACT)
    if config.coherence not in known:
        found = f"there is no coherence {config.coherence!r}"
        raise ConfigError("--coherence", found, did_you_mean(config.coherence, known))


def _reviewed(config: Config) -> AnswerFile | None:
    if not config.reviewed:
        return None
    return read_answers(config.base / config.reviewed, config.reviewed)


def options_of(config: Config) -> Options:
    """Return the settings that the gradient pass needs."""
    return Options(
        batch_size=config.batch_size,
        temperature=config.temperature,
        sketch_size=config.sketch_size,
        sketch_memory=config.sketch_memory,
        feature_size=config.feature_size,
        class_memory=config.class_memory,
        certificate_samples=config.certificate_samples,
        certificate_tolerance=config.certificate_tolerance,
        seed=config.seed,
        bf16=config.bf16,
        layers=config.layers,
    )
