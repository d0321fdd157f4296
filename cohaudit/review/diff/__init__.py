"""The difference of two audits."""
