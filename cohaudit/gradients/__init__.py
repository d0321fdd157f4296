"""Per-sample gradients of a model over a dataset: exact norms and sums, sketches for cosines."""

from cohaudit.gradients.measure import MeasuredLayer, Measurement, Options, measure
from cohaudit.gradients.prepare import Source

__all__ = ["MeasuredLayer", "Measurement", "Options", "Source", "measure"]
