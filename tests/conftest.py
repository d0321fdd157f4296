"""What every test gets: fixed seeds, and the folders of the fixtures."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import sys
from pathlib import Path

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in the background of a shell: tests interrupt scans
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many tests as cores run at once

import numpy as np
import pytest
import torch
from hypothesis import settings

# a loaded machine makes any example slow; that says nothing about the code
settings.register_profile("cohaudit", deadline=None)
settings.load_profile("cohaudit")

pytest_plugins = ["support.page", "support.browser", "support.encoders"]

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"


def _load_benchmarks() -> None:
    """Make the package `benchmarks` importable, which is part of the repository and never installed.

    Its folder alone is named, not the search path: with the repository's root on it, its cohaudit could stand
    in for the installed one that is to be tested.
    """
    spec = importlib.util.spec_from_file_location("benchmarks", ROOT / "benchmarks" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = package
    spec.loader.exec_module(package)


_load_benchmarks()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add how many hostile files are tried; see tests/untrusted/test_fuzzing.py."""
    parser.addoption("--fuzz", type=int, default=0, help="Hostile files to try instead of the usual few.")
    parser.addoption("--fuzz-seed", type=int, default=0, help="Seed of the first of these files.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests: one of them at the end leaves the other processes idle.

    Each file is run by one process, in this order; pytest-xdist alone puts files with few tests last.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def digits() -> Path:
    """Return the folder of the digits fixture: images as train.npz, a CNN."""
    return FIXTURES / "digits"


@pytest.fixture
def tumors() -> Path:
    """Return the folder of the tumors fixture: rows as train.csv, a perceptron."""
    return FIXTURES / "tumors"
