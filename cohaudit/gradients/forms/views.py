"""Derived weights that are views of a parameter: their gradients are the parameter's, moved."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from cohaudit.gradients.forms.per_sample import Outer, PerSample


def through_view(form: PerSample, weight: Tensor, parameter: Tensor) -> PerSample | None:
    """Return a parameter's per-sample gradients from those of a view of it, without forming them.

    Covers a matrix seen whole, transposed (a head tied to the embedding) or in some of its rows (the parts of
    an attention layer's packed projection).

    Args:
        form: Of the view.
        weight: The view.
        parameter: What it is a view of.

    Returns:
        The parameter's; None where the form or the view is of another kind.
    """
    same = weight.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr()
    if not same or not isinstance(form, Outer) or parameter.ndim != 2 or weight.ndim != 2:
        return None
    offset = int(weight.storage_offset() - parameter.storage_offset())
    if weight.stride() == parameter.stride() and weight.shape[1] == parameter.shape[1]:
        row, rest = divmod(offset, parameter.stride(0))
        behind = parameter.shape[0] - row - weight.shape[0]
        return Outer(F.pad(form.b, (row, behind)), form.a) if rest == 0 and behind >= 0 else None
    if offset == 0 and weight.shape == parameter.mT.shape and weight.stride() == parameter.mT.stride():
        return Outer(form.a, form.b)
    return None
