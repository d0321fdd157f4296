"""Closed forms: a function's arguments and the gradient at its output give per-sample gradients.

One form per function of torch that takes weights. Each takes the gradient g at the output and the function's
own arguments, by the names and in the order of torch; input and g have the batch first. It returns the
gradient of each weight argument. A call without a closed form goes through vmap or the loop; see
`tracing.planning`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, signature
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from cohaudit.gradients.forms.convolved import Convolved
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Lookup, Outer, PerSample

Gradients: TypeAlias = list[tuple[Tensor | None, PerSample]]
"""Weight argument (None where it was left out) → its per-sample gradients."""


@dataclass(frozen=True)
class ClosedForm:
    """How one function's weights get their gradients.

    Attributes:
        formula: (g, arguments by keyword) → gradients; its keywords are the function's parameters, in order.
        input: Position of the input among the flattened arguments; the only one that holds samples.
        position_wise: Whether all positions are treated alike, so that the batch may stand in any dimension
            but the last, or be folded with others.
        usable: Arguments → whether the form covers them.
    """

    formula: Callable[..., Gradients]
    input: int = 0
    position_wise: bool = False
    usable: Callable[..., bool] = lambda *args, **kwargs: True

    def gradients(self, g: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Gradients:
        """Return the per-sample gradients of the weights of a call.

        Args:
            g: Gradient at the output, batch first.
            args: Positional arguments of the call, the input with the batch first.
            kwargs: Keyword arguments of the call.
        """
        return self.formula(g, **dict(zip(self._names[: len(args)], args, strict=True)), **kwargs)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        parameters = signature(self.formula).parameters.values()
        return tuple(p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY)


def _positions(x: Tensor) -> Tensor:
    """Return x as [batch, positions, features]; its last dimension holds the features."""
    return x.reshape(len(x), -1, x.shape[-1])


def _linear(g: Tensor, *, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Gradients:
    """G_i = Σ_t g_t x_tᵀ for the weight, Σ_t g_t for the bias (Goodfellow, arXiv 1510.01799)."""
    b = _positions(g)
    return [(weight, Outer(b, _positions(input))), (bias, Dense(b.sum(1)))]


def _matmul(g: Tensor, *, input: Tensor, other: Tensor) -> Gradients:
    """As `_linear`, with a weight [in, out]: the factors change sides."""
    return [(other, Outer(_positions(input), _positions(g)))]


def _addmm(g: Tensor, *, input: Tensor, mat1: Tensor, mat2: Tensor) -> Gradients:
    """As `_matmul`, with a bias, which torch names `input`."""
    return [(input, Dense(_positions(g).sum(1))), *_matmul(g, input=mat1, other=mat2)]


def _embedding(
    g: Tensor,
    *,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Gradients:
    """Each looked-up row receives the gradient of its position; the padding row receives none."""
    # as in torch, the padding row keeps a gradient of zero and is never trained
    index = input.flatten(1)
    b = _positions(g)
    if padding_idx is not None:
        b = b * (index != padding_idx % len(weight))[:, :, None]
    return [(weight, Lookup(index, b, len(weight)))]


def _not_renormalizing(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: Any = None, *args: Any, **kw: Any
) -> bool:
    """Return whether an embedding leaves its table alone: with `max_norm` a lookup rescales its rows."""
    return max_norm is None


def _embedding_bag(
    g: Tensor,
    *,
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Gradients:
    """A bag's gradient reaches each of its rows, divided among them if the bag is their mean."""
    factor = torch.ones_like(input, dtype=g.dtype)
    if padding_idx is not None:
        factor = (input != padding_idx % len(weight)).to(g.dtype)
    if mode == "mean":
        # padding does not count; a bag of nothing but padding is zero, not 0 / 0
        factor = factor / factor.sum(1, keepdim=True).clamp(min=1)
    return [(weight, Lookup(input, factor[:, :, None] * g[:, None], len(weight)))]


def _bags_of_equal_size(input: Tensor, weight: Tensor, *rest: Any, **options: Any) -> bool:
    """Return whether bags are the rows of a matrix, so that each sample is one bag, and are sums or means."""
    given = dict(zip(("offsets", "max_norm", "norm_type", "scale", "mode"), rest, strict=False)) | options
    plain = given.get("max_norm") is None and given.get("mode", "mean") in {"sum", "mean"}
    return input.ndim == 2 and plain and len(rest) <= 1


