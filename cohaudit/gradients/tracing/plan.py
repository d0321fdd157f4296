"""How to measure a model: which calls of the forward pass use which parameters, and how each is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from torch import Tensor, nn

from cohaudit.gradients.forms.functions import ClosedForm
from cohaudit.results import Skipped

Path = Literal["closed form", "vmap", "loop"]
"""How a parameter is measured, fastest first."""

ROOT = "(model)"
"""Name of the layer that owns the parameters of the model itself."""

MAX_FEATURE_LAYERS = 6
"""Layers whose inputs are stored for every sample. More did not measure better, and each takes memory."""


@dataclass(frozen=True)
class Batch:
    """Where the samples stand in a tensor.

    Attributes:
        dim: Dimension of the samples.
        fold: Entries per sample in it: 1, or more if positions are folded into the batch.
        inner: Whether the samples vary fastest in a fold, rather than the positions of a sample.
    """

    dim: int
    fold: int
    inner: bool = False

    def split(self, tensor: Tensor, samples: int) -> Tensor:
        """Return the tensor as [samples, ...], each sample as in a batch of its own."""
        # -1 rather than `fold`: padded sequences have another length in another batch
        sizes = (-1, samples)
        place = self.dim + 1
        if not self.inner:
            sizes = (samples, -1)
            place = self.dim
        split: Tensor = tensor.unflatten(self.dim, sizes)
        return split.movedim(place, 0)

    def samples_first(self, tensor: Tensor, samples: int) -> Tensor:
        """Return the tensor as [samples, ...]; the positions of a fold stay where the batch was."""
        return self.split(tensor, samples) if self.fold > 1 else tensor.movedim(self.dim, 0)


@dataclass(frozen=True)
class Use:
    """How one call's weights get their per-sample gradients.

    Attributes:
        layer: Name of the layer that owns the first parameter of the call.
        form: The closed form; None for the vmap path and for recurrent layers.
        recurrent: Whether it is a recurrent layer that is unrolled.
        weights: Label → names of the parameters behind it.
        inputs: Where the samples stand in each leaf of the arguments, None if all samples share it.
        outputs: The same for the output.
        numbers: Positions of the integers among the arguments that follow the batch size.
    """

    layer: str
    form: ClosedForm | None
    recurrent: bool
    weights: Mapping[str, tuple[str, ...]]
    inputs: tuple[Batch | None, ...]
    outputs: tuple[Batch | None, ...]
    numbers: frozenset[int]

    def fits(self, leaves: Sequence[Any], samples: int) -> bool:
        """Return whether the arguments of another batch hold its samples where the plan expects them."""
        for leaf, batch in zip(leaves, self.inputs, strict=False):
            if batch is None:
                continue
            size = leaf.shape[batch.dim]
            # a fold of another length is fine: sequences may be padded differently
            if size % samples or (batch.fold == 1 and size != samples):
                return False
        return len(leaves) == len(self.inputs)


@dataclass(frozen=True)
class Plan:
    """Everything the engine needs to know about a model.

    Attributes:
        parameters: Name → parameter, for each measured parameter; layer by layer, input side first.
        layer_of: Parameter name → name of the layer that owns it.
        uses: Key of a call → how it is measured.
        derived: Keys of calls whose output is computed from parameters alone.
        behind: Label of a weight → names of the parameters that it is computed from.
        looped: Names of the parameters measured by a loop over samples.
        features: Keys of the uses whose inputs represent a sample, input side first, one per layer: at most
            `MAX_FEATURE_LAYERS`, evenly spaced, the first and the last included.
        skipped: Parameters that are not measured, and why.
        coverage: Share of the trainable parameters that are measured.
        left_out: Name → parameter, for each that could be measured and was not chosen. Their calls are
            watched, because what their inputs show of a sample does not depend on the choice.
    """

    parameters: Mapping[str, nn.Parameter]
    layer_of: Mapping[str, str]
    uses: Mapping[str, Use]
    derived: frozenset[str]
    behind: Mapping[str, tuple[str, ...]]
    looped: frozenset[str]
    features: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    coverage: float
    left_out: Mapping[str, nn.Parameter] = field(default_factory=dict)

    @cached_property
    def watched(self) -> Mapping[str, nn.Parameter]:
        """Name → parameter, for all whose calls are watched, measured or not."""
        return {**self.parameters, **self.left_out}

    @cached_property
    def unwatched_gradients(self) -> frozenset[str]:
        """Names of the parameters whose gradients are not taken from their calls: looped or left out."""
        return self.looped | self.left_out.keys()

    @cached_property
    def uses_of_parameters(self) -> Mapping[str, int]:
        """How many uses each parameter has; its gradients are complete when all have arrived."""
        return Counter(name for use in self.uses.values() for names in use.weights.values() for name in names)

    def with_loop(self, names: Iterable[str]) -> Plan:
        """Return the plan with these parameters measured by the loop."""
        return replace(self, looped=self.looped | frozenset(names))

    def with_inner(self, names: Iterable[str]) -> Plan:
        """Return the plan with the folds of these parameters' uses in the other order; see `Batch.inner`."""

        def reordered(batch: Batch | None) -> Batch | None:
            return batch if batch is None or batch.fold == 1 else replace(batch, inner=True)

        wanted = set(names)
        uses = dict(self.uses)
        for key, use in self.uses.items():
            if wanted & {name for behind in use.weights.values() for name in behind}:
                inputs = tuple(map(reordered, use.inputs))
                outputs = tuple(map(reordered, use.outputs))
                uses[key] = replace(use, inputs=inputs, outputs=outputs)
        return replace(self, uses=uses)

    def path(self, layer: str) -> Path:
        """Return the slowest path among a layer's parameters."""
        names = {name for name, owner in self.layer_of.items() if owner == layer}
        if names & self.looped:
            return "loop"
        for use in self.uses.values():
            generic = use.form is None and not use.recurrent
            for label, behind in use.weights.items():
                if names & set(behind) and (generic or label not in self.parameters):
                    return "vmap"
        return "closed form"

    @property
    def all_looped(self) -> bool:
        """Whether the loop measures everything."""
        return self.looped.issuperset(self.parameters)


def owner_name(parameter: str) -> str:
    """Return which layer owns a parameter; a parametrization belongs to the module that it serves."""
    module = parameter.rpartition(".")[0]
    head, separator, _ = f".{module}".partition(".parametrizations.")
    return (head[1:] if separator else module) or ROOT
