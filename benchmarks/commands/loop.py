"""Does the loop of scan, review, correct and retrain say truly how many labels are still wrong?

    python -m benchmarks.commands.loop          train, scan, correct, write results/loop.json
    python -m benchmarks.commands.loop --show   show the saved results

Small networks on questions, clothes, photos described by features, and a table, 10 to 30 % of their labels
flipped. Three rounds: train, scan, ask a person about the labels that tell most, scan with the answers,
correct, and again. The person is always right, right in 90 % of the answers, or nobody. After each round a
network is trained from scratch, and its scan says how many labels are still wrong. For comparison, the same
without the file of provenance, and with every suspect changed, as a correction did before there was one.
Every round is saved in benchmarks/.cache/loop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import cohaudit
from benchmarks.shared import paths
from benchmarks.shared.command_line import check_data_dir, make_parser
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.recipes import perceptron
from benchmarks.shared.results import Row, read_json, read_rows, write_json, write_rows
from benchmarks.shared.training import accuracy, train_epoch
from benchmarks.verdicts.networks import TextCNN
from benchmarks.verdicts.planted_noise import plant
from benchmarks.verdicts.samples import DATA_SETS
from cohaudit.analysis.corrected_labels import likelier_to_help
from cohaudit.results import Audit, Skipped
from cohaudit.results.files import write_file
from cohaudit.review.correct import correct
from cohaudit.review.label_provenance import provenance_file

RESULTS = paths.RESULTS / "loop.json"
CACHE = paths.CACHE / "loop"
SAMPLES = 1000
"""Training samples."""
TEST = 2000
"""Test samples at most."""
EPOCHS = 40
"""Passes over the data."""
ROUNDS = 3
"""Corrections."""
QUESTIONS = 60
"""Labels that a person is asked about in each round."""
CELLS = (
    ("trec", "20 % uniform"),
    ("fashion", "30 % uniform"),
    ("labelme", "10 % uniform"),
    ("adult", "15 % uniform"),
)
"""Data set and wrong labels."""
WITH = "with provenance"
"""Method: the loop as it is."""
BEFORE = "before"
"""Method: no provenance, and every suspect changed."""
REVIEWERS = {"perfect": 1.0, "90% right": 0.9, "nobody": None}
"""Who answers → the share of right answers."""


@dataclass(frozen=True)
class Chain:
    """Some rounds of the loop on one data set.

    Attributes:
        data: Data set.
        noise: Wrong labels; see `planted_noise.plant`.
        method: WITH or BEFORE.
        reviewer: A key of REVIEWERS.
        seed: Seed of samples, labels, weights and answers.
    """

    data: str
    noise: str
    method: str
    reviewer: str
    seed: int = 0

    @property
    def folder(self) -> Path:
        """Folder of its files."""
        name = f"{self.data} {self.noise} {self.method} {self.reviewer} {self.seed}"
        return CACHE / "".join(c if c.isalnum() else "-" for c in name)

    @property
    def about(self) -> Row:
        """What its rows are about."""
        return {"data": self.data, "noise": self.noise, "method": self.method, "reviewer": self.reviewer}


def chains() -> list[Chain]:
    """Return all chains, those with provenance first."""
    kinds = [
        (WITH, "perfect"),
        (WITH, "nobody"),
        (BEFORE, "nobody"),
        (BEFORE, "perfect"),
        (WITH, "90% right"),
    ]
    return [Chain(data, noise, method, reviewer) for method, reviewer in kinds for data, noise in CELLS]


def samples(chain: Chain, folder: Path) -> NoisyData:
    """Return the samples, and the labels that they are given first."""
    clean = DATA_SETS[chain.data].load(folder, chain.seed)
    order = torch.Generator().manual_seed(chain.seed)
    some = torch.randperm(len(clean.truth), generator=order)[:SAMPLES]
    clean = replace(clean, train=clean.train[some], truth=clean.truth[some], human={})
    labels = plant(clean, chain.noise, chain.seed)
    return NoisyData(
        clean.train, labels, clean.truth, clean.test[:TEST], clean.test_labels[:TEST], clean.classes
    )


def trained(data: NoisyData, labels: torch.Tensor, seed: int) -> nn.Module:
    """Return a network trained from scratch on some labels."""
    torch.manual_seed(seed)
    model: nn.Module
    if data.train.is_floating_point():
        model = perceptron(data.train[0].numel(), data.classes, 128)
    else:
        model = TextCNN(int(max(data.train.max(), data.test.max())) + 1, data.classes)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(EPOCHS):
        train_epoch(model, optimizer, data.train, labels, 32)
    return model


def scan(model: nn.Module, file: Path, answers: Path | None = None) -> Audit:
    """Return the audit of a network and a data file, with a person's answers if there are any."""
    reviewed = "" if answers is None else str(answers)
    return cohaudit.scan(
        model, str(file), audits=("none",), bootstrap=20, certificate_samples=2, reviewed=reviewed
    )


