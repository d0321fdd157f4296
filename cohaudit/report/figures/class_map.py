"""The map of the cosines between classes: each class of few, groups of similar classes of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cohaudit.report.figures.axes import MAX_AXIS_NAME, widest
from cohaudit.report.figures.svg import INK, NamePlaceholders, draw_svg
from cohaudit.report.words import count, named, plural, signed, text

MAX_UNGROUPED_CLASSES = 40
"""Classes with a row of their own at most; more are grouped, because nobody could read their names."""
_GROUPS = 32
"""Groups of many classes: the result of halving five times."""
_MAX_WRITTEN_CLASSES = 12
"""Classes whose cosines are written into the map at most."""
_SCALES = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Cosines that may get the full color instead of 1, if none is larger: small ones would look all alike."""
POSITIVE = (31 / 255, 130 / 255, 198 / 255)
"""Color of a positive cosine; distinct from a negative one for every eye, on a light and on a dark page."""
NEGATIVE = (213 / 255, 94 / 255, 0)
"""Color of a negative cosine."""
STRONGEST = 0.9
"""Opacity of the strongest cosine."""
BEHIND_NUMBERS = 0.6
"""Opacity of the strongest cosine if a number is written on it."""

Cosines = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassMap:
    """Rows of the map and their cosines."""

    groups: tuple[tuple[int, ...], ...]
    """Indices of the classes in each row, most central first; a single one each if there are few classes."""
    matrix: Cosines
    """Mean cosine between two different classes, one of each row, [rows, rows]; NaN without such a pair."""


def group_classes(cosines: Cosines) -> ClassMap:
    """Group many classes by similar gradients; leave few as they are.

    The classes are halved repeatedly at the median of the leading principal axis of their cosines (recursive
    spectral bisection; Simon 1991, "Partitioning of unstructured problems for parallel processing"). Similar
    classes end up side by side, in groups of nearly equal size.

    Args:
        cosines: Cosines between the classes, [C, C].
    """
    n = len(cosines)
    if n <= MAX_UNGROUPED_CLASSES:
        matrix = cosines.copy()
        # a cosine of 1 with itself would decide the scale of the colors
        np.fill_diagonal(matrix, np.nan)
        return ClassMap(tuple((i,) for i in range(n)), matrix)
    # Halving keeps groups of nearly equal size; clustering would leave most classes in one.
    parts = [np.arange(n)]
    while len(parts) < _GROUPS:
        parts = [half for part in parts for half in _halves(part, cosines)]
    groups = [part[np.argsort(-cosines[np.ix_(part, part)].sum(1), kind="stable")] for part in parts]
    return ClassMap(tuple(tuple(map(int, group)) for group in groups), _means(groups, cosines))


