"""Passes over the data, and the arrays and sums that they fill."""