def run(chain: Chain, folder: Path) -> Iterator[Row]:
    """Yield a row for each round, the last one without a correction; finished rounds are read.

    Where nobody answers and nothing is changed, the loop has ended.
    """
    data: NoisyData | None = None
    for number in range(1, ROUNDS + 2):
        saved = chain.folder / f"round-{number}.json"
        if saved.exists():
            row = read_json(saved)
        else:
            data = data or samples(chain, folder)
            row = one_round(chain, data, number)
            write_json(saved, row)
        yield row
        if chain.reviewer == "nobody" and row.get("changed") == 0:
            break


def one_round(chain: Chain, data: NoisyData, number: int) -> Row:
    """Train, scan and correct; write the next round's data, and return what was claimed and what is true."""
    file = chain.folder / f"round-{number}.npz"
    if number == 1:
        chain.folder.mkdir(parents=True, exist_ok=True)
        names = np.array([f"c{k}" for k in range(data.classes)])
        np.savez(file, x=data.train.numpy(), y=data.labels.numpy(), class_names=names)
    with np.load(file) as arrays:
        labels = arrays["y"].astype(np.int64)
    model = trained(data, torch.from_numpy(labels), 100 * number + chain.seed)
    audit = scan(model, file)
    wrong = labels != data.truth.numpy()
    row = chain.about | {
        "round": number,
        "samples": len(labels),
        "wrong": float(wrong.mean()),
        "broken": int((wrong & (data.labels == data.truth).numpy()).sum()),
        "test": accuracy(model, data.test, data.test_labels),
    }
    row |= _claims(audit) | _would_change(audit, data)
    if number <= ROUNDS:
        row |= _corrected(chain, data, model, audit, number)
    return row


def _claims(audit: Audit) -> Row:
    wrong = audit.wrong_labels
    assert not isinstance(wrong, Skipped)
    return {
        "told": wrong.told,
        "share": wrong.share.value,
        "low": wrong.share.low,
        "high": wrong.share.high,
        "suspicion": float(audit.samples["suspicion"].mean()),
        "suspects": int(audit.samples["suspect"].sum()),
    }


def _would_change(audit: Audit, data: NoisyData) -> Row:
    """Return what the audit alone would change, and how much of that would be wrong."""
    rows = audit.suspects
    rows = rows[likelier_to_help(rows["suspicion"].to_numpy(), rows["suggestion"].to_numpy())]
    # what a person answered is settled
    rows = rows[rows["suspicion"] < 1]
    new = rows["suggested"].str.removeprefix("c").astype(int).to_numpy()
    truth = data.truth.numpy()[rows["id"].astype(int).to_numpy()]
    return {"would_change": len(rows), "would_be_wrong": int((new != truth).sum())}


def _corrected(chain: Chain, data: NoisyData, model: nn.Module, audit: Audit, number: int) -> Row:
    """Ask, scan again, correct, and return what changed."""
    file = chain.folder / f"round-{number}.npz"
    out = chain.folder / f"round-{number + 1}.npz"
    reliability = REVIEWERS[chain.reviewer]
    if reliability is not None:
        answers = chain.folder / f"answers-{number}.json"
        told = _answers(audit, data, reliability, 1000 * number + chain.seed)
        earlier = chain.folder / f"answers-{number - 1}.json"
        if chain.method == BEFORE and earlier.exists():
            # nothing but this file remembers earlier answers
            told = [*read_json(earlier)["answers"], *told]
        write_file(answers, json.dumps({"answers": told}).encode())
        audit = scan(model, file, answers)
    for left in (out, *(out.with_name(out.name + end) for end in (".changes.csv", ".provenance.json"))):
        left.unlink(missing_ok=True)  # of an interrupted run
    only = None
    if chain.method == BEFORE:
        suspects = audit.suspects[audit.suspects["suggested"] != audit.suspects["label"]]
        only = chain.folder / f"only-{number}.txt"
        only.write_text("".join(f"{name}\n" for name in suspects["id"]))
        if suspects.empty:
            out.write_bytes(file.read_bytes())
            return {"changed": 0, "changes_wrong": 0, "changes_expected": 0.0}
    done = correct(audit, file, out, only=only)
    if chain.method == BEFORE:
        provenance_file(out).unlink()
    new = np.array([int(change.new_label.removeprefix("c")) for change in done.changes], dtype=np.int64)
    place = np.array([int(change.id) for change in done.changes], dtype=np.int64)
    return {
        "changed": len(done.changes),
        "changes_wrong": int((new != data.truth.numpy()[place]).sum()),
        "changes_expected": done.summary.wrong_changes * len(done.changes),
        "claimed_after": done.summary.remainder.value,
        "claimed_after_low": done.summary.remainder.low,
        "claimed_after_high": done.summary.remainder.high,
    }


