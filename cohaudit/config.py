"""Every setting of an audit, with its default, unit and reason: thresholds live here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY_HELP = "help"


def _key(default: Any, help: str) -> Any:
    """Declare a configuration key: its default and the line that --help and `cohaudit init` print."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={KEY_HELP: help})
    return field(default=default, metadata={KEY_HELP: help})


@dataclass(frozen=True)
class Config:
    """Settings of a scan: each field is a key of cohaudit.toml and, with dashes, an option of `cohaudit scan`.

    Relative paths are resolved against `base`, the folder of the configuration file (paths given on the
    command line are made absolute first).
    """

    model: str = _key("", "The model's factory: file.py:function or package.module:function.")
    model_args: Mapping[str, Any] = _key({}, "Keyword arguments for the model's factory.")
    data: str = _key("", "The training data: .npz, .safetensors, .csv, .parquet, an image folder, or file.py:function.")
    data_args: Mapping[str, Any] = _key({}, "Keyword arguments for the dataset's factory.")
    inputs: tuple[str, ...] = _key((), "Input array's key, or feature columns of a table (default: found by name; all other columns).")
    labels: str = _key("", "Key or column that holds the labels (default: found by name).")
    ids: str = _key("", "Key or column that holds the sample ids (default: found by name, else the row number from 0).")
    class_names: tuple[str, ...] = _key((), "Class names in the order of the model's outputs.")
    transform: str = _key("", "file.py:function that turns one raw input into the tensor the model takes.")
    weights: str = _key("", "Which state dict of a checkpoint with several, e.g. ema (default: the one trained on).")
    trust_checkpoint: bool = _key(False, "Allow checkpoint formats whose opening can run code from the file.")

    device: str = _key("auto", "auto, cpu, cuda, cuda:N or mps.")
    batch_size: int = _key(128, "Samples per forward pass: trades memory for speed, never changes a number beyond rounding.")
    limit: int = _key(0, "Audit at most this many samples, drawn evenly from the classes (0: all).")
    seed: int = _key(0, "Seed of the sketches, the subsample and the bootstrap.")
    temperature: float = _key(1.0, "Gradients are those of the loss on logits / temperature; above 1 shows a fitted model before it memorised.")

    sketch_size: int = _key(32, "Side of each parameter's sketch; a weight keeps at most its square in numbers per sample.")
    neighbors: int = _key(20, "Gradient neighbors per sample that vote in its support; 10 to 50 measured alike.")
    ridge: float = _key(1.0, "Regularization of the leave-one-out prediction, in units of one sample's squared feature norm.")
    bootstrap: int = _key(200, "Resamples behind each confidence interval.")
    confidence: float = _key(0.9, "Coverage of the confidence intervals.")

    suspicion_threshold: float = _key(0.5, "A sample is a suspect from this suspicion on: more likely wrong than right.")
    risk_levels: tuple[float, float, float] = _key((0.25, 0.5, 0.75), "Risk values from which the level is moderate, high, severe: quarters of its range.")
    evidence: int = _key(5, "Supporters and opponents kept per suspect.")
    gallery: int = _key(60, "Suspects shown with their pictures and evidence in the report, most suspicious first.")

    certificate_samples: int = _key(8, "Samples computed again, one at a time, by plain autograd.")
    certificate_tolerance: float = _key(1e-3, "Largest relative error the certificate accepts; float32 rounding stays under 1e-4.")

    fail_on: tuple[str, ...] = _key((), "Gate: fail (exit code 1) when this holds, e.g. 'risk>=high' or 'suspects>2%'.")
    out: str = _key("cohaudit-report", "Folder for report.html, audit.json and samples.csv.")

    base: Path = field(default_factory=Path.cwd)
    """Folder that relative paths are resolved against; not a key."""
    source: str = ""
    """The configuration file read, empty when there was none; not a key."""
