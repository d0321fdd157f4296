"""Lists of samples for cleaning the data, for people and scripts.

Only the audit is read: nothing here reads or changes a dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd

from cohaudit.config.keys import toml_value
from cohaudit.errors import ReportError
from cohaudit.results import Audit, Skipped
from cohaudit.results.sub_network import SUB_NETWORK_SHARES, smallest_set
from cohaudit.results.tables import table_to_csv, table_to_parquet, table_to_records
from cohaudit.review.suppressions import SUPPRESSIONS_TABLE


def export(audit: Audit, kind: str, every: bool = False) -> bytes:
    """Return a list of samples as the content of a file.

    Args:
        audit: The result of a scan.
        kind: One of `LIST_FORMATS`.
        every: Whether to list every sample, not only the suspects; the list of samples to keep and cleanlab's
            table always cover every sample.

    Returns:
        Content of the file.

    Raises:
        ReportError: The audit judged no labels or, for a mask, did not measure the width.
        MissingExtraError: Parquet needs a package that is not installed.
    """
    if kind != MASK_FORMAT:
        require_judged(audit)
    return _WRITERS[kind](audit, every)


def require_judged(audit: Audit) -> None:
    """Refuse an audit that says nothing about labels.

    Raises:
        ReportError: The audit judged no labels.
    """
    reason = audit.labels_not_judged
    if reason:
        measured = audit.samples["suspicion"].notna().any()
        remedy = "correct the cause, and run cohaudit scan again"
        raise ReportError(
            "the audit",
            f"no label was judged: {reason}",
            remedy if measured else "audit a model that predicts labels from numbers",
        )


def _rows(audit: Audit, every: bool) -> pd.DataFrame:
    return audit.ranked_samples() if every else audit.suspects


def _csv(audit: Audit, every: bool) -> bytes:
    return _text(table_to_csv(_rows(audit, every)))


def _look(audit: Audit, every: bool) -> bytes:
    """Return the samples most worth a look: the suspects, then those whose answers tell most."""
    rows = _rows(audit, every)
    asked = audit.samples.set_index("id", drop=False).loc[list(audit.questions)]
    return _text(table_to_csv(pd.concat([rows, asked[~asked["id"].isin(rows["id"])]])))


def _jsonl(audit: Audit, every: bool) -> bytes:
    # as objects, because a column of floats cannot hold None, and JSON has no NaN
    rows = _rows(audit, every).astype(object)
    records = rows.where(rows.notna(), None).to_dict("records")
    return _text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def _parquet(audit: Audit, every: bool) -> bytes:
    return table_to_parquet(_rows(audit, every), "--format parquet")


def _keep(audit: Audit, every: bool) -> bytes:
    """Return the ids of all samples except the suspects, one per line, in dataset order."""
    # whoever trains on the list alone would lose the samples that --limit left out
    subject = audit.subject
    if subject.samples < subject.samples_total:
        raise ReportError(
            "the audit",
            f"holds {subject.samples:,} of {subject.samples_total:,} samples; "
            "a list of these would drop all the others",
            "scan without limit, or remove the suspects that --format csv lists",
        )
    ids = audit.samples.loc[~audit.samples["suspect"], "id"]
    # a reader of the list would take such an id for several
    broken = [name for name in ids if len(name.splitlines()) > 1]
    if broken:
        raise ReportError(f"sample {broken[0]!r}", "its id has more than one line", "use --format csv")
    return _text("".join(f"{name}\n" for name in ids))


def _cleanlab(audit: Audit, every: bool) -> bytes:
    """Return the columns of cleanlab's CleanLearning, for every sample in dataset order.

    Labels are class numbers, from 0 in the order of the model's outputs, as cleanlab takes them.
    """
    table = audit.samples
    number = {one.name: place for place, one in enumerate(audit.classes)}
    columns = {
        "id": table["id"],
        "is_label_issue": table["suspect"],
        "label_quality": 1 - table["suspicion"],
        "given_label": table["label"].map(number),
        "predicted_label": table["predicted"].map(number),
    }
    return _text(table_to_csv(pd.DataFrame(columns)))


def _suppressions(audit: Audit, every: bool) -> bytes:
    """Return a file of suppressions with an entry for each suspect, which a person completes."""
    content = {evidence.id: evidence.content for evidence in audit.evidence}
    rows = table_to_records(audit.suspects)
    missing = [row["id"] for row in rows if row["id"] not in content]
    if missing:
        found = "the audit has no hash of its content"
        raise ReportError(f"sample {missing[0]!r:.80}", found, "run cohaudit scan again")
    # a suppression names content and label, so that equal samples with one label are one entry; reversed
    # twice, the first of them gives the id
    once = {(content[row["id"]], row["label"]): row for row in reversed(rows)}
    entries = (_entry(row, sample) for (sample, _), row in reversed(once.items()))
    return _text(_SUPPRESSIONS_HEADER + "".join(entries))


def _mask(audit: Audit, every: bool) -> bytes:
    """Return as JSON, for each share of the coherent gradient, the units of each layer that hold it."""
    width = audit.audits.width
    if isinstance(width, Skipped):
        raise ReportError(
            "the audit", f"the width was not measured: {width.reason}", "scan with --audits width"
        )
    masks = {
        share: {layer.name: smallest_set(layer.energy, share).tolist() for layer in width.layers}
        for share in SUB_NETWORK_SHARES
    }
    return _text(json.dumps(masks) + "\n")


def _entry(row: dict[str, Any], content: str) -> str:
    return f"""
# suspicion {row["suspicion"]:.4f}; the other samples say {toml_value(row["suggested"])}
[[{SUPPRESSIONS_TABLE}]]
sample = {toml_value(content)}
label = {toml_value(row["label"])}
id = {toml_value(row["id"])}
reviewer = ""
reason = ""
"""


_SUPPRESSIONS_HEADER = """\
# Suspects to review, most suspicious first. Keep an entry only when its label is right, and fill in who
# reviewed it (reviewer) and why it is right (reason): the sample is then no longer a suspect. Delete all
# other entries.
# An entry can end: expires = 2027-06-30 makes its sample a suspect again from that day on.
# Name this file as `suppressions` in cohaudit.toml, or with --suppressions.
"""
"""First lines of a list of suspects to review, which tell the reviewer how to use it."""


def _text(content: str) -> bytes:
    # ids and labels come from files, and can hold characters that UTF-8 cannot encode
    return content.encode("utf-8", "backslashreplace")


MASK_FORMAT = "mask"
"""Format for the units of the network rather than for samples: it needs no judged labels."""

_WRITERS: dict[str, Callable[[Audit, bool], bytes]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "look": _look,
    "keep": _keep,
    "cleanlab": _cleanlab,
    "suppressions": _suppressions,
    MASK_FORMAT: _mask,
}
"""Format → function that writes an audit in it; the flag says whether every sample is listed."""

LIST_FORMATS = tuple(_WRITERS)
"""Formats: the suspects as a table (csv, jsonl, parquet), the samples most worth a look, suspects or not
(look), the ids of all samples but the suspects (keep), cleanlab's columns (cleanlab), suspects to review
(suppressions), and the units of the network that hold most of the coherent gradient (mask)."""
