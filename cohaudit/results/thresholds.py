"""Numbers that the analysis decides by and the report quotes: with one home each, the two cannot differ.

They stand here because the modules that compute with them import torch, which the report must not.
"""

from __future__ import annotations

LEAF_COSINE = 0.5
"""Cosine (60 degrees) from which on two gradients want mostly the same change; such samples count as one
group."""

DUPLICATE_COSINE = 0.995
"""Mean cosine over the views from which on two samples may be near-duplicates. Copies with noise of 2 % of
the pixels' standard deviation, or 5 % brighter, reach it; no other pair in Fashion-MNIST, CIFAR-10 and the
digits does."""

MEMORIZATION_POWER = 1
"""Power p of the weights (1 − r)ᵖ for memorization: a network that never saw the sample is predicted best by
nearly all layers together."""

SUSPICION_POWER = 4
"""Power p of the weights for which labels are wrong: many layers rank them best."""

NOISE_SHARE_POWER = 14
"""Power p of the weights for how many labels are wrong, and for the gap: both are biased by any overfitting,
so that only layers with nearly none of it count."""

WRONG_SUSPICION = 0.5
"""Suspicion from which a label is more likely wrong than right."""
