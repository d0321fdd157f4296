"""Whether the further audits say what happens when networks are trained."""
