"""What earlier checkpoints of the same training answer.

Before a network memorizes a wrong label, it often answers with the right one. Each earlier checkpoint is
loaded into the model that is audited, one after the other, and asked by forward passes alone; the model has
its own weights again in the end.
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
"""Opens an earlier checkpoint when its turn comes, so that no two are in memory."""


@dataclass(frozen=True)
class EarlierPredictions:
    """What the earlier checkpoints answered.

    Attributes:
        answers: Probability of each class, in the order of the training, float32 [N, C] each.
        files: Path of each, as given → SHA-256 of its content; empty in memory.
        skipped: Those that had nothing new to say.
    """

    answers: tuple[NDArray[np.float32], ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()


def checkpoint_openers(model: nn.Module, earlier: Any) -> list[CheckpointOpener]:
    """Return what opens the earlier checkpoints that a caller from Python names.

    Args:
        model: The model that is audited.
        earlier: Paths and state dicts, in the order of the training.

    Raises:
        ConfigError: If one is neither, or it is not a list of them.
        CheckpointError: If a state dict has no tensors, or its tensors are the model's own.
    """
    remedy = "give a list of paths and state dicts, in the order of the training: earlier=[…]"
    if isinstance(earlier, str | Path | Mapping | nn.Module) or not isinstance(earlier, Iterable):
        raise ConfigError("earlier", f"found a single {type(earlier).__name__}", remedy)
    found: list[CheckpointOpener] = []
    for i, one in enumerate(earlier):
        if isinstance(one, str | Path):
            found.append(partial(load_checkpoint, Path(one)))
        elif isinstance(one, Mapping):
            found.append(_opens(_of_state_dict(model, f"earlier[{i}]", one)))
        else:
            what = f"a {type(one).__name__}, neither a path nor a state dict"
            raise ConfigError(f"earlier[{i}]", what, remedy)
    return found


def _opens(checkpoint: Checkpoint) -> CheckpointOpener:
    return lambda: checkpoint


def _of_state_dict(model: nn.Module, where: str, state: Mapping[Any, Any]) -> Checkpoint:
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    if not tensors:
        raise CheckpointError(where, "a dictionary without tensors", "give what model.state_dict() returned")
    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    if any(tensor.numel() and _storage(tensor) in own for tensor in tensors):
        raise CheckpointError(
            where,
            "its tensors are the model's own, which changed as the training went on",
            "keep copies: {name: value.clone() for name, value in model.state_dict().items()}",
        )
    # what is no tensor is a layer's extra state, or else unexpected
    return Checkpoint(where, "state dict in memory", "", {str(name): value for name, value in state.items()})


def _storage(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()


def predict_with(
    model: nn.Module,
    earlier: Sequence[CheckpointOpener],
    source: Source,
    batch_size: int,
    device: torch.device,
    advance: Callable[[int], None],
) -> EarlierPredictions:
    """Ask earlier checkpoints for their answers.

    One with the weights of the audited model, or the answers of one before it, would be heard twice: a
    training often leaves its last checkpoint under two names. It is skipped.

    Args:
        model: The audited one, on `device`, in eval mode; has the same weights afterwards, come what may.
        earlier: What opens them, in the order of the training.
        source: The samples.
        batch_size: Samples per forward pass.
        device: Where.
        advance: Called with the number of samples done.

    Raises:
        CheckpointError: If one cannot be read, or has weights that are not finite.
        ModelError: If one is of another model; or if the audited model and the data do not fit.
        EngineError: If the answers of one are not finite, or memory does not suffice.
    """
    check_model(model, source, device)  # what fails here is not for an earlier checkpoint to answer for
    answer = partial(answers, model, source, batch_size, device, advance)
    with restore_weights(model) as unchanged:
        found = [_ask_one(model, open_checkpoint, answer, unchanged) for open_checkpoint in earlier]
    return drop_repeated(found)


@dataclass(frozen=True)
class CheckpointPrediction:
    """What one checkpoint answers: probabilities, [N, C]; and whether its weights are the audited ones."""

    path: str
    sha256: str
    probability: NDArray[np.float32]
    audited: bool


def _ask_one(
    model: nn.Module,
    open_checkpoint: CheckpointOpener,
    answer: Callable[[], NDArray[np.float32]],
    unchanged: Callable[[], bool],
) -> CheckpointPrediction:
    checkpoint = open_checkpoint()
    with attribute_errors_to(checkpoint.path):
        fill_weights(model, checkpoint)
        return CheckpointPrediction(checkpoint.path, checkpoint.sha256, answer(), unchanged())


def drop_repeated(found: Sequence[CheckpointPrediction]) -> EarlierPredictions:
    """Leave out what would be heard twice; see `predict_with`."""
    heard: list[CheckpointPrediction] = []
    skipped = []
    for one in found:
        same = (o.path for o in heard if np.array_equal(o.probability, one.probability))
        twin = "the audited one" if one.audited else next(same, "")
        if twin:
            reason = f"it answers as {twin} does, and nothing is heard twice"
            skipped.append(Skipped(f"earlier checkpoint {one.path}", reason))
        else:
            heard.append(one)
    files = {one.path: one.sha256 for one in heard}
    return EarlierPredictions(tuple(one.probability for one in heard), files, tuple(skipped))


@contextmanager
def attribute_errors_to(name: str) -> Iterator[None]:
    """Say of what goes wrong with an earlier checkpoint which one it is."""
    try:
        yield
    except (CheckpointError, EngineError, ModelError) as error:
        found = error.found if error.where == name else f"{error.where}: {error.found}"
        raise type(error)(
            f"{name}, an earlier checkpoint", found, f"{error.remedy}; or leave this checkpoint out"
        ) from error


@contextmanager
def restore_weights(model: nn.Module) -> Iterator[Callable[[], bool]]:
    """Give the model its weights back in the end; what is yielded tells whether it has them now.

    Tensors are filled again, not replaced: what shares memory goes on sharing it. A layer's extra state is
    anything that the layer makes of it, and goes by way of `load_state_dict`.
    """
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
                if not torch.equal(tensor, value):  # what no checkpoint fills may not even be writable
                    tensor.copy_(value)
        if extra:
            model.load_state_dict(extra, strict=False)
