"""Every setting of an audit, with its default, unit and reason.

What no user sets, such as the constants of a formula, stands named and with its reason beside the formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from cohaudit.config.keys import Interval, Key
from cohaudit.errors import ConfigError, did_you_mean

_SHARE = Interval(0, 1)
_POSITIVE = Interval(0, math.inf, open=True)


def _key(
    default: Any, help: str, interval: Interval | None = None, *, section: str, path: bool = False
) -> Any:
    """Declare a configuration key; see `Key` for the arguments."""
    about = {"help": help, "interval": interval, "section": section, "path": path}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=about)
    return field(default=default, metadata=about)


_subject = partial(_key, section="Model and data")
_run = partial(_key, section="Run")
_measure = partial(_key, section="Measurement")
_judge = partial(_key, section="Judgment")
_output = partial(_key, section="Output")


@dataclass(frozen=True)
class Config:
    """Settings of a scan: each field is a key of cohaudit.toml and an option of `cohaudit scan`.

    Relative paths are resolved against `base`, the folder of the configuration file (paths given on the
    command line are made absolute first).

    Raises:
        ConfigError: When a value has the wrong type or lies out of range.
    """

    model: str = _subject("", "The model's factory: file.py:function or package.module:function.", path=True)
    model_args: Mapping[str, Any] = _subject({}, "Keyword arguments for the model's factory.")
    data: str = _subject(
        "",
        "The training data: .npz, .safetensors, .csv, .jsonl, .parquet, an image folder, or"
        " file.py:function.",
        path=True,
    )
    holdout: str = _subject(
        "",
        "Samples that the model was not trained on, given as for data: the gap measured on them is shown "
        "beside the predicted one, and used.",
        path=True,
    )
    data_args: Mapping[str, Any] = _subject({}, "Keyword arguments for the dataset's factory.")
    inputs: tuple[str, ...] = _subject(
        (), "Input array's key, or feature columns of a table (default: found by name; all other columns)."
    )
    labels: str = _subject("", "Key or column that holds the labels (default: found by name).")
    ids: str = _subject(
        "", "Key or column that holds the sample ids (default: found by name, else the row number from 0)."
    )
    class_names: tuple[str, ...] = _subject((), "Class names in the order of the model's outputs.")
    transform: str = _subject(
        "", "file.py:function that turns one raw input into the tensor the model takes.", path=True
    )
    weights: str = _subject(
        "", "Which state dict of a checkpoint with several, e.g. ema (default: the one trained on)."
    )
    trust_checkpoint: bool = _subject(
        False,
        "Allow checkpoint formats whose opening can run code from the file; counts as an option, "
        "from Python, or in a file named with --config, never in one that was found.",
    )

    device: str = _run("auto", "auto, cpu, cuda, cuda:N or mps.")
    batch_size: int = _run(
        128,
        "Samples per forward pass: trades memory for speed, never changes a number beyond rounding.",
        Interval(1),
    )
    bf16: bool = _run(
        False,
        "Run the network in bfloat16 where torch's autocast does, which pays on GPUs; the certificate says "
        "what it does to the norms.",
    )
    limit: int = _run(
        0,
        "Audit at most this many samples, each class keeping its share, but at least two samples (0: all).",
        Interval(0),
    )
    sketch_memory: int = _run(
        4096,
        "Megabytes of sketches held in memory; larger ones lie in a temporary file that goes with the run.",
        Interval(0),
    )
    seed: int = _run(0, "Seed of the sketches, the subsample and the bootstrap.", Interval(0, 2**32 - 1))

    temperature: float = _measure(
        1.0,
        "Gradients are those of the loss on logits / temperature; "
        "above 1 shows a fitted model before it memorized.",
        _POSITIVE,
    )
    sketch_size: int = _measure(
        2048,
        "Numbers kept of each sample's gradient, shared by all parameters: more are closer to exact cosines.",
        Interval(1),
    )
    feature_size: int = _measure(
        1024, "Numbers kept of what a layer sees of a sample; fewer are kept whole.", Interval(1)
    )
    class_memory: int = _measure(
        64,
        "Megabytes for the directions of all classes' gradient sums: class × class cosines are exact where "
        "they fit, else from sketches as long as fit.",
        Interval(1),
    )
    neighbors: int = _measure(
        20,
        "Gradient neighbors per sample that vote in its support; 10 to 50 measured alike. With limit, fewer, "
        "in proportion.",
        Interval(1),
    )
    bootstrap: int = _measure(200, "Resamples behind each confidence interval.", Interval(20))
    confidence: float = _measure(
        0.9,
        "Coverage of the confidence intervals of coherences; that of the gap is 0.8.",
        Interval(0, 1, open=True),
    )
    lr: str = _measure(
        "",
        "Learning rate of the training, or a CSV file with the columns step and lr, for the stability bound "
        "(default: as the checkpoints say).",
    )
    steps_per_epoch: int = _measure(
        0, "Gradient steps per epoch, where checkpoints are numbered by epoch (0: not told).", Interval(0)
    )
    audits: tuple[str, ...] = _measure(
        (),
        "Further audits, separated by commas; all, or none (default: those that take no pass over the data "
        "of their own).",
    )
    certificate_samples: int = _measure(
        8, "Samples computed again, one at a time, by plain autograd.", Interval(1)
    )
    certificate_tolerance: float = _measure(
        1e-3,
        "Largest relative error the certificate accepts; float32 rounding stays under 1e-4.",
        _POSITIVE,
    )

    suspicion_threshold: float = _judge(
        0.5, "A sample is a suspect from this suspicion on: more likely wrong than right.", _SHARE
    )
    risk_levels: tuple[float, float, float] = _judge(
        (0.05, 0.1, 0.2),
        "Gaps between training accuracy and accuracy on new data from which the risk is moderate, high, "
        "severe.",
        _SHARE,
    )
    suppressions: str = _judge(
        "",
        "File of suspects that a person has found to be right: they are no suspects any more.",
        path=True,
    )
    fail_on: tuple[str, ...] = _judge(
        (), "Gate: fail (exit code 1) when this holds, e.g. 'risk>=high' or 'predicted_gap>0.1'."
    )
    warn_on: tuple[str, ...] = _judge((), "Gate that warns when this holds, and never fails.")
    gate_on_value: bool = _judge(
        False,
        "Let a gate fail where its condition holds on the value itself, rather than on its whole interval.",
    )

    evidence: int = _output(5, "Supporters and opponents kept per suspect.", Interval(0))
    gallery: int = _output(
        500,
        "Suspects shown with their pictures and evidence in the report, most suspicious first.",
        Interval(0),
    )
    formats: tuple[str, ...] = _output(
        (),
        "Further formats, separated by commas: markdown, junit, sarif, parquet; github prints annotations.",
    )
    out: str = _output("cohaudit-report", "Folder for report.html, audit.json and samples.csv.", path=True)
    templates: str = _output(
        "", "Folder of your own templates, which run as code: each replaces that of its name.", path=True
    )

    base: Path = field(default_factory=Path.cwd)
    """Folder that relative paths are resolved against; not a key."""
    source: str = ""
    """The configuration file read, empty when there was none; not a key."""

    def __post_init__(self) -> None:
        for name, key in KEYS.items():
            object.__setattr__(self, name, key.checked(getattr(self, name), name))

    def updated(self, settings: Mapping[str, Any], called: Callable[[str], str] = str) -> Config:
        """Return a copy with `settings` in place of its own values.

        Args:
            settings: Key → value, as found in a file, on the command line or in a Python call.
            called: How the user knows a key, for messages: `batch_size` → `--batch-size`.

        Raises:
            ConfigError: When a key is unknown, or a value has the wrong type or lies out of range.
        """
        for name in settings:
            if name not in KEYS:
                raise ConfigError(called(name), "there is no such key", did_you_mean(name, KEYS))
        return replace(
            self, **{name: KEYS[name].checked(value, called(name)) for name, value in settings.items()}
        )


def _keys() -> dict[str, Key]:
    """Return every key in its order; the type comes from the field's annotation."""
    types = get_type_hints(Config)
    return {
        key.name: Key(key.name, type=types[key.name], default=_default(key), **key.metadata)
        for key in fields(Config)
        if key.metadata
    }


def _default(key: Any) -> Any:
    return {} if key.default_factory is dict else key.default


KEYS: Mapping[str, Key] = _keys()
"""Every key of the configuration, in the order of help and of `cohaudit init`."""
