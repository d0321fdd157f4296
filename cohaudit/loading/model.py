"""Factory + tensors → a model in eval mode, and the device to run it on."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cohaudit.errors import ConfigError, ModelError, describe_error
from cohaudit.loading.checkpoint import Checkpoint, check_finite
from cohaudit.loading.factories import call_factory, load_object
from cohaudit.loading.state_dict_mismatch import Mismatch, describe

_log = logging.getLogger(__name__)

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every name."""

_UPDATES = "n_averaged"
"""Key under which torch.optim.swa_utils.AveragedModel counts its updates; no weight."""


def build_model(spec: str, args: Mapping[str, Any], base: Path) -> nn.Module:
    """Build the model with the user's factory, before any weights are loaded.

    The factory runs with torch's seed at 0 and leaves the generator as it was, so that a part of
    the model that is random and not in the checkpoint is the same in every audit.

    Args:
        spec: `file.py:factory` or `package.module:factory`; a class of model is a factory too.
        args: Keyword arguments for the factory.
        base: Folder that relative paths are resolved against.

    Returns:
        The model, as the factory made it.

    Raises:
        ModelError: If the factory fails, or returns no usable model.
    """
    factory = load_object(spec, base, "model")
    where = f"model {spec}"
    if isinstance(factory, nn.Module):
        raise ModelError(where, "a model, not a function that makes one", "name a function that returns it")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = call_factory(factory, args, base, where=where, failure=ModelError)
    if inspect.isclass(model) and issubclass(model, nn.Module):
        raise ModelError(
            where, f"returns the class {model.__name__}, not a model", f"return {model.__name__}(…)"
        )
    if not isinstance(model, nn.Module):
        raise ModelError(where, f"returns {type(model).__name__}, not a torch.nn.Module", "return the model")
    check_ready(model, where)
    return model


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> str:
    """Load a checkpoint into a model, name by name and whole, and put it in eval mode.

    Prefixes that wrappers add are taken off where that makes names match. Everything else is up to torch's
    own load_state_dict, hooks and all; but names that are tied in the model need to be there only once.
    When anything is missing, left over or of another shape, the model keeps the weights that it had.

    Args:
        model: The model; its weights are replaced, in its own dtypes and on its own device.
        checkpoint: Where they come from.

    Returns:
        The prefix taken off, such as 'module.'; empty when there was none.

    Raises:
        ModelError: If names or shapes do not fit.
        CheckpointError: If weights are NaN or infinite.
    """
    check_ready(model, type(model).__name__)
    with _kept_on_error(_tensors_of(model)):
        prefix = fill_weights(model, checkpoint)
    model.eval()
    if checkpoint.name or prefix:
        _log.info("Weights: %s%s", checkpoint.origin, f"; prefix {prefix} taken off" if prefix else "")
    return prefix


def fill_weights(model: nn.Module, checkpoint: Checkpoint) -> str:
    """Do what `load_weights` does, for a caller who has a copy of the weights that the model had.

    Args:
        model: The model; when this fails, some of its weights may be replaced and others not.
        checkpoint: Where they come from.

    Returns:
        The prefix taken off, such as 'module.'; empty when there was none.

    Raises:
        ModelError: If names or shapes do not fit.
        CheckpointError: If weights are NaN or infinite.
    """
    own = _tensors_of(model)
    prefix, tensors = strip_prefixes(checkpoint.tensors, own)
    tensors = _tied_in_file(checkpoint, own) | tensors
    wrong = {n: (tensors[n], own[n]) for n in own if n in tensors and not _fits(tensors[n], own[n])}
    fitting = {name: value for name, value in tensors.items() if name not in wrong}
    if not wrong:
        check_finite({name: value for name, value in fitting.items() if name in own}, checkpoint.path)
        _check_ties(own, fitting, checkpoint.path)
    missing, unexpected = _copy(model, fitting, checkpoint.path)
    present = {_memory(own[name]) for name in fitting if name in own}
    missing = [n for n in missing if n not in wrong and not (n in own and _memory(own[n]) in present)]
    if missing or unexpected or wrong:
        mismatch = Mismatch(missing, unexpected, wrong, tuple(own), tuple(tensors))
        raise ModelError(checkpoint.path, *describe(mismatch, type(model).__name__))
    return prefix


