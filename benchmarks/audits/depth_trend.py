"""Does depth amplify what samples share, and what is the depth audit's slope worth?

    python -m benchmarks.audits.depth_trend          train, measure, write results/depth_trend.json and .svg
    python -m benchmarks.audits.depth_trend --show   show the saved results

Two parts. First, linear networks of depth 1 to 8 on eight samples that share one input and have one of their
own each, with a weight for each input in every layer (diagonal) or with full matrices (dense), all starting
from the same function: how fast the common input is learned compared with an own one. Second, perceptrons of
depth 2 to 16, plain and residual, on 1,000 of scikit-learn's digits with 0 or 20 % wrong labels, two seeds:
what `cohaudit.scan` says of depth when 90 % of the right labels are predicted and when all labels are, and
whether it helps to freeze the layer of the smallest or the largest ratio from the first of these points on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F

import cohaudit
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.datasets import digits
from benchmarks.shared.figures import save_figure
from benchmarks.shared.label_noise import flip_labels
from benchmarks.shared.results import Row, read_json, row_lines
from cohaudit.audits.depth import NEARLY_ORTHOGONAL, coherent_ratio
from cohaudit.results import DepthTrend, Skipped

RESULTS = paths.RESULTS / "depth_trend.json"

SAMPLES = 8
"""Samples of the linear networks."""
START = 0.1
"""Weight of each input in the function that the linear networks start from."""
RATE = 0.02
"""Learning rate of the linear networks, over their depth."""
STEPS = 40_000
"""Largest number of steps of the linear networks."""
LINEAR_DEPTHS = (1, 2, 4, 8)
"""Depths of the linear networks."""
MARKS = (1.0, 0.5, 0.1, 0.01, 1e-4)
"""Shares of the first loss at which the linear networks are measured."""

DEPTHS = (2, 4, 8, 16)
"""Depths of the perceptrons."""
NOISES = (0.0, 0.2)
"""Shares of wrong labels."""
SEEDS = (0, 1)
"""Seeds of the samples, the flips and the weights."""
TRAIN = 1000
"""Number of training samples; the other digits are for testing."""
WIDTH = 64
"""Units of each hidden layer."""
BATCH = 50
"""Batch size."""
ADAM_RATE = 1e-3
"""Learning rate of the perceptrons."""
EARLY = 0.9
"""Share of the right labels predicted at the first measurement."""
FITTED = 0.99
"""Share of all labels predicted at the second measurement."""
EPOCHS = 300
"""Largest number of epochs."""
FURTHER_EPOCHS = 20
"""Epochs of training after the first measurement, with a layer frozen or not."""


def product(layers: list[Tensor], form: str) -> Tensor:
    """Return the linear function that the layers make together, [inputs]."""
    found = layers[0]
    for layer in layers[1:]:
        found = layer * found if form == "diagonal" else layer @ found
    return found.reshape(-1)


def linear(form: str, depth: int) -> Iterator[Row]:
    """Train a linear network by gradient descent, and yield a row for each mark of its loss."""
    inputs = SAMPLES + 1
    x = torch.cat([torch.ones(SAMPLES, 1), torch.eye(SAMPLES)], 1).double()
    weight = START ** (1 / depth)
    one = torch.full((1, inputs), weight).double()
    inner = one if form == "diagonal" else weight * torch.eye(inputs).double()
    layers = [(one if k == depth - 1 else inner).clone().requires_grad_() for k in range(depth)]
    marks = list(MARKS)
    first = None
    for step in range(STEPS):
        losses = (x @ product(layers, form) - 1).square() / 2
        loss = losses.mean()
        first = first or loss.item()
        marked = loss.item() <= marks[0] * first
        ratios = _ratios(losses, layers) if marked else []
        before = product(layers, form).detach().clone()
        gradients = torch.autograd.grad(loss, layers)
        with torch.no_grad():
            for layer, gradient in zip(layers, gradients, strict=True):
                layer.sub_(gradient, alpha=RATE / depth)
        if marked:
            moved = product(layers, form).detach() - before
            yield {"form": form, "depth": depth, "step": step, "loss": loss.item(), "mark": marks.pop(0)} | {
                "common": before[0].item(),
                "own": before[1].item(),
                "moved": (moved[0] / moved[1]).item(),
                "ratios": ratios,
            }
            if not marks:
                return


def _ratios(losses: Tensor, layers: list[Tensor]) -> list[float]:
    """Return each layer's coherent-to-incoherent ratio, input side first."""
    found = [torch.autograd.grad(loss, layers, retain_graph=True) for loss in losses]
    ratios = []
    for part in zip(*found, strict=True):
        own = torch.stack(part).flatten(1)
        ratios.append(coherent_ratio(float(own.mean(0).square().sum() / own.square().sum(1).mean())))
    return ratios


