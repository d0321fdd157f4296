"""Where the numbers of a pass stand: the layers, and each parameter's columns in the sketches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from cohaudit.gradients.passes.measurement import MeasuredLayer
from cohaudit.gradients.sketch import Projection, make_projections
from cohaudit.gradients.tracing.plan import Plan


@dataclass(frozen=True)
class Layout:
    """Order of layers and columns; it does not change during a pass.

    Attributes:
        projections: Parameter → its random projection.
        columns: Parameter → its columns in the sketches.
        layers: Layer → its parameters; input side first.
        layer_index: Parameter → position of its layer.
    """

    projections: Mapping[str, Projection]
    columns: Mapping[str, slice]
    layers: Mapping[str, tuple[str, ...]]
    layer_index: Mapping[str, int]

    @property
    def width(self) -> int:
        """Columns of the sketches."""
        return sum(projection.size for projection in self.projections.values())

    @property
    def layer_columns(self) -> list[slice]:
        """Columns of each layer; its parameters stand side by side."""
        return [
            slice(self.columns[names[0]].start, self.columns[names[-1]].stop)
            for names in self.layers.values()
        ]

    def measured_layers(self, model: nn.Module, plan: Plan) -> tuple[MeasuredLayer, ...]:
        """Return the layers with the paths on which the plan measures them."""
        modules = dict(model.named_modules())
        return tuple(
            MeasuredLayer(
                name=layer,
                kind=type(modules.get(layer, model)).__name__,
                parameters=sum(plan.parameters[name].numel() for name in names),
                path=plan.path(layer),
                columns=columns,
            )
            for (layer, names), columns in zip(self.layers.items(), self.layer_columns, strict=True)
        )


def make_layout(plan: Plan, sketch_size: int, seed: int) -> Layout:
    """Return the layout of a plan's parameters.

    Args:
        plan: How to measure the model.
        sketch_size: Numbers per sample in a sketch, over all parameters.
        seed: Seed of the projections.
    """
    projections = make_projections(plan.parameters, sketch_size, seed)
    columns = {}
    start = 0
    for name, projection in projections.items():
        columns[name] = slice(start, start + projection.size)
        start += projection.size
    layers: dict[str, tuple[str, ...]] = {}
    for name, owner in plan.layer_of.items():
        layers[owner] = (*layers.get(owner, ()), name)
    positions = {layer: k for k, layer in enumerate(layers)}
    return Layout(
        projections=projections,
        columns=columns,
        layers=layers,
        layer_index={name: positions[owner] for name, owner in plan.layer_of.items()},
    )
