"""Untrained networks with random data, for what depends on shapes alone: time and memory.

The seed is fixed; a pass takes the same time whatever the numbers are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks.shared.networks import GPT, TextLSTM, ViT, mlp, resnet18


def images(count: int) -> Tensor:
    """Return random 32×32 images."""
    return torch.randn(count, 3, 32, 32)


@dataclass(frozen=True)
class Spec:
    """A network and its data, before they are made.

    Attributes:
        build: Makes the untrained network.
        inputs: Makes the inputs of so many samples.
        classes: Number of classes.
        samples: Number of samples; a plain pass takes from a fraction of a second to a few on two cores.
        batch_size: Samples per batch.
        gpu_factor: Factor of the number of samples on a GPU, where a pass would be too quick to be timed.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    classes: int
    samples: int
    batch_size: int = 128
    gpu_factor: int = 8


GPU_BATCH = 4
"""Factor of the batch size on a GPU."""


@dataclass(frozen=True)
class Workload:
    """A network in eval mode and its data, sorted by class as every method wants to see it.

    Attributes:
        model: Network, on `device`.
        inputs: Inputs, on the CPU, [samples, ...].
        labels: Labels, on the CPU, int64 [samples].
        classes: Number of classes.
        batch_size: Samples per batch.
        device: Device to run on.
    """

    model: nn.Module
    inputs: Tensor
    labels: Tensor
    classes: int
    batch_size: int
    device: torch.device

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Return the batches, still on the CPU."""
        return list(zip(self.inputs.split(self.batch_size), self.labels.split(self.batch_size), strict=True))

    def head(self, count: int) -> Workload:
        """Return the workload with its first samples only."""
        return replace(self, inputs=self.inputs[:count], labels=self.labels[:count])


def make(spec: Spec, device: torch.device, samples: int = 0) -> Workload:
    """Build a network and its data, the same on every call.

    Args:
        spec: Network and data.
        device: Device to run on.
        samples: Number of samples; 0 for the spec's own.
    """
    if device.type == "cuda":
        spec = replace(spec, samples=spec.samples * spec.gpu_factor, batch_size=spec.batch_size * GPU_BATCH)
    torch.manual_seed(0)
    model = spec.build().to(device).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    count = samples or spec.samples
    labels = (torch.arange(count) % spec.classes).sort().values
    return Workload(model, spec.inputs(count), labels, spec.classes, spec.batch_size, device)


SPECS: dict[str, Spec] = {
    "mlp": Spec(mlp, lambda n: torch.randn(n, 784), 10, 16384, gpu_factor=4),
    "resnet18-32": Spec(lambda: resnet18(32), images, 10, 1024),
    "resnet18-64": Spec(lambda: resnet18(64), images, 10, 512),
    "vit": Spec(ViT, images, 10, 1024),
    "gpt": Spec(GPT, lambda n: torch.randint(64, (n, 64)), 64, 1024),
    "lstm": Spec(TextLSTM, lambda n: torch.randint(2000, (n, 32)), 4, 8192, gpu_factor=2),
}
"""The benchmark's workloads by name."""
