"""The scan, from files to an `Audit`; start reading in `scan`."""
