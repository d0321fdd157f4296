"""Builds the model, fills in the weights of a checkpoint, and chooses the device to run on."""

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

from cohaudit.errors import ConfigError, ModelError, describe_error, printable
from cohaudit.loading.checkpoint import Checkpoint, check_finite
from cohaudit.loading.extra_tensors import belongs_to_training, choose_prefix_advice, whole_prefixes
from cohaudit.loading.factories import call_factory, load_object
from cohaudit.loading.state_dict_mismatch import Mismatch, describe
from cohaudit.loading.wrapper_prefixes import strip_prefixes

_MAX_LEFT_OUT_SHOWN = 5
"""Names of left out tensors to list."""

_log = logging.getLogger(__name__)


def build_model(spec: str, args: Mapping[str, Any], base: Path, seed: int = 0) -> nn.Module:
    """Build the model with the user's factory, without loading weights.

    The factory runs with torch's seed set, and the generator is restored afterwards. Random values that are
    not in the checkpoint are therefore the same in every audit.

    Args:
        spec: `file.py:factory` or `package.module:factory`; the factory may be the class of the model.
        args: Keyword arguments for the factory.
        base: Folder that relative paths start from.
        seed: Seed of torch while the factory runs.

    Returns:
        The model, as the factory returned it.

    Raises:
        ConfigError: If the factory cannot be imported, or the arguments do not fit it.
        ModelError: If the factory fails, or does not return a usable model.
    """
    factory = load_object(spec, base, "model")
    where = f"model {spec}"
    if isinstance(factory, nn.Module):
        raise ModelError(
            where, "is a model, not a function that returns one", "name a function that returns the model"
        )
    # devices=[]: without it, torch would save the state of every GPU, and start CUDA for that
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = call_factory(factory, args, base, where=where, failure=ModelError)
    return checked_model(model, where)


def checked_model(model: Any, where: str) -> nn.Module:
    """Return what a factory returned, if it is a usable model; of a compiled model, the one that it wraps.

    Args:
        model: The factory's return value.
        where: The factory, for messages.

    Raises:
        ModelError: If it is not a model, or `check_ready` refuses it.
    """
    if inspect.isclass(model) and issubclass(model, nn.Module):
        raise ModelError(
            where,
            f"returns the class {model.__name__}, not a model",
            f"return an instance: {model.__name__}(…)",
        )
    if not isinstance(model, nn.Module):
        raise ModelError(where, f"returns {type(model).__name__}, not a torch.nn.Module", "return the model")
    # torch.compile wraps a model: the one inside has its weights and the names of its layers
    inner = model._modules.get("_orig_mod") if type(model).__name__ == "OptimizedModule" else None
    built = model if inner is None else inner
    check_ready(built, where)
    return built


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> str:
    """Load a checkpoint into a model and put the model in eval mode.

    Every tensor must match by name and shape. Prefixes that wrappers add are removed if that makes names
    match, and weights that are tied in the model may be stored under only one of their names. The rest is
    left to torch's own load_state_dict with its hooks. On any error the model keeps the weights that it had.

    Args:
        model: The model; its weights are replaced, in its own dtypes and on its own device.
        checkpoint: Checkpoint to load.

    Returns:
        The prefix removed from the names, such as 'module.'; empty if none.

    Raises:
        ModelError: If names or shapes do not fit.
        CheckpointError: If weights are NaN or infinite.
    """
    check_ready(model, type(model).__name__)
    with _restored_on_error(_tensors_of(model)):
        prefix = fill_weights(model, checkpoint)
    model.eval()
    left = left_out(model, checkpoint)
    if checkpoint.name or prefix or left:
        about = f"; prefix {prefix} removed" if prefix else ""
        _log.info("Weights: %s%s%s", checkpoint.origin, about, f"; {left}" if left else "")
    return prefix


def fill_weights(model: nn.Module, checkpoint: Checkpoint) -> str:
    """Load a checkpoint like `load_weights`, but keep no backup and leave the mode alone.

    This saves a copy of the weights for a caller that has one already.

    Args:
        model: The model; after an error some of its weights may be replaced and others not.
        checkpoint: Checkpoint to load.

    Returns:
        The prefix removed from the names, such as 'module.'; empty if none.

    Raises:
        ModelError: If names or shapes do not fit.
        CheckpointError: If weights are NaN or infinite.
    """
    own = _tensors_of(model)
    prefix, tensors = _network_of(checkpoint, own)
    # in this order: a tensor stored under its own name wins over one stored under a tied name
    tensors = _tied_in_file(checkpoint, own) | tensors
    wrong = {n: (tensors[n], own[n]) for n in own if n in tensors and not _fits(tensors[n], own[n])}
    fitting = {name: value for name, value in tensors.items() if name not in wrong}
    if not wrong:  # else the mismatch is the better message: these may be the weights of another model
        # only what the model uses: an unused tensor may hold anything
        used = {name: value for name, value in fitting.items() if name in own}
        check_finite(used, checkpoint.path)
        # a weight beyond the range of the model's type becomes infinite in it
        check_finite({n: t.to(own[n].dtype) for n, t in used.items() if _narrows(t, own[n])}, checkpoint.path)
        _check_ties(own, fitting, checkpoint.path)
    # strict=False, and judged here: torch reports a shape by raising, and does not know of ties
    missing, unexpected = _copy(model, fitting, checkpoint.path)
    # a name whose memory was filled under another name, as in tied layers, is not missing
    present = {_memory(own[name]) for name in fitting if name in own}
    missing = [n for n in missing if n not in wrong and not (n in own and _memory(own[n]) in present)]
    if missing or unexpected or wrong:
        mismatch = Mismatch(missing, unexpected, wrong, tuple(own), tuple(tensors))
        raise ModelError(checkpoint.path, *describe(mismatch, type(model).__name__))
    return prefix


