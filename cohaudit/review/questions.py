"""The labels that an audit suggests for review, and the table in which a person can answer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cohaudit.errors import ReportError
from cohaudit.results import Audit
from cohaudit.results.tables import table_to_csv
from cohaudit.review.export import require_judged


def questions_of(audit: Audit, count: int) -> tuple[str, ...]:
    """Return the ids of the samples to ask about, in the order to ask.

    Args:
        audit: The result of a scan.
        count: How many, at most; of fewer samples, all are asked.

    Raises:
        ReportError: The audit judged no labels, suggests fewer questions, or every label is reviewed.
    """
    require_judged(audit)
    found = audit.questions
    if not found:
        raise ReportError("the audit", "every audited label is reviewed", "there is nothing left to ask")
    unasked = len(audit.samples) - len(found)
    if count > len(found) and unasked > 0:
        remedy = f"ask for {len(found)}, then scan with the answers: that audit suggests the next ones"
        raise ReportError(f"--count {count}", f"the audit suggests {len(found)} labels to review", remedy)
    return found[:count]


def questions_table(audit: Audit, ids: Sequence[str]) -> str:
    """Return a .csv table with an empty column `answer`, a row for each question.

    Args:
        audit: The result of a scan.
        ids: Ids of the samples to ask about, in the order to ask.
    """
    rows = audit.samples.set_index("id", drop=False).loc[list(ids)]
    columns = {
        "id": rows["id"],
        "content": rows["content"],
        "label": rows["label"],
        "suggested": rows["suggested"],
        "answer": "",
        "true_label": "",
    }
    return table_to_csv(pd.DataFrame(columns))
