"""Per-sample gradients of a model over a data set: exact norms and sums, and sketches for cosines."""

from cohaudit.gradients.checks.prepare import check_model, output_count
from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.pass_setup import Options, Source
from cohaudit.gradients.passes.forward import answers
from cohaudit.gradients.passes.measure import measure
from cohaudit.gradients.passes.measurement import MeasuredLayer, Measurement
from cohaudit.gradients.passes.resume_protocol import (
    CheckpointStore,
    DamagedError,
    NullStore,
    PassState,
    ResumeState,
)
from cohaudit.gradients.passes.weight_sums import WeightSums, weight_sums

__all__ = [
    "CheckpointStore",
    "DamagedError",
    "FeatureHasher",
    "MeasuredLayer",
    "Measurement",
    "NullStore",
    "Options",
    "PassState",
    "ResumeState",
    "Source",
    "WeightSums",
    "answers",
    "check_model",
    "measure",
    "output_count",
    "weight_sums",
]
