"""Passes over the data, and what each accumulates."""