def left_out(model: nn.Module, checkpoint: Checkpoint) -> str:
    """Say which tensors of a checkpoint `load_weights` leaves out; '' if it leaves out none.

    Args:
        model: The model.
        checkpoint: A checkpoint that fits it.
    """
    own = _tensors_of(model)
    names = strip_prefixes(checkpoint.tensors, own)[1]
    extra = [name for name in names if belongs_to_training(name, own)]
    shown = ", ".join(printable(name, 60) for name in extra[:_MAX_LEFT_OUT_SHOWN])
    more = len(extra) - _MAX_LEFT_OUT_SHOWN
    return f"left out, as no part of the network: {shown}{f' and {more} more' * (more > 0)}" if extra else ""


def _network_of(checkpoint: Checkpoint, own: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the prefix of the network's names, and its tensors without what belongs to the training run.

    Raises:
        ModelError: If the checkpoint has the model's names under several prefixes.
    """
    prefix, tensors = strip_prefixes(checkpoint.tensors, own)
    if not own.keys() <= tensors.keys():
        prefixes = whole_prefixes(list(checkpoint.tensors), list(own))
        if len(prefixes) > 1:
            raise ModelError(
                checkpoint.path,
                f"holds the model's weights {len(prefixes)} times: under {', '.join(prefixes)}",
                choose_prefix_advice(prefixes),
            )
        if prefixes:
            prefix = prefixes[0]
            tensors = {name.removeprefix(prefix): value for name, value in checkpoint.tensors.items()}
    return prefix, {name: t for name, t in tensors.items() if not belongs_to_training(name, own)}


def check_ready(model: nn.Module, where: str) -> None:
    """Raise an error if a model has no parameters, or has tensors without values.

    Args:
        model: The model.
        where: Its factory or class, for messages.

    Raises:
        ModelError: If it has no parameters, a parameter or buffer is lazy, on the meta device or an inference
            tensor, or torch.inference_mode is on.
    """
    if torch.is_inference_mode_enabled():
        raise ModelError(
            where,
            "torch.inference_mode is on, in which torch records no gradients",
            "leave the block `with torch.inference_mode():`, or the function that is decorated with it",
        )
    named = [*model.named_parameters(), *model.named_buffers()]
    if not any(True for _ in model.parameters()):
        raise ModelError(where, "the model has no parameters", "return the model that was trained")
    _refuse_sharded(model, where)
    for name, value in named:
        # first: a lazy parameter cannot be asked for its shape or its device
        if is_lazy(value):
            raise ModelError(
                where,
                f"{name} has no shape yet: its layer is lazy",
                "run one batch through the model in the factory, or set the layer's sizes",
            )
        if value.is_meta:
            raise ModelError(
                where,
                f"{name} is on the meta device, which holds no values",
                "build the model on the CPU, without torch.device('meta')",
            )
        if value.is_inference():
            raise ModelError(
                where,
                f"{name} was made under torch.inference_mode, so that it can have no gradient",
                "build the model outside of it, or scan a copy that was made outside: copy.deepcopy(model)",
            )


def _refuse_sharded(model: nn.Module, where: str) -> None:
    """Refuse a model whose parameters are divided among processes.

    The gradients of FSDP's parameters exist only in `.grad`, after a backward pass by all ranks at once:
    `torch.autograd.grad` returns none for them.

    Raises:
        ModelError: If it is wrapped by FSDP, or a parameter is a DTensor.
    """
    wrapped = any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules())
    # by its attributes: importing torch.distributed.tensor would take longer than loading many a model
    divided = [name for name, p in model.named_parameters() if hasattr(p, "device_mesh")]
    if wrapped or divided:
        found = f"{divided[0]} is a DTensor, " if divided else "it is wrapped by FSDP, "
        raise ModelError(
            where,
            f"{found}divided among processes, whose gradients cannot be measured",
            "gather it with torch.distributed.checkpoint.state_dict.get_model_state_dict(model, "
            "options=StateDictOptions(full_state_dict=True, cpu_offload=True)), load that into the network "
            "without FSDP and scan it; layers='last:4' measures some layers only, which takes less memory",
        )


def resolve_device(name: str) -> torch.device:
    """Return the device to run on.

    Args:
        name: cpu, cuda, cuda:N or mps; auto is the first of cuda, mps, cpu that this machine has.

    Returns:
        A device that is available.

    Raises:
        ConfigError: If torch does not know the device, or this machine does not have it.
    """
    # in the order in which auto prefers them
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    available = [kind for kind, is_usable in usable.items() if is_usable]
    if name == "auto":
        return torch.device(available[0])
    kind, _, index = name.partition(":")
    if kind not in usable or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(f"--device {name}", "unknown device", "use auto, cpu, cuda, cuda:N or mps")
    if kind not in available:
        raise ConfigError(
            f"--device {name}",
            f"torch finds no {kind} device on this machine",
            f"use {' or '.join(available)}, or auto",
        )
    count = torch.cuda.device_count()
    if index and int(index) >= count:
        raise ConfigError(
            f"--device {name}",
            f"this machine has {count} cuda device{'s' * (count != 1)}, numbered from 0",
            f"use cuda:0 to cuda:{count - 1}" if count > 1 else "use cuda:0",
        )
    return torch.device(name)


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that a checkpoint must hold; torch itself checks a layer's extra state."""
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _tied_in_file(checkpoint: Checkpoint, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the model that the file stores under another name, as `save_model` does."""
    tied = {name: checkpoint.tensors[stored] for name, stored in checkpoint.tied.items()}
    return {name: value for name, value in strip_prefixes(tied, own)[1].items() if name in own}


def _fits(value: Tensor, target: Tensor) -> bool:
    """Tell whether a tensor of the checkpoint can replace one of the model, with rounding at most."""
    # rounding float64 to float32 is fine, but not int8 of a quantized layer to float32
    kinds = [(t.is_floating_point(), t.is_complex()) for t in (value, target)]
    is_old_scalar = value.shape == (1,) and target.shape == ()  # torch < 0.4 had no scalars
    return kinds[0] == kinds[1] and (value.shape == target.shape or is_old_scalar)


def _narrows(value: Tensor, target: Tensor) -> bool:
    """Tell whether the model's type has a smaller range than the checkpoint's."""
    if not (value.is_floating_point() and target.is_floating_point()):
        return False
    return torch.finfo(value.dtype).max > torch.finfo(target.dtype).max


def _copy(model: nn.Module, tensors: dict[str, Tensor], where: str) -> tuple[list[str], list[str]]:
    """Load the tensors that fit; return the missing and the unexpected names."""
    try:
        result = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ModelError(
            where,
            f"{type(model).__name__} does not accept it: {describe_error(error)}",
            "use the code that the model was trained with",
        ) from error
    return list(result.missing_keys), list(result.unexpected_keys)


def _memory(value: Tensor) -> tuple[object, ...]:
    """Return what two names of one memory have in common: its address, offset and number of elements."""
    return value.untyped_storage().data_ptr(), value.storage_offset(), value.numel()


def _check_ties(own: dict[str, Tensor], loaded: dict[str, Tensor], where: str) -> None:
    """Raise an error if the checkpoint has two different values for weights that the model ties together."""
    first: dict[tuple[object, ...], str] = {}
    for name in (name for name in loaded if name in own):
        # shape and strides too: a transposed view shares the memory but reads other values from it
        view = (*_memory(own[name]), own[name].shape, own[name].stride())
        other = first.setdefault(view, name)
        if other != name and not torch.equal(
            loaded[name].to(own[name].dtype), loaded[other].to(own[name].dtype)
        ):
            raise ModelError(
                where,
                f"{other} and {name} are one weight in the model, but two different ones in the checkpoint",
                "build the model without tying these two",
            )


@contextmanager
def _restored_on_error(own: dict[str, Tensor]) -> Iterator[None]:
    """Restore the model's weights if the block raises."""
    backup = {name: value.clone() for name, value in own.items()}
    try:
        yield
    except BaseException:
        for name, value in own.items():
            value.copy_(backup[name])
        raise


@contextmanager
def gradients_on(model: nn.Module) -> Iterator[bool]:
    """Switch a wholly frozen model's gradients on while the block runs; a partly frozen one stays as it is.

    What is frozen beside trained layers was not trained, and has no gradient to audit. A model of which
    everything is frozen was trained, and then prepared for use.

    Yields:
        Whether they were switched on.
    """
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    switched = bool(frozen) and not any(p.requires_grad for p in model.parameters())
    try:
        for parameter in frozen if switched else ():
            parameter.requires_grad_(True)
        yield switched
    finally:
        for parameter in frozen if switched else ():
            parameter.requires_grad_(False)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode while the block runs; then restore each module's own mode."""
    # module by module: some users keep a frozen BatchNorm in eval mode inside a model in training mode
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
