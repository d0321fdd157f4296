"""How short may the sketches be? Cosines and detection by sketches of each size, beside exact ones.

    python -m benchmarks.gradients.sketches --data-dir DIR           all networks
    python -m benchmarks.gradients.sketches --networks "TREC LSTM"   one of them; the other results stay
    python -m benchmarks.gradients.sketches --show                   show the saved results

Networks are trained on data with 20 % of the labels flipped. The whole gradient of every sample is formed,
and from it the exact cosines and sketches of every size, by the code that a scan uses. Each sketch is judged
by the root mean square error of its cosines, and by how well it detects the flipped labels (AUROC of the
support; for the size of the views, of the suspicion), beside the exact cosines. Both are repeated with every
layer's part scaled to norm 1, so that no layer drowns the others; and with the usual two-sided projections
P_outᵀ G P_in of as many numbers. A network whose data does not exist is left out with a message.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gradients.trained import NETWORKS, Trained, trained
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import CPU, source_of
from benchmarks.shared.results import Row, read_rows, replace_rows, write_json
from benchmarks.shared.training import logits_of
from cohaudit.analysis.leave_one_out import suspect_labels
from cohaudit.analysis.neighbor_support import neighborhood_support
from cohaudit.config import Config
from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.engine import Engine
from cohaudit.gradients.features import FeatureHasher
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import PerSample
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.sketch import make_projections
from cohaudit.gradients.tracing.plan import Plan

RESULTS = paths.RESULTS / "sketches.json"
SIZES = (128, 256, 512, 1024, 2048, 4096)
"""Numbers per sketch of a gradient."""
FEATURE_SIZES = (64, 128, 256, 512, 1024, 2048)
"""Numbers per hashed view."""
EXACT_FEATURES = 4096
"""Numbers of a view that count as the whole view: with more, an eigendecomposition takes minutes."""
SEEDS = (0, 1, 2)
"""Seeds of the projections."""
ALLOWED_LOSS = 0.003
"""AUROC that a sketch may lose."""


@dataclass(frozen=True)
class WholeGradients:
    """Every sample's whole gradient and features.

    Attributes:
        gradients: Parameter's name → [samples, *shape].
        views: What layers see of the samples, whole and averaged over positions, [samples, any] each.
        plan: How they were measured.
    """

    gradients: Mapping[str, Tensor]
    views: Sequence[Tensor]
    plan: Plan

    def layers(self) -> dict[str, list[str]]:
        """Return the parameters of each layer."""
        owned: dict[str, list[str]] = {}
        for name, layer in self.plan.layer_of.items():
            owned.setdefault(layer, []).append(name)
        return owned


def whole_gradients(subject: Trained) -> WholeGradients:
    """Form every sample's whole gradient, by the engine of a scan with hashing that shortens nothing."""
    data = subject.data
    plan = prepare(subject.model, source_of(data.inputs, data.labels, data.classes), CPU)
    engine = Engine(subject.model, plan, FeatureHasher(sys.maxsize, 0))
    gradients = {name: torch.zeros(len(data.labels), *p.shape) for name, p in plan.parameters.items()}
    seen: dict[tuple[str, int], list[Tensor]] = {}
    start = 0
    for x, y in zip(data.inputs.split(100), data.labels.split(100), strict=True):
        rows = slice(start, start := start + len(y))

        def consume(name: str, form: PerSample, outcome: Residuals, rows: slice = rows) -> None:
            gradients[name][rows] = form.dense().gradients

        for layer, parts in engine.run(x, y, 1.0, consume).features.items():
            for k, part in enumerate(parts):
                seen.setdefault((layer, k), []).append(part)
    return WholeGradients(gradients, [torch.cat(parts) for parts in seen.values()], plan)


def _joined(parts: Sequence[Tensor], equal: bool) -> Tensor:
    """Return the layers' parts side by side, each [samples, any]; of norm 1 each if `equal`."""
    return torch.cat([F.normalize(part, dim=1) for part in parts] if equal else list(parts), 1)


