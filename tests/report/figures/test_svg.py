"""What becomes of a matplotlib figure inside a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from support.audits import HOSTILE

from cohaudit.report.figures.svg import BLUE, INK, NamePlaceholders, draw_svg
from cohaudit.report.words import text


def drawn(name: str = "one", label: str = "layer") -> str:
    """Return a figure with lines, marks, a clip path, a picture and a name."""

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        axes = figure.subplots()
        axes.plot([0, 1, 2], [0.123456, 1, 2], color=BLUE, marker="o", label=names.reserve(text(label)))
        axes.imshow([[0.0, 1.0]], extent=(0, 2, 0, 1))
        axes.set_title("Title & more", color=INK)
        axes.legend()

    return draw_svg(name, (400, 300), "A title <b>", "A description & more", draw)


def test_it_is_one_well_formed_element_with_the_text_alternative_of_an_image() -> None:
    root = ElementTree.fromstring(drawn())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox") == "0 0 400 300"
    assert root.get("role") == "img"
    title, description = list(root)[:2]
    assert (title.text, description.text) == ("A title <b>", "A description & more")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"


def test_what_would_change_the_page_around_it_is_left_out() -> None:
    svg = drawn()
    assert re.findall("<(?:style|metadata|script)|<!--|<[?]xml|<!DOCTYPE", svg) == []
    assert "font-family" not in svg


def test_colors_are_those_of_the_page() -> None:
    svg = drawn()
    assert "var(--blue)" in svg
    assert "currentColor" in svg
    assert re.findall("#0[1-5]0[1-5]0[1-5]", svg) == []


def test_ids_are_those_that_are_referred_to_and_unique_to_the_figure() -> None:
    one, other = drawn("one"), drawn("other")
    for name, svg in (("one", one), ("other", other)):
        ids = re.findall(r' id="([^"]+)"', svg)
        referred = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
        assert len(ids) == len(set(ids))
        assert all(own.startswith(f"{name}-") for own in ids)
        assert {a or b for a, b in referred} == set(ids) - {f"{name}-title", f"{name}-text"}


def test_coordinates_are_written_to_a_tenth_of_a_pixel() -> None:
    paths = re.findall(r' d="([^"]*)"', drawn())
    assert paths
    assert [path for path in paths if re.search(r"\.\d\d", path)] == []


def test_it_is_the_same_each_time_whatever_matplotlib_is_set_to() -> None:
    before = drawn()
    with mpl.rc_context({"font.size": 40, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert drawn() == before
        assert mpl.rcParams["font.size"] == 40


@pytest.mark.parametrize("name", [*HOSTILE, "@0@", "$x^2$"])
def test_names_are_text_isolated_from_their_surroundings(name: str) -> None:
    texts = [element.text for element in ElementTree.fromstring(drawn(label=name)).iter() if element.text]
    assert f"\u2068{text(name).short}\u2069" in texts
    assert len(re.findall("<path", drawn(label=name))) == len(re.findall("<path", drawn()))
