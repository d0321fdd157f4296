"""Derived weights that are views of a parameter: their gradients are those of the parameter, moved."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from cohaudit.gradients.forms.per_sample import Outer, PerSample


def through_view(form: PerSample, weight: Tensor, parameter: Tensor) -> PerSample | None:
    """Return a parameter's per-sample gradients from those of a view of it, without forming them.

    Covers a view of the whole matrix, of its transpose (a head tied to the embedding) and of some of its rows
    (the parts of an attention layer's packed projection). Only these keep the structure of outer products.

    Args:
        form: Gradients of the view.
        weight: The view.
        parameter: Parameter that it is a view of.

    Returns:
        Gradients of the parameter; None for another form or another kind of view.
    """
    same = weight.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr()
    if not same or not isinstance(form, Outer) or parameter.ndim != 2 or weight.ndim != 2:
        return None
    # offset and strides say which rows: torch does not record how a view was made
    offset = int(weight.storage_offset() - parameter.storage_offset())
    if weight.stride() == parameter.stride() and weight.shape[1] == parameter.shape[1]:
        row, rest = divmod(offset, parameter.stride(0))
        behind = parameter.shape[0] - row - weight.shape[0]
        return Outer(F.pad(form.b, (row, behind)), form.a) if rest == 0 and behind >= 0 else None
    if offset == 0 and weight.shape == parameter.mT.shape and weight.stride() == parameter.mT.stride():
        return Outer(form.a, form.b)
    return None
