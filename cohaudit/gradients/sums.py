"""Exact gradient sums per class, with two gradients per parameter in memory: the class's and the total."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.gradients.dense import Dense
from cohaudit.gradients.per_sample import PerSample
from cohaudit.gradients.sketch import Projection

Array = NDArray[np.float64]
GRAM_COLUMNS = 16384
"""Inner products are formed in float32 over so many columns, and those added in float64."""

TINY = float(np.finfo(float).tiny)


class ClassSums:
    """Sums of gradients over samples that arrive class by class, in float64.

    Args:
        parameters: Name → parameter.
        projections: Name → its sketch.
        layer_index: Name → position of its layer.
        classes: Number of classes.
        memory: Bytes that unit vectors along all classes' sums may take together. They give exact inner
            products of the sums; beyond it, sketches do.

    Attributes:
        class_squares: ‖Σ_{i in c} g_i^l‖², [classes, layers]; complete after `finish`.
        sketches: Sketch of each class's sum, [classes, columns]; likewise.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        projections: Mapping[str, Projection],
        layer_index: Mapping[str, int],
        classes: int,
        memory: int,
    ) -> None:
        self._layer_index, self._layers = layer_index, max(layer_index.values()) + 1
        self.class_squares = np.zeros((classes, self._layers))
        self.sketches = np.zeros((classes, sum(p.size for p in projections.values())))
        size = sum(parameter.numel() for parameter in parameters.values())
        keep, column = size * classes * 4 <= memory, 0
        self._sums: dict[str, _Running] = {}
        for name, parameter in parameters.items():
            columns = slice(column, column := column + projections[name].size)
            own = self.class_squares[:, layer_index[name]], self.sketches[:, columns]
            self._sums[name] = _Running(parameter, projections[name], *own, keep)

    def add(self, name: str, form: PerSample, labels: Tensor, scale: Tensor) -> None:
        """Add some samples' gradients of one parameter.

        Args:
            name: Of the parameter.
            form: Per-sample gradients.
            labels: int64 [samples], sorted, none below those added before for this parameter.
            scale: float64 [samples], what each sample's gradient is multiplied by.
        """
        values, counts = torch.unique_consecutive(labels, return_counts=True)
        stop = 0
        for label, count in zip(values.tolist(), counts.tolist(), strict=True):
            start, stop = stop, stop + count
            part = form if count == len(labels) else form.rows(start, stop)
            self._sums[name].add(label, part, scale[start:stop])

    def finish(self) -> None:
        """Close the last class of each parameter."""
        for running in self._sums.values():
            running.close()

    def total_squares(self) -> Array:
        """Return ‖Σ_i g_i^l‖², [layers]."""
        squares = np.zeros(self._layers)
        for name, running in self._sums.items():
            squares[self._layer_index[name]] += running.total.square().sum().item()
        return squares

    def gram(self) -> tuple[Array, float]:
        """Return the inner products of the classes' sums, and the standard error of a cosine among them.

        Where the sums were too large to keep, their sketches are used. Their error is read off the squared
        norms, which are known exactly: a sketched cosine errs like a sketched squared norm, by √2 less.
        """
        if all(running.units is not None for running in self._sums.values()):
            return np.sum([running.gram() for running in self._sums.values()], axis=0), 0.0
        gram, exact = self.sketches @ self.sketches.T, self.class_squares.sum(1)
        live = exact > 0
        relative = np.diag(gram)[live] / exact[live] - 1
        return gram, float(np.sqrt(np.mean(relative**2) / 2)) if live.any() else 0.0


class _Running:
    """The sums of one parameter. `squares` [classes] and `sketches` [classes, columns] are filled in."""

    def __init__(
        self, parameter: Tensor, projection: Projection, squares: Array, sketches: Array, keep: bool
    ) -> None:
        # Apple's GPUs have no float64: there the sums live on the CPU
        device = torch.device("cpu") if parameter.device.type == "mps" else parameter.device
        self.total = torch.zeros_like(parameter, dtype=torch.float64, device=device)
        self._current = torch.zeros_like(self.total)
        self._parameter, self._projection, self._squares, self._sketches = (
            parameter,
            projection,
            squares,
            sketches,
        )
        self._norms = np.zeros(len(squares))
        exact = torch.promote_types(parameter.dtype, torch.float32)
        size, rows = parameter.numel(), len(squares)
        self._unit = torch.zeros(size, dtype=exact, device=device) if not keep else None
        self.units = torch.zeros(rows, size, dtype=exact, device=device) if keep else None
        self._class = -1

    def add(self, label: int, form: PerSample, scale: Tensor) -> None:
        if label != self._class:
            self.close()
            self._class = label
        # fitted samples have tiny gradients: float32 holds them relative to the largest
        peak = max(scale.max().item(), TINY)
        part = form.weighted_sum((scale / peak).to(self._parameter))
        self._current.add_(part.to(self._current.device), alpha=peak)

    def close(self) -> None:
        """Finish the current class: its square, its sketch, its place in the total; then start from zero."""
        if self._class < 0:
            return
        # by the largest entry first: the squares of a well fitted class's gradients are zero even in float64
        largest = torch.linalg.vector_norm(self._current, torch.inf).item()
        unit = self._unit if self.units is None else self.units[self._class]
        assert unit is not None
        torch.mul(self._current.flatten(), 1 / largest if largest > TINY else 0.0, out=unit)
        length = unit.norm(dtype=torch.float64).item()
        unit.div_(length or 1.0)
        norm = largest * length
        self._norms[self._class] = norm
        self._squares[self._class] += norm**2
        shaped = unit.view(1, *self._current.shape).to(self._parameter)
        sketch = Dense(shaped).sketch(self._projection)[0]
        self._sketches[self._class] = norm * sketch.cpu().double().numpy()
        self.total += self._current
        self._current.zero_()
        self._class = -1

    def gram(self) -> Array:
        """Return the inner products of the classes' sums, [classes, classes]."""
        assert self.units is not None
        cosines = torch.zeros(len(self.units), len(self.units), dtype=torch.float64)
        for block in self.units.split(GRAM_COLUMNS, 1):
            cosines += (block @ block.mT).cpu()
        gram: Array = cosines.numpy() * np.outer(self._norms, self._norms)
        return gram
