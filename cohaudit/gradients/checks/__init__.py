"""Checks before a pass over the data, and the certificate after it."""
