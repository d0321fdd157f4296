"""Exact gradient sums per class, with two gradients per parameter in memory: the class's and the total."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.passes.reading import Share
from cohaudit.gradients.passes.resume_protocol import Arrays, fill
from cohaudit.gradients.precision import TINY
from cohaudit.gradients.sketch import Projection, fold

Array = NDArray[np.float64]
GRAM_COLUMNS = 16384
"""Inner products are formed in float32 over so many columns, and those added in float64."""

SAFE = 1e-200, 1e200
"""Sums of squares in this range have lost nothing to under- or overflow."""


class ClassSums:
    """Sums of gradients over samples that arrive class by class, in float64.

    Args:
        parameters: Name → parameter.
        projections: Name → its sketch.
        layer_index: Name → position of its layer.
        classes: Number of classes.
        memory: Bytes that the directions of all classes' sums may take together. They give the cosines
            between the sums: exact ones if whole directions fit, else by sketches as long as fit.

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
        self._layer_index = layer_index
        self._layers = max(layer_index.values()) + 1
        self.class_squares = np.zeros((classes, self._layers))
        self.sketches = np.zeros((classes, sum(p.size for p in projections.values())))
        share = min(1.0, memory / (4 * classes * sum(parameter.numel() for parameter in parameters.values())))
        self.exact = share == 1
        column = 0
        self._sums: dict[str, _Running] = {}
        for name, parameter in parameters.items():
            columns = slice(column, column := column + projections[name].size)
            own = self.class_squares[:, layer_index[name]], self.sketches[:, columns]
            kept = max(1, int(share * parameter.numel()))
            self._sums[name] = _Running(parameter, projections[name], *own, kept)

    def add(self, name: str, share: Share, total: Tensor) -> None:
        """Add some samples of one class, for one parameter.

        Args:
            name: Of the parameter.
            share: The samples; their class is none below those added before.
            total: Their gradients' sum, over `share.peak`.
        """
        self._sums[name].add(share, total)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that was added up, between two batches; on a CPU it shares the sums' memory."""
        own = {"class_squares": self.class_squares, "class_sketches": self.sketches}
        for k, running in enumerate(self._sums.values()):
            own |= {f"{name}-{k}": array for name, array in running.state().items()}
        return own

    def restore(self, state: Arrays) -> None:
        """Go on from what `state` returned.

        Raises:
            KeyError: If something is missing.
            ValueError: If it is of other parameters.
        """
        fill(self.class_squares, state["class_squares"])
        fill(self.sketches, state["class_sketches"])
        for k, running in enumerate(self._sums.values()):
            running.restore({name: state[f"{name}-{k}"] for name in running.state()})

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

        Where sketches were kept, their error is read off the squared norms, which are known exactly: a
        sketched cosine errs like a sketched squared norm, by √2 less.
        """
        gram: Array = np.zeros((len(self.class_squares), len(self.class_squares)))
        for running in self._sums.values():
            gram += running.gram()
        if self.exact:
            return gram, 0.0
        exact = self.class_squares.sum(1)
        live = exact > 0
        relative = np.diag(gram)[live] / exact[live] - 1
        return gram, float(np.sqrt(np.mean(relative**2) / 2)) if live.any() else 0.0


class _Running:
    """The sums of one parameter. `squares` [classes] and `sketches` [classes, columns] are filled in."""

    def __init__(
        self, parameter: Tensor, projection: Projection, squares: Array, sketches: Array, kept: int
    ) -> None:
        # Apple's GPUs have no float64: there the sums live on the CPU
        self._device = torch.device("cpu") if parameter.device.type == "mps" else parameter.device
        self.total = torch.zeros_like(parameter, dtype=torch.float64, device=self._device)
        self._current = torch.zeros_like(self.total)
        self._parameter = parameter
        self._projection = projection
        self._squares = squares
        self._sketches = sketches
        self._norms = np.zeros(len(squares))
        columns = len(projection.column_signs)
        # else all rows whose entries collide would do so at the same column, where samples are alike
        while kept < parameter.numel() and gcd(kept, columns) > 1:
            kept -= 1
        exact = torch.promote_types(parameter.dtype, torch.float32)
        self._directions = torch.zeros(len(squares), kept, dtype=exact, device=self._device)
        self._class = -1

    def state(self) -> dict[str, NDArray[Any]]:
        tensors = {"total": self.total, "current": self._current, "directions": self._directions}
        own = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        return {**own, "norms": self._norms, "class": np.array(self._class)}

    def restore(self, state: Arrays) -> None:
        fill(self._norms, state["norms"])
        self._class = int(state["class"])
        for name, target in (
            ("total", self.total),
            ("current", self._current),
            ("directions", self._directions),
        ):
            whole = target.cpu()
            fill(whole.numpy(), state[name])
            target.copy_(whole)  # in its place: memory that lies elsewhere could be added up in another order

    def add(self, share: Share, total: Tensor) -> None:
        if share.label != self._class:
            self.close()
            self._class = share.label
        self._current.add_(total.to(self._device), alpha=share.peak)

    def close(self) -> None:
        """Finish the current class: its square, its sketch, its place in the total; then start from zero."""
        if self._class < 0:
            return
        direction, norm = _direction(self._current)
        direction = direction.to(self._directions.dtype)
        self._norms[self._class] = norm
        self._squares[self._class] += norm**2
        sketch = Dense(direction[None].to(self._parameter.device)).sketch(self._projection)[0]
        self._sketches[self._class] = norm * sketch.cpu().double().numpy()
        self._directions[self._class] = self._shortened(direction)
        self.total += self._current
        self._current.zero_()
        self._class = -1

    def _shortened(self, direction: Tensor) -> Tensor:
        """Return the numbers kept of a direction, [kept]: all, or each entry added, with a sign, to one."""
        kept = self._directions.shape[1]
        if kept == direction.numel():
            return direction.flatten()
        rows = direction.reshape(len(self._projection.row_signs), -1)
        signs = self._projection.row_signs[:, None] * self._projection.column_signs
        return fold((rows * signs.to(rows)).flatten(), kept)

    def gram(self) -> Array:
        """Return the inner products of the classes' sums, [classes, classes]."""
        cosines = torch.zeros(len(self._directions), len(self._directions), dtype=torch.float64)
        for block in self._directions.split(GRAM_COLUMNS, 1):
            cosines += (block @ block.mT).cpu()
        gram: Array = cosines.numpy() * np.outer(self._norms, self._norms)
        return gram


def _direction(total: Tensor) -> tuple[Tensor, float]:
    """Return a float64 tensor scaled to norm 1, and its norm."""
    flat = total.flatten()
    square = torch.dot(flat, flat).item()
    if not SAFE[0] < square < SAFE[1]:
        # by the largest entry first: the squares of a well fitted class's gradients are zero even in float64
        largest = flat.abs().max().item()
        scaled = total / largest if largest > TINY else torch.zeros_like(total)
        length = scaled.norm().item()
        return scaled / (length or 1.0), largest * length
    norm = square**0.5
    return total / norm, norm
