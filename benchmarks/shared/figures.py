"""Figures that are the same bytes each time they are drawn from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

PNG_DPI = 110
"""Dots per inch of figures in PNG."""


def save_figure(figure: Figure, path: Path, formats: Sequence[str] = ("svg",)) -> None:
    """Write a figure once per format, which is its suffix, and close it."""
    # matplotlib's SVG would otherwise differ in its ids and its date from run to run
    with mpl.rc_context({"svg.hashsalt": "cohaudit"}):
        for name in formats:
            target = path.with_suffix(f".{name}")
            if name == "svg":
                figure.savefig(target, metadata={"Date": None})
            else:
                figure.savefig(target, dpi=PNG_DPI)
    plt.close(figure)
