"""Exact gradient sums per class, with two gradients in memory at once: the class's and the total."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.gradients.per_sample import PerSample

Array = NDArray[np.float64]


class ClassSums:
    """Sums of gradients over samples that arrive class by class.

    Args:
        parameters: Name → parameter.
        layer_index: Parameter name → position of its layer.
        classes: Number of classes.
        memory: Bytes that the classes' sums may take together; beyond it their inner products come from
            sketches.

    Attributes:
        class_squares: ‖Σ_{i in c} g_i^l‖², [classes, layers]; complete after the last sample of each class.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], layer_index: Mapping[str, int], classes: int, memory: int
    ) -> None:
        self._parameters, self._layer_index = parameters, layer_index
        self._layers = max(layer_index.values()) + 1
        self.class_squares = np.zeros((classes, self._layers))
        self._current, self._total = self._zeros(), self._zeros()
        self._class = -1
        size = sum(parameter.numel() for parameter in parameters.values())
        self._kept: NDArray[np.float32] | None = None
        if size * classes * 4 <= memory:
            self._kept = np.zeros((classes, size), dtype=np.float32)

    def _zeros(self) -> dict[str, Tensor]:
        # Apple's GPUs have no float64: there the sums live on the CPU
        return {
            name: torch.zeros_like(
                p, dtype=torch.float64, device="cpu" if p.device.type == "mps" else p.device
            )
            for name, p in self._parameters.items()
        }

    def add(self, labels: Tensor, scale: Tensor, forms: Mapping[str, PerSample]) -> None:
        """Add a batch.

        Args:
            labels: int64 [batch], sorted, none below those added before.
            scale: float64 [batch], what each sample's gradient is multiplied by.
            forms: Parameter name → per-sample gradients.
        """
        values, counts = torch.unique_consecutive(labels, return_counts=True)
        stop = 0
        for label, count in zip(values.tolist(), counts.tolist(), strict=True):
            start, stop = stop, stop + count
            if label != self._class:
                self._close()
                self._class = label
            # fitted samples have tiny gradients: float32 holds them relative to the largest
            peak = max(scale[start:stop].max().item(), torch.finfo(scale.dtype).tiny)
            relative = scale[start:stop] / peak
            for name, form in forms.items():
                current = self._current[name]
                part = form.rows(start, stop).weighted_sum(relative.to(self._parameters[name]))
                current += peak * part.to(current.device).double()

    def _close(self) -> None:
        """Finish the current class: its squares, its place in the total, an empty sum for the next."""
        if self._class < 0:
            return
        self.class_squares[self._class] = self._squares(self._current)
        if self._kept is not None:
            flat = torch.cat([tensor.flatten() for tensor in self._current.values()])
            self._kept[self._class] = (
                (flat / (flat.norm() + torch.finfo(flat.dtype).tiny)).float().cpu().numpy()
            )
        for name, tensor in self._current.items():
            self._total[name] += tensor
            tensor.zero_()
        self._class = -1

    def _squares(self, sums: Mapping[str, Tensor]) -> Array:
        squares = np.zeros(self._layers)
        for name, tensor in sums.items():
            squares[self._layer_index[name]] += tensor.square().sum().item()
        return squares

    def total_squares(self) -> Array:
        """Return ‖Σ_i g_i^l‖², [layers]; closes the last class."""
        self._close()
        return self._squares(self._total)

    def gram(self, sketched: Callable[[], Array]) -> tuple[Array, float]:
        """Return the inner products of the classes' sums, and the standard error of a cosine among them.

        Args:
            sketched: Gives the sketches of the sums, [classes, columns]; asked only when the sums
                themselves were too large to keep. Their error is read off the squared norms, which are
                known exactly: a sketched cosine errs like a sketched squared norm, by a factor of √2 less.
        """
        self._close()
        norms = np.sqrt(self.class_squares.sum(1))
        if self._kept is not None:
            unit = self._kept.astype(np.float64)
            return unit @ unit.T * np.outer(norms, norms), 0.0
        sums = sketched()
        gram = sums @ sums.T
        live = norms > 0
        relative = np.diag(gram)[live] / norms[live] ** 2 - 1
        return gram, float(np.sqrt(np.mean(relative**2) / 2)) if live.any() else 0.0
