"""Per-sample gradients of a model over a dataset: exact norms and sums, sketches for cosines."""

from cohaudit.gradients.measure import measure
from cohaudit.gradients.measurement import MeasuredLayer, Measurement, Options
from cohaudit.gradients.prepare import Source

__all__ = ["MeasuredLayer", "Measurement", "Options", "Source", "measure"]
