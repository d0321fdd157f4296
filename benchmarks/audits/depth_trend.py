"""Does depth amplify what samples share, and what is the depth audit's slope worth?

    python -m benchmarks.audits.depth_trend          train, measure, write results/depth_trend.json and .svg
    python -m benchmarks.audits.depth_trend --show   print what was written

Two parts. Linear networks of depth 1 to 8 on eight samples that share one input and have one each of their
own, with a weight for each input in every layer (diagonal) or with full matrices (dense), all from the same
function: how fast the common input is learned against an own one. And perceptrons of depth 2 to 16, plain
and residual, on 1,000 of scikit-learn's digits with 0 or 20 % wrong labels, two seeds: what `cohaudit.scan`
says of depth when 90 % of the right labels are given and when all labels are, and whether freezing the layer
of the smallest or the largest ratio from the first of these points on does any good.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import cohaudit
from benchmarks.shared import paths
from benchmarks.shared.datasets import flipped
from cohaudit.audits.depth import NEARLY_ORTHOGONAL, coherent_ratio
from cohaudit.results import DepthTrend

RESULTS = paths.RESULTS / "depth_trend.json"

SAMPLES, START, RATE, STEPS = 8, 0.1, 0.02, 40_000
LINEAR, MARKS = (1, 2, 4, 8), (1.0, 0.5, 0.1, 0.01, 1e-4)
"""Depths; and shares of the first loss at which is measured."""

DEPTHS, NOISES, SEEDS = (2, 4, 8, 16), (0.0, 0.2), (0, 1)
TRAIN, WIDTH, BATCH, ADAM = 1000, 64, 50, 1e-3
EARLY, FITTED, EPOCHS, ON = 0.9, 0.99, 300, 20
"""Share of the right labels given; share of all; epochs at most; epochs trained on with a layer frozen."""

Row = dict[str, Any]


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
    marks, first = list(MARKS), None
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
    told = []
    for part in zip(*found, strict=True):
        own = torch.stack(part).flatten(1)
        told.append(coherent_ratio(float(own.mean(0).square().sum() / own.square().sum(1).mean())))
    return told


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
    """One training on the digits."""

    def __init__(self, kind: str, depth: int, noise: float, seed: int) -> None:
        digits = load_digits()
        order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
        x = torch.tensor(digits.data / 16, dtype=torch.float32)[order]
        truth = torch.tensor(digits.target)[order]
        self.generator = torch.Generator().manual_seed(seed)
        self.x, self.test, self.test_labels = x[:TRAIN], x[TRAIN:], truth[TRAIN:]
        self.labels = flipped(truth[:TRAIN], 10, noise, self.generator)
        self.right = self.labels == truth[:TRAIN]
        torch.manual_seed(seed)
        self.model = perceptron(kind, depth)
        self.optimizer = torch.optim.Adam(self.model.parameters(), ADAM)

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
            logits, test = self.model(self.x), self.model(self.test).argmax(1)
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
            "slope": [slope.value, slope.low, slope.high],
            "ratios": {layer.name: layer.ratio.value for layer in found.layers},
        }

    def trained_on(self, frozen: str | None) -> Row:
        """Return the state some epochs on, the layer of that name as it is; this training stays."""
        other = copy.copy(self)
        # the optimizer's copy must hold the copied model's weights: they are copied together
        other.model, other.optimizer = copy.deepcopy((self.model, self.optimizer))
        other.generator = torch.Generator().manual_seed(2)
        if frozen is not None:
            other.model.get_submodule(frozen).requires_grad_(False)
        for _ in range(ON):
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
    mpl.rcParams["svg.hashsalt"] = "cohaudit"
    figure, axes = plt.subplots(1, 5, figsize=(17, 3.6), layout="constrained")
    for form, style in (("diagonal", "-"), ("dense", "--")):
        for color, depth in enumerate(LINEAR):
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
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


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
        ratios, (slope, low, high) = list(one["ratios"].values()), one["slope"]
        wrong = "" if one["wrong"] is None else f" (of the wrong ones {one['wrong']:.1%})"
        print(
            f"  {when}, epoch {one['epoch']}: loss {one['loss']:.3f}, labels given {one['given']:.1%}{wrong}"
            f", test {one['test']:.1%}; slope {slope:.2f} ({low:.2f} to {high:.2f}), first {ratios[0]:.2g}, "
            f"last {ratios[-1]:.2g}"
        )
    told = ", ".join(f"{which} {one['test']:.1%}" for which, one in row["frozen"].items())
    print(f"  test {ON} epochs after the first, layer frozen: {told}")


def _at_chance(row: Row, when: str) -> bool:
    return min(row[when]["ratios"].values()) < NEARLY_ORTHOGONAL / (TRAIN - 1)


def _show_together(rows: list[Row], noise: float, when: str) -> None:
    test = [row[when]["test"] for row in rows]
    told = {
        "slope": [row[when]["slope"][0] for row in rows],
        "median ratio": [float(np.median(list(row[when]["ratios"].values()))) for row in rows],
        "depth": [row["depth"] for row in rows],
    }
    taus = ", ".join(f"{name} {kendalltau(values, test)[0]:.2f}" for name, values in told.items())
    weak = [row[when]["test"] for row in rows if _at_chance(row, when)]
    other = [row[when]["test"] for row in rows if not _at_chance(row, when)]
    means = f" (test {np.mean(weak):.1%}, of the others {np.mean(other):.1%})" if weak else ""
    rises, falls = (sum(s * row[when]["slope"][end] > 0 for row in rows) for s, end in ((1, 1), (-1, 2)))
    print(
        f"{noise:.0%} wrong, {when}: Kendall's τ with test accuracy: {taus}; a layer at chance in "
        f"{len(weak)} of {len(rows)}{means}; the slope rises in {rises}, falls in {falls}"
    )
    for kind, depth in sorted({(row["kind"], row["depth"]) for row in rows}):
        own = [row[when] for row in rows if (row["kind"], row["depth"]) == (kind, depth)]
        ratios = np.array([[*one["ratios"].values()] for one in own])
        first, last = ratios[:, 0].mean(), ratios[:, -1].mean()
        print(
            f"  {kind} {depth}: slope {np.mean([one['slope'][0] for one in own]):.2f}, "
            f"ratio first {first:.3g}, median {np.median(ratios, axis=1).mean():.3g}, last {last:.3g}, "
            f"test {np.mean([one['test'] for one in own]):.1%}"
        )
    for kind in ("plain", "residual"):
        own = [row[when] for row in rows if row["kind"] == kind and row["depth"] > 2]
        slopes, tests = ([one["slope"][0] for one in own], [one["test"] for one in own])
        spread = f"{min(slopes):.2f} to {max(slopes):.2f}"
        print(f"  {kind} 4 to 16: slope {np.mean(slopes):.2f} ({spread}), test {np.mean(tests):.1%}")


def _show_trained_on(rows: list[Row]) -> None:
    weak = [row for row in rows if _at_chance(row, "early")]
    for name, some in (("all", rows), ("with a layer at chance", weak)):
        if not some:
            continue
        before = np.array([row["early"]["test"] for row in some])
        plain = np.array([row["frozen"]["none"]["test"] for row in some])
        _gain(f"{name}, trained on {ON} epochs", plain - before)
        for which in ("smallest", "largest"):
            frozen = np.array([row["frozen"][which]["test"] for row in some])
            _gain(f"{name}, layer of the {which} ratio frozen, against not", frozen - plain)


def _gain(name: str, gain: Any) -> None:
    print(
        f"  {name}: test {100 * gain.mean():+.2f} points on average, {100 * gain.min():+.2f} to "
        f"{100 * gain.max():+.2f}, better in {(gain > 0).sum()} of {len(gain)}"
    )


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--show", action="store_true", help="print what was written")
    args = parser.parse_args()
    if not args.show:
        torch.set_num_threads(1)
        found: Row = {"linear": [], "perceptrons": []}
        for form in ("diagonal", "dense"):
            found["linear"] += [row for depth in LINEAR for row in linear(form, depth)]
        for depth in DEPTHS:
            for kind in ("plain", "residual") if depth > 2 else ("plain",):  # no block in two layers
                for noise in NOISES:
                    found["perceptrons"] += [deep(kind, depth, noise, seed) for seed in SEEDS]
        parts = (
            f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]"
            for name, rows in found.items()
        )
        RESULTS.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
        draw(found, RESULTS.with_suffix(".svg"))
    show(json.loads(RESULTS.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