class Residual(nn.Module):
    """x + ReLU(Wx + b)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, [N, width]."""
        return x + F.relu(self.layer(x))


def perceptron(kind: str, depth: int) -> nn.Sequential:
    """Return a perceptron of that many linear layers, all but the first and last in blocks."""
    blocks: list[nn.Module] = [nn.Linear(64, WIDTH), nn.ReLU()]
    for _ in range(depth - 2):
        blocks += [Residual()] if kind == "residual" else [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    model = nn.Sequential(*blocks, nn.Linear(WIDTH, 10))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Residual):
                module.layer.weight /= (depth - 2) ** 0.5  # the sum over the blocks stays of order 1
    return model


class Training:
    """One training run on the digits."""

    def __init__(self, kind: str, depth: int, noise: float, seed: int) -> None:
        x, truth = digits()
        order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(seed))
        x = x[order]
        truth = truth[order]
        self.generator = torch.Generator().manual_seed(seed)
        self.x = x[:TRAIN]
        self.test = x[TRAIN:]
        self.test_labels = truth[TRAIN:]
        self.labels = flip_labels(truth[:TRAIN], 10, noise, self.generator)
        self.right = self.labels == truth[:TRAIN]
        torch.manual_seed(seed)
        self.model = perceptron(kind, depth)
        self.optimizer = torch.optim.Adam(self.model.parameters(), ADAM_RATE)

    def epoch(self) -> Iterator[None]:
        """Train for an epoch, stopping after each step."""
        for chosen in torch.randperm(TRAIN, generator=self.generator).split(BATCH):
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(self.x[chosen]), self.labels[chosen]).backward()
            self.optimizer.step()
            yield

    def state(self) -> Row:
        """Return loss, shares of the right and the wrong labels given, and test accuracy."""
        with torch.no_grad():
            logits = self.model(self.x)
            test = self.model(self.test).argmax(1)
        given = (logits.argmax(1) == self.labels).double()
        return {
            "loss": F.cross_entropy(logits, self.labels).item(),
            "given": given.mean().item(),
            "right": given[self.right].mean().item(),
            "wrong": None if self.right.all() else given[~self.right].mean().item(),
            "test": (test == self.test_labels).double().mean().item(),
        }

    def audited(self) -> Row:
        """Return what the audit says."""
        audit = cohaudit.scan(self.model, (self.x, self.labels), audits=("depth",))
        found = audit.audits.depth
        assert isinstance(found, DepthTrend), found
        slope = found.slope
        return {
            "slope": None if isinstance(slope, Skipped) else [slope.value, slope.low, slope.high],
            "ratios": {layer.name: layer.ratio.value for layer in found.layers},
        }

    def trained_on(self, frozen: str | None) -> Row:
        """Return the state some epochs later, the layer of that name frozen; this run stays as it is."""
        other = copy.copy(self)
        # copied together, so that the optimizer's copy updates the copied model
        other.model, other.optimizer = copy.deepcopy((self.model, self.optimizer))
        other.generator = torch.Generator().manual_seed(2)
        if frozen is not None:
            other.model.get_submodule(frozen).requires_grad_(False)
        for _ in range(FURTHER_EPOCHS):
            for _ in other.epoch():
                pass
        return other.state()


def deep(kind: str, depth: int, noise: float, seed: int) -> Row:
    """Train a perceptron; return what is measured early and once fitted."""
    training = Training(kind, depth, noise, seed)
    row: Row = {"kind": kind, "depth": depth, "noise": noise, "seed": seed}
    for epoch in range(1, EPOCHS + 1):
        for _ in training.epoch():
            if "early" not in row and training.state()["right"] >= EARLY:
                row["early"] = {"epoch": epoch} | training.state() | training.audited()
                ratios = row["early"]["ratios"]
                named = {"none": None, "smallest": min(ratios, key=ratios.get)}
                named |= {"largest": max(ratios, key=ratios.get)}
                row["frozen"] = {which: training.trained_on(name) for which, name in named.items()}
        if "early" in row and training.state()["given"] >= FITTED:
            break
    row["fitted"] = {"epoch": epoch} | training.state() | training.audited()
    return row


