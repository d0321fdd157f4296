"""A command that torchrun starts several times: rank 0 speaks for all, and all end with its exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cohaudit.cli._output import say
from cohaudit.errors import (
    BUG,
    CohauditError,
    ConfigError,
    Interrupted,
    MissingMemoryError,
    is_out_of_memory,
    printable,
)
from cohaudit.pipeline.distributed.launch import launched

if TYPE_CHECKING:
    from cohaudit.config import Config
    from cohaudit.pipeline.distributed.link import Link

INTERRUPTED = 128 + signal.SIGINT
"""Exit code of a program ended by SIGINT, as shells count it."""


def silence_other_ranks() -> None:
    """Print nothing in a rank that is not the first: all would say the same."""
    launch = launched()
    if launch is None:
        return
    # a store that is gone with its rank is reported by us, not by every connection to it
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if launch.rank:
        nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
        sys.stdout = sys.stderr = nowhere


@contextmanager
def joined_ranks(shard: str | None) -> Iterator[Link | None]:
    """Connect this process with the others of the scan; None if it runs alone.

    Args:
        shard: The option `--shard`, if it was given.

    Raises:
        ConfigError: If the others cannot be reached, or a shard is to be divided again.
        Exit: When the command is done, or another rank failed.
    """
    launch = launched()
    if launch is None:
        yield None
        return
    if shard is not None:
        found = "divides a scan that torchrun divides already"
        raise ConfigError(f"--shard {shard}", found, "leave it out, or start each shard without torchrun")
    from cohaudit.pipeline.distributed.link import Link

    link = Link(launch)
    try:
        yield link
    except BaseException as error:
        end = _end_leader if launch.rank == 0 else _end_follower
        end(link, error)
        raise


def _end_leader(link: Link, error: BaseException) -> None:
    """End all ranks as rank 0 ends.

    Raises:
        Exit: If another rank failed, once its message is printed.
    """
    if isinstance(error, click.exceptions.Exit | CohauditError):
        link.end(error.exit_code)
    elif failure := link.failure:
        lines = [f"error: rank {failure.rank}: {failure.text}", *map(str, error.args)]
        say("\n".join(printable(line) for text in lines for line in text.split("\n")))
        link.end(failure.exit_code)
        raise click.exceptions.Exit(failure.exit_code) from None
    else:
        link.end(INTERRUPTED if isinstance(error, Interrupted) else BUG)


def _end_follower(link: Link, error: BaseException) -> None:
    """End this rank as rank 0 ended, or tell rank 0 why it fails.

    Raises:
        Exit: Always.
    """
    from cohaudit.untrusted.code import user_code_error

    if link.ended is not None or isinstance(error, Interrupted):
        link.leave()
        raise click.exceptions.Exit(INTERRUPTED if link.ended is None else link.ended) from None
    known = error if isinstance(error, CohauditError) else None
    if known is None:
        known = MissingMemoryError(error) if is_out_of_memory(error) else user_code_error(error)
    text = "".join(traceback.format_exception(error)) if known is None else str(known)
    code = BUG if known is None else known.exit_code
    link.fail(text, code)
    raise click.exceptions.Exit(code) from None


def follow_scan(checkpoint: Path, config: Config, link: Link) -> None:
    """Measure what rank 0 asks for, until it ends.

    Raises:
        Interrupted: When rank 0 has ended.
        CohauditError: If something cannot be used or measured.
    """
    from cohaudit.loading.factories import guarding
    from cohaudit.pipeline.distributed.follower import follow
    from cohaudit.pipeline.distributed.leader import BLOCKS_FOLDER
    from cohaudit.pipeline.preflight import out_folder
    from cohaudit.untrusted import limiting

    sources = [config.base / path for path in (config.data, config.holdout) if path]
    with limiting(config.read_memory, config.read_seconds), guarding(checkpoint, *sources):
        follow(link.placed(config), checkpoint, link, out_folder(config) / BLOCKS_FOLDER)
