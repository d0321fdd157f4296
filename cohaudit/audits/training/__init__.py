"""Audits of several checkpoints of one training run."""