def _exact(whole: WholeGradients, equal: bool) -> Tensor:
    """Return rows whose cosines are those of the whole gradients, [samples, samples]."""
    samples = len(next(iter(whole.gradients.values())))
    gram = torch.zeros(samples, samples, dtype=torch.float64)
    for names in whole.layers().values():
        part = sum((flat @ flat.mT).double() for flat in (whole.gradients[name].flatten(1) for name in names))
        assert isinstance(part, Tensor)
        lengths = part.diagonal().clamp_min(0).sqrt().clamp_min(1e-30)
        gram += part / lengths[:, None] / lengths if equal else part
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp_min(0).sqrt()).float()


def _cosines(rows: Tensor) -> Tensor:
    unit = F.normalize(rows, dim=1)
    return unit @ unit.mT


def _detection(rows: Tensor, wrong: NDArray[np.bool_]) -> float:
    """Return the AUROC of low support."""
    support = neighborhood_support(rows.numpy(), Config().neighbors).support
    return float(roc_auc_score(wrong, -support))


def _sketched(whole: WholeGradients, size: int, seed: int) -> list[Tensor]:
    """Return each layer's sketches."""
    projections = make_projections(whole.plan.parameters, size, seed)
    return [
        torch.cat([Dense(whole.gradients[name]).sketch(projections[name]) for name in names], 1)
        for names in whole.layers().values()
    ]


def _two_sided(whole: WholeGradients, size: int, seed: int) -> list[Tensor]:
    """Return each layer's sketches by random signs on both sides, all sides of the same length."""
    shapes = {name: (len(g[0]) if g.ndim > 1 else 1, g[0][0].numel()) for name, g in whole.gradients.items()}
    side = 1
    longest = max(max(shape) for shape in shapes.values())
    while (
        side < longest
        and sum(min(side + 1, rows) * min(side + 1, columns) for rows, columns in shapes.values()) <= size
    ):
        side += 1
    generator = torch.Generator().manual_seed(seed)

    def signs(entries: int) -> Tensor:
        if entries <= side:
            return torch.eye(entries)
        return (torch.randint(0, 2, (entries, side), generator=generator) * 2 - 1) / side**0.5

    def sketch(name: str) -> Tensor:
        rows, columns = shapes[name]
        return (signs(rows).mT @ whole.gradients[name].reshape(-1, rows, columns) @ signs(columns)).flatten(1)

    return [torch.cat([sketch(name) for name in names], 1) for names in whole.layers().values()]


METHODS = {"tensor sketch": _sketched, "two-sided": _two_sided}


def gradient_rows(name: str, subject: Trained, whole: WholeGradients) -> list[Row]:
    """Return how well sketches of the gradients do, a row per size."""
    wrong = subject.data.wrong.numpy()
    rows = []
    about = {"network": name, "accuracy": subject.accuracy, "kind": "gradients"}
    for equal in (False, True):
        exact = _exact(whole, equal)
        truth = _cosines(exact)
        best = _detection(exact, wrong)
        rows.append(
            about
            | {"equal_layers": equal, "method": "exact", "size": None, "cosine_error": 0.0, "auroc": best}
        )
        for method, size in itertools.product(METHODS, SIZES):
            errors = []
            scores = []
            numbers = 0
            for seed in SEEDS:
                sketches = _joined(METHODS[method](whole, size, seed), equal)
                numbers = sketches.shape[1]
                errors.append((_cosines(sketches) - truth).square().mean().sqrt().item())
                scores.append(_detection(sketches, wrong))
            rows.append(
                about
                | {"equal_layers": equal, "method": method, "size": size, "numbers": numbers}
                | {"cosine_error": float(np.mean(errors)), "auroc": float(np.mean(scores))}
                | {"auroc_min": min(scores), "auroc_max": max(scores)}
            )
    return rows


