"""What earlier checkpoints of the same training run predict.

Before a network memorizes a wrong label, it often predicts the correct one. Each earlier checkpoint is loaded
into the audited model, one after the other, and predicts by forward passes alone. The model has its own
weights again afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit.errors import CheckpointError, ConfigError, EngineError, ModelError
from cohaudit.gradients import Source, answers, check_model
from cohaudit.loading.checkpoint import Checkpoint, load_checkpoint
from cohaudit.loading.model import fill_weights
from cohaudit.results import Skipped

CheckpointOpener = Callable[[], Checkpoint]
"""Opens an earlier checkpoint when it is needed, so that only one is in memory at a time."""


@dataclass(frozen=True)
class EarlierPredictions:
    """What the earlier checkpoints predict.

    Attributes:
        probabilities: Probability of each class, oldest checkpoint first, float32 [N, C] each.
        files: Path of each checkpoint, as given → SHA-256 of its content; empty for one in memory.
        skipped: Checkpoints that repeat another one's predictions.
    """

    probabilities: tuple[NDArray[np.float32], ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()


def checkpoint_openers(model: nn.Module, earlier: Any) -> list[CheckpointOpener]:
    """Return what opens the earlier checkpoints that are given in Python.

    Args:
        model: The audited model.
        earlier: Paths and state dicts, oldest first.

    Raises:
        ConfigError: If `earlier` is not a list, or an item is neither a path nor a state dict.
        CheckpointError: If a state dict has no tensors, or its tensors are the model's own.
    """
    remedy = "give a list of paths and state dicts, oldest first: earlier=[…]"
    if isinstance(earlier, str | Path | Mapping | nn.Module) or not isinstance(earlier, Iterable):
        raise ConfigError("earlier", f"found a single {type(earlier).__name__}", remedy)
    openers: list[CheckpointOpener] = []
    for i, item in enumerate(earlier):
        if isinstance(item, str | Path):
            openers.append(partial(load_checkpoint, Path(item)))
        elif isinstance(item, Mapping):
            openers.append(_opens(_of_state_dict(model, f"earlier[{i}]", item)))
        else:
            found = f"a {type(item).__name__}, neither a path nor a state dict"
            raise ConfigError(f"earlier[{i}]", found, remedy)
    return openers


def _opens(checkpoint: Checkpoint) -> CheckpointOpener:
    """Return what opens a checkpoint that is in memory."""
    # a function of its own: a lambda in the loop would open the last checkpoint for every item
    return lambda: checkpoint


def _of_state_dict(model: nn.Module, where: str, state: Mapping[Any, Any]) -> Checkpoint:
    """Return a state dict as a checkpoint, whose name is `where`."""
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    if not tensors:
        raise CheckpointError(where, "a dictionary without tensors", "give what model.state_dict() returned")
    # model.state_dict() shares memory with the model: all "checkpoints" would be its last state
    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    if any(tensor.numel() and _storage(tensor) in own for tensor in tensors):
        raise CheckpointError(
            where,
            "its tensors are the model's own, which changed during training",
            "keep copies: {name: value.clone() for name, value in model.state_dict().items()}",
        )
    # values that are not tensors are a layer's extra state; anything else is reported as unexpected later
    return Checkpoint(where, "state dict in memory", "", {str(name): value for name, value in state.items()})


def _storage(tensor: Tensor) -> tuple[torch.device, int]:
    """Return what two tensors have in common if they share memory."""
    return tensor.device, tensor.untyped_storage().data_ptr()


def predict_with(
    model: nn.Module,
    earlier: Sequence[CheckpointOpener],
    source: Source,
    *,
    batch_size: int,
    device: torch.device,
    advance: Callable[[int], None],
) -> EarlierPredictions:
    """Let earlier checkpoints predict the samples.

    A checkpoint with the weights of the audited model, or with the predictions of an earlier one, would count
    twice: a training run often saves its last checkpoint under two names. It is skipped.

    Args:
        model: The audited model, on `device`, in eval mode; its weights are restored in any case.
        earlier: What opens the checkpoints, oldest first.
        source: The samples.
        batch_size: Samples per forward pass.
        device: Device to run on.
        advance: Called with the number of samples done.

    Raises:
        CheckpointError: If a checkpoint cannot be read, or has weights that are not finite.
        ModelError: If a checkpoint is of another model, or the audited model and the data do not fit.
        EngineError: If the outputs of a checkpoint are not finite, or memory does not suffice.
    """
    check_model(model, source, device)  # first, so that its errors are not attributed to a checkpoint
    predict = partial(answers, model, source, batch_size, device, advance)
    with restore_weights(model) as unchanged:
        predictions = [_predict_one(model, opener, predict, unchanged) for opener in earlier]
    return drop_repeated(predictions)


@dataclass(frozen=True)
class CheckpointPrediction:
    """What one checkpoint predicts.

    Attributes:
        path: Path of the checkpoint, as given.
        sha256: SHA-256 of its content; empty for one in memory.
        probability: Probability of each class, [N, C].
        audited: Whether its weights are those of the audited model.
    """

    path: str
    sha256: str
    probability: NDArray[np.float32]
    audited: bool


def _predict_one(
    model: nn.Module,
    open_checkpoint: CheckpointOpener,
    predict: Callable[[], NDArray[np.float32]],
    unchanged: Callable[[], bool],
) -> CheckpointPrediction:
    """Load a checkpoint into the model and return what it predicts."""
    checkpoint = open_checkpoint()
    with attribute_errors_to(checkpoint.path):
        fill_weights(model, checkpoint)
        return CheckpointPrediction(checkpoint.path, checkpoint.sha256, predict(), unchanged())


def drop_repeated(predictions: Sequence[CheckpointPrediction]) -> EarlierPredictions:
    """Leave out checkpoints that would count twice; see `predict_with`."""
    distinct: list[CheckpointPrediction] = []
    skipped = []
    for one in predictions:
        # exactly equal: two different checkpoints of a run differ in some digit
        same = (o.path for o in distinct if np.array_equal(o.probability, one.probability))
        twin = "the audited one" if one.audited else next(same, "")
        if twin:
            reason = f"it makes the same predictions as {twin}, and would count twice"
            skipped.append(Skipped(f"earlier checkpoint {one.path}", reason))
        else:
            distinct.append(one)
    files = {one.path: one.sha256 for one in distinct}
    return EarlierPredictions(tuple(one.probability for one in distinct), files, tuple(skipped))


@contextmanager
def attribute_errors_to(name: str) -> Iterator[None]:
    """Add to errors which earlier checkpoint they come from."""
    try:
        yield
    except (CheckpointError, EngineError, ModelError) as error:
        found = error.found if error.where == name else f"{error.where}: {error.found}"
        raise type(error)(
            f"{name}, an earlier checkpoint", found, f"{error.remedy}; or leave this checkpoint out"
        ) from error


@contextmanager
def restore_weights(model: nn.Module) -> Iterator[Callable[[], bool]]:
    """Restore the model's weights at the end; yields a function that returns whether it has them now.

    Tensors are filled, not replaced, so that shared memory stays shared. A layer's extra state can be any
    object, and is restored by `load_state_dict`.
    """
    # not the state dict: buffers that it leaves out can change too
    tensors = [*model.parameters(), *model.buffers()]
    before = [tensor.detach().clone() for tensor in tensors]
    extra = {
        name: copy.deepcopy(value)
        for name, value in model.state_dict().items()
        if name.rpartition(".")[2] == "_extra_state"
    }
    try:
        yield lambda: all(map(torch.equal, tensors, before))
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                # an expanded buffer that no checkpoint fills cannot even be written
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
        if extra:
            model.load_state_dict(extra, strict=False)
