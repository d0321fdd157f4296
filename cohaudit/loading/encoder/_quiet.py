"""Runs the libraries of the encoders offline and silently, and leaves their settings as they were."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def offline() -> Iterator[None]:
    """Keep transformers and its hub from the network, from printing, and from torch's random numbers."""
    from huggingface_hub import constants
    from transformers.utils import logging

    was_offline = constants.HF_HUB_OFFLINE
    level = logging.get_verbosity()
    had_bars = logging.is_progress_bar_enabled()
    # the environment variable of the same name is read once, when the hub is imported
    constants.HF_HUB_OFFLINE = True
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        # weights are drawn before they are read, and a scan's own draws must not depend on that
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()