def _layer_norm(
    g: Tensor,
    *,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Gradients:
    """The scale's gradient is g · x̂ summed over positions, x̂ the normalized input; the shift's is g."""
    shape = tuple(normalized_shape)
    # x̂ is computed again rather than stored: a norm is cheap and its input is stored anyway
    scaled = g * F.layer_norm(input, shape, eps=eps)
    return [(w, Dense(t.reshape(len(t), -1, *shape).sum(1))) for w, t in ((weight, scaled), (bias, g))]


def _rms_norm(
    g: Tensor,
    *,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Gradients:
    """As `_layer_norm`, without a shift and without subtracting the mean."""
    shape = tuple(normalized_shape)
    scaled = g * F.rms_norm(input, shape, eps=eps)
    return [(weight, Dense(scaled.reshape(len(g), -1, *shape).sum(1)))]


def _per_channel(x: Tensor) -> Tensor:
    """Sum [batch, channels, ...] over all dimensions after the channels."""
    return x.flatten(2).sum(2) if x.ndim > 2 else x


def _group_norm(
    g: Tensor,
    *,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Gradients:
    """As `_layer_norm`, with a scale and a shift per channel."""
    scaled = g * F.group_norm(input, num_groups, eps=eps)
    return [(weight, Dense(_per_channel(scaled))), (bias, Dense(_per_channel(g)))]


def _batch_norm(
    g: Tensor,
    *,
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Gradients:
    """With running statistics x̂ = (x − mean) / √(var + eps) depends on the sample alone."""
    shape = (1, -1, *[1] * (input.ndim - 2))
    # the factor of a channel is applied after the sum: one multiplication per channel, not per pixel
    scaled = _per_channel((input - running_mean.reshape(shape)).mul_(g)) * (running_var + eps).rsqrt()
    return [(weight, Dense(scaled)), (bias, Dense(_per_channel(g)))]


def _with_running_statistics(
    input: Tensor, running_mean: Any, running_var: Any, *rest: Any, training: bool = False, **others: Any
) -> bool:
    """Return whether a batch norm is in eval mode: with statistics of the batch its samples would mix."""
    # among the positional ones, `training` comes after weight and bias
    return running_mean is not None and not (rest[2] if len(rest) > 2 else training)


def _each(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """Return one number per dimension, as torch does for a single one."""
    # a list of one number counts for every dimension, too
    return (value,) * dims if isinstance(value, int) else tuple(value) * (dims if len(value) == 1 else 1)


def _convolution(
    g: Tensor,
    *,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Gradients:
    """G_i = Σ_t g_t patch_tᵀ, where patch_t is the part of the input that output position t sees."""
    dims = weight.ndim - 2
    dilations = _each(dilation, dims)
    if padding == "same":  # as torch: an even span pads one more after than before
        spans = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)]
        input = F.pad(input, [p for span in reversed(spans) for p in (span // 2, span - span // 2)])
    around = (0,) * dims if isinstance(padding, str) else _each(padding, dims)
    form = Convolved(g, input, weight.shape, _each(stride, dims), around, dilations, groups)
    return [(weight, form), (bias, Dense(_per_channel(g)))]


def _transposed_convolution(
    g: Tensor,
    *,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Gradients:
    """The adjoint of a convolution with the weight: ⟨g, convᵀ(x)⟩ = ⟨conv(g), x⟩; x and g change roles."""
    dims = weight.ndim - 2
    # what is the input of the one is the gradient at the output of the other
    form = Convolved(
        input, g, weight.shape, _each(stride, dims), _each(padding, dims), _each(dilation, dims), groups
    )
    return [(weight, form), (bias, Dense(_per_channel(g)))]


_CONVOLUTION = ClosedForm(_convolution)
"""Closed form of a convolution in one, two or three dimensions."""

_TRANSPOSED = ClosedForm(_transposed_convolution)
"""Closed form of a transposed convolution in one, two or three dimensions."""

# a weight of more dimensions is multiplied batch by batch, which is not one linear map
_MATMUL = ClosedForm(_matmul, position_wise=True, usable=lambda input, other: other.ndim == 2)
"""Closed form of a matrix product whose second factor is the weight."""

CLOSED_FORMS: Mapping[Callable[..., Any], ClosedForm] = {
    F.linear: ClosedForm(_linear, position_wise=True),
    torch.matmul: _MATMUL,
    torch.mm: _MATMUL,
    Tensor.matmul: _MATMUL,
    Tensor.mm: _MATMUL,
    Tensor.__matmul__: _MATMUL,
    # beta and alpha, which would scale the two terms, are keywords
    torch.addmm: ClosedForm(_addmm, input=1, position_wise=True, usable=lambda *args, **kwargs: not kwargs),
    F.conv1d: _CONVOLUTION,
    F.conv2d: _CONVOLUTION,
    F.conv3d: _CONVOLUTION,
    F.conv_transpose1d: _TRANSPOSED,
    F.conv_transpose2d: _TRANSPOSED,
    F.conv_transpose3d: _TRANSPOSED,
    F.embedding: ClosedForm(_embedding, position_wise=True, usable=_not_renormalizing),
    F.embedding_bag: ClosedForm(_embedding_bag, usable=_bags_of_equal_size),
    F.layer_norm: ClosedForm(_layer_norm, position_wise=True),
    F.rms_norm: ClosedForm(_rms_norm, position_wise=True),
    F.group_norm: ClosedForm(_group_norm),
    F.batch_norm: ClosedForm(_batch_norm, usable=_with_running_statistics),
}
"""Function of torch → closed form of its per-sample gradients."""
