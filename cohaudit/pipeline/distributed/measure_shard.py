"""One shard of a scan: its blocks of the first pass, written to a folder for `cohaudit merge`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cohaudit.config import Config
from cohaudit.errors import ConfigError
from cohaudit.gradients import BlockRequest, PassSetup, measure_blocks, pass_order, planned
from cohaudit.loading.model import eval_mode, gradients_on
from cohaudit.loading.stratified_sample import choose_samples
from cohaudit.pipeline.cache_key import cache_key
from cohaudit.pipeline.distributed.block_files import BlockFolder, key_of
from cohaudit.pipeline.distributed.shard import Shard
from cohaudit.pipeline.holdout_data import source_of
from cohaudit.pipeline.measuring import pass_kind
from cohaudit.pipeline.progress import MEASURE_GRADIENTS, Progress
from cohaudit.pipeline.scan_run import prepare_run
from cohaudit.pipeline.subject import subject_from_files
from cohaudit.pipeline.unused_classes import name_unused_classes


@dataclass(frozen=True)
class WrittenShard:
    """What is in the folder after a shard.

    Attributes:
        blocks: Blocks of the shard.
        resumed: Those of them that had been measured before.
        total: Blocks of the whole pass.
        samples: Samples of the shard.
    """

    blocks: int
    resumed: int
    total: int
    samples: int


def measure_shard(
    config: Config, checkpoint: Path, folder: Path, shard: Shard, progress: Progress, *, fresh: bool
) -> WrittenShard:
    """Measure a shard, block by block; blocks that are in the folder already are not measured again.

    Args:
        config: Settings; they name the model and the data.
        checkpoint: Checkpoint file to audit.
        folder: Folder to write to.
        shard: The shard.
        progress: Told about each stage.
        fresh: Whether to measure all blocks again.

    Raises:
        ConfigError: If there are more shards than blocks.
        CohauditError: If checkpoint, model or data cannot be used, or a block cannot be written.
    """
    run = prepare_run(config, progress)
    # the rest of a scan is done by the merge
    subject = subject_from_files(run, checkpoint, ())
    with eval_mode(subject.model), gradients_on(subject.model):
        name_unused_classes(subject.model, subject.dataset, subject.holdout)
        positions = choose_samples(subject.dataset.labels, config.limit, config.seed)
        source = source_of(subject.dataset, positions)
        kind = pass_kind(run, len(positions), earlier=False)
        steps = pass_order(source.labels, config.batch_size, kind)
        _refuse_empty(shard, len(steps), len(positions))
        key = cache_key(config, subject, source.labels, subject.provenance.sha256)
        kept = BlockFolder(folder, key_of(key, kind), len(steps))
        blocks = shard.blocks(len(steps))
        left = [block for block in blocks if fresh or not kept.has(block)]
        sizes = {block: steps.samples(block) for block in blocks}
        with run.stages(MEASURE_GRADIENTS, sum(sizes.values())) as advance:
            advance(sum(sizes[block] for block in blocks if block not in left))
            setup = PassSetup(subject.model, source, run.options, subject.device)
            plan = planned(subject.model, source, subject.device, config.layers)
            request = BlockRequest(kind, setup, plan, steps, advance)
            measure_blocks(request, left, lambda block, state: kept.write(block, state, shard.of))
    return WrittenShard(len(blocks), len(blocks) - len(left), len(steps), sum(sizes.values()))


def _refuse_empty(shard: Shard, blocks: int, samples: int) -> None:
    """Refuse more shards than there is work for.

    Raises:
        ConfigError: If there are more shards than blocks.
    """
    if shard.of > blocks:
        raise ConfigError(
            f"--shard {shard}",
            f"the pass over {samples:,} samples can be divided among {blocks} at most",
            f"use --shard 1/{blocks}, or a smaller --batch-size",
        )