def strip_prefixes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Take wrappers' prefixes off the names, in the combination that matches most names of the model.

    Args:
        tensors: Name → weights, as in the file.
        own: Name → weights of the model.

    Returns:
        The prefix, empty when the names match best as they are; and the tensors under the new names.
    """
    best = ""
    best_names = {name: name for name in tensors}
    for prefix, names in _strippings("", best_names):
        if sum(name in own for name in names) > sum(name in own for name in best_names):
            best = prefix
            best_names = names
    if "module." in best and _UPDATES not in own:
        best_names.pop(_UPDATES, None)
    return best, {name: tensors[original] for name, original in best_names.items()}


def check_ready(model: nn.Module, where: str) -> None:
    """Stop when a model has no parameters, or some that have no values yet.

    Args:
        model: The model.
        where: Its factory or class, for messages.

    Raises:
        ModelError: If it has none, or some are lazy or on the meta device.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    if not any(True for _ in model.parameters()):
        raise ModelError(where, "its model has no parameters", "return the model that was trained")
    for name, value in named:
        if is_lazy(value):
            raise ModelError(
                where,
                f"{name} has no shape yet: a lazy layer",
                "run one batch through the model in the factory, or give the layer its sizes",
            )
        if value.is_meta:
            raise ModelError(
                where,
                f"{name} is on the meta device",
                "build the model on the CPU: without torch.device('meta')",
            )


def resolve_device(name: str) -> torch.device:
    """Return the device to run on.

    Args:
        name: cpu, cuda, cuda:N or mps; auto is the first of cuda, mps, cpu that is there.

    Returns:
        The device, known to be available.

    Raises:
        ConfigError: If there is no such device, in torch or on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    here = [kind for kind, there in available.items() if there]
    if name == "auto":
        return torch.device(here[0])
    kind, _, index = name.partition(":")
    if kind not in available or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(f"--device {name}", "no such device", "use auto, cpu, cuda, cuda:N or mps")
    if kind not in here:
        raise ConfigError(
            f"--device {name}", f"torch finds no {kind} on this machine", f"use {' or '.join(here)}, or auto"
        )
    if index and int(index) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}",
            f"this machine has {torch.cuda.device_count()} cuda devices, numbered from 0",
            "use cuda:0",
        )
    return torch.device(name)


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return what a checkpoint must hold; a layer's extra state can be anything and is left to the layer."""
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _strippings(prefix: str, names: dict[str, str], depth: int = 4) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every way to take prefixes off: the prefix in all, new name → name in the file."""
    for part in _PREFIXES if depth else ():
        shorter = {_without(part, name): original for name, original in names.items()}
        if len(shorter) == len(names) and shorter.keys() != names.keys():
            yield prefix + part, shorter
            yield from _strippings(prefix + part, shorter, depth - 1)


def _without(part: str, name: str) -> str:
    # torch.compile can wrap a part of a model too, so its name stands anywhere
    return name.replace(part, "") if part == "_orig_mod." else name.removeprefix(part)


def _tied_in_file(checkpoint: Checkpoint, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that the file holds under another name only, if the model has use for them."""
    tied = {name: checkpoint.tensors[kept] for name, kept in checkpoint.tied.items()}
    return {name: value for name, value in strip_prefixes(tied, own)[1].items() if name in own}


def _fits(value: Tensor, target: Tensor) -> bool:
    """Whether a tensor of the checkpoint can go where its name says, with nothing but rounding."""
    kinds = [(t.is_floating_point(), t.is_complex()) for t in (value, target)]
    is_old_scalar = value.shape == (1,) and target.shape == ()  # torch < 0.4 had no scalars
    return kinds[0] == kinds[1] and (value.shape == target.shape or is_old_scalar)


def _copy(model: nn.Module, tensors: dict[str, Tensor], where: str) -> tuple[list[str], list[str]]:
    """Load what fits; return which names were missing and which unexpected."""
    try:
        result = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ModelError(
            where,
            f"{type(model).__name__} refuses it: {describe_error(error)}",
            "use the code that the model was trained with",
        ) from error
    return list(result.missing_keys), list(result.unexpected_keys)


def _memory(value: Tensor) -> tuple[object, ...]:
    return value.untyped_storage().data_ptr(), value.storage_offset(), value.numel()


def _check_ties(own: dict[str, Tensor], loaded: dict[str, Tensor], where: str) -> None:
    """Stop when one memory would be given two contents: the trained model was not tied like this one."""
    first: dict[tuple[object, ...], str] = {}
    for name in (name for name in loaded if name in own):
        view = (*_memory(own[name]), own[name].shape, own[name].stride())
        other = first.setdefault(view, name)
        if other != name and not torch.equal(
            loaded[name].to(own[name].dtype), loaded[other].to(own[name].dtype)
        ):
            raise ModelError(
                where,
                f"{other} and {name} are one weight in the model, but two different ones in the checkpoint",
                "build the model without tying the two",
            )


@contextmanager
def _kept_on_error(own: dict[str, Tensor]) -> Iterator[None]:
    """Put the model's weights back when the block fails."""
    backup = {name: value.clone() for name, value in own.items()}
    try:
        yield
    except BaseException:
        for name, value in own.items():
            value.copy_(backup[name])
        raise


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode, and every module back into its own mode in the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