def feature_rows(name: str, subject: Trained, whole: WholeGradients) -> list[Row]:
    """Return how well shortened views of the layers do, a row per size."""
    data = subject.data
    rows = []
    probability = logits_of(subject.model, data.inputs).softmax(1).numpy()

    def auroc(shorten: FeatureHasher) -> float:
        views = [shorten(view).numpy() for view in whole.views]
        found = suspect_labels(views, data.labels.numpy(), probability)
        return float(roc_auc_score(data.wrong.numpy(), -found.evidence))

    about = {"network": name, "accuracy": subject.accuracy, "kind": "features", "equal_layers": False}
    longest = max(view.shape[1] for view in whole.views)
    exact = auroc(FeatureHasher(min(longest, EXACT_FEATURES), 0))
    rows.append(about | {"method": "signs", "size": None, "numbers": longest, "auroc": exact})
    for size in (size for size in FEATURE_SIZES if size < longest):
        scores = [auroc(FeatureHasher(size, seed)) for seed in SEEDS]
        rows.append(
            about
            | {"method": "signs", "size": size, "numbers": size, "auroc": float(np.mean(scores))}
            | {"auroc_min": min(scores), "auroc_max": max(scores)}
        )
    return rows


def smallest(rows: Sequence[Row], kind: str, equal: bool) -> int | None:
    """Return the smallest size that loses at most `ALLOWED_LOSS` on every network; None if no size does."""
    chosen = [
        row
        for row in rows
        if row["kind"] == kind and row["equal_layers"] == equal and row["method"] != "two-sided"
    ]
    exact = {row["network"]: row["auroc"] for row in chosen if row["size"] is None}
    lost: dict[int, float] = {}
    for row in chosen:
        if row["size"] is not None:
            loss = exact[row["network"]] - row["auroc"]
            lost[row["size"]] = max(lost.get(row["size"], -1.0), loss)
    return min((size for size, loss in lost.items() if loss <= ALLOWED_LOSS), default=None)


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the rows, a line per network and way."""
    for kind, sizes in (("gradients", SIZES), ("features", FEATURE_SIZES)):
        table = Table("network", "method", "layers", title=f"AUROC (error of a cosine) by size: {kind}")
        for size in (*sizes, "exact"):
            table.add_column(str(size), justify="right")
        chosen = [row for row in rows if row["kind"] == kind]
        exact = {(row["network"], row["equal_layers"]): row for row in chosen if row["size"] is None}
        lines: dict[tuple[str, str, bool], dict[Any, str]] = {}
        for row in chosen:
            if row["size"] is not None:
                error = f" ({row['cosine_error']:.3f})" if "cosine_error" in row else ""
                line = lines.setdefault((row["network"], row["method"], row["equal_layers"]), {})
                line[row["size"]] = f"{row['auroc']:.4f}{error}"
        for (network, method, equal), cells in lines.items():
            shown = [cells.get(size, "") for size in sizes]
            best = f"{exact[network, equal]['auroc']:.4f}"
            table.add_row(network, method, "scaled to 1" if equal else "as they are", *shown, best)
        console.print(table)
        for equal in (False, True) if kind == "gradients" else (False,):
            scaled = ", layers scaled to 1" if equal else ""
            console.print(
                f"Smallest within {ALLOWED_LOSS} of exact everywhere{scaled}: {smallest(rows, kind, equal)}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    args = parser.parse_args(arguments)
    console = Console(width=200)
    rows = read_rows(RESULTS)
    for name in [] if args.show else args.networks:
        try:
            subject = trained(name, args.data_dir)
        except FileNotFoundError as error:
            console.print(f"{name}: left out, {error.filename} does not exist")
            continue
        console.print(f"[dim]{name}: training accuracy {subject.accuracy:.1%} …[/dim]")
        whole = whole_gradients(subject)
        new = gradient_rows(name, subject, whole) + feature_rows(name, subject, whole)
        rows = replace_rows(rows, new, ("network",))
        write_json(RESULTS, rows)
    show(rows, console)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
