"""Draws the figures of docs/explanation.md from gradients measured on scikit-learn's digits.

    python -m benchmarks.docs.agreement          measure, and write results/agreement*; a minute
    python -m benchmarks.docs.agreement --show   show the saved results

Except for the suspicion, everything is computed from explicit per-sample gradients by torch.func, not by
cohaudit's engine. The network is that of fixtures/digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import cohaudit
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.figures import save_figure
from benchmarks.shared.files import module_at
from benchmarks.shared.results import write_json

DIGITS = paths.FIXTURES / "digits"
RESULTS = paths.RESULTS
build = module_at(DIGITS / "net.py").build

NEIGHBORS = 20
"""Number of neighbors in a sample's support."""
SHOWN_NEIGHBORS = 8
"""Neighbors shown in the figure."""
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1300)
"""Numbers of gradients summed."""
DRAWS = 200
"""Random draws of the gradients summed."""
RIGHT = "#7f8c9b"
"""Color of right labels."""
WRONG = "#c8321e"
"""Color of wrong labels."""
HELPS = "#1f7a4d"
"""Color of gradients that agree."""
FIGHTS = "#c8321e"
"""Color of gradients that oppose each other."""


def gradients(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return every sample's gradient, [samples, parameters]."""
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(model, values, (x[None],)), y[None])

    parts = vmap(grad(loss), in_dims=(None, 0, 0), chunk_size=100)(weights, inputs, labels)
    return torch.cat([part.flatten(1) for part in parts.values()], 1)


def early(inputs: Tensor, labels: Tensor) -> nn.Module:
    """Return the network after two epochs, when it has only begun to learn."""
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(2):
        for batch in torch.randperm(len(inputs)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return model


def sums(found: Tensor) -> list[float]:
    """Return ‖sum of k gradients‖² / mean ‖gradient‖² for each k of COUNTS, the mean over draws."""
    energy = found.square().sum(1).mean()
    random = torch.Generator().manual_seed(0)

    def once(count: int) -> float:
        drawn = torch.randperm(len(found), generator=random)[:count]
        return float(found[drawn].sum(0).square().sum() / energy)

    return [float(np.mean([once(count) for _ in range(DRAWS)])) for count in COUNTS]


def scores(found: Tensor, model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, NDArray[Any]]:
    """Return scores of every sample that might detect wrong labels: the higher, the more suspect."""
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(inputs), labels, reduction="none")
    others = found.sum(0) - found
    agreement = nn.functional.cosine_similarity(found.double(), others.double())
    cosines = cosines_of(found)
    strongest = cosines.abs().topk(NEIGHBORS).indices
    support = cosines.gather(1, strongest).mean(1)
    audit = cohaudit.scan(model, (inputs.numpy(), labels.numpy()))
    return {
        "loss": loss.clamp(min=1e-9).log10().numpy(),
        "agreement": -agreement.numpy(),
        "support": -support.numpy(),
        "suspicion": audit.samples["suspicion"].to_numpy(),
    }


def cosines_of(found: Tensor) -> Tensor:
    """Return the cosines between all gradients; 0 of each to itself."""
    unit = nn.functional.normalize(found.double())
    return (unit @ unit.T).fill_diagonal_(0)


def draw_sums(real: list[float], random: list[float], path: Path) -> None:
    """Draw how sums of gradients grow."""
    figure, axes = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
    axes.loglog(COUNTS, np.square(COUNTS), ":", color="#999", label="all equal: k²")
    axes.loglog(COUNTS, real, "o-", color=HELPS, label="true labels")
    axes.loglog(COUNTS, random, "o-", color=FIGHTS, label="labels drawn at random")
    axes.loglog(COUNTS, COUNTS, "--", color="#999", label="all at right angles: k")
    axes.set(xlabel="samples summed, k", ylabel="squared length of the sum\n(one gradient: 1)")
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def draw_scores(found: dict[str, NDArray[Any]], wrong: NDArray[np.bool_], path: Path) -> None:
    """Draw the distribution of each score for right and for wrong labels."""
    titles = {
        "loss": "loss (log₁₀)",
        "agreement": "pull against the sum of all others",
        "support": "pull against the neighbors",
        "suspicion": "suspicion: left out, predicted",
    }
    figure, panels = plt.subplots(2, 2, figsize=(7.6, 4.8), layout="constrained")
    for axes, (name, values) in zip(panels.flat, found.items(), strict=True):
        bins = np.linspace(values.min(), values.max(), 40)
        for part, color, label in ((~wrong, RIGHT, "right label"), (wrong, WRONG, "wrong label")):
            share = np.full(part.sum(), 1 / part.sum())
            axes.hist(values[part], bins, weights=share, color=color, alpha=0.7, label=label)
        axes.set_title(f"{titles[name]}: AUROC {roc_auc_score(wrong, values):.4f}", fontsize=9)
        axes.tick_params(labelsize=7)
    panels[0, 0].legend(frameon=False, fontsize=8)
    figure.supylabel("share of the samples", fontsize=9)
    save_figure(figure, path)


