"""A rank of a scan by several that is not the first: it measures the blocks that it claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from cohaudit.config import Config
from cohaudit.errors import ConfigError
from cohaudit.gradients import BlockRequest, BlockState, PassSetup, measure_blocks, pass_order, planned
from cohaudit.loading.data import LabeledDataset
from cohaudit.loading.model import eval_mode, gradients_on
from cohaudit.pipeline.cache_key import cache_key, machine_parts
from cohaudit.pipeline.distributed.block_files import MACHINE_PARTS
from cohaudit.pipeline.distributed.link import Link
from cohaudit.pipeline.distributed.tasks import Task, claimed, send_file
from cohaudit.pipeline.holdout_data import errors_named_after, source_of
from cohaudit.pipeline.progress import SilentProgress
from cohaudit.pipeline.resume_files import describe_difference
from cohaudit.pipeline.scan_run import ScanRun, prepare_run
from cohaudit.pipeline.subject import ScanSubject, subject_from_files
from cohaudit.pipeline.unused_classes import name_unused_classes


def follow(config: Config, checkpoint: Path, link: Link, path: Path) -> None:
    """Measure what rank 0 asks for, until it ends, which interrupts this rank.

    Args:
        config: Settings; they name the model and the data.
        checkpoint: Checkpoint file to audit.
        link: Connection to the other ranks.
        path: Folder of the unfinished blocks; it need not exist.

    Raises:
        Interrupted: When rank 0 has ended.
        CohauditError: If checkpoint, model or data cannot be used, or a sample cannot be measured.
    """
    run = prepare_run(config, SilentProgress())
    # what the rest of a scan needs is opened by rank 0 alone
    subject = subject_from_files(run, checkpoint, ())
    with eval_mode(subject.model):
        name_unused_classes(subject.model, subject.dataset, subject.holdout)
    with eval_mode(subject.model), gradients_on(subject.model):
        number = 0
        while True:
            _work(Task.from_json(link.told(f"task-{number}")), subject, run, link, path)
            number += 1


def _work(task: Task, subject: ScanSubject, run: ScanRun, link: Link, path: Path) -> None:
    """Measure blocks of a task until none is left, and send those that rank 0 does not see."""
    # rounded as this machine rounds, whatever the one of rank 0 does
    folder = task.blocks_in(path, machine_parts(subject.device))
    measured = []

    def keep(block: int, state: BlockState) -> None:
        folder.write(block, state, link.launch.ranks)
        measured.append(block)

    def advance(samples: int) -> None:
        link.store.add(f"samples-{task.number}", samples)

    data = subject.dataset if task.part == "training" else subject.holdout
    assert data is not None
    with nullcontext() if data is subject.dataset else errors_named_after(data.source):
        measure_blocks(_request(task, data, subject, run, advance), claimed(link, task), keep)
    rank = link.launch.rank
    link.tell(f"done-{task.number}-{rank}", measured)
    turn = 0
    while (block := link.told(f"send-{task.number}-{rank}-{turn}")) is not None:
        link.exchange(partial(send_file, folder.file(block), 0))
        turn += 1


def _request(
    task: Task, data: LabeledDataset, subject: ScanSubject, run: ScanRun, advance: Callable[[int], None]
) -> BlockRequest:
    """Return the pass of a task, as rank 0 has it."""
    whole = source_of(data, task.positions)
    _refuse_difference(task, cache_key(run.config, subject, whole.labels, subject.provenance.sha256))
    plan = planned(subject.model, whole, subject.device, run.config.layers).with_loop(task.looped)
    source = whole if task.drawn is None else whole.subset(task.drawn)
    return BlockRequest(
        kind=task.kind,
        setup=PassSetup(subject.model, source, run.options, subject.device),
        plan=plan,
        steps=pass_order(source.labels, run.config.batch_size, task.kind),
        advance=advance,
    )


def _refuse_difference(task: Task, own: Mapping[str, str]) -> None:
    """Refuse to measure something else than rank 0 does.

    Args:
        task: What rank 0 asks for.
        own: Key of the pass on this rank.

    Raises:
        ConfigError: If checkpoint, data, settings or versions differ.
    """
    names = sorted(name for name in own if name not in MACHINE_PARTS and own[name] != task.key.get(name))
    if names:
        found = ", ".join(describe_difference(name, own[name]) for name in names)
        remedy = "give all ranks the same files, settings and versions"
        raise ConfigError("this rank", f"has {found}, other than rank 0", remedy)
