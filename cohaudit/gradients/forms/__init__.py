"""Per-sample gradients in closed form: one form per kind of layer."""
