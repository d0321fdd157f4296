"""Per-sample gradients by layer type, in closed form."""
