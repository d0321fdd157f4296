"""What each network of the zoo shows: cohaudit's measurements and the peers', saved once made.

    python -m benchmarks.generalization.evidence                   measure what is missing (an hour)
    python -m benchmarks.generalization.evidence --weightwatcher   let WeightWatcher measure instead

The networks are those of `benchmarks.generalization.zoo`. WeightWatcher is not a dependency of cohaudit. To
install it without changing anything else:

    pip install --no-deps weightwatcher powerlaw
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.generalization import complexity, zoo
from benchmarks.generalization.zoo import Member, Pool
from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.measuring import measure_model
from benchmarks.shared.training import logits_of
from cohaudit.analysis.coherence import pairwise_coherence
from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.analysis.neighbor_support import neighborhood_support
from cohaudit.config import Config
from cohaudit.gradients import Measurement
from cohaudit.gradients.features import FeatureHasher

CACHE = paths.CACHE / "risk"
"""Folder of the measurements."""
CONTROLLED = 1000
"""Samples for the coherences at other temperatures and with permuted labels."""
HOT = 10.0
"""Temperature of the second measurement."""
SHORT = 512
"""Numbers of a gradient's sketch that leave-one-out prediction uses."""


def coherences(found: Measurement) -> dict[str, float]:
    """Return α, m-coherence and α_u of the whole gradient, negated: coherent means a small gap."""
    total = float(found.total_squares.sum())
    energy = float(found.squared_norms.sum())
    count = len(found.scale)
    return {
        "alpha": -total / energy / count,
        "m-coherence": -total / energy,
        "alpha_u": -pairwise_coherence(total, energy, count),
    }


def _controlled(model: nn.Module, x: Tensor, y: Tensor, classes: int) -> dict[str, float]:
    """Return the coherences at T = 1 and 10 less those with permuted labels, on some samples."""
    x = x[:CONTROLLED]
    y = y[:CONTROLLED]
    permuted = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    found = {}
    for temperature in (1.0, HOT):
        own, control = (
            coherences(measure_model(model, x, z, classes, temperature=temperature)) for z in (y, permuted)
        )
        for name in own:
            found[f"{name}, T = {temperature:g}, some"] = own[name]
            found[f"{name}, T = {temperature:g}, less permuted"] = own[name] - control[name]
    return found


def _middle(model: nn.Module) -> nn.Module:
    """Return the module from which on manifold mixup mixes."""
    children = list(model.children())
    return model.blocks[len(model.blocks) // 2] if hasattr(model, "blocks") else children[len(children) // 2]


def last_linear(model: nn.Module) -> nn.Linear:
    """Return a network's head."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def last_input(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits and the last layer's input."""
    inputs_of_head: list[Tensor] = []
    handle = last_linear(model).register_forward_hook(
        lambda module, inputs, output: inputs_of_head.append(inputs[0].detach())
    )
    try:
        logits = logits_of(model, x)
    finally:
        handle.remove()
    return logits, torch.cat(inputs_of_head)


def peers(model: nn.Module, member: Member, data: Pool) -> dict[str, float]:
    """Return what others would measure."""
    x = data.train
    y = data.labels
    shape = tuple(data.train.shape[1:])
    logits, features = last_input(model, x)
    head = last_linear(model)
    found = complexity.of_weights(model, zoo.build(member, shape, data.classes), shape)
    found |= complexity.sharpness(model, x, y) | complexity.margins(model, x, y, logits)
    found |= complexity.alignment(logits, head.bias.detach(), features, head.weight.detach(), y)
    found |= complexity.mixups(model, x, y, _middle(model), features)
    found["training loss"] = -float(F.cross_entropy(logits, y))
    found["confidence"] = float(F.softmax(logits, 1).amax(1).mean())
    found["training accuracy"] = float((logits.argmax(1) == y).double().mean())
    return found


Arrays = dict[str, NDArray[np.generic]]


def ours(model: nn.Module, data: Pool) -> tuple[dict[str, float], Arrays]:
    """Return what cohaudit measures: figures, and arrays per sample."""
    y = data.labels.numpy()
    found = measure_model(model, data.train, data.labels, data.classes, label_free=True)
    hot = measure_model(model, data.train, data.labels, data.classes, temperature=HOT)
    k = Config().neighbors
    arrays: Arrays = {
        "labels": y,
        "predicted": found.predicted,
        "probability": found.probability,
        "loss": found.loss,
        "support": neighborhood_support(found.sketches, k).support,
        "hot support": neighborhood_support(hot.sketches, k).support,
        "layers": np.array([view.layer for view in found.views]),
    }
    shorten = FeatureHasher(SHORT, 0)
    assert found.jacobian_sketches is not None
    kinds = {"gradients": found.sketches, "hot gradients": hot.sketches, "jacobians": found.jacobian_sketches}
    for name, rows in kinds.items():
        short = shorten(torch.from_numpy(np.asarray(rows))).numpy()
        arrays[f"loo {name}"] = leave_one_out(short, y, data.classes, (10.0,)).scores.astype(np.float32)
    for place, view in enumerate(found.views):
        arrays[f"loo {place}"] = leave_one_out(view.rows, y, data.classes).scores.astype(np.float32)
    raw = FeatureHasher(Config().feature_size, 0)(data.train.flatten(1)).numpy()
    arrays["loo input"] = leave_one_out(raw, y, data.classes).scores.astype(np.float32)
    return coherences(found), arrays


def gather(member: Member, folder: Path) -> None:
    """Measure a member, unless that was done before."""
    path = CACHE / f"{member.key}.json"
    if path.exists():
        return
    torch.set_num_threads(1)
    start = time.perf_counter()
    data = zoo.given(member, folder)
    model = zoo.load(member, tuple(data.train.shape[1:]), data.classes)
    figures = peers(model, member, data)
    between = time.perf_counter()
    own, arrays = ours(model, data)
    figures |= own | _controlled(model, data.train, data.labels, data.classes)
    figures |= {"seconds peers": between - start, "seconds": time.perf_counter() - between}
    CACHE.mkdir(parents=True, exist_ok=True)
    np.savez(CACHE / f"{member.key}.npz", **arrays)
    path.write_text(json.dumps(figures), encoding="utf-8")


def gather_weights(member: Member, folder: Path) -> None:
    """Let WeightWatcher measure a member, unless that was done before."""
    path = CACHE / "weightwatcher" / f"{member.key}.json"
    if path.exists():
        return
    torch.set_num_threads(1)
    data = zoo.given(member, folder)
    model = zoo.load(member, tuple(data.train.shape[1:]), data.classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(complexity.weight_watcher(model)), encoding="utf-8")


def _gather(task: tuple[bool, Member, Path]) -> str:
    weights, member, folder = task
    try:
        (gather_weights if weights else gather)(member, folder)
    except Exception as error:  # a network that diverged in training, say: the others go on
        return f"{member.key}: {type(error).__name__}: {error}"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return the exit code, 1 if that failed."""
    parser = make_parser(__doc__, data=True)
    parser.add_argument("--processes", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument("--weightwatcher", action="store_true", help="let WeightWatcher measure instead")
    args = parser.parse_args(arguments)
    tasks = [(args.weightwatcher, member, args.data_dir) for member in zoo.members()]
    failures = zoo.in_processes(_gather, tasks, args.processes)
    print(*sorted(failures), sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())
