"""LSTM, GRU and plain recurrent layers, unrolled to obtain the gradient of every step's gates.

torch runs a whole layer as one operation and does not expose its gates. Here the input's part of all gates is
one product, the steps follow one another, and the backward pass reports the gates' gradients: with the
layer's inputs and hidden states they form outer products, as for a linear map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function

from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Outer, PerSample

Report: TypeAlias = Callable[[Tensor, PerSample], None]
"""Receives a weight argument and its per-sample gradients."""


@dataclass(frozen=True)
class Cell:
    """One kind of layer. Tensors are [steps, batch, any] unless noted; a state is [batch, hidden].

    Attributes:
        gates: Gates per hidden unit.
        forward: (input's part of the gates, hidden weight, hidden bias, h, c) → outputs, last c, tensors that
            `backward` needs.
        backward: (gradient of outputs, of the last h, of the last c, hidden weight, saved tensors) → gradient
            of the input's part of the gates, of the hidden part, of h, of c.
    """

    gates: int
    forward: Callable[..., tuple[Tensor, Tensor, tuple[Tensor, ...]]]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def _lstm_forward(
    pre: Tensor, weight: Tensor, bias: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    gates = pre + bias
    outputs = pre.new_empty(len(pre), *h.shape)
    # one more than steps: cells[t] is the state before step t
    cells = pre.new_empty(len(pre) + 1, *h.shape)
    squashed = torch.empty_like(outputs)
    cells[0] = c
    i, f, g, o = gates.chunk(4, 2)
    both = gates[..., : 2 * h.shape[1]]  # i and f in one call: time goes into launching small operations
    for t in range(len(pre)):
        # in place: gates are saved for the backward pass, and memory is allocated once for all steps
        gates[t].addmm_(h, weight.mT)
        both[t].sigmoid_()
        g[t].tanh_()
        torch.mul(f[t], cells[t], out=cells[t + 1]).addcmul_(i[t], g[t])
        torch.tanh(cells[t + 1], out=squashed[t])
        h = torch.mul(o[t].sigmoid_(), squashed[t], out=outputs[t])
    return outputs, cells[-1].clone(), (gates, cells, squashed)


def _lstm_backward(
    grad: Tensor, grad_h: Tensor, grad_c: Tensor, weight: Tensor, saved: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gates, cells, squashed = saved
    i, f, g, o = gates.chunk(4, 2)
    # factors that do not depend on later steps, for all steps at once
    to_cell = o * (1 - squashed.square())
    by_cell = torch.stack([g * i * (1 - i), cells[:-1] * f * (1 - f), i * (1 - g.square())], 2)
    by_output = squashed * o * (1 - o)
    d_gates = torch.empty_like(gates)
    d_first, d_last = d_gates.unflatten(2, (4, -1)).split([3, 1], 2)
    d_h = grad[-1] + grad_h
    for t in reversed(range(len(grad))):
        grad_c = torch.addcmul(grad_c, d_h, to_cell[t])
        torch.mul(by_cell[t], grad_c[:, None], out=d_first[t])
        torch.mul(by_output[t], d_h, out=d_last[t, :, 0])
        grad_c *= f[t]
        d_h = torch.addmm(grad[t - 1], d_gates[t], weight) if t else d_gates[0] @ weight
    return d_gates, d_gates, d_h, grad_c


def _gru_forward(
    pre: Tensor, weight: Tensor, bias: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    hidden = h.shape[1]
    outputs, resets, updates, news, candidates = (pre.new_empty(len(pre), *h.shape) for _ in range(5))
    start = h
    for t in range(len(pre)):
        own = torch.addmm(bias, h, weight.mT)
        gate = (pre[t, :, : 2 * hidden] + own[:, : 2 * hidden]).sigmoid_()
        resets[t], updates[t] = gate.chunk(2, 1)
        # torch applies the reset gate after the product with the hidden weight, so this part is needed again
        news[t] = own[:, 2 * hidden :]
        candidates[t] = torch.tanh(pre[t, :, 2 * hidden :] + resets[t] * news[t])
        outputs[t] = h = torch.lerp(candidates[t], h, updates[t])
    return outputs, c, (torch.cat([start[None], outputs[:-1]]), resets, updates, news, candidates)


def _gru_backward(
    grad: Tensor, grad_h: Tensor, grad_c: Tensor, weight: Tensor, saved: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    before, resets, updates, news, candidates = saved
    d_pre, d_own = (grad.new_empty(*grad.shape[:2], len(weight)) for _ in range(2))
    for t in reversed(range(len(grad))):
        d_h = grad[t] + grad_h
        r = resets[t]
        z = updates[t]
        d_candidate = d_h * (1 - z) * (1 - candidates[t].square())
        d_reset = d_candidate * news[t] * r * (1 - r)
        d_update = d_h * (before[t] - candidates[t]) * z * (1 - z)
        torch.cat([d_reset, d_update, d_candidate], 1, out=d_pre[t])
        torch.cat([d_reset, d_update, d_candidate * r], 1, out=d_own[t])
        grad_h = torch.addmm(d_h * z, d_own[t], weight)
    return d_pre, d_own, grad_h, grad_c


def _plain(squash: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> Cell:
    """Return the cell h' = squash(gates); the slope of `squash` is a function of its value."""

    def forward(
        pre: Tensor, weight: Tensor, bias: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        outputs = pre.new_empty(len(pre), *h.shape)
        for t in range(len(pre)):
            outputs[t] = h = squash(pre[t] + torch.addmm(bias, h, weight.mT))
        return outputs, c, (outputs,)

    def backward(
        grad: Tensor, grad_h: Tensor, grad_c: Tensor, weight: Tensor, saved: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        slopes = slope(saved[0])
        d_gates = torch.empty_like(slopes)
        for t in reversed(range(len(grad))):
            torch.mul(grad[t] + grad_h, slopes[t], out=d_gates[t])
            grad_h = d_gates[t] @ weight
        return d_gates, d_gates, grad_h, grad_c

    return Cell(1, forward, backward)


CELLS: Mapping[Callable[..., Any], Cell] = {
    torch.lstm: Cell(4, _lstm_forward, _lstm_backward),
    torch.gru: Cell(3, _gru_forward, _gru_backward),
    torch.rnn_tanh: _plain(torch.tanh, lambda y: 1 - y.square()),
    torch.rnn_relu: _plain(torch.relu, lambda y: (y > 0).to(y.dtype)),
}
"""Recurrent function of torch → its kind of layer."""


@dataclass(frozen=True)
class _Layer:
    """One direction of one layer.

    Attributes:
        cell: Kind of layer.
        weights: Input weight, hidden weight, and their biases if it has any.
        report: Receives the weights' gradients.
    """

    cell: Cell
    weights: Sequence[Tensor]
    report: Report


class _Unrolled(Function):
    """One direction of one layer over all steps."""

    @staticmethod
    def forward(ctx: Any, layer: _Layer, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # the anchor only makes the output require grad, so that the backward pass comes by
        _, x, h, c = tensors
        into, own, *biases = layer.weights
        zero = into.new_zeros(len(into))
        # the input's part of all steps in one product; only the hidden part waits for the step before
        pre = torch.addmm(biases[0] if biases else zero, x.flatten(0, 1), into.mT).view(*x.shape[:2], -1)
        outputs, last, saved = layer.cell.forward(pre, own, biases[1] if biases else zero, h, c)
        ctx.save_for_backward(x, h, outputs, *saved)
        ctx.layer = layer
        return outputs, outputs[-1].clone(), last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, h, outputs, *saved = ctx.saved_tensors
        layer: _Layer = ctx.layer
        into, own, *biases = layer.weights
        d_pre, d_own, d_h, d_c = layer.cell.backward(*grads, own, saved)
        # the hidden state that entered each step
        before = torch.cat([h[None], outputs[:-1]])
        by_sample = d_pre.transpose(0, 1)
        own_by_sample = d_own.transpose(0, 1)
        layer.report(into, Outer(by_sample, x.transpose(0, 1)))
        layer.report(own, Outer(own_by_sample, before.transpose(0, 1)))
        # not strict: a layer without biases has none to report
        for bias, gradient in zip(biases, (by_sample, own_by_sample), strict=False):
            layer.report(bias, Dense(gradient.sum(1)))
        return None, None, d_pre @ into, d_h, d_c


def usable(function: Any, args: Sequence[Any]) -> bool:
    """Return whether a call can be unrolled: a padded batch of sequences, no projections, no dropout."""
    # packed sequences take other arguments, and a sequence without a batch has two dimensions
    if len(args) != 9 or not isinstance(args[3], bool) or args[0].ndim != 3:
        return False
    # a projection would add a weight per direction, so that the count tells
    _, _, weights, biased, layers, dropout, training, both_ways, _ = args
    return len(weights) == layers * (1 + both_ways) * (4 if biased else 2) and not (dropout and training)


def unroll(function: Any, args: Sequence[Any], anchor: Tensor, report: Report) -> tuple[Tensor, ...]:
    """Run a recurrent layer and report its weights' gradients during the backward pass.

    Args:
        function: A key of `CELLS`.
        args: Its arguments; `usable` is true of them.
        anchor: Tensor that requires grad, so that the backward pass reaches the layer.
        report: Receives the gradients.

    Returns:
        The same as the function.
    """
    x, states, weights, biased, layers, _, _, both_ways, batch_first = args
    first, second = states if function is torch.lstm else (states, states)
    x = x.transpose(0, 1) if batch_first else x
    each = 4 if biased else 2
    last_h = []
    last_c = []
    run: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Unrolled.apply
    for layer in range(layers):
        outputs = []
        for direction in range(1 + both_ways):
            k = layer * (1 + both_ways) + direction
            own = weights[k * each : (k + 1) * each]
            # the second direction reads the sequence from its end
            given = x.flip(0) if direction else x
            one = _Layer(CELLS[function], own, report)
            y, h, c = run(one, anchor, given.contiguous(), first[k], second[k])
            outputs.append(y.flip(0) if direction else y)
            last_h.append(h)
            last_c.append(c)
        x = torch.cat(outputs, 2) if both_ways else outputs[0]
    x = x.transpose(0, 1) if batch_first else x
    if function is torch.lstm:
        return x, torch.stack(last_h), torch.stack(last_c)
    return x, torch.stack(last_h)
