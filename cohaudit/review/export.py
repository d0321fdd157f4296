"""The samples of an audit, as a list for those who clean the data: people, scripts, labeling tools.

The audit is read, never the data: nothing here changes a dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd

from cohaudit.audits.width import SHARES, smallest_set
from cohaudit.config.keys import toml_value
from cohaudit.errors import ReportError
from cohaudit.results import Audit, Preview, Skipped
from cohaudit.results.tables import table_to_csv, table_to_parquet
from cohaudit.review.suppressions import TABLE


def export(audit: Audit, kind: str, every: bool = False) -> bytes:
    """Return a list of samples as the content of a file.

    Args:
        audit: The result of a scan.
        kind: One of `EXPORT_FORMATS`.
        every: Whether to list every sample, not the suspects alone; the list of samples to keep and
            cleanlab's table are of every sample anyway.

    Returns:
        The content.

    Raises:
        ReportError: If the audit judged no sample, or, for a mask, did not measure the width.
        MissingExtraError: If Parquet is wanted and cannot be written.
    """
    if kind != MASK:
        require_judged(audit)
    return _FORMS[kind](audit, every)


def require_judged(audit: Audit) -> None:
    """Make sure that an audit says something about labels.

    Raises:
        ReportError: If it judged no sample.
    """
    if not audit.samples["suspicion"].notna().any():
        reasons = [part.reason for part in audit.skipped if part.name == "suspicion"]
        found = f"no sample was judged: {reasons[0]}" if reasons else "no sample was judged"
        raise ReportError("the audit", found, "audit a model that predicts labels from numbers")
    if not audit.sanity.auditable:
        raise ReportError(
            "the audit",
            f"no label was judged: {audit.sanity.reason}",
            "correct that, and run cohaudit scan again",
        )


def ranked(audit: Audit, every: bool) -> pd.DataFrame:
    """Return the suspects, most suspicious first; with `every`, the other samples after them."""
    table = audit.samples
    order = {evidence.id: place for place, evidence in enumerate(audit.evidence)}
    places = table["id"].map(order).fillna(len(order))
    keys = pd.DataFrame({"suspicion": -table["suspicion"], "place": places, "margin": table["loo_margin"]})
    rows = keys.sort_values(["suspicion", "place", "margin"], kind="stable").index
    listed: pd.DataFrame = table.loc[rows]
    return listed if every else listed[listed["suspect"]]


def _csv(audit: Audit, every: bool) -> bytes:
    return _text(table_to_csv(ranked(audit, every)))


def _jsonl(audit: Audit, every: bool) -> bytes:
    rows = ranked(audit, every).astype(object)
    records = rows.where(rows.notna(), None).to_dict("records")
    return _text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def _parquet(audit: Audit, every: bool) -> bytes:
    return table_to_parquet(ranked(audit, every), "--format parquet")


def _keep(audit: Audit, every: bool) -> bytes:
    """Return the ids of all samples but the suspects, a line each, in the dataset's order."""
    subject = audit.subject
    if subject.samples < subject.samples_total:
        raise ReportError(
            "the audit",
            f"holds {subject.samples:,} of {subject.samples_total:,} samples; "
            "to keep these alone would lose all the others",
            "scan without limit, or leave out the suspects that --format csv lists",
        )
    kept = audit.samples.loc[~audit.samples["suspect"], "id"]
    broken = [name for name in kept if len(name.splitlines()) > 1]
    if broken:
        raise ReportError(f"sample {broken[0]!r}", "its id has more than one line", "use --format csv")
    return _text("".join(f"{name}\n" for name in kept))


def _cleanlab(audit: Audit, every: bool) -> bytes:
    """Return the columns that cleanlab's CleanLearning gives, for every sample in the dataset's order."""
    table = audit.samples
    columns = {
        "id": table["id"],
        "is_label_issue": table["suspect"],
        "label_quality": 1 - table["suspicion"],
        "given_label": table["label"],
        "predicted_label": table["suggested"],
    }
    return _text(table_to_csv(pd.DataFrame(columns)))


