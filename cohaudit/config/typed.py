"""The settings as a type checker and an editor see them in a call of `cohaudit.scan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, TypeAlias, TypedDict

Texts: TypeAlias = str | tuple[str, ...] | list[str]
PathText: TypeAlias = str | PathLike[str]


class Settings(TypedDict, total=False):
    """Single settings by name: those fields of `Config` that mean something for a model in memory.

    `Config` says what each of them does. The two are written apart because a type checker cannot read a
    TypedDict that is computed; tests/config/test_typed_settings.py holds them equal. The keys `holdout` and
    `class_names` are arguments of `scan` itself.
    """

    features: PathText
    encoder: PathText
    data_args: Mapping[str, Any]
    inputs: Texts
    labels: str
    ids: str
    transform: PathText | Callable[[Any], Any]

    batch_size: int
    bf16: bool
    limit: int
    sketch_memory: int
    read_memory: int
    read_seconds: float
    seed: int

    coherence: str
    coherence_samples: int
    layers: Texts
    temperature: float
    sketch_size: int
    feature_size: int
    class_memory: int
    neighbors: int
    outside: bool
    bootstrap: int
    confidence: float
    lr: str
    steps_per_epoch: int
    audits: Texts
    certificate_samples: int
    certificate_tolerance: float

    crossfit: int
    crossfit_optimizer: str
    crossfit_lr: float
    crossfit_epochs: int
    crossfit_batch_size: int

    suspicion_threshold: float
    risk_levels: tuple[float, float, float]
    label_levels: tuple[float, float, float]
    suppressions: PathText
    reviewed: PathText
    provenance: PathText
    fail_on: Texts
    warn_on: Texts
    gate_on_value: bool

    evidence: int
    gallery: int
