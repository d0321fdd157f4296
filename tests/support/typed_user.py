"""A script as a user writes it, with everything that is public: checked by `mypy --strict`, never run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, assert_type  # noqa: F401 - Any stands in a text below

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

import cohaudit
from cohaudit import (
    Audit,
    CheckResult,
    CohauditError,
    Config,
    Correction,
    DatasetLike,
    Difference,
    Estimate,
    ExportedFiles,
    Progress,
    Settings,
    Skipped,
    Suppression,
    errors,
    results,
    robust,
)

log = logging.getLogger(__name__)
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """A map-style dataset."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return 100

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return a picture and its label."""
        return torch.zeros(1, 28, 28), index % 10


def scan_all() -> list[Audit]:
    """Scan every kind of data, with settings by name."""
    inputs, labels = torch.zeros(100, 784), torch.zeros(100, dtype=torch.long)
    return [
        cohaudit.scan(MODEL, Pictures(), holdout=Pictures()),
        cohaudit.scan(MODEL, Subset(Pictures(), range(50)), limit=20, seed=1),
        cohaudit.scan(MODEL, TensorDataset(inputs, labels), audits=["width", "depth"]),
        cohaudit.scan(MODEL, (inputs, labels), fail_on=("risk>=high",), class_names=["a", "b"]),
        cohaudit.scan(MODEL, (np.zeros((100, 784)), np.zeros(100, int)), config=Config(neighbors=10)),
        cohaudit.scan(MODEL, [(torch.zeros(784), 0), (torch.ones(784), 1)]),
        cohaudit.scan(MODEL, pd.DataFrame(), labels="y", ids="id", transform=lambda row: row["x"]),
        cohaudit.scan(MODEL, (pd.DataFrame(), pd.Series([0, 1])), audits="all", progress=True),
        cohaudit.scan(MODEL, [{"pixel_values": torch.zeros(784), "labels": 0}], inputs="pixel_values"),
        cohaudit.scan(MODEL, Path("train.npz"), risk_levels=(0.1, 0.2, 0.3), suppressions=Path("seen.toml")),
        cohaudit.scan(MODEL, "train.npz", earlier=[MODEL.state_dict(), "epoch-1.pt", Path("epoch-2.pt")]),
    ]


def scan_quickly(data: DatasetLike, progress: Progress) -> Audit:
    """Scan any kind of data with settings that are collected first."""
    settings: Settings = {"limit": 20, "seed": 1}
    return cohaudit.scan(MODEL, data, progress=progress, **settings)


def verdicts(audit: Audit) -> None:
    """Read both verdicts and the list."""
    assert_type(audit.suspects, pd.DataFrame)
    assert_type(audit.labels, results.LabelSummary)
    assert_type(audit.labels.suspects, int | Skipped)
    assert_type(audit.labels.expected_precision, float | Skipped)
    match audit.generalization:
        case Skipped(reason=reason):
            log.info("%s", reason)
        case risk:
            assert_type(risk.gap, Estimate)
            assert_type(risk.level, results.Level)
    assert_type(audit.suppressed, tuple[Suppression, ...])
    assert_type(audit == audit, bool)
    assert_type(hash(audit), int)


def judge(audit: Audit) -> bool:
    """Gate, compare and write."""
    assert_type(cohaudit.write_report(audit, "out", formats=["junit"]), list[Path])
    earlier = cohaudit.read_audit("out/audit.json")
    assert_type(earlier, Audit)
    difference = cohaudit.diff("out/audit.json", audit)
    assert_type(difference, Difference)
    assert_type(difference.regressions, tuple[str, ...])
    checked = cohaudit.check(Path("out/audit.json"), fail_on="suspects>2%", warn_on=["accuracy<0.9"])
    assert_type(checked, CheckResult)
    assert_type(checked.gates, tuple[results.GateResult, ...])
    assert_type(cohaudit.__version__, str)
    assert_type(cohaudit.correct(audit, "corrected.npz", only=Path("wrong.csv")), Correction)
    assert_type(cohaudit.export("out/audit.json", "label-studio", image_root="https://a.b"), ExportedFiles)
    assert_type(audit.corrected_labels(numbers=True), "pd.Series[Any]")
    return checked.passed and not difference.regressions


def step(inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Take a robust step."""
    found = robust.winsorized_gradient(MODEL, nn.functional.cross_entropy, inputs, labels, clip=0.04)
    for name, parameter in MODEL.named_parameters():
        parameter.grad = found.gradient[name]


def main() -> None:
    """Do all of it, and say what went wrong."""
    try:
        for audit in scan_all():
            verdicts(audit)
            judge(audit)
    except errors.DataError as error:
        raise SystemExit(f"the data: {error.found}") from error
    except CohauditError as error:
        raise SystemExit(error.exit_code) from error
