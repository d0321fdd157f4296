"""Every setting of an audit, with its default, unit and reason.

Values that no user sets, such as the constants of a formula, are named beside the formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from cohaudit.config.keys import Effect, Interval, Key
from cohaudit.errors import ConfigError, did_you_mean

_SHARE = Interval(0, 1)
"""Range of a share: 0 and 1 are allowed."""

_POSITIVE = Interval(0, math.inf, open=True)
"""Range of a number above 0."""


def _key(
    default: Any,
    help: str,
    interval: Interval | None = None,
    *,
    section: str,
    affects: Effect = Effect.NOTHING,
    path: bool = False,
) -> Any:
    """Declare a configuration key; see `Key` for the arguments."""
    about = {"help": help, "interval": interval, "section": section, "affects": affects, "path": path}
    # a dataclass refuses a mutable default, which all instances would share
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=about)
    return field(default=default, metadata=about)


_subject = partial(_key, section="Model and data")
"""Declares a key that says what is audited."""

_run = partial(_key, section="Run")
"""Declares a key of how the scan runs."""

_measure = partial(_key, section="Measurement")
"""Declares a key of how gradients are measured."""

_crossfit = partial(_key, section="Cross-fit", affects=Effect.FINDINGS)
"""Declares a key of how the network is trained again without the samples that it then predicts."""

_judge = partial(_key, section="Judgment")
"""Declares a key of what is concluded from the measurements."""

_output = partial(_key, section="Output")
"""Declares a key of what is written, and where."""

_GRADIENTS = Effect.GRADIENTS
"""Short name of the effect, so that a key's declaration fits a line."""

_SUMS = Effect.SUMS
"""Short name of the effect, as above."""

_FINDINGS = Effect.FINDINGS
"""Short name of the effect, as above."""


