"""Quantiles of standard distributions that several audits use.

The digits are those of scipy.stats, typed out: the standard library's `NormalDist.inv_cdf` differs in the
last one, and a few constants are not worth importing scipy for.
"""

from __future__ import annotations

Z_80 = 1.2815515655446004
"""Half-width of the central 80 % of a normal distribution, in standard deviations: its 90 % quantile."""

Z_90 = 1.6448536269514722
"""Half-width of the central 90 % of a normal distribution, in standard deviations: its 95 % quantile."""

CHI2_95 = 3.841458820694124
"""95 % quantile of the χ² distribution with one degree of freedom."""