def _halves(part: npt.NDArray[np.int64], cosines: Cosines) -> list[npt.NDArray[np.int64]]:
    own = cosines[np.ix_(part, part)]
    # Without centering, the leading axis is the mean similarity, which separates nothing.
    centered = own - own.mean(0) - own.mean(1)[:, None] + own.mean()
    axis = np.linalg.eigh(centered)[1][:, -1]
    axis = axis * np.sign(
        axis[np.argmax(np.abs(axis))] or 1
    )  # the sign of an eigenvector is arbitrary: fix it
    # Stable, so that ties do not depend on the platform.
    order = part[np.argsort(axis, kind="stable")]
    return [order[: (len(order) + 1) // 2], order[(len(order) + 1) // 2 :]]


def _means(groups: Sequence[npt.NDArray[np.int64]], cosines: Cosines) -> Cosines:
    member = np.zeros((len(groups), len(cosines)))
    for row, group in enumerate(groups):
        member[row, group] = 1
    without_self = cosines.copy()
    np.fill_diagonal(without_self, 0)
    sizes = member.sum(1)
    # A class paired with itself has cosine 1 and would hide how alike a group is.
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    with np.errstate(invalid="ignore"):
        return (member @ without_self @ member.T) / np.where(pairs > 0, pairs, np.nan)


def extreme_pairs(cosines: Cosines, limit: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the pairs of classes with the lowest cosines, lowest first, and those with the highest.

    Args:
        cosines: Cosines between the classes, [C, C].
        limit: Number of pairs of each; no pair is in both lists.
    """
    i, j = np.triu_indices(len(cosines), 1)
    order = np.argsort(cosines[i, j], kind="stable")
    lowest = order[:limit]
    highest = order[limit:][-limit:][::-1]
    low, high = ([(int(i[k]), int(j[k])) for k in chosen] for chosen in (lowest, highest))
    return low, high


def cosine_map(class_names: Sequence[str], cosines: Cosines, shown: ClassMap) -> Markup:
    """Draw the cosines between the mean gradients of the classes, also as numbers if they fit.

    Args:
        class_names: Names, in the order of the cosines.
        cosines: Cosines between the classes, [C, C].
        shown: Result of `group_classes`.
    """
    n = len(shown.groups)
    labels = [_label(group, class_names) for group in shown.groups]
    # 48 pixels hold a cosine such as −0.59 in readable size.
    cell = 48 if n <= _MAX_WRITTEN_CLASSES else 600 / n
    room = widest(labels)
    left = 14 + room
    bottom = 20 + 0.75 * room
    right = 84
    top = 12
    width = round(left + n * cell + right)
    # 190 pixels hold the scale of 150 and its numbers, however few the classes
    height = max(round(bottom + n * cell + top), 190)
    strongest = np.nanmax(np.abs(shown.matrix), initial=0)
    full = next((scale for scale in _SCALES if strongest <= scale), 1.0)

    def draw(figure: Figure, names: NamePlaceholders) -> None:
        side = n * cell
        axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
        opacity = BEHIND_NUMBERS if n <= _MAX_WRITTEN_CLASSES else STRONGEST
        # "none" keeps one pixel per cell; else matplotlib would resample the picture to the size of the plot
        axes.imshow(_colors(shown.matrix / full, opacity), interpolation="none", aspect="auto")
        axes.spines[:].set_visible(False)
        _name_rows(axes, [names.reserve(text(label, MAX_AXIS_NAME)) for label in labels], cell)
        if n <= _MAX_WRITTEN_CLASSES:
            _write_cosines(axes, shown.matrix)
        scale = figure.add_axes((1 - 62 / width, 1 - (top + 150) / height, 14 / width, 150 / height))
        _draw_scale(scale, full, opacity)

    title = "Cosines between the mean gradients of the classes"
    return draw_svg("cosines", (width, height), title, _description(class_names, cosines, n), draw)


def _label(group: Sequence[int], class_names: Sequence[str]) -> str:
    """Name a group by its most central class and the number of others."""
    if len(group) == 1:
        return class_names[group[0]]
    rest = f" +{len(group) - 1}"
    return text(class_names[group[0]], MAX_AXIS_NAME - len(rest)).short + rest


def _description(class_names: Sequence[str], cosines: Cosines, rows: int) -> str:
    """Describe the map for readers who do not see it."""
    upper = cosines[np.triu_indices(len(cosines), 1)]
    (low, *_), high = extreme_pairs(cosines, 1)
    grouped = f" in {rows} groups of similar ones" if rows < len(class_names) else ""
    sentences = [f"{plural(len(class_names), 'class')}{grouped}."]
    sentences.append(
        f"{count(int((upper < 0).sum()))} of {plural(len(upper), 'pair')} pull the weights apart."
    )
    for what, pairs in (("Lowest", [low]), ("Highest", high)):
        for i, j in pairs:
            pair = f"{named(class_names[i])} and {named(class_names[j])}"
            sentences.append(f"{what}: {pair}, {signed(cosines[i, j])}.")
    return " ".join(sentences)


def _name_rows(axes: Axes, shown: list[str], cell: float) -> None:
    size = min(12.0, max(9.0, cell * 0.62))
    axes.tick_params(length=0)
    axes.set_yticks(range(len(shown)), shown, fontsize=size)
    axes.set_xticks(range(len(shown)), shown, fontsize=size, rotation=45, ha="right", rotation_mode="anchor")


def _write_cosines(axes: Axes, matrix: Cosines) -> None:
    for (i, j), value in np.ndenumerate(matrix):
        if i != j:
            axes.text(j, i, signed(value), ha="center", va="center", size=11.5, color=INK)


def _draw_scale(axes: Axes, full: float, opacity: float) -> None:
    levels = np.linspace(1, -1, 41)[:, None]
    axes.imshow(_colors(levels, opacity), extent=(0, 1, -full, full), aspect="auto", interpolation="none")
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([-full, -full / 2, 0, full / 2, full])
    axes.yaxis.tick_right()
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "\u2212") if value else "0")
    )


def _colors(cosines: Cosines, opacity: float) -> Cosines:
    """Return the colors of cosines, [rows, columns, RGBA]: transparent at 0, for light and dark pages."""
    colors = np.empty((*cosines.shape, 4))
    colors[..., :3] = np.where(cosines[..., None] > 0, POSITIVE, NEGATIVE)
    colors[..., 3] = (
        opacity * np.clip(np.abs(np.nan_to_num(cosines)), 0, 1) ** 0.7
    )  # below 1, so that weak cosines remain visible
    colors[np.isnan(cosines)] = (0.5, 0.5, 0.5, 0.2)
    return colors
