"""Untrained copies of the network: from its factory, or from the network itself with its layers reset."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cohaudit.errors import ConfigError, ModelError, describe_error
from cohaudit.loading.factories import call_factory
from cohaudit.loading.model import checked_model

Factory = Callable[[], nn.Module]
"""Returns an untrained network."""
Untrained = Callable[[int], nn.Module]
"""Seed → an untrained network."""
RESET_METHODS = ("reset_parameters", "_reset_parameters")
"""Methods by which torch's own layers draw their weights anew."""
BUILD_ANEW = "build a new model in every call, so that no copy knows what another has learned"
"""What to do about networks that share weights."""
REMEDY = "give the function that builds the network: scan(model, dataset, crossfit=5, factory=build)"
"""What to do if a model in memory cannot be reset."""


def from_factory(factory: Factory, base: Path) -> Untrained:
    """Return what builds a network by a Python function.

    Args:
        factory: The function, without arguments.
        base: Folder whose modules it may import while it runs.

    Raises:
        ConfigError: If it is not callable.
    """
    if not callable(factory) or isinstance(factory, nn.Module):
        found = f"found a {type(factory).__name__}, not a function that returns a network"
        raise ConfigError("factory", found, "give the function that builds the network: factory=build")
    return partial(_built, factory, base)


def _built(factory: Factory, base: Path, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return checked_model(call_factory(factory, {}, base, where="factory", failure=ModelError), "factory")


def by_reset(model: nn.Module) -> Untrained:
    """Return what copies a network and lets each of its layers draw its weights anew.

    Args:
        model: The trained network; it is left as it is.

    Raises:
        ConfigError: If a module with parameters has no method that draws them.
    """
    for name, module in model.named_modules():
        own = any(True for _ in module.parameters(recurse=False))
        if own and not any(hasattr(module, method) for method in RESET_METHODS):
            kind = type(module).__name__
            raise ConfigError(
                "crossfit",
                f"{name or 'the model'} ({kind}) has no reset_parameters to draw its weights anew",
                REMEDY,
            )
    return partial(_reset_copy, model)


def _reset_copy(model: nn.Module, seed: int) -> nn.Module:
    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # a module can hold anything
        raise ConfigError(
            "crossfit", f"the model cannot be copied: {describe_error(error)}", REMEDY
        ) from error
    torch.manual_seed(seed)
    for module in copied.modules():
        # buffers too: the running statistics of a normalization without weights are of the trained network
        for method in RESET_METHODS:
            if hasattr(module, method):
                getattr(module, method)()
                break
    # such as the hidden weight of a spectral norm, from which the layer computes the one that it resets
    if kept := trained_values(copied, model):
        raise ConfigError("crossfit", f"{kept[0]} keeps its trained values when its layer is reset", REMEDY)
    return copied


def trained_values(network: nn.Module, trained: nn.Module) -> list[str]:
    """Return the names of the trainable parameters that have the values of the trained network.

    Parameters with one value throughout do not count: biases often begin, and may stay, at zero.

    Args:
        network: A network that should be untrained, on any device.
        trained: The trained network.
    """
    values = dict(trained.named_parameters())
    return [
        name
        for name, own in network.named_parameters()
        if own.requires_grad and name in values and own.shape == values[name].shape and _varies(own)
        if torch.equal(own.detach(), values[name].detach().to(own))
    ]


def refuse_trained(network: nn.Module, other: nn.Module, trained: nn.Module, where: str) -> None:
    """Refuse networks that are not untrained, or not two.

    Labels would leak from one fold to the next through weights that two networks share, and into all of them
    from weights that were trained on all samples.

    Args:
        network: An untrained network.
        other: Another one, from a second call.
        trained: The scanned network.
        where: What built them, for messages.

    Raises:
        ModelError: If two of the three share trainable weights, or an untrained one has the values of the
            trained one in all that training changes.
    """
    if _addresses(network) & _addresses(other):
        raise ModelError(where, "two calls return models that share their weights", BUILD_ANEW)
    refuse_shared(network, trained, where)
    varying = [name for name, own in network.named_parameters() if own.requires_grad and _varies(own)]
    if varying and len(trained_values(network, trained)) == len(varying):
        raise ModelError(
            where,
            "returns the trained weights that are scanned, which know every label",
            "build the model as it was before training; weights that were pretrained on other data may stay",
        )


def refuse_shared(network: nn.Module, trained: nn.Module, where: str) -> None:
    """Refuse a network that shares trainable weights with the scanned one.

    Args:
        network: A network that is, or was, trained on a part of the samples.
        trained: The scanned network.
        where: What built or trained it, for messages.

    Raises:
        ModelError: If it shares any.
    """
    if _addresses(network) & _addresses(trained):
        raise ModelError(where, "gives a model that shares its weights with the scanned one", BUILD_ANEW)


def same_weights(network: nn.Module, other: nn.Module) -> bool:
    """Return whether two networks have the same values in all trainable parameters that vary.

    Args:
        network: An untrained network.
        other: Another one of the same factory, built with another seed.
    """
    varying = [name for name, own in network.named_parameters() if own.requires_grad and _varies(own)]
    return bool(varying) and len(trained_values(network, other)) == len(varying)


def _varies(parameter: Tensor) -> bool:
    flat = parameter.detach().flatten()
    return len(flat) > 0 and bool((flat != flat[0]).any())


def _addresses(network: nn.Module) -> set[int]:
    """Return the addresses of the trainable weights."""
    return {
        parameter.untyped_storage().data_ptr()
        for parameter in network.parameters()
        if parameter.requires_grad and parameter.numel()
    }
