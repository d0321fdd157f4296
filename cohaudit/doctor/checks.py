"""The checks of `cohaudit doctor`: each opens or runs one part of a scan and reports what it found."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cohaudit.analysis.sanity import is_skilled
from cohaudit.config import Config
from cohaudit.doctor.dry_run import Rehearsal, rehearse
from cohaudit.doctor.finding import Figures, Finding
from cohaudit.gradients import answers, check_model
from cohaudit.loading.checkpoint import Checkpoint, check_finite, load_checkpoint
from cohaudit.loading.data import LabeledDataset, describe_inputs, open_dataset
from cohaudit.loading.model import build_model, eval_mode, left_out, load_weights
from cohaudit.pipeline.holdout_data import check_fit, open_holdout, source_of
from cohaudit.pipeline.unused_classes import name_unused_classes
from cohaudit.results.wording import number, percent

UNTRAINED = "untrained weights, as no CHECKPOINT was named: "
"""Put before what was measured without a checkpoint."""


def opened_checkpoint(
    path: Path, weights: str, trust: bool, *, prefix: str = "", ignored: Sequence[str] = ()
) -> tuple[Finding, Checkpoint]:
    """Open a checkpoint, and look for weights that are NaN or infinite.

    Args:
        path: Checkpoint file.
        weights: Which state dict to use if there are several.
        trust: Whether to allow formats that can run code when opened.
        prefix: Start of the names of the network's weights.
        ignored: Patterns of names to leave out.

    Raises:
        CheckpointError: If it cannot be used.
    """
    opened = load_checkpoint(path, weights=weights, prefix=prefix, ignored=ignored, trust=trust)
    check_finite(opened.tensors, opened.path)
    dtypes = Counter[str]()
    for tensor in opened.tensors.values():
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    count = dtypes.total()
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in dtypes.most_common())
    words = (
        f"{opened.path}: {opened.format}, {len(opened.tensors)} tensors, {kinds}; sha256 {opened.sha256[:12]}"
    )
    figures: Figures = {
        "format": opened.format,
        "tensors": len(opened.tensors),
        "numbers": count,
        "dtypes": ", ".join(dtypes),
        "sha256": opened.sha256,
    }
    return Finding("checkpoint", "ok", words, figures=figures), opened


def built_model(config: Config) -> tuple[Finding, nn.Module]:
    """Build the model with the user's factory.

    Args:
        config: Settings.

    Raises:
        CohauditError: If the factory fails, or returns something that is not a usable model.
    """
    model = build_model(config.model, config.model_args, config.base)
    count = sum(p.numel() for p in model.parameters())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    words = f"{config.model}: {type(model).__name__}, {count:,} parameters"
    # a model of which everything is frozen is measured whole
    words += f", {frozen:,} of them frozen and not measured" * (0 < frozen < count)
    figures: Figures = {"class": type(model).__name__, "parameters": count, "frozen": frozen}
    return Finding("model", "ok", words, figures=figures), model


def fitted_weights(model: nn.Module, checkpoint: Checkpoint) -> tuple[Finding, nn.Module]:
    """Load the checkpoint into the model.

    Args:
        model: Model as the factory made it.
        checkpoint: The open checkpoint.

    Raises:
        CohauditError: If names or shapes do not fit; it names those that are missing and those left over.
    """
    prefix = load_weights(model, checkpoint)
    left = left_out(model, checkpoint)
    words = f"{checkpoint.origin}: has every weight of the model, and {left or 'none is left over'}"
    words += f"; prefix {prefix} removed" * bool(prefix)
    return Finding("weights", "ok", words, figures={"from": checkpoint.origin, "prefix": prefix}), model


def fitted_earlier(check: str, path: Path, model: nn.Module, config: Config) -> tuple[Finding, None]:
    """Load an earlier checkpoint into the model.

    Args:
        check: Name of the check.
        path: Checkpoint file.
        model: Model to fill; its weights are replaced.
        config: Settings.

    Raises:
        CohauditError: If the checkpoint cannot be read, or does not fit.
    """
    loaded = load_checkpoint(
        path,
        weights=config.weights,
        prefix=config.prefix,
        ignored=config.ignore_keys,
        trust=config.trust_checkpoint,
    )
    load_weights(model, loaded)
    return Finding(check, "ok", f"{path} fits the model"), None


def opened_data(config: Config) -> tuple[Finding, LabeledDataset]:
    """Open the training data.

    Args:
        config: Settings.

    Raises:
        CohauditError: If it cannot be used.
    """
    dataset = open_dataset(config)
    sizes = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    smallest = int(sizes.argmin())
    inputs = describe_inputs(dataset)
    words = f"{dataset.source}: {len(dataset):,} samples of {len(sizes)} classes; {inputs}"
    words += f"; sha256 {dataset.fingerprint[:12]}"
    figures: Figures = {
        "samples": len(dataset),
        "classes": len(sizes),
        "smallest_class": int(sizes[smallest]),
        "inputs": inputs,
        "sha256": dataset.fingerprint,
    }
    if sizes[smallest] < 2:
        lonely = f"{words}; class {dataset.class_names[smallest]!r} has one sample"
        remedy = "add samples of that class: a single one shows nothing that the class has in common"
        return Finding("data", "warning", lonely, remedy, figures), dataset
    return Finding("data", "ok", words, figures=figures), dataset


def opened_holdout(
    config: Config, training: LabeledDataset, model: nn.Module | None
) -> tuple[Finding, LabeledDataset]:
    """Open the holdout, and run the model on a few of its samples.

    Args:
        config: Settings, which name a holdout.
        training: The training data.
        model: Model on its device; None if it cannot be run.

    Raises:
        CohauditError: If the holdout cannot be used, or does not fit the model.
    """
    opened = open_holdout(config.holdout, training, config)
    assert opened is not None
    if model is not None:
        with eval_mode(model):
            check_fit(model, opened, config, next(model.parameters()).device)
    words = f"{opened.source}: {len(opened):,} samples; {describe_inputs(opened)}"
    return Finding("holdout", "ok", words, figures={"samples": len(opened)}), opened


def first_batch(
    model: nn.Module, dataset: LabeledDataset, config: Config, device: torch.device, trained: bool
) -> tuple[Finding, float]:
    """Run the model on one batch, drawn evenly from the classes.

    Args:
        model: Model on `device`.
        dataset: The training data.
        config: Settings.
        device: Device to run on.
        trained: Whether the model has the weights of a checkpoint.

    Returns:
        The finding, and the seconds per sample.

    Raises:
        CohauditError: If model and data do not fit.
    """
    with eval_mode(model):
        name_unused_classes(model, dataset)
    # samples at even distances in the order of classes: each class has its share, without a random draw
    by_class = np.argsort(dataset.labels, kind="stable")
    places = np.linspace(0, len(dataset) - 1, min(config.batch_size, len(dataset))).astype(int)
    source = source_of(dataset, by_class[places])
    with eval_mode(model):
        check_model(model, source, device)
        start = time.perf_counter()  # after check_model, which has called the model once: that call is slow
        probability = answers(model, source, config.batch_size, device, lambda _: None)
        seconds = time.perf_counter() - start
    labels = source.labels
    predicted = probability.argmax(1)
    right = float(np.mean(predicted == labels))
    of_label = probability[np.arange(len(labels)), labels].astype(np.float64)
    # a probability that float32 rounds to 0 would make the loss infinite
    loss = float(-np.log(of_label.clip(np.finfo(np.float32).tiny)).mean())
    words = f"{UNTRAINED * (not trained)}{len(labels)} samples, outputs {list(probability.shape)}, "
    words += f"accuracy {percent(right)}, loss {number(loss)}, in {number(seconds)} s"
    figures: Figures = {
        "samples": len(labels),
        "outputs": probability.shape[1],
        "accuracy": right,
        "loss": loss,
    }
    # a small batch may lack classes; chance is that among those present
    present, own = np.unique(labels, return_inverse=True)
    if trained and not is_skilled(np.where(predicted == labels, own, -1), own, max(2, len(present))):
        remedy = "check that checkpoint, transform and the order of class_names match the training run"
        found = f"{words}: hardly better than chance"
        return Finding("first batch", "warning", found, remedy, figures), seconds / len(labels)
    return Finding("first batch", "ok", words, figures=figures), seconds / len(labels)


def measured(
    model: nn.Module, dataset: LabeledDataset, config: Config, untrained: bool
) -> tuple[Finding, Rehearsal]:
    """Scan a few samples.

    Args:
        model: Model on its device.
        dataset: The training data.
        config: Settings.
        untrained: Whether the model has no weights of a checkpoint.

    Raises:
        CohauditError: If a scan would stop.
    """
    done = rehearse(model, dataset, config)
    audit = done.audit
    paths = Counter(layer.path for layer in done.audit.layers)
    certificate = audit.certificate
    by_path = ", ".join(f"{count} by {path}" for path, count in paths.items())
    worst = max((check.error / check.tolerance for check in certificate.checks), default=0.0)
    words = (
        f"{UNTRAINED * untrained}a scan of {done.samples:,} samples ran; {len(audit.layers)} layers "
        f"({by_path}), {percent(certificate.parameter_coverage)} of the parameters; certificate at "
        f"{percent(worst)} of its tolerance"
    )
    figures: Figures = {
        "samples": done.samples,
        "layers": len(audit.layers),
        "looped_layers": paths["loop"],
        "coverage": certificate.parameter_coverage,
        "auditable": audit.sanity.auditable,
    }
    if not untrained and not audit.sanity.auditable:
        remedy = "do so before the scan: it would give no verdict"
        return Finding("gradients", "warning", f"{words}. {audit.sanity.reason}", remedy, figures), done
    return Finding("gradients", "ok", words, figures=figures), done
