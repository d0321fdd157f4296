"""A matplotlib figure as SVG inside a page: its colors and fonts are the page's, its names are escaped text.

Matplotlib draws in stand-in colors, which become CSS variables, so that one drawing serves light and dark.
Names are drawn as ASCII stand-ins, which become the escaped names: matplotlib neither typesets a `$`, nor
looks up a glyph that its own fonts lack, nor sees text that could reorder what stands beside it.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from cohaudit.report.words import Text

INK: Final = "#010101"
MUTED: Final = "#020202"
LINE: Final = "#030303"
BLUE: Final = "#040404"
ORANGE: Final = "#050505"
_CSS_COLORS: Mapping[str, str] = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "figure.dpi": 72,
    "font.size": 12,
    "text.color": INK,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}

_SMALLEST = 0.75
_LARGEST = 1.25
"""How far a figure follows the width of the page, in parts of its natural size: its text stays readable."""

Draw = Callable[[Figure, "Names"], None]


class Names:
    """Stand-ins for names on a figure: each keeps its place and alignment, and later becomes the name."""

    def __init__(self) -> None:
        self._shown: list[str] = []

    def stand_in(self, name: Text) -> str:
        """Return the text to draw where `name` is to stand."""
        self._shown.append(name.short)
        return f"@{len(self._shown) - 1}@"

    def put_into(self, svg: str) -> str:
        """Return the SVG with the name, escaped and isolated, in place of every stand-in."""
        return re.sub(r"@(\d+)@", lambda match: _isolated(self._shown[int(match[1])]), svg)


def draw_svg(name: str, size: tuple[int, int], title: str, description: str, draw: Draw) -> Markup:
    """Draw a figure and return it as an SVG element.

    Args:
        name: Word that makes the ids in it unique on the page.
        size: Width and height, in CSS pixels at its natural size.
        title: What it shows.
        description: What it says, for readers who do not see it.
        draw: Draws on an empty figure.

    Returns:
        The element: equal for equal input, with the role and the text alternative of an image.
    """
    names = Names()
    file = io.StringIO()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        figure = Figure(figsize=(size[0] / 72, size[1] / 72))
        draw(figure, names)
        figure.savefig(file, format="svg", metadata={"Date": None})
    return Markup(_open_tag(name, size, title, description) + names.put_into(_content(file.getvalue())))


def _open_tag(name: str, size: tuple[int, int], title: str, description: str) -> str:
    width, height = size
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'viewBox="0 0 {width} {height}" '
        f'style="min-width: {_SMALLEST * width:.0f}px; max-width: {_LARGEST * width:.0f}px" '
        f'aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-text">{html.escape(description)}</desc>'
    )


def _content(svg: str) -> str:
    """Keep what is drawn; drop what a page must not take over: prolog, metadata, style, ids of groups."""
    svg = svg[svg.index(">", svg.index("<svg")) + 1 :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r' d="[^"]*"', _rounded, svg)
    svg = re.sub(r"font: (?:(bold|\d+) )?([\d.]+px)[^;\"]*", _font, svg)
    svg = re.sub("|".join(_CSS_COLORS), lambda match: _CSS_COLORS[match[0]], svg)
    return re.sub(r"\s*\n\s*", "\n", svg)


def _rounded(path: re.Match[str]) -> str:
    """A path to a tenth of a pixel: a third as long."""
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path[0])


def _font(match: re.Match[str]) -> str:
    """The page's own font, in the size and weight drawn."""
    return f"font-size: {match[2]}" + (f"; font-weight: {match[1]}" if match[1] else "")


def _isolated(text: str) -> str:
    return f"\u2068{html.escape(text)}\u2069"
