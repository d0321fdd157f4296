"""Numbers that the analysis decides by and the report quotes: with one home each, the two cannot differ.

They stand here because the modules that compute with them import torch, which the report must not.
"""

from __future__ import annotations

ALL_PAIRS = 4096
"""Samples up to which all pairs are compared: about a second."""

LEAF_COSINE = 0.5
"""Cosine (60 degrees) from which on two gradients want mostly the same change; such samples count as one
group."""

WHITENING_RIDGE = 3.0
"""λ of the whitened cosines by which supporters and opponents are chosen, in units of a gradient's squared
length: the larger, the more they are plain cosines. Chosen from 1 to 30 on the digits (`python -m
benchmarks.gradients.datamodeling`)."""

DUPLICATE_COSINE = 0.995
"""Mean cosine over the views from which on two samples may be near-duplicates. Copies with noise of 2 % of
the pixels' standard deviation, or 5 % brighter, reach it; no other pair in Fashion-MNIST, CIFAR-10 and the
digits does."""

MEMORIZATION_POWER = 8
"""Power p of the weights (1 − r)ᵖ for memorization: a layer that has bent to the labels supports them without
their sample too, and with random labels, all fitted, no other layer has anything to say. Chosen from 1 to 14,
with data sets left out of `benchmarks.detection.memorized`; 4 to 14 differ little."""

MEMORIZATION_OWN = 0.5
"""Part of p, for memorization, that is the network's own probability of the label. The rest is the share of
labels with as much support that it gives: which of them one network gives is largely chance."""

MEMORIZATION_NOT_GIVEN = 0.49
"""Largest memorization of a label that the network does not give. Other networks of the kind may well have
memorized it, but it does not count as memorized here (0.5)."""

SUSPICION_POWER = 4
"""Power p of the weights for which labels are wrong: many layers rank them best. From 1 to 4 with each data
set left out, 4 was best or nearly so."""

WRONG_SUSPICION = 0.5
"""Suspicion from which a label is more likely wrong than right."""

OUTSIDE_WEIGHT = 2
"""Weight k of a prediction from outside the network, relative to that of its layers together: no label has
bent it. From 1 to 6 with each data set left out, 2 ranked best or nearly so."""

MIN_DETERMINED = 0.5
"""Part of the disputed labels that have to be wrong, by the fit of the noise rates, from which on suspects
are listed. Below, correct labels of hard samples and wrong ones look the same: the claimed precision of lists
was off by 0.13 on average, against 0.02 from here on."""

MIN_DETERMINED_ALONE = 0.6
"""The same where nothing but the network's own layers and answers predicts the labels."""
