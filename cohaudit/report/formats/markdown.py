"""The audit as Markdown for a job summary or a comment on a pull request, in GitHub's flavor.

Every text from outside stays text. Names are in code spans, where nothing is a link, a mention or HTML;
sentences are escaped. docs/formats.md says what is left out, and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cohaudit.report.formats.suspects import SuspectLine, list_suspects
from cohaudit.report.words import count, percent, plural, probability, text
from cohaudit.results import Audit, Skipped
from cohaudit.results.wording import uncapitalized
from cohaudit.review.verdicts import generalization_verdict, label_verdict, overall_headline, trust_sentence

MAX_LENGTH = 65_000
"""Length of the whole text at most, in UTF-16 units: GitHub takes comments of up to 65,536."""
MAX_LIST_LENGTH = 12_000
"""Length of a list before the suspects at most, in UTF-16 units, so that room is left for these."""
MAX_MARKDOWN_NAME = 60
"""Characters of a name at most: a table of five columns stays readable."""
MAX_MARKDOWN_SENTENCE = 400
"""Characters of a sentence at most."""
OPEN_SUSPECTS = 10
"""Suspects that are visible at once; the others are folded away."""

OUTCOME_MARKS = {"failed": "❌ failed", "warned": "⚠️ warned", "passed": "✅ passed"}
"""Outcome of a gate → as the table writes it."""

_MARKDOWN_ESCAPES = {
    **{character: f"\\{character}" for character in "\\`*_[]~"},
    **{"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"},
    "$": "<span>$</span>",  # as GitHub advises: two of them would enclose a formula
    **{character: f"{character}&#8203;" for character in "@#"},  # no mention, no reference to an issue
}
"""Character with a meaning in Markdown → the text that shows it."""
_TABLE = str.maketrans(_MARKDOWN_ESCAPES)
"""`_MARKDOWN_ESCAPES` in the form for `str.translate`."""


def render_markdown(audit: Audit) -> str:
    """Render the audit as Markdown of at most 65,000 characters.

    Args:
        audit: Result of a scan.

    Returns:
        The text. Equal audits give equal texts.
    """
    parts = [*_verdict(audit), *_gates(audit), *_drivers(audit)]
    notices = listed("### Notes", [f"- {sentence(notice)}" for notice in audit.notices], MAX_LIST_LENGTH)
    # The list of suspects is the longest: it gets the room that everything else leaves.
    room = MAX_LENGTH - size("".join((*parts, *notices)))
    return "".join((*parts, *_suspects(audit, room), *notices)) + "\n"


def code(name: str, limit: int = MAX_MARKDOWN_NAME) -> str:
    """Write a name as a code span, also in a table, where a bar would end the cell.

    Args:
        name: The name as the audit has it.
        limit: Characters shown at most.
    """
    shown = text(name, limit).short
    return "&#124;".join(_span(part) if part else "" for part in shown.split("|")) or "(empty)"


def _span(part: str) -> str:
    """Put a text between more backticks than it has in a row."""
    fence = "`" * (max(map(len, re.findall("`+", part)), default=0) + 1)
    # Markdown takes off one space at either end, so that a backtick can stand there
    space = " " if part.startswith("`") or part.endswith("`") else ""
    return f"{fence}{space}{part}{space}{fence}"


def sentence(raw: str, limit: int = MAX_MARKDOWN_SENTENCE) -> str:
    """Write a sentence, which may quote anything, as nothing but text.

    Args:
        raw: The sentence as the audit has it.
        limit: Characters shown at most.
    """
    # Single characters first: the patterns below then see only what could still be syntax.
    escaped = text(raw, limit).short.strip().translate(_TABLE)
    escaped = re.sub(r"^(\d*)([-+=](?!\d)|[.)](?=\s|$))", r"\1\\\2", escaped)  # no list in the list
    # GitHub links a bare address, also one without a scheme that begins with www.
    escaped = re.sub(r":(?=//)", r"\\:", escaped)
    escaped = re.sub(r"\b(gh)-(?=\d)", r"\1&#8203;-", escaped, flags=re.IGNORECASE)  # an issue to GitHub
    return re.sub(r"\b(www)\.", r"\1\\.", escaped, flags=re.IGNORECASE)


def size(markdown: str) -> int:
    """Return the length of a text as GitHub counts it: in UTF-16 units."""
    return len(markdown.encode("utf-16-le", "surrogatepass")) // 2


def listed(head: str, lines: Sequence[str], room: int) -> list[str]:
    """Return a section with a heading and a list; nothing without lines.

    Args:
        head: The heading and, for a table, its first two rows, separated by line ends.
        lines: One per entry.
        room: Length of the section at most; a last line counts what does not fit.
    """
    if not lines:
        return []
    # 100 units hold the line that counts what is left out.
    shown = fitting(lines, room - size(head) - 100)
    rest = len(lines) - len(shown)
    more = f"\n\n{count(rest)} more in the report." if rest else ""
    # rows must follow the head of a table at once; after a heading, a blank line belongs
    gap = "\n\n" if not head.endswith("|") else "\n"
    return [f"\n\n{head}{gap}" + "\n".join(shown) + more]


def fitting(lines: Sequence[str], room: int) -> list[str]:
    """Return as many of the first lines as fit.

    Args:
        lines: Without line ends.
        room: Length of the lines at most, with line ends.
    """
    fitting_lines = []
    used = 0
    for line in lines:
        used += size(line) + 1
        if used > room:
            break
        fitting_lines.append(line)
    return fitting_lines


def table(*columns: str, right: Sequence[str] = ()) -> str:
    """Return the first two rows of a table.

    Args:
        columns: Headings.
        right: Headings of the columns that are aligned right.
    """
    rules = ("--:" if column in right else ":--" for column in columns)
    return f"{row(columns)}\n{row(rules)}"


def row(cells: Iterable[str]) -> str:
    """Return a row of a table, whose cells are Markdown."""
    return f"| {' | '.join(cells)} |"


def _verdict(audit: Audit) -> list[str]:
    subject = audit.subject
    sanity = audit.sanity
    of = "" if subject.samples == subject.samples_total else f" of {count(subject.samples_total)}"
    facts = [
        f"{code(subject.checkpoint)} on {count(subject.samples)}{of} samples of {code(subject.data)}",
        f"training accuracy {percent(sanity.accuracy)}",
    ]
    head = f"## cohaudit: {sentence(uncapitalized(overall_headline(audit)))}"
    if not sanity.auditable:
        return [f"{head}\n\n{sentence(sanity.reason)}\n\n{' · '.join(facts)}"]
    verdicts = (("Labels", label_verdict(audit)), ("Generalization", generalization_verdict(audit)))
    lines = [
        f"**{name}: {one.level}.** {sentence(f'{one.headline}. {one.sentence} {one.detail}')}"
        for name, one in verdicts
    ]
    return ["\n\n".join([head, *filter(None, [sentence(trust_sentence(audit))]), *lines, " · ".join(facts)])]


def _gates(audit: Audit) -> list[str]:
    # A list that is too long is cut at its end, which must not hide a failed gate.
    worst_first = sorted(audit.gates, key=lambda gate: (not gate.failed, not gate.warned))
    rows = [row((code(g.expression), OUTCOME_MARKS[g.outcome], sentence(g.reason))) for g in worst_first]
    return listed(f"### Gates\n\n{table('Gate', 'Outcome', 'Measured')}", rows, MAX_LIST_LENGTH)


def _drivers(audit: Audit) -> list[str]:
    drivers = () if isinstance(audit.risk, Skipped) else audit.risk.drivers
    lines = [f"- {sentence(one.reason)}<br>→ {sentence(one.remedy)}" for one in drivers]
    return listed("### Causes and remedies", lines, MAX_LIST_LENGTH)


def _suspects(audit: Audit, room: int) -> list[str]:
    """Return the suspects as tables: the first ones open, the others folded, as many as fit."""
    suspects = list(list_suspects(audit))
    if not suspects:
        return []
    columns = ("Sample", "Given", "Suggested", "Suspicion", "Where")
    head = table(*columns, right=("Suspicion",))
    frame = f"\n\n### Suspects\n\n{head}\n\n\n<details><summary>more</summary>\n\n{head}\n\n\n</details>"
    # 300 units hold the numbers in the frame and the line that counts what does not fit
    shown = fitting([_suspect(one) for one in suspects], room - size(frame) - 300)
    parts = [f"\n\n### Suspects\n\n{head}\n" + "\n".join(shown[:OPEN_SUSPECTS])]
    folded = shown[OPEN_SUSPECTS:]
    rest = len(suspects) - len(shown)
    if folded:
        title = f"{count(len(folded))} more"
        # the blank lines matter: after one, GitHub reads Markdown again inside of HTML
        rows = "\n".join(folded)
        parts.append(f"\n\n<details><summary>{title}</summary>\n\n{head}\n{rows}\n\n</details>")
    if rest:
        parts.append(f"\n\n{plural(rest, 'more suspect')} did not fit: samples.csv has all of them.")
    return parts


def _suspect(one: SuspectLine) -> str:
    suggested = "–" if one.suggested == one.label else code(one.suggested, 30)
    where = f"{code(one.place)}{f' line {count(one.line)}' if one.line else ''}" if one.place else "–"
    return row((code(one.id), code(one.label, 30), suggested, probability(one.suspicion), where))