def _label_studio(audit: Audit, every: bool) -> bytes:
    """Return tasks for Label Studio, each with the suggested label as a prediction.

    The labeling configuration they fit: <Choices name="label" toName="sample">, and an <Image>, <Text> or
    <HyperText> named "sample" with value="$sample".
    """
    return _text(
        json.dumps(
            [_task(audit, row) for row in _records(ranked(audit, every))], ensure_ascii=False, indent=1
        )
    )


def _suppressions(audit: Audit, every: bool) -> bytes:
    """Return a file of suppressions with an entry for each suspect, for a person to complete."""
    content = {evidence.id: evidence.content for evidence in audit.evidence}
    rows = _records(ranked(audit, False))
    missing = [row["id"] for row in rows if row["id"] not in content]
    if missing:
        found = "the audit holds no hash of its content"
        raise ReportError(f"sample {missing[0]!r:.80}", found, "run cohaudit scan again")
    # equal samples with one label are one entry
    once = {(content[row["id"]], row["label"]): row for row in reversed(rows)}
    entries = (_entry(row, sample) for (sample, _), row in reversed(once.items()))
    return _text(_REVIEW + "".join(entries))


def _mask(audit: Audit, every: bool) -> bytes:
    """Return as JSON, for each share of the coherent gradient, the units of each layer that hold it."""
    width = audit.audits.width
    if isinstance(width, Skipped):
        raise ReportError("the audit", f"no unit was measured: {width.reason}", "scan with --audits width")
    kept = {
        share: {layer.name: smallest_set(layer.energy, share).tolist() for layer in width.layers}
        for share in SHARES
    }
    return _text(json.dumps(kept) + "\n")


def _entry(row: dict[str, Any], content: str) -> str:
    return f"""
# suspicion {row["suspicion"]:.4f}; the other samples say {toml_value(row["suggested"])}
[[{TABLE}]]
sample = {toml_value(content)}
label = {toml_value(row["label"])}
id = {toml_value(row["id"])}
reviewer = ""
reason = ""
"""


_REVIEW = """\
# Suspects to look at, most suspicious first. Keep an entry only where the label is right after all, and fill
# in who found that (reviewer) and why (reason): such a sample is no suspect any more. Delete all the others.
# An entry can end: expires = 2027-06-30 makes its sample a suspect again from that day on.
# Name this file as `suppressions` in cohaudit.toml, or with --suppressions.
"""


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _task(audit: Audit, row: dict[str, Any]) -> dict[str, Any]:
    choice = {
        "from_name": "label",
        "to_name": "sample",
        "type": "choices",
        "value": {"choices": [row["suggested"]]},
    }
    return {
        "data": {
            "sample": _shown(audit.previews.get(row["id"])) or row["id"],
            "id": row["id"],
            "given_label": row["label"],
            "suspicion": row["suspicion"],
        },
        "predictions": [
            {"model_version": f"cohaudit {audit.version}", "score": row["suspicion"], "result": [choice]}
        ],
    }


def _shown(preview: Preview | None) -> str:
    """Return what a person is shown of a sample, as one text: a picture as a data URI, a row as lines."""
    if preview is None:
        return ""
    return (
        preview.image or preview.text or "\n".join(f"{name}: {value}" for name, value in preview.row.items())
    )


def _text(content: str) -> bytes:
    # ids and labels come from files, and may hold what UTF-8 cannot
    return content.encode("utf-8", "backslashreplace")


MASK = "mask"

_FORMS: dict[str, Callable[[Audit, bool], bytes]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "keep": _keep,
    "label-studio": _label_studio,
    "cleanlab": _cleanlab,
    "suppressions": _suppressions,
    MASK: _mask,
}

EXPORT_FORMATS = tuple(_FORMS)
"""What can be written: the suspects as a table (csv, jsonl, parquet) or as tasks (label-studio), the ids of
the other samples (keep), cleanlab's columns (cleanlab), a file of suspects to look at (suppressions); or, of
the network, the units that hold most of the coherent gradient (mask)."""

NAMES = {
    **{kind: f"suspects.{kind}" for kind in ("csv", "jsonl", "parquet")},
    **{"keep": "keep.txt", "label-studio": "tasks.json", "cleanlab": "cleanlab.csv"},
    **{"suppressions": "suppressions.toml", MASK: "mask.json"},
}
"""Kind → how its file is called unless the user names it."""
