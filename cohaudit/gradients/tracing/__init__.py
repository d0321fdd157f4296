"""Intercepts the calls of a forward pass, and plans from them how each parameter is measured."""
