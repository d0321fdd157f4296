"""What `cohaudit doctor` says of each part of a scan, once it could be opened."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cohaudit.analysis.sanity import is_skilled
from cohaudit.config import Config
from cohaudit.doctor.dry_run import Rehearsal, rehearse
from cohaudit.doctor.finding import Figures, Finding
from cohaudit.gradients import Source, answers, check_model
from cohaudit.loading.checkpoint import Checkpoint, check_finite, load_checkpoint
from cohaudit.loading.data import LabeledDataset, describe_inputs, open_dataset
from cohaudit.loading.model import build_model, eval_mode, load_weights

UNTRAINED = "untrained weights, as no CHECKPOINT was named: "


def opened_checkpoint(path: Path, weights: str, trust: bool) -> tuple[Finding, Checkpoint]:
    """Open a checkpoint, and look for weights that are no numbers.

    Args:
        path: The file.
        weights: Which state dict of several.
        trust: Allow formats whose opening can run code.

    Raises:
        CheckpointError: If it cannot be used.
    """
    opened = load_checkpoint(path, weights=weights, trust=trust)
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
        CohauditError: If that fails.
    """
    model = build_model(config.model, config.model_args, config.base)
    count = sum(p.numel() for p in model.parameters())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    words = f"{config.model}: {type(model).__name__}, {count:,} parameters"
    words += f", {frozen:,} of them frozen, which are not measured" * bool(frozen)
    figures: Figures = {"class": type(model).__name__, "parameters": count, "frozen": frozen}
    return Finding("model", "ok", words, figures=figures), model


def fitted_weights(model: nn.Module, checkpoint: Checkpoint) -> tuple[Finding, bool]:
    """Load the checkpoint into the model.

    Args:
        model: As the factory made it.
        checkpoint: Opened.

    Raises:
        CohauditError: If names or shapes do not fit; tells which are missing and which left over.
    """
    prefix = load_weights(model, checkpoint)
    words = f"{checkpoint.origin}: every weight of the model is there, and none is left over"
    words += f"; prefix {prefix} taken off" * bool(prefix)
    return Finding("weights", "ok", words, figures={"from": checkpoint.origin, "prefix": prefix}), True


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
        remedy = "add samples of that class: one tells nothing of what they have in common"
        return Finding("data", "warning", lonely, remedy, figures), dataset
    return Finding("data", "ok", words, figures=figures), dataset


def first_batch(
    model: nn.Module, dataset: LabeledDataset, config: Config, device: torch.device, trained: bool
) -> tuple[Finding, float]:
    """Let the model answer one batch, drawn evenly from the classes.

    Args:
        model: On `device`.
        dataset: The training data.
        config: Settings.
        device: Where.
        trained: Whether it has the weights of a checkpoint.

    Returns:
        The finding, and the seconds that a sample took.

    Raises:
        CohauditError: If model and data do not fit.
    """
    by_class = np.argsort(dataset.labels, kind="stable")
    places = np.linspace(0, len(dataset) - 1, min(config.batch_size, len(dataset))).astype(int)
    chosen = by_class[places]
    source = Source(
        load=lambda indices: dataset.batch(chosen[list(indices)].tolist()),
        labels=dataset.labels[chosen],
        ids=[dataset.ids[i] for i in chosen],
        class_names=dataset.class_names,
    )
    with eval_mode(model):
        check_model(model, source, device)
        start = time.perf_counter()
        probability = answers(model, source, config.batch_size, device, lambda _: None)
        seconds = time.perf_counter() - start
    labels = source.labels
    predicted = probability.argmax(1)
    right = float(np.mean(predicted == labels))
    of_label = probability[np.arange(len(labels)), labels].astype(np.float64)
    loss = float(-np.log(of_label.clip(np.finfo(np.float32).tiny)).mean())
    words = f"{UNTRAINED * (not trained)}{len(labels)} samples give {list(probability.shape)} answers, "
    words += f"{right:.0%} of them the label, loss {loss:.3g}, in {seconds:.2g} s"
    figures: Figures = {
        "samples": len(labels),
        "outputs": probability.shape[1],
        "accuracy": right,
        "loss": loss,
    }
    present, own = np.unique(labels, return_inverse=True)
    if trained and not is_skilled(np.where(predicted == labels, own, -1), own, max(2, len(present))):
        remedy = "check that checkpoint, transform and the order of class_names are those of the training"
        found = f"{words}: hardly better than chance"
        return Finding("first batch", "warning", found, remedy, figures), seconds / len(labels)
    return Finding("first batch", "ok", words, figures=figures), seconds / len(labels)


def measured(
    model: nn.Module, dataset: LabeledDataset, config: Config, untrained: bool
) -> tuple[Finding, Rehearsal]:
    """Scan a few samples.

    Args:
        model: On its device.
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
    told = ", ".join(f"{count} by {path}" for path, count in paths.items())
    worst = max((check.error / check.tolerance for check in certificate.checks), default=0.0)
    words = (
        f"{UNTRAINED * untrained}a scan of {done.samples:,} samples ran; {len(audit.layers)} layers "
        f"({told}), {certificate.parameter_coverage:.1%} of the parameters; certificate at {worst:.1%} of "
        "its tolerance"
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