def draw(found: Row, path: Path) -> None:
    """Draw the linear networks' ratio of movements, and the perceptrons' ratios by layer."""
    figure, axes = plt.subplots(1, 5, figsize=(17, 3.6), layout="constrained")
    for form, style in (("diagonal", "-"), ("dense", "--")):
        for color, depth in enumerate(LINEAR_DEPTHS):
            rows = [row for row in found["linear"] if (row["form"], row["depth"]) == (form, depth)]
            label = f"{depth}, {form}"
            axes[0].plot([row["moved"] for row in rows], style, color=f"C{color}", marker="o", label=label)
    axes[0].set_xticks(range(len(MARKS)), [f"{mark:g}" for mark in MARKS])
    axes[0].set(yscale="log", xlabel="loss over first loss", title="Linear: common over own movement")
    axes[0].legend(fontsize=6)
    points = [(noise, when) for noise in NOISES for when in ("early", "fitted")]
    for axis, (noise, when) in zip(axes[1:], points, strict=True):
        for row in found["perceptrons"]:
            if row["noise"] == noise:
                ratios = list(row[when]["ratios"].values())
                color = f"C{DEPTHS.index(row['depth'])}"
                style = "--" if row["kind"] == "residual" else "-"
                label = f"{row['depth']}, {row['kind']}" if row["seed"] == 0 else None
                axis.plot(np.linspace(0, 1, len(ratios)), ratios, style, color=color, ms=3, label=label)
        axis.axhline(1 / (TRAIN - 1), color="gray", lw=1, linestyle=":")
        axis.set(yscale="log", xlabel="depth", title=f"{noise:.0%} wrong labels, {when}", ylim=(1e-4, 1e-1))
    axes[1].set_ylabel("α / (1 − α)")
    axes[1].legend(fontsize=6)
    save_figure(figure, path)


def show(found: Row) -> None:
    """Print every row, and what they say together."""
    for row in found["linear"]:
        ratios = " ".join(f"{ratio:.3g}" for ratio in row["ratios"])
        print(
            f"{row['form']}, depth {row['depth']}, loss × {row['mark']:g} (step {row['step']}): weight of "
            f"the common input {row['common']:.3f}, of an own one {row['own']:.3f}, moved "
            f"{row['moved']:.3g} : 1; ratio by layer {ratios}"
        )
    for row in found["perceptrons"]:
        _show_perceptron(row)
    for noise in NOISES:
        own = [row for row in found["perceptrons"] if row["noise"] == noise]
        for when in ("early", "fitted"):
            _show_together(own, noise, when)
        _show_trained_on(own)


def _show_perceptron(row: Row) -> None:
    print(f"{row['kind']}, depth {row['depth']}, {row['noise']:.0%} wrong, seed {row['seed']}")
    for when in ("early", "fitted"):
        one = row[when]
        ratios = list(one["ratios"].values())
        wrong = "" if one["wrong"] is None else f" (of the wrong ones {one['wrong']:.1%})"
        print(
            f"  {when}, epoch {one['epoch']}: loss {one['loss']:.3f}, labels given {one['given']:.1%}{wrong}"
            f", test {one['test']:.1%}; {_slope_words(one['slope'])}, first {ratios[0]:.2g}, "
            f"last {ratios[-1]:.2g}"
        )
    accuracies = ", ".join(f"{which} {one['test']:.1%}" for which, one in row["frozen"].items())
    print(f"  test {FURTHER_EPOCHS} epochs after the first, layer frozen: {accuracies}")


def _slope_words(slope: Sequence[float] | None) -> str:
    return "no slope" if slope is None else "slope {:.2f} ({:.2f} to {:.2f})".format(*slope)


def _slopes(rows: list[Row], when: str) -> list[Sequence[float]]:
    """Return the slopes of the networks that have one, each with its interval."""
    return [row[when]["slope"] for row in rows if row[when]["slope"] is not None]


def _at_chance(row: Row, when: str) -> bool:
    return min(row[when]["ratios"].values()) < NEARLY_ORTHOGONAL / (TRAIN - 1)


