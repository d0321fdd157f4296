"""Closed forms: a layer's input and the gradient at its output give its per-sample gradients.

One function per kind of layer. Each takes the module, its input x and the gradient g at its output, both
with the batch first, and returns the gradient of each of the module's own parameters by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cohaudit.gradients.per_sample import Dense, Lookup, Outer, PerSample

ClosedForm: TypeAlias = Callable[[nn.Module, Tensor, Tensor], dict[str, PerSample]]

PATCH_BYTES = 64 * 2**20
"""Most memory that a convolution's unfolded input may take at once; larger batches are cut into chunks."""


def _positions(x: Tensor) -> Tensor:
    """Return x as [batch, positions, features]; its last dimension holds the features."""
    return x.reshape(len(x), -1, x.shape[-1])


def linear(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, PerSample]:
    """G_i = Σ_t g_t x_tᵀ; the bias's is Σ_t g_t."""
    b = _positions(g)
    return {"weight": Outer(b, _positions(x)), "bias": Dense(b.sum(1))}


def embedding(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, PerSample]:
    """Each looked-up row receives the gradient of its position; the padding row receives none."""
    assert isinstance(module, nn.Embedding)
    index, b = x.flatten(1), _positions(g)
    if module.padding_idx is not None:
        b = b * (index != module.padding_idx)[:, :, None]
    return {"weight": Lookup(index, b, module.num_embeddings)}


def layer_norm(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, PerSample]:
    """The scale's gradient is g · x̂ summed over positions, x̂ the normalized input; the shift's is g."""
    assert isinstance(module, nn.LayerNorm)
    shape = tuple(module.normalized_shape)
    normalized = F.layer_norm(x, shape, eps=module.eps)
    scale, shift = ((g * normalized), g)
    return {
        name: Dense(t.reshape(len(x), -1, *shape).sum(1)) for name, t in (("weight", scale), ("bias", shift))
    }


def _per_channel(x: Tensor) -> Tensor:
    """Sum [batch, channels, ...] over everything behind the channels."""
    return x.flatten(2).sum(2) if x.ndim > 2 else x


def group_norm(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, PerSample]:
    """As `layer_norm`, with a scale and a shift per channel."""
    assert isinstance(module, nn.GroupNorm)
    normalized = F.group_norm(x, module.num_groups, eps=module.eps)
    return {"weight": Dense(_per_channel(g * normalized)), "bias": Dense(_per_channel(g))}


def batch_norm(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, PerSample]:
    """In eval mode x̂ comes from the running statistics, so that samples do not mix."""
    assert isinstance(module, nn.modules.batchnorm._BatchNorm)
    normalized = F.batch_norm(x, module.running_mean, module.running_var, eps=module.eps)
    return {"weight": Dense(_per_channel(g * normalized)), "bias": Dense(_per_channel(g))}


def _patches(module: nn.modules.conv._ConvNd, x: Tensor) -> Tensor:
    """Return what each output position sees, [batch, groups, in per group × kernel, positions]."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padding = module._reversed_padding_repeated_twice
    x = F.pad(x, padding, mode=mode) if any(padding) else x
    for axis, (kernel, stride, dilation) in enumerate(
        zip(module.kernel_size, module.stride, module.dilation, strict=True)
    ):
        x = x.unfold(2 + axis, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    dims = len(module.kernel_size)
    # [batch, channels, *positions, *kernel] → [batch, channels, *kernel, *positions]
    x = x.permute(0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims))
    return x.reshape(len(x), module.groups, -1, x.shape[2 + dims :].numel())


def convolution(module: nn.Module, x: Tensor, g: Tensor) -> dict[str, PerSample]:
    """G_i = Σ_t g_t patch_tᵀ over the output positions t, per group."""
    assert isinstance(module, nn.modules.conv._ConvNd)
    kernel = torch.Size(module.kernel_size).numel()
    sample_bytes = x.element_size() * x.shape[1] * kernel * g.shape[2:].numel()
    chunk = max(1, PATCH_BYTES // max(1, sample_bytes))
    parts = []
    for x_part, g_part in zip(x.split(chunk), g.split(chunk), strict=True):
        grouped = g_part.reshape(len(g_part), module.groups, module.out_channels // module.groups, -1)
        parts.append((grouped @ _patches(module, x_part).mT).reshape(len(g_part), *module.weight.shape))
    return {"weight": Dense(torch.cat(parts)), "bias": Dense(_per_channel(g))}


CLOSED_FORMS: Mapping[type[nn.Module], ClosedForm] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.BatchNorm3d: batch_norm,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: group_norm,
    nn.Embedding: embedding,
}

POSITION_WISE = (nn.Linear, nn.LayerNorm, nn.Embedding)
"""Layers that treat every position alike, so that the batch may stand in any dimension but the features'."""


def closed_form(module: nn.Module) -> ClosedForm | None:
    """Return a module's closed form; None for other types, and for a subclass with a forward of its own."""
    for kind, form in CLOSED_FORMS.items():
        if (
            isinstance(module, kind)
            and type(module).forward is kind.forward
            and "forward" not in vars(module)
        ):
            renormalizing = isinstance(module, nn.Embedding) and module.max_norm is not None
            return None if renormalizing else form
    return None
