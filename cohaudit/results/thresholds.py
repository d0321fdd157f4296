"""Numbers that the analysis decides by and the report quotes: with one home each, the two cannot differ."""

from __future__ import annotations

MEMORIZATION_THRESHOLD = 0.5
"""Memorization from which on a label counts as memorized: the model more likely gives it because it saw the
sample than because similar samples support it."""

LEAF_COSINE = 0.5
"""Cosine of two gradients from which on they ask for mostly the same change (60 degrees): the samples would
share a leaf of a decision tree."""

DUPLICATE_COSINE = 0.995
"""Mean cosine over the layers' views from which on two samples may be near-duplicates. Copies with noise of
2 % of the pixels' deviation, or 5 % brighter, reach it; no other pair of Fashion-MNIST, CIFAR-10 or digits
does."""

MAX_SUSPICION = 0.99
"""Largest probability of a wrong label that is ever reported: the estimate itself is not surer."""

MEMORIZATION_POWER = 1
"""Exponent p in the weight R² (1 − r)ᵖ of a prediction, for memorization. Nearly all layers count: together
they predict best what a network would answer that never saw the sample."""
SUSPICION_POWER = 4
"""The same exponent for suspicion: which labels are wrong is told best by many layers."""
GAP_POWER = 14
"""The same exponent for the gap and for how many labels are wrong: only layers that fit hardly any memorized
label count."""
