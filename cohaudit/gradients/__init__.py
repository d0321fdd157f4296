"""Per-sample gradients of a model over a data set: exact norms and sums, and sketches for cosines."""

from cohaudit.gradients.checks.prepare import check_model, output_count
from cohaudit.gradients.drawing import Draw, draw_by_scale
from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.pass_setup import Options, Source
from cohaudit.gradients.passes.drawn import measure_drawn
from cohaudit.gradients.passes.forward import answers
from cohaudit.gradients.passes.measure import measure
from cohaudit.gradients.passes.measurement import ForwardResult, GradientSums, MeasuredLayer, Measurement
from cohaudit.gradients.passes.observe import Observation, observe
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
    "Draw",
    "FeatureHasher",
    "ForwardResult",
    "GradientSums",
    "MeasuredLayer",
    "Measurement",
    "NullStore",
    "Observation",
    "Options",
    "PassState",
    "ResumeState",
    "Source",
    "WeightSums",
    "answers",
    "check_model",
    "draw_by_scale",
    "measure",
    "measure_drawn",
    "observe",
    "output_count",
    "weight_sums",
]
