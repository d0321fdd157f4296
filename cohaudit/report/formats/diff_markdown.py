"""The difference of two audits as Markdown for a comment on a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from cohaudit.report.formats.markdown import MAX_LIST_LENGTH, code, listed, row, sentence, table
from cohaudit.report.html.diff_page import DiffPage, Row, build_diff_page
from cohaudit.report.words import Text, probability
from cohaudit.review.diff.difference import Difference
from cohaudit.review.diff.suspects import ComparedSuspect


def render_difference_markdown(difference: Difference) -> str:
    """Render the difference of two audits as Markdown of at most 65,000 characters.

    Args:
        difference: Result of `cohaudit.review.diff.compare`.

    Returns:
        The text. Equal differences give equal texts.
    """
    page = build_diff_page(difference)
    changes = difference.suspects
    parts = [
        f"## cohaudit: {page.headline.lower()}\n\n{_name(page.head)} compared with {_name(page.base)}",
        *listed(
            # the last list has three short lines: 5,000 units remain for the rest
            "### What is worse",
            [f"- {sentence(one)}" for one in difference.regressions],
            MAX_LIST_LENGTH // 2,
        ),
        *([f"\n\n{sentence(difference.ranking.reason)}"] if difference.ranking else []),
        *listed(
            "### What is better",
            [f"- {sentence(one)}" for one in difference.improvements],
            MAX_LIST_LENGTH // 2,
        ),
        *listed(
            "### Differs between the audits",
            [f"- {sentence(one)}" for one in difference.unlike],
            MAX_LIST_LENGTH // 2,
        ),
        *listed(
            f"### Overview\n\n{_heads('')}",
            [_change(one.name.short, one) for one in page.whole],
            MAX_LIST_LENGTH,
        ),
        f"\n\n### Suspects\n\n{page.suspects}",
        *(_suspects("New", "In the base", changes.new) if changes else []),
        *(_suspects("Fixed", "In the head", changes.fixed) if changes else []),
        *_changed(page),
    ]
    return "".join(parts) + "\n"


def _name(name: Text) -> str:
    return code(name.full or name.short)


def _heads(name: str) -> str:
    return table(name, "Base", "Head", "Change", right=("Base", "Head"))


def _change(name: str, one: Row) -> str:
    sides = ((one.base, one.base_interval), (one.head, one.head_interval))
    values = (f"{value} ({interval})" if interval else value for value, interval in sides)
    return row((name, *values, f"**{one.change}**" if one.clear else one.change))


def _suspects(title: str, other: str, suspects: Sequence[ComparedSuspect]) -> list[str]:
    head = table(title, "Given", "Suggested", "Suspicion", other, right=("Suspicion",))
    return listed(head, [_suspect(one) for one in suspects], MAX_LIST_LENGTH)


def _suspect(one: ComparedSuspect) -> str:
    names = (code(one.id), code(one.label, 30), code(one.suggested, 30))
    return row((*names, probability(one.suspicion), one.elsewhere))


def _changed(page: DiffPage) -> list[str]:
    """Return the layers with a clear change of coherence and the classes with a clear change of gap."""
    layers = [_change(_name(one.name), one) for one in page.layers if one.clear]
    gaps = [_change(_name(one.name), one.gap) for one in page.classes if one.gap.clear]
    return [
        *listed(f"### Layers with a clear change of αᵤ\n\n{_heads('Layer')}", layers, MAX_LIST_LENGTH),
        *listed(f"### Classes with a clear change of the gap\n\n{_heads('Class')}", gaps, MAX_LIST_LENGTH),
    ]
