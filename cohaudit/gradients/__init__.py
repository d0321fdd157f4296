"""Per-sample gradients of a model over a dataset: exact norms and sums, sketches for cosines."""

from cohaudit.gradients.features import Shortener
from cohaudit.gradients.forward import answers
from cohaudit.gradients.kept import DamagedError, Keeper, KeepsNothing, Kept, State
from cohaudit.gradients.measure import measure
from cohaudit.gradients.measurement import MeasuredLayer, Measurement, Options
from cohaudit.gradients.prepare import Source, check_model
from cohaudit.gradients.weight_sums import WeightSums, weight_sums

__all__ = [
    "DamagedError",
    "Keeper",
    "KeepsNothing",
    "Kept",
    "MeasuredLayer",
    "Measurement",
    "Options",
    "Shortener",
    "Source",
    "State",
    "WeightSums",
    "answers",
    "check_model",
    "measure",
    "weight_sums",
]
