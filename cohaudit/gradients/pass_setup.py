"""What a pass over the data is given: the samples, the options and the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


@dataclass(frozen=True)
class Source:
    """The samples to measure.

    Attributes:
        load: Indices → a batch of inputs on the CPU.
        labels: int64 [samples].
        ids: One per sample, for messages.
        class_names: One per class, in the order of the model's outputs.
    """

    load: Callable[[Sequence[int]], Any]
    labels: NDArray[np.int64]
    ids: Sequence[str]
    class_names: Sequence[str]

    def subset(self, indices: NDArray[np.int64]) -> Source:
        """Return some of the samples as a source.

        Args:
            indices: Indices of those wanted.
        """

        def load(wanted: Sequence[int]) -> Any:
            return self.load(indices[list(wanted)].tolist())

        return Source(load, self.labels[indices], [self.ids[i] for i in indices], self.class_names)


@dataclass(frozen=True)
class Options:
    """How to measure; `Config` documents the reasons for each setting.

    Attributes:
        batch_size: Samples per forward and backward pass.
        temperature: Temperature of the softmax in the loss.
        sketch_size: Numbers per sample in a sketch, over all parameters.
        sketch_memory: MiB of sketches that stay in memory; more go to a file.
        feature_size: Largest length of a stored layer input.
        class_memory: MiB for the directions of the classes' gradient sums.
        certificate_samples: Samples that the certificate computes again.
        certificate_tolerance: Largest relative error that the certificate accepts.
        seed: Seed of the sketches, of the random combination of logits and of the certificate's samples.
        label_free: Whether to measure `Measurement.jacobian_sketches` and `activations` too.
        bf16: Whether the network runs under autocast to bfloat16.
        layers: Names or patterns of the layers or parameters that are measured; all if empty.
    """

    batch_size: int
    temperature: float
    sketch_size: int
    sketch_memory: int
    feature_size: int
    class_memory: int
    certificate_samples: int
    certificate_tolerance: float
    seed: int
    label_free: bool = False
    bf16: bool = False
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassSetup:
    """A model, its samples, and how and where to measure them.

    Attributes:
        model: On `device`, in eval mode; a pass leaves it as it was.
        source: The samples.
        options: How to measure.
        device: Device to run on.
    """

    model: nn.Module
    source: Source
    options: Options
    device: torch.device