def _show_together(rows: list[Row], noise: float, when: str) -> None:
    test = [row[when]["test"] for row in rows]
    sloped = [row for row in rows if row[when]["slope"] is not None]
    measures = {
        "slope": ([slope[0] for slope in _slopes(rows, when)], [row[when]["test"] for row in sloped]),
        "median ratio": ([float(np.median(list(row[when]["ratios"].values()))) for row in rows], test),
        "depth": ([row["depth"] for row in rows], test),
    }
    taus = ", ".join(f"{name} {kendalltau(*pair)[0]:.2f}" for name, pair in measures.items())
    weak = [row[when]["test"] for row in rows if _at_chance(row, when)]
    other = [row[when]["test"] for row in rows if not _at_chance(row, when)]
    means = f" (test {np.mean(weak):.1%}, of the others {np.mean(other):.1%})" if weak else ""
    rises = sum(low > 0 for _, low, _ in _slopes(rows, when))
    falls = sum(high < 0 for _, _, high in _slopes(rows, when))
    print(
        f"{noise:.0%} wrong, {when}: Kendall's τ with test accuracy: {taus}; a layer at chance in "
        f"{len(weak)} of {len(rows)}{means}; the slope rises in {rises}, falls in {falls} of {len(sloped)}"
    )
    for kind, depth in sorted({(row["kind"], row["depth"]) for row in rows}):
        these = [row for row in rows if (row["kind"], row["depth"]) == (kind, depth)]
        own = [row[when] for row in these]
        slopes = [slope[0] for slope in _slopes(these, when)]
        ratios = np.array([[*one["ratios"].values()] for one in own])
        first = ratios[:, 0].mean()
        last = ratios[:, -1].mean()
        print(
            f"  {kind} {depth}: slope {f'{np.mean(slopes):.2f}' if slopes else 'none'}, "
            f"ratio first {first:.3g}, median {np.median(ratios, axis=1).mean():.3g}, last {last:.3g}, "
            f"test {np.mean([one['test'] for one in own]):.1%}"
        )
    for kind in ("plain", "residual"):
        own = [row[when] for row in rows if row["kind"] == kind and row["depth"] > 2]
        slopes = [one["slope"][0] for one in own]
        tests = [one["test"] for one in own]
        spread = f"{min(slopes):.2f} to {max(slopes):.2f}"
        print(f"  {kind} 4 to 16: slope {np.mean(slopes):.2f} ({spread}), test {np.mean(tests):.1%}")


def _show_trained_on(rows: list[Row]) -> None:
    weak = [row for row in rows if _at_chance(row, "early")]
    for name, some in (("all", rows), ("with a layer at chance", weak)):
        if not some:
            continue
        before = np.array([row["early"]["test"] for row in some])
        plain = np.array([row["frozen"]["none"]["test"] for row in some])
        _gain(f"{name}, trained on {FURTHER_EPOCHS} epochs", plain - before)
        for which in ("smallest", "largest"):
            frozen = np.array([row["frozen"][which]["test"] for row in some])
            _gain(f"{name}, layer of the {which} ratio frozen, against not", frozen - plain)


def _gain(name: str, gain: Any) -> None:
    print(
        f"  {name}: test {100 * gain.mean():+.2f} points on average, {100 * gain.min():+.2f} to "
        f"{100 * gain.max():+.2f}, better in {(gain > 0).sum()} of {len(gain)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, show=True)
    if not parser.parse_args(arguments).show:
        torch.set_num_threads(1)
        results = measure()
        parts = (f'"{name}": {row_lines(rows)}' for name, rows in results.items())
        RESULTS.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
        draw(results, RESULTS.with_suffix(".svg"))
    show(read_json(RESULTS))
    return 0


def measure() -> dict[str, list[Row]]:
    """Train all networks of both parts."""
    linear_rows = [
        row for form in ("diagonal", "dense") for depth in LINEAR_DEPTHS for row in linear(form, depth)
    ]
    perceptrons = [
        deep(kind, depth, noise, seed)
        for depth in DEPTHS
        for kind in ("plain", "residual")
        if kind == "plain" or depth > 2  # two layers leave no room for a residual block
        for noise in NOISES
        for seed in SEEDS
    ]
    return {"linear": linear_rows, "perceptrons": perceptrons}


if __name__ == "__main__":
    raise SystemExit(main())
