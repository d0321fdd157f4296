"""Predictions of the labels from the raw data, by models that the network has never bent to.

A network that has fitted a wrong label may have bent all of its layers to it. These models see the inputs
alone, and each predicts a sample without that sample's label. `columns` is for tables, `tokens` for texts,
`images` for pictures, and `features` for any vectors, such as a user's embeddings.
"""

from cohaudit.analysis.outside_views.columns import predict_from_columns
from cohaudit.analysis.outside_views.features import predict_from_features
from cohaudit.analysis.outside_views.images import (
    ImageDescriptor,
    fit_descriptor,
    predict_from_descriptors,
    shrink,
)
from cohaudit.analysis.outside_views.input_kind import InputKind, KnownInputs, kind_of
from cohaudit.analysis.outside_views.tokens import count_ngrams, predict_from_ngrams
from cohaudit.analysis.outside_views.view import OutsideView

__all__ = [
    "ImageDescriptor",
    "InputKind",
    "KnownInputs",
    "OutsideView",
    "count_ngrams",
    "fit_descriptor",
    "kind_of",
    "predict_from_columns",
    "predict_from_descriptors",
    "predict_from_features",
    "predict_from_ngrams",
    "shrink",
]
