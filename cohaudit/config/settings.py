"""Every setting of an audit, with its default, unit and reason.

Values that no user sets, such as the constants of a formula, are named beside the formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from cohaudit.config.declarations import (
    FINDINGS,
    GRADIENTS,
    POSITIVE,
    SHARE,
    SUMS,
    crossfit_key,
    judge_key,
    measure_key,
    output_key,
    run_key,
    subject_key,
)
from cohaudit.config.keys import Effect, Interval, Key
from cohaudit.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Config:
    """Settings of a scan: each field is a key of cohaudit.toml and an option of `cohaudit scan`.

    Relative paths are resolved against `base`, the folder of the configuration file. Paths given on the
    command line are made absolute first.

    Raises:
        ConfigError: If a value has the wrong type or is out of range.
    """

    model: str = subject_key(
        "", "The model's factory: file.py:function or package.module:function.", path=True
    )
    model_args: Mapping[str, Any] = subject_key(
        {}, "Keyword arguments for the model's factory.", affects=GRADIENTS
    )
    data: str = subject_key(
        "",
        "Training data: .npz, .safetensors, .csv, .jsonl, .parquet, an image folder, or file.py:function.",
        path=True,
    )
    holdout: str = subject_key(
        "",
        "Samples that the model was not trained on, in the formats of data. The gap measured on them is "
        "shown beside the predicted gap and corrects it.",
        affects=FINDINGS,
        path=True,
    )
    features: str = subject_key(
        "",
        "Embeddings of all samples by another network, in the order of the data: .npy, .npz, .safetensors or "
        ".pt, floats [samples, any]. Labels are predicted from them too.",
        affects=FINDINGS,
        path=True,
    )
    encoder: str = subject_key(
        "",
        "Pretrained encoder of texts or images that is on this machine: its folder, or its name in the cache "
        "of sentence-transformers or transformers. Labels are predicted from its embeddings too.",
        affects=FINDINGS,
        path=True,
    )
    data_args: Mapping[str, Any] = subject_key(
        {}, "Keyword arguments for the dataset's factory.", affects=GRADIENTS
    )
    inputs: tuple[str, ...] = subject_key(
        (),
        "Key of the input array, or feature columns of a table (default: found by name; all other columns).",
        affects=GRADIENTS,
    )
    labels: str = subject_key(
        "", "Key or column that holds the labels (default: found by name).", affects=GRADIENTS
    )
    ids: str = subject_key(
        "",
        "Key or column that holds the sample ids (default: found by name, else the row number from 0).",
        affects=GRADIENTS,
    )
    class_names: tuple[str, ...] = subject_key(
        (), "Class names in the order of the model's outputs.", affects=GRADIENTS
    )
    transform: str | Callable[[Any], Any] = subject_key(  # noqa: RUF009 - a field, as every other one
        "",
        "Function that turns one raw input into the tensor that the model takes: file.py:function.",
        affects=GRADIENTS,
        path=True,
    )
    weights: str = subject_key(
        "",
        "Which state dict to use if the checkpoint holds several, e.g. ema (default: the trained one).",
        affects=GRADIENTS,
    )
    prefix: str = subject_key(
        "",
        "Start of the names of the network's weights, if the checkpoint holds several networks: student.",
        affects=GRADIENTS,
    )
    ignore_keys: tuple[str, ...] = subject_key(
        (),
        "Names in the checkpoint that are no weights of the network, such as aux.*; * stands for anything.",
        affects=GRADIENTS,
    )
    trust_checkpoint: bool = subject_key(
        False,
        "Allow checkpoint formats that can run code when opened. Only valid as an option, from Python, or in "
        "a file named with --config, never in a file that was found.",
    )

    device: str = run_key("auto", "Device to run on: auto, cpu, cuda, cuda:N or mps.")
    batch_size: int = run_key(
        128,
        "Samples per forward pass: trades memory for speed and changes numbers by rounding only.",
        Interval(1),
        affects=SUMS,
    )
    bf16: bool = run_key(
        False,
        "Run the network in bfloat16 wherever torch's autocast does; faster on GPUs. The certificate reports "
        "the effect on the norms.",
        affects=GRADIENTS,
    )
    limit: int = run_key(
        0,
        "Audit at most this many samples, drawn by class, at least two of each class (0: all).",
        Interval(0),
        affects=GRADIENTS,
    )
    sketch_memory: int = run_key(
        4096,
        "Megabytes of sketches held in memory; larger ones go to a temporary file, removed after the run.",
        Interval(0),
    )
    read_memory: int = run_key(
        512, "Megabytes that reading a file may take beyond what its size explains.", Interval(1, 10**6)
    )
    read_seconds: float = run_key(
        5.0, "Seconds that reading a file may take beyond what its size explains.", Interval(0.1, 10**6)
    )
    seed: int = run_key(
        0,
        "Seed of the sketches, the subsample and the bootstrap.",
        Interval(0, 2**32 - 1),
        affects=GRADIENTS,
    )

    coherence: str = measure_key(
        "sums",
        "How gradients are measured. exact: those of every sample. sums: the sums of each class, at the "
        "price of training for an epoch, and the gradients of some samples. fast: of some samples only, "
        "beside a forward pass. Verdicts on labels and on new data are the same.",
        affects=SUMS,
    )
    coherence_samples: int = measure_key(
        2000,
        "Samples that coherence sums and fast draw to measure their gradients; twice as many are measured "
        "all.",
        Interval(20),
        affects=FINDINGS,
    )
    layers: tuple[str, ...] = measure_key(
        (), "Layers or parameters measured: names, *, last:4, every:4 (default: all).", affects=GRADIENTS
    )
    temperature: float = measure_key(
        1.0,
        "Compute the loss on logits / temperature; above 1 shows a fully fitted model as it was before it "
        "memorized.",
        POSITIVE,
        affects=GRADIENTS,
    )
    sketch_size: int = measure_key(
        2048,
        "Numbers kept of each sample's gradient, over all parameters: more make cosines more exact.",
        Interval(1),
        affects=GRADIENTS,
    )
    feature_size: int = measure_key(
        1024,
        "Numbers kept of a layer's input for each sample; shorter inputs are kept whole.",
        Interval(1),
        affects=GRADIENTS,
    )
    class_memory: int = measure_key(
        64,
        "Megabytes for the directions of all classes' gradient sums. Cosines between classes are exact if "
        "these fit, else sketched in that memory.",
        Interval(1),
        affects=SUMS,
    )
    neighbors: int = measure_key(
        20,
        "Gradient neighbors per sample that vote in its support; with limit, fewer in proportion. 10 to 50 "
        "gave similar results.",
        Interval(1),
        affects=FINDINGS,
    )
    outside: bool = measure_key(
        True,
        "Predict the labels from the raw data too, by simple models that never saw the network: trees on the "
        "columns of a table, regression on tokens or on image descriptors.",
        affects=FINDINGS,
    )
    bootstrap: int = measure_key(
        200, "Resamples behind each confidence interval.", Interval(20), affects=FINDINGS
    )
    confidence: float = measure_key(
        0.9,
        "Coverage of the confidence intervals of coherences; that of the gap is 0.8.",
        Interval(0, 1, open=True),
        affects=FINDINGS,
    )
    lr: str = measure_key(
        "",
        "Learning rate of the training run, or a CSV file with the columns step and lr, for the stability "
        "bound (default: read from the checkpoints).",
        affects=FINDINGS,
    )
    steps_per_epoch: int = measure_key(
        0,
        "Gradient steps per epoch, for checkpoints numbered by epoch (0: unknown).",
        Interval(0),
        affects=FINDINGS,
    )
    audits: tuple[str, ...] = measure_key(
        (),
        "Audits to run, separated by commas; all, or none (default: those that need no pass over the data of "
        "their own).",
        affects=FINDINGS,
    )
    certificate_samples: int = measure_key(
        8,
        "Samples computed again, one at a time, by plain autograd; with bf16 at least 8.",
        Interval(1),
        affects=FINDINGS,
    )
    certificate_tolerance: float = measure_key(
        1e-3,
        "Largest relative error that the certificate accepts; float32 rounding stays below 0.0001.",
        POSITIVE,
        affects=FINDINGS,
    )

    crossfit: int = crossfit_key(
        0,
        "Train this many copies of the network, each on the other folds of the data, and let each predict "
        "its own fold; 5 is usual (0: none).",
        Interval(0),
    )
    crossfit_recipe: str = crossfit_key(
        "",
        "Function that trains a copy: file.py:function, called with the model and a torch Dataset (default: "
        "a loop with the settings below).",
        path=True,
    )
    crossfit_optimizer: str = crossfit_key(
        "", "Optimizer of the copies: sgd, adam or adamw (default: the checkpoint's, else adam)."
    )
    crossfit_lr: float = crossfit_key(
        0.0,
        "Learning rate of the copies (0: the checkpoint's, else 0.001, or 0.05 for sgd).",
        Interval(0, 1_000_000),
    )
    crossfit_epochs: int = crossfit_key(
        0,
        "Epochs that each copy is trained for (0: the checkpoint's, else until a held-out tenth of its "
        "training folds no longer improves).",
        Interval(0),
    )
    crossfit_batch_size: int = crossfit_key(
        0, "Samples per training step of the copies (0: the checkpoint's, else 8 to 64 by size).", Interval(0)
    )

    suspicion_threshold: float = judge_key(
        0.5,
        "Smallest suspicion that makes a sample a suspect; at 0.5 its label is more likely wrong than right.",
        SHARE,
        affects=FINDINGS,
    )
    risk_levels: tuple[float, float, float] = judge_key(
        (0.05, 0.1, 0.2),
        "Smallest gaps between training accuracy and accuracy on new data that make the risk moderate, high, "
        "severe.",
        SHARE,
        affects=FINDINGS,
    )
    label_levels: tuple[float, float, float] = judge_key(
        (0.02, 0.05, 0.15),
        "Smallest shares of wrong labels that make the verdict on the labels moderate, high, severe.",
        SHARE,
        affects=FINDINGS,
    )
    suppressions: str = judge_key(
        "",
        "File of samples that a person has checked and found right: they are no longer suspects.",
        affects=FINDINGS,
        path=True,
    )
    reviewed: str = judge_key(
        "",
        "File of labels that a person reviewed (cohaudit review), which calibrate the suspicions (default: "
        "the data's name with .reviewed.json added, beside the data, if it exists).",
        affects=FINDINGS,
        path=True,
    )
    provenance: str = judge_key(
        "",
        "File that says how labels were corrected (default: the data's name with .provenance.json added).",
        affects=FINDINGS,
        path=True,
    )
    fail_on: tuple[str, ...] = judge_key(
        (), "Gate: fail (exit code 1) if this holds, e.g. 'wrong_labels>5%' or 'expected_score<0.8'."
    )
    warn_on: tuple[str, ...] = judge_key((), "Gate that only warns if this holds.")
    gate_on_value: bool = judge_key(
        False,
        "Let a gate fail if its condition holds for the value itself, not for the whole interval.",
        affects=FINDINGS,
    )

    evidence: int = output_key(5, "Supporters and opponents kept per suspect.", Interval(0), affects=FINDINGS)
    gallery: int = output_key(
        500,
        "Suspects shown with pictures and evidence in the report, most suspicious first.",
        Interval(0),
        affects=FINDINGS,
    )
    formats: tuple[str, ...] = output_key(
        (),
        "More formats, separated by commas: markdown, junit, sarif, parquet, badge; github prints "
        "annotations.",
    )
    out: str = output_key("cohaudit-report", "Folder for report.html, audit.json and samples.csv.", path=True)
    templates: str = output_key(
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
