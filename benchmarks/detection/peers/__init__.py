"""Label cleaners from the literature, one subject a file: each from arrays to a score per sample.

Every score is float64 [N] and higher where a label is more likely wrong. N samples, C classes, F features.
`collect` puts them together: those that see one checkpoint, and those that see a whole run.
"""
