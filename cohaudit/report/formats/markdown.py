"""The audit as Markdown for a job summary or a comment on a pull request, in GitHub's flavor.

Every text from outside stays a text. Names stand in code spans, where nothing is a link, a mention or HTML;
sentences are escaped. See docs/formats.md for what is kept out, and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cohaudit.report.formats.suspects import Suspect, list_suspects
from cohaudit.report.words import count, percent, plural, points, probability, text
from cohaudit.results import Audit, Skipped, format_points

LONGEST = 65_000
"""Of the whole text, in UTF-16 units: GitHub takes comments of up to 65,536."""
LIST_ROOM = 12_000
"""Of a list that comes before the suspects, likewise."""
LONGEST_NAME = 60
LONGEST_SENTENCE = 400
OPEN_SUSPECTS = 10
"""Suspects that are seen at once; the others are folded away."""

OUTCOMES = {"failed": "❌ failed", "warned": "⚠️ warned", "passed": "✅ passed"}

_ESCAPED = {
    **{character: f"\\{character}" for character in "\\`*_[]~"},
    **{"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"},
    "$": "<span>$</span>",  # as GitHub advises: two of them would enclose mathematics
    **{character: f"{character}&#8203;" for character in "@#"},  # no mention, no reference to an issue
}
_TABLE = str.maketrans(_ESCAPED)


def render_markdown(audit: Audit) -> str:
    """Render the audit as Markdown of at most 65,000 characters.

    Args:
        audit: The result of a scan.

    Returns:
        The text: equal for equal audits.
    """
    parts = [*_verdict(audit), *_gates(audit), *_drivers(audit)]
    notices = listed("### Notes", [f"- {sentence(notice)}" for notice in audit.notices], LIST_ROOM)
    room = LONGEST - size("".join((*parts, *notices)))
    return "".join((*parts, *_suspects(audit, room), *notices)) + "\n"


def code(name: str, limit: int = LONGEST_NAME) -> str:
    """Write a name as a code span, also in a table, where a bar would end the cell.

    Args:
        name: As it stands in the audit.
        limit: Characters shown.
    """
    shown = text(name, limit).short
    return "&#124;".join(_span(part) if part else "" for part in shown.split("|")) or "(empty)"


def _span(part: str) -> str:
    """Put a text between more backticks than it holds in a row."""
    fence = "`" * (max(map(len, re.findall("`+", part)), default=0) + 1)
    space = " " if part.startswith("`") or part.endswith("`") else ""
    return f"{fence}{space}{part}{space}{fence}"


def sentence(raw: str, limit: int = LONGEST_SENTENCE) -> str:
    """Write a sentence, in which anything may be quoted, as nothing but text.

    Args:
        raw: As it stands in the audit.
        limit: Characters shown.
    """
    escaped = text(raw, limit).short.strip().translate(_TABLE)
    escaped = re.sub(r"^(\d*)([-+=](?!\d)|[.)](?=\s|$))", r"\1\\\2", escaped)  # no list in the list
    escaped = re.sub(r":(?=//)", r"\\:", escaped)
    escaped = re.sub(r"\b(gh)-(?=\d)", r"\1&#8203;-", escaped, flags=re.IGNORECASE)  # an issue to GitHub
    return re.sub(r"\b(www)\.", r"\1\\.", escaped, flags=re.IGNORECASE)


def size(markdown: str) -> int:
    """Return how long a text is to GitHub: in UTF-16 units."""
    return len(markdown.encode("utf-16-le", "surrogatepass")) // 2


def listed(head: str, lines: Sequence[str], room: int) -> list[str]:
    """Return a section of a heading and a list, or nothing without lines.

    Args:
        head: The heading, and of a table its first two rows; with the line ends inside.
        lines: One an entry.
        room: Characters for all of it; what does not fit is counted in a last line.
    """
    if not lines:
        return []
    kept = fitting(lines, room - size(head) - 100)
    rest = len(lines) - len(kept)
    more = f"\n\nAnd {count(rest)} more, in the report." if rest else ""
    gap = "\n\n" if not head.endswith("|") else "\n"
    return [f"\n\n{head}{gap}" + "\n".join(kept) + more]


def fitting(lines: Sequence[str], room: int) -> list[str]:
    """Return the first lines, as many as fit.

    Args:
        lines: Without line ends.
        room: Characters for them, with line ends.
    """
    kept = []
    used = 0
    for line in lines:
        used += size(line) + 1
        if used > room:
            break
        kept.append(line)
    return kept


def table(*columns: str, right: Sequence[str] = ()) -> str:
    """Return the first two rows of a table.

    Args:
        columns: Headings.
        right: Those whose cells stand at the right.
    """
    rules = ("--:" if column in right else ":--" for column in columns)
    return f"{row(columns)}\n{row(rules)}"


def row(cells: Iterable[str]) -> str:
    """Return a row of a table; the cells are Markdown."""
    return f"| {' | '.join(cells)} |"


def _verdict(audit: Audit) -> list[str]:
    subject = audit.subject
    sanity = audit.sanity
    risk = audit.risk
    of = "" if subject.samples == subject.samples_total else f" of {count(subject.samples_total)}"
    facts = [
        f"{code(subject.checkpoint)} on {count(subject.samples)}{of} samples of {code(subject.data)}",
        f"training accuracy {percent(sanity.accuracy)}",
    ]
    if not sanity.auditable:
        return [f"## cohaudit: not auditable\n\n{sentence(sanity.reason)}\n\n{' · '.join(facts)}"]
    if audit.samples["suspicion"].notna().any():
        found = int(audit.samples["suspect"].sum())
        facts.append(f"{plural(found, 'suspect')} ({percent(found / max(subject.samples, 1))})")
    if isinstance(risk, Skipped):
        return [f"## cohaudit: risk not estimated\n\n{sentence(risk.reason)}\n\n{' · '.join(facts)}"]
    told = (
        f"**Predicted gap: {points(risk.gap.value)} points** ({risk.coverage:.0%} interval: "
        f"{points(risk.gap.low)} to {points(risk.gap.high)}), the accuracy in training less that on new data."
    )
    if not isinstance(risk.holdout, Skipped):
        told += f" On {count(risk.holdout.samples)} samples held out {format_points(risk.holdout.gap)} were "
        told += f"measured; the training data alone predict {format_points(risk.predicted)}."
    return [f"## cohaudit: {risk.level} risk of overfitting\n\n{told}\n\n{' · '.join(facts)}"]


def _gates(audit: Audit) -> list[str]:
    worst_first = sorted(audit.gates, key=lambda gate: (not gate.failed, not gate.warned))
    rows = [row((code(g.expression), OUTCOMES[g.outcome], sentence(g.reason))) for g in worst_first]
    return listed(f"### Gates\n\n{table('Gate', 'Outcome', 'Measured')}", rows, LIST_ROOM)


def _drivers(audit: Audit) -> list[str]:
    drivers = () if isinstance(audit.risk, Skipped) else audit.risk.drivers
    lines = [f"- {sentence(one.reason)}<br>→ {sentence(one.remedy)}" for one in drivers]
    return listed("### What it comes from, and what would lower it", lines, LIST_ROOM)


def _suspects(audit: Audit, room: int) -> list[str]:
    """Return the suspects as tables: the first ones open, the others folded, as many as there is room for."""
    found = list(list_suspects(audit))
    if not found:
        return []
    columns = ("Sample", "Given", "Suggested", "Suspicion", "Where")
    head = table(*columns, right=("Suspicion",))
    frame = f"\n\n### Suspects\n\n{head}\n\n\n<details><summary>more</summary>\n\n{head}\n\n\n</details>"
    kept = fitting([_suspect(one) for one in found], room - size(frame) - 300)
    parts = [f"\n\n### Suspects\n\n{head}\n" + "\n".join(kept[:OPEN_SUSPECTS])]
    folded = kept[OPEN_SUSPECTS:]
    rest = len(found) - len(kept)
    if folded:
        title = f"{count(len(folded))} more"
        rows = "\n".join(folded)
        parts.append(f"\n\n<details><summary>{title}</summary>\n\n{head}\n{rows}\n\n</details>")
    if rest:
        parts.append(
            f"\n\n{plural(rest, 'suspect')} more would not fit in here: samples.csv has all of them."
        )
    return parts


def _suspect(one: Suspect) -> str:
    suggested = "–" if one.suggested == one.label else code(one.suggested, 30)
    where = f"{code(one.place)}{f' line {count(one.line)}' if one.line else ''}" if one.place else "–"
    return row((code(one.id), code(one.label, 30), suggested, probability(one.suspicion), where))