def draw_neighbors(cosines: Tensor, truth: pd.DataFrame, images: NDArray[Any], path: Path) -> list[Any]:
    """Draw a right and a wrong sample of one label with the samples that touch the same weights most.

    Returns:
        What is drawn: per row the sample, its label, its true class, and the neighbors with their cosines.
    """
    wrong = truth["flipped"].to_numpy(bool)
    support = cosines.gather(1, cosines.abs().topk(NEIGHBORS).indices).mean(1).numpy()
    typical = int(np.flatnonzero(wrong)[np.argsort(support[wrong])[wrong.sum() // 2]])
    same = np.flatnonzero(~wrong & (truth["given"] == truth["given"][typical]))
    rows = [int(same[np.argsort(support[same])[len(same) // 2]]), typical]
    figure, panels = plt.subplots(2, SHOWN_NEIGHBORS + 1, figsize=(8.4, 2.9), layout="constrained")
    drawn = []
    for row, sample in zip(panels, rows, strict=True):
        near = cosines[sample].abs().topk(SHOWN_NEIGHBORS).indices.tolist()
        label = f"labeled {truth['given'][sample]}"
        picture(row[0], images[sample], f"{label}\n{'wrong' if wrong[sample] else 'right'}", "#000")
        for axes, other in zip(row[1:], near, strict=True):
            cosine = float(cosines[sample, other])
            title = f"labeled {truth['given'][other]}\n{cosine:+.2f}"
            picture(axes, images[other], title, HELPS if cosine > 0 else FIGHTS)
        drawn.append(
            {
                "sample": sample,
                "given": int(truth["given"][sample]),
                "true": int(truth["true"][sample]),
                "neighbors": [
                    [other, int(truth["given"][other]), float(cosines[sample, other])] for other in near
                ],
            }
        )
    save_figure(figure, path)
    return drawn


def picture(axes: plt.Axes, image: NDArray[Any], title: str, color: str) -> None:
    """Draw one digit."""
    axes.imshow(image, cmap="gray_r")
    axes.set_title(title, fontsize=7, color=color)
    axes.set(xticks=[], yticks=[])
    plt.setp(axes.spines.values(), color=color, linewidth=1.5)


def measure() -> None:
    """Measure, draw the figures, and write the results."""
    truth = pd.read_csv(DIGITS / "truth.csv")
    images = np.load(DIGITS / "train.npz")["images"]
    inputs = torch.tensor(images).float().div(255).unsqueeze(1)
    true, given = (torch.tensor(truth[name].to_numpy()) for name in ("true", "given"))
    shuffled = true[torch.randperm(len(true), generator=torch.Generator().manual_seed(0))]
    real, random = (sums(gradients(early(inputs, labels), inputs, labels)) for labels in (true, shuffled))
    draw_sums(real, random, RESULTS / "agreement-sums.svg")

    model = build()
    model.load_state_dict(load_file(DIGITS / "model.safetensors"))
    found = gradients(model, inputs, given)
    drawn = draw_neighbors(cosines_of(found), truth, images, RESULTS / "agreement-neighbors.svg")
    judged = scores(found, model, inputs, given)
    wrong = truth["flipped"].to_numpy(bool)
    draw_scores(judged, wrong, RESULTS / "agreement-scores.svg")
    results = {
        "counts": COUNTS,
        "sums": {"real": real, "random": random},
        "neighbors": drawn,
        "auroc": {name: float(roc_auc_score(wrong, values)) for name, values in judged.items()},
    }
    write_json(RESULTS / "agreement.json", results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    if not make_parser(__doc__, show=True).parse_args(arguments).show:
        measure()
    print((RESULTS / "agreement.json").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
