"""A matplotlib figure as SVG inside a page: in the page's colors and fonts, with every name as escaped text.

Matplotlib draws in placeholder colors, which become CSS variables, so that one drawing serves light and dark.
Names are drawn as ASCII placeholders, which become the names: matplotlib neither typesets a `$`, nor looks up
a glyph that its own fonts lack, nor sees text that could reorder its surroundings.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from cohaudit.report.words import Text, isolated

INK: Final = "#010101"
"""Placeholder for the color of text and of marks that must stand out."""
MUTED: Final = "#020202"
"""Placeholder for the color of labels and of reference lines."""
LINE: Final = "#030303"
"""Placeholder for the color of axes and grids."""
BLUE: Final = "#040404"
"""Placeholder for the color of what a figure is about."""
ORANGE: Final = "#050505"
"""Placeholder for the color of what needs attention."""
_CSS_COLORS: Mapping[str, str] = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
}
"""Placeholder color → color of the page."""

_STYLE: dict[Any, Any] = {
    # text stays text, which the page's font draws; matplotlib would write it as outlines
    "svg.fonttype": "none",
    "figure.dpi": 72,
    "font.size": 12,
    "text.color": INK,
    # a `$` is no formula
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
"""Settings of matplotlib; at 72 dots per inch, one point is one CSS pixel."""

_MIN_SCALE = 0.75
"""Smallest width of a figure relative to its natural one: below, its text would be too small to read."""
_MAX_SCALE = 1.25
"""Largest width of a figure relative to its natural one: beyond, its text would dwarf that of the page."""
_NOT_DRAWN = frozenset({"metadata", "style"})
"""Elements that a page must not take over: a style sheet inside an SVG element holds for the whole page."""
_REFERENCES = ("href", "clip-path")
"""Attributes that refer to an id, as `#id` or `url(#id)`."""

Draw = Callable[[Figure, "NamePlaceholders"], None]
"""Draws on an empty figure, every name from outside through the placeholders."""


class NamePlaceholders:
    """Placeholders for names on a figure: each holds the place and alignment of the name put in later."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def reserve(self, name: Text) -> str:
        """Return the text to draw in place of `name`, about as wide, because legends make room for it."""
        placeholder = f"@{len(self._names)}@".ljust(len(name.short), "n")
        self._names[placeholder] = isolated(name)
        return placeholder

    def replace_in(self, root: Element) -> None:
        """Put every name, isolated from the direction of its surroundings, in place of its placeholder."""
        for element in root.iter("text"):
            element.text = self._names.get(element.text or "", element.text)


def draw_svg(name: str, size: tuple[int, int], title: str, description: str, draw: Draw) -> Markup:
    """Draw a figure and return it as an SVG element.

    Args:
        name: Word that makes the ids in the figure unique on the page.
        size: Width and height in CSS pixels, at the figure's natural size.
        title: What the figure shows.
        description: What the figure says, for readers who do not see it.
        draw: Draws on an empty figure.

    Returns:
        The element, with the role and the text alternative of an image. Equal input gives equal output.
    """
    names = NamePlaceholders()
    # Matplotlib writes a file of its own; inside a page, its style sheet and ids would collide with others.
    root = _parse_svg(_render(name, size, names, draw))
    _drop_undrawn(root)
    _rename_ids(root, name)
    for element in root.iter():
        _restyle(element)
    # last: no step above sees a text from outside
    names.replace_in(root)
    _describe(root, name, size, (title, description))
    # safe as markup: ElementTree escapes every text and attribute
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _render(name: str, size: tuple[int, int], names: NamePlaceholders, draw: Draw) -> str:
    """Return the SVG file that matplotlib writes."""
    file = io.StringIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # a caller's own settings must not change the report
        # without a salt, matplotlib derives ids from random numbers, and equal audits would give other pages
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        # not by pyplot, which keeps every figure and belongs to the caller's session
        figure = Figure(figsize=(size[0] / 72, size[1] / 72))
        draw(figure, names)
        # the date would make the pages of equal audits differ
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _parse_svg(file: str) -> Element:
    """Return the tree without namespaces, which SVG inside HTML does not have, and without line breaks."""
    # Safe: the file is matplotlib's own, and names from outside are not in it yet.
    root = ElementTree.fromstring(file)
    for element in root.iter():
        element.tag = _local(element.tag)
        # xlink:href becomes href: SVG 2 needs no prefix, nor does any current browser
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
        element.tail = None
        if element.tag != "text":
            element.text = None
    return root


def _local(qualified: str) -> str:
    return qualified.rpartition("}")[2]


def _drop_undrawn(element: Element) -> None:
    """Remove what draws nothing: metadata, style sheets, and groups that are empty without them."""
    # a copy: children are removed from the element itself
    for child in list(element):
        # Children first: a group is empty only after its own children are gone.
        _drop_undrawn(child)
        is_empty = child.tag in {"g", "defs"} and len(child) == 0
        if child.tag in _NOT_DRAWN or is_empty:
            element.remove(child)


def _rename_ids(root: Element, name: str) -> None:
    """Keep the ids that are referred to, prefixed with the figure's name; drop the others."""
    referred = {
        _target(element.attrib[key])
        for element in root.iter()
        for key in _REFERENCES
        if key in element.attrib
    }
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in referred:
            # With the figure's name, ids are unique on the page, whatever matplotlib derives them from.
            element.set("id", f"{name}-{own}")
        for key in _REFERENCES:
            if key in element.attrib:
                target = _target(element.attrib[key])
                element.set(key, element.attrib[key].replace(f"#{target}", f"#{name}-{target}"))


def _target(reference: str) -> str:
    """Return the id in `#id` or `url(#id)`; empty when there is none, as in an embedded picture."""
    return reference.removeprefix("url(").removesuffix(")").removeprefix("#") if "#" in reference else ""


def _restyle(element: Element) -> None:
    """Give an element the page's colors and font, and its path a tenth of a pixel of precision."""
    if "style" in element.attrib:
        declarations = (one.partition(":") for one in element.attrib["style"].split(";"))
        style = {key.strip(): value.strip() for key, _, value in declarations}
        style.pop("font-family", None)  # inherited from the page
        element.set("style", "; ".join(f"{key}: {_CSS_COLORS.get(v, v)}" for key, v in style.items()))
    if "d" in element.attrib:  # all digits would make a page of many layers three times as long
        element.set("d", " ".join(map(_rounded, element.attrib["d"].split())))


def _rounded(token: str) -> str:
    """Return a command of a path as it is, and a coordinate rounded to a tenth."""
    return token if token.isalpha() else f"{float(token):.1f}".removesuffix(".0")


def _describe(root: Element, name: str, size: tuple[int, int], texts: tuple[str, str]) -> None:
    """Give the root its size on the page and its text alternative."""
    width, height = size
    # Without a fixed width the figure follows the page; the limits keep its text readable.
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "role": "img",
        "viewBox": f"0 0 {width} {height}",
        "style": f"min-width: {_MIN_SCALE * width:.0f}px; max-width: {_MAX_SCALE * width:.0f}px",
        "aria-labelledby": f"{name}-title {name}-text",
    }
    for place, (tag, key, text) in enumerate(zip(("title", "desc"), ("title", "text"), texts, strict=True)):
        element = Element(tag, {"id": f"{name}-{key}"})
        element.text = text
        root.insert(place, element)