@dataclass(frozen=True)
class Config:
    """Settings of a scan: each field is a key of cohaudit.toml and an option of `cohaudit scan`.

    Relative paths are resolved against `base`, the folder of the configuration file. Paths given on the
    command line are made absolute first.

    Raises:
        ConfigError: If a value has the wrong type or is out of range.
    """

    model: str = _subject("", "The model's factory: file.py:function or package.module:function.", path=True)
    model_args: Mapping[str, Any] = _subject(
        {}, "Keyword arguments for the model's factory.", affects=_GRADIENTS
    )
    data: str = _subject(
        "",
        "Training data: .npz, .safetensors, .csv, .jsonl, .parquet, an image folder, or file.py:function.",
        path=True,
    )
    holdout: str = _subject(
        "",
        "Samples that the model was not trained on, in the formats of data. The gap measured on them is "
        "shown beside the predicted gap and corrects it.",
        affects=_FINDINGS,
        path=True,
    )
    features: str = _subject(
        "",
        "Embeddings of all samples by another network, in the order of the data: .npy, .npz, .safetensors or "
        ".pt, floats [samples, any]. Labels are predicted from them too.",
        affects=_FINDINGS,
        path=True,
    )
    encoder: str = _subject(
        "",
        "Pretrained encoder of texts or images that is on this machine: its folder, or its name in the cache "
        "of sentence-transformers or transformers. Labels are predicted from its embeddings too.",
        affects=_FINDINGS,
        path=True,
    )
    data_args: Mapping[str, Any] = _subject(
        {}, "Keyword arguments for the dataset's factory.", affects=_GRADIENTS
    )
    inputs: tuple[str, ...] = _subject(
        (),
        "Key of the input array, or feature columns of a table (default: found by name; all other columns).",
        affects=_GRADIENTS,
    )
    labels: str = _subject(
        "", "Key or column that holds the labels (default: found by name).", affects=_GRADIENTS
    )
    ids: str = _subject(
        "",
        "Key or column that holds the sample ids (default: found by name, else the row number from 0).",
        affects=_GRADIENTS,
    )
    class_names: tuple[str, ...] = _subject(
        (), "Class names in the order of the model's outputs.", affects=_GRADIENTS
    )
    transform: str | Callable[[Any], Any] = _subject(  # noqa: RUF009 - a field, as every other one
        "",
        "Function that turns one raw input into the tensor that the model takes: file.py:function.",
        affects=_GRADIENTS,
        path=True,
    )
    weights: str = _subject(
        "",
        "Which state dict to use if the checkpoint holds several, e.g. ema (default: the trained one).",
        affects=_GRADIENTS,
    )
    trust_checkpoint: bool = _subject(
        False,
        "Allow checkpoint formats that can run code when opened. Only valid as an option, from Python, or in "
        "a file named with --config, never in a file that was found.",
    )

    device: str = _run("auto", "Device to run on: auto, cpu, cuda, cuda:N or mps.")
    batch_size: int = _run(
        128,
        "Samples per forward pass: trades memory for speed and changes numbers by rounding only.",
        Interval(1),
        affects=_SUMS,
    )
    bf16: bool = _run(
        False,
        "Run the network in bfloat16 wherever torch's autocast does; faster on GPUs. The certificate reports "
        "the effect on the norms.",
        affects=_GRADIENTS,
    )
    limit: int = _run(
        0,
        "Audit at most this many samples, drawn by class, at least two of each class (0: all).",
        Interval(0),
        affects=_GRADIENTS,
    )
    sketch_memory: int = _run(
        4096,
        "Megabytes of sketches held in memory; larger ones go to a temporary file, removed after the run.",
        Interval(0),
    )
    read_memory: int = _run(
        512, "Megabytes that reading a file may take beyond what its size explains.", Interval(1, 10**6)
    )
    read_seconds: float = _run(
        5.0, "Seconds that reading a file may take beyond what its size explains.", Interval(0.1, 10**6)
    )
    seed: int = _run(
        0,
        "Seed of the sketches, the subsample and the bootstrap.",
        Interval(0, 2**32 - 1),
        affects=_GRADIENTS,
    )

    temperature: float = _measure(
        1.0,
        "Compute the loss on logits / temperature; above 1 shows a fully fitted model as it was before it "
        "memorized.",
        _POSITIVE,
        affects=_GRADIENTS,
    )
    sketch_size: int = _measure(
        2048,
        "Numbers kept of each sample's gradient, over all parameters: more make cosines more exact.",
        Interval(1),
        affects=_GRADIENTS,
    )
    feature_size: int = _measure(
        1024,
        "Numbers kept of a layer's input for each sample; shorter inputs are kept whole.",
        Interval(1),
        affects=_GRADIENTS,
    )
    class_memory: int = _measure(
        64,
        "Megabytes for the directions of all classes' gradient sums. Cosines between classes are exact if "
        "these fit, else sketched in that memory.",
        Interval(1),
        affects=_SUMS,
    )
    neighbors: int = _measure(
        20,
        "Gradient neighbors per sample that vote in its support; with limit, fewer in proportion. 10 to 50 "
        "gave similar results.",
        Interval(1),
        affects=_FINDINGS,
    )
    outside: bool = _measure(
        True,
        "Predict the labels from the raw data too, by simple models that never saw the network: trees on the "
        "columns of a table, regression on tokens or on image descriptors.",
        affects=_FINDINGS,
    )
    bootstrap: int = _measure(
        200, "Resamples behind each confidence interval.", Interval(20), affects=_FINDINGS
    )
    confidence: float = _measure(
        0.9,
        "Coverage of the confidence intervals of coherences; that of the gap is 0.8.",
        Interval(0, 1, open=True),
        affects=_FINDINGS,
    )
    lr: str = _measure(
        "",
        "Learning rate of the training run, or a CSV file with the columns step and lr, for the stability "
        "bound (default: read from the checkpoints).",
        affects=_FINDINGS,
    )
    steps_per_epoch: int = _measure(
        0,
        "Gradient steps per epoch, for checkpoints numbered by epoch (0: unknown).",
        Interval(0),
        affects=_FINDINGS,
    )
    audits: tuple[str, ...] = _measure(
        (),
        "Audits to run, separated by commas; all, or none (default: those that need no pass over the data of "
        "their own).",
        affects=_FINDINGS,
    )
    certificate_samples: int = _measure(
        8,
        "Samples computed again, one at a time, by plain autograd; with bf16 at least 8.",
        Interval(1),
        affects=_FINDINGS,
    )
    certificate_tolerance: float = _measure(
        1e-3,
        "Largest relative error that the certificate accepts; float32 rounding stays below 0.0001.",
        _POSITIVE,
        affects=_FINDINGS,
    )

    crossfit: int = _crossfit(
        0,
        "Train this many copies of the network, each on the other folds of the data, and let each predict "
        "its own fold; 5 is usual (0: none).",
        Interval(0),
    )
    crossfit_recipe: str = _crossfit(
        "",
        "Function that trains a copy: file.py:function, called with the model and a torch Dataset (default: "
        "a loop with the settings below).",
        path=True,
    )
    crossfit_optimizer: str = _crossfit(
        "", "Optimizer of the copies: sgd, adam or adamw (default: the checkpoint's, else adam)."
    )
    crossfit_lr: float = _crossfit(
        0.0,
        "Learning rate of the copies (0: the checkpoint's, else 0.001, or 0.05 for sgd).",
        Interval(0, 1_000_000),
    )
    crossfit_epochs: int = _crossfit(
        0,
        "Epochs that each copy is trained for (0: the checkpoint's, else until a held-out tenth of its "
        "training folds no longer improves).",
        Interval(0),
    )
    crossfit_batch_size: int = _crossfit(
        0, "Samples per training step of the copies (0: the checkpoint's, else 8 to 64 by size).", Interval(0)
    )

    suspicion_threshold: float = _judge(
        0.5,
        "Smallest suspicion that makes a sample a suspect; at 0.5 its label is more likely wrong than right.",
        _SHARE,
        affects=_FINDINGS,
    )
    risk_levels: tuple[float, float, float] = _judge(
        (0.05, 0.1, 0.2),
        "Smallest gaps between training accuracy and accuracy on new data that make the risk moderate, high, "
        "severe.",
        _SHARE,
        affects=_FINDINGS,
    )
    label_levels: tuple[float, float, float] = _judge(
        (0.02, 0.05, 0.15),
        "Smallest shares of wrong labels that make the verdict on the labels moderate, high, severe.",
        _SHARE,
        affects=_FINDINGS,
    )
    suppressions: str = _judge(
        "",
        "File of samples that a person has checked and found right: they are no longer suspects.",
        affects=_FINDINGS,
        path=True,
    )
    reviewed: str = _judge(
        "",
        "File of labels that a person reviewed (cohaudit review), which calibrate the suspicions (default: "
        "the data's name with .reviewed.json added, beside the data, if it exists).",
        affects=_FINDINGS,
        path=True,
    )
    provenance: str = _judge(
        "",
        "File that says how labels were corrected (default: the data's name with .provenance.json added).",
        affects=_FINDINGS,
        path=True,
    )
    fail_on: tuple[str, ...] = _judge(
        (), "Gate: fail (exit code 1) if this holds, e.g. 'wrong_labels>5%' or 'expected_score<0.8'."
    )
    warn_on: tuple[str, ...] = _judge((), "Gate that only warns if this holds.")
    gate_on_value: bool = _judge(
        False,
        "Let a gate fail if its condition holds for the value itself, not for the whole interval.",
        affects=_FINDINGS,
    )

    evidence: int = _output(5, "Supporters and opponents kept per suspect.", Interval(0), affects=_FINDINGS)
    gallery: int = _output(
        500,
        "Suspects shown with pictures and evidence in the report, most suspicious first.",
        Interval(0),
        affects=_FINDINGS,
    )
    formats: tuple[str, ...] = _output(
        (),
        "More formats, separated by commas: markdown, junit, sarif, parquet, badge; github prints "
        "annotations.",
    )
    out: str = _output("cohaudit-report", "Folder for report.html, audit.json and samples.csv.", path=True)
    templates: str = _output(
        "",
        "Folder of your own templates; each replaces the one of its name. Templates run as code.",
        path=True,
    )

    base: Path = field(default_factory=Path.cwd)
    """Folder that relative paths are resolved against. Not a key."""
    source: str = ""
    """The configuration file that was read; empty if there was none. Not a key."""

    def __post_init__(self) -> None:
        # values from Python are converted, so that a Config is the same wherever it comes from
        for name, key in KEYS.items():
            # the class is frozen: a plain assignment would raise an error
            object.__setattr__(self, name, key.checked(getattr(self, name), name))

    def updated(self, settings: Mapping[str, Any], called: Callable[[str], str] = str) -> Config:
        """Return a copy with some values replaced.

        Args:
            settings: Key → value, from a file, the command line or a Python call.
            called: Key → its name for the user in messages: `batch_size` → `--batch-size`.

        Raises:
            ConfigError: If a key is unknown, or a value has the wrong type or is out of range.
        """
        for name in settings:
            if name not in KEYS:
                raise ConfigError(called(name), "there is no such key", did_you_mean(name, KEYS))
        # checked before replace: __post_init__ does not know what the user calls the key
        return replace(
            self, **{name: KEYS[name].checked(value, called(name)) for name, value in settings.items()}
        )

    def values_affecting(self, *effects: Effect) -> dict[str, Any]:
        """Return key → value for the keys with one of these effects, in the order of the keys."""
        return {name: getattr(self, name) for name, key in KEYS.items() if key.affects in effects}


def _keys() -> dict[str, Key]:
    """Return every key in its order; its type comes from the annotation of the field."""
    types = get_type_hints(Config)  # the annotations are texts in this file
    return {
        key.name: Key(key.name, type=types[key.name], default=_default(key), **key.metadata)
        for key in fields(Config)
        # `base` and `source` have no metadata: they are fields, but no keys
        if key.metadata
    }


def _default(key: Any) -> Any:
    return {} if key.default_factory is dict else key.default


KEYS: Mapping[str, Key] = _keys()
"""Every key of the configuration, in the order of help and of `cohaudit init`."""
