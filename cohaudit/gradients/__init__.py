"""Per-sample gradients of a model over a dataset: exact norms and sums, sketches for cosines."""

from cohaudit.gradients.measure import MeasuredLayer, Measurement, Options, Source, measure

__all__ = ["MeasuredLayer", "Measurement", "Options", "Source", "measure"]