def _answers(audit: Audit, data: NoisyData, reliability: float, seed: int) -> list[dict[str, str]]:
    """Return a person's answers to the first questions; a mistaken one names any other label."""
    rng = np.random.default_rng(seed)
    rows = audit.samples.set_index("id")
    told = []
    for name in audit.questions[:QUESTIONS]:
        true = int(data.truth[int(name)])
        if rng.random() >= reliability:
            true = (true + int(rng.integers(1, data.classes))) % data.classes
        label = str(rows.loc[name, "label"])
        said = {"answer": "right"} if label == f"c{true}" else {"answer": "wrong", "true_label": f"c{true}"}
        told.append({"content": str(rows.loc[name, "content"]), "label": label, "id": name} | said)
    return told


def show(rows: Sequence[Row]) -> None:
    """Print every scan, then the table and the sentences of docs/cleaning.md."""
    for row in rows:
        if row["round"] == 1:
            print(f"\n{row['data']}, {row['noise']}, {row['method']}, reviewer: {row['reviewer']}")
        claim = f"{row['share']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
        changed = f"{row['changed']:4} changed" if "changed" in row else ""
        print(
            f"  after {row['round'] - 1} corrections: {row['wrong']:5.1%} wrong, claimed {claim:26} "
            f"{'' if row['told'] else 'untold':6} broken {row['broken']:3}, test {row['test']:.1%} {changed}"
        )
    print()
    print("\n".join(page_lines(rows)))


def page_lines(rows: Sequence[Row]) -> list[str]:
    """Return the lines of docs/cleaning.md: a row for each chain with provenance, and what holds of all."""
    own: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        own.setdefault((row["data"], row["noise"], row["reviewer"], row["method"]), []).append(row)
    lines = [
        "| labels | reviewer | wrong at first | after each correction | claimed at the end | broken | "
        "accuracy on new data |",
        "|---|---|---|---|---|---|---|",
    ]
    for (data, noise, reviewer, method), chain in own.items():
        if method == WITH:
            first, last = chain[0], chain[-1]
            wrong = ", ".join(f"{row['wrong']:.1%}" for row in chain[1:]) or "nothing changed"
            claim = f"{last['share']:.1%} ({last['low']:.1%} to {last['high']:.1%})"
            at_most = "" if last["told"] else "untold: "
            accuracy = f"{first['test']:.1%} → {last['test']:.1%}"
            lines.append(
                f"| {data}, {noise} | {reviewer} | {first['wrong']:.1%} | {wrong} | {at_most}{claim} | "
                f"{last['broken']} | {accuracy} |"
            )
    sentences = [_sentence(rows, method) for method in (WITH, BEFORE)]
    again = [row for row in after_changes(rows) if row["method"] == WITH and "would_change" in row]
    if would := sum(row["would_change"] for row in again):
        wrong = sum(row["would_be_wrong"] for row in again)
        sentences.append(
            f"- After the first correction the audit alone would have changed {would:,} more labels, in all "
            f"rounds; {wrong / would:.0%} of these changes would have been wrong."
        )
    return [*lines, "", *sentences]


def _sentence(rows: Sequence[Row], method: str) -> str:
    """Return how true the claims of all scans are before which a label was changed."""
    own = [row for row in after_changes(rows) if row["method"] == method]
    held = sum(row["low"] <= row["wrong"] <= row["high"] for row in own)
    wrong, claimed, error = (
        float(np.mean(each))
        for each in (
            [row["wrong"] for row in own],
            [row["share"] for row in own],
            [abs(row["share"] - row["wrong"]) for row in own],
        )
    )
    told = sum(row["told"] for row in own)
    return (
        f"- {method.capitalize()}, {len(own)} scans of changed labels: {wrong:.1%} were wrong on average and "
        f"{claimed:.1%} claimed; mean error {error:.1%}. {told} scans could tell, and {held} intervals held "
        "the true share."
    )


def after_changes(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of scans before which a label was changed."""
    found = []
    changed = 0
    for row in rows:
        changed = 0 if row["round"] == 1 else changed
        if changed:
            found.append(row)
        changed += row.get("changed", 0)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        check_data_dir(parser, args.data_dir)
        write_rows(RESULTS, (row for chain in chains() for row in run(chain, args.data_dir)))
    show(read_rows(RESULTS))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
