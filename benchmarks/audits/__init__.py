"""Whether the optional audits say what happens when networks are trained."""
