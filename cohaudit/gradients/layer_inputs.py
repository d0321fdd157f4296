"""What layers see of a batch, stored on its way through the model."""

from __future__ import annotations

from torch import Tensor

from cohaudit.gradients.features import FeatureHasher, averaged
from cohaudit.gradients.tracing.intercept import Call
from cohaudit.gradients.tracing.plan import Plan, Use
from cohaudit.gradients.vmap import is_float


class LayerInputs:
    """Stores the inputs of layers during one forward pass.

    Args:
        plan: Names the layers whose inputs represent the samples, in `features`.
        samples: Samples in the batch.
        keep_all: Whether to store the input of every layer, averaged over positions.
        hasher: Shortens the inputs of the plan's `features`; None stores none.

    Attributes:
        features: Layer of the plan's `features` → its hashed input, [batch, any]: whole, and, where it has
            positions and several channels, averaged over positions. Empty without a hasher.
        activations: Layer → its input, averaged over positions, [batch, any]; empty unless all are kept.
    """

    def __init__(self, plan: Plan, samples: int, *, keep_all: bool, hasher: FeatureHasher | None) -> None:
        self._plan = plan
        self._samples = samples
        self._keep_all = keep_all
        self._hasher = hasher
        self.features: dict[str, tuple[Tensor, ...]] = {}
        self.activations: dict[str, Tensor] = {}

    def store(self, made: Call, use: Use) -> None:
        """Store the first input of a call, if it represents the samples or all inputs are wanted.

        Args:
            made: The call.
            use: How the plan measures it.
        """
        hasher = self._hasher if made.key in self._plan.features else None
        wanted = self._keep_all and use.layer not in self.activations
        batch = use.inputs[0] if use.inputs else None
        if batch is None or not (hasher or wanted) or not is_float(made.leaves[0]):
            return
        x = batch.samples_first(made.leaves[0].detach(), self._samples)
        average = averaged(x, made)
        if hasher:  # now rather than after the pass: the model may change its tensors in place
            whole = x.flatten(1) if x.ndim > 1 else x[:, None]
            views = (whole, average) if 1 < average.shape[1] < whole.shape[1] else (whole,)
            self.features[use.layer] = tuple(map(hasher, views))
        if wanted:
            # a clone, because the average may be a view of x, which the model may change in place
            self.activations[use.layer] = average.clone()
