"""Trains the recipes of every cell and saves what each network shows.

python -m benchmarks.same_data.evidence        train and measure what is missing (45 minutes on one core)
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import davies_bouldin_score
from torch import Tensor, nn

from benchmarks.generalization import complexity
from benchmarks.generalization.evidence import last_input, last_linear
from benchmarks.same_data.cells import Cell, cells, samples
from benchmarks.same_data.perturbed import disturbed, mixing
from benchmarks.same_data.recipes import Recipe, build, key, recipes, start, train
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.measuring import CPU, default_options, measure_model, silent, source_of
from benchmarks.shared.training import logits_of
from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.audits.flatness import flatness
from cohaudit.gradients.features import FeatureHasher
from cohaudit.pipeline.outside import predict_from_inputs
from cohaudit.results import Skipped

SHORT = 512
"""Numbers of a gradient's sketch that leave-one-out prediction uses."""
BATCH = 256
"""Samples that are read at once for the outside predictions."""

Arrays = dict[str, Any]


def figures(model: nn.Module, initial: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Return measures by others, and the network's size.

    Args:
        model: Trained, in eval mode.
        initial: The same before training.
        x: Training samples, [N, ...].
        y: Labels as given, [N].
    """
    logits, features = last_input(model, x)
    head = last_linear(model)
    found = {"parameters": float(sum(p.numel() for p in model.parameters()))}
    found |= complexity.of_weights(model, initial, tuple(x.shape[1:]) if x.is_floating_point() else None)
    found |= complexity.sharpness(model, x, y)
    if x.is_floating_point():
        found |= complexity.margins(model, x, y, logits)
    found |= complexity.alignment(logits, head.bias.detach(), features, head.weight.detach(), y)
    found["Davies-Bouldin"] = float(davies_bouldin_score(features.numpy(), y.numpy()))
    return found


def arrays_of(model: nn.Module, data: NoisyData) -> Arrays:
    """Return leave-one-out scores, answers, and what happens to them when something is disturbed."""
    x = data.train
    labels = data.labels.numpy()
    found = measure_model(model, x, data.labels, data.classes)
    logits, features = last_input(model, x)
    arrays: Arrays = {"logits": logits.numpy(), "features": features.numpy()}
    arrays["layers"] = np.array([view.layer for view in found.views])
    arrays["views"] = np.stack([leave_one_out(v.rows, labels, data.classes).scores for v in found.views])
    shorten = FeatureHasher(SHORT, 0)
    short = shorten(torch.from_numpy(np.asarray(found.sketches))).numpy()
    arrays["loo gradients"] = leave_one_out(short, labels, data.classes, (10.0,)).scores
    for name, answers in disturbed(model, x, data.labels).items():
        arrays[f"on {name}"] = answers.numpy()
    test = logits_of(model, data.test)
    arrays["test predicted"] = test.argmax(1).to(torch.int16).numpy()
    half = {name: a.astype(np.float16) for name, a in arrays.items() if a.dtype.kind == "f"}
    return arrays | half


def prepare(cell: Cell, data: NoisyData) -> None:
    """Save what the networks of a cell have in common, unless that was done before."""
    path = cell.folder / "cell.npz"
    if path.exists():
        return
    outside = predict_from_inputs(source_of(data.train, data.labels, data.classes), BATCH, 0)
    cell.folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        labels=data.labels.numpy(),
        truth=data.truth.numpy(),
        test_labels=data.test_labels.numpy(),
        outside=outside.probability.astype(np.float32),
        **dict[str, Any](mixing(data.train, data.labels)),
    )


def make(cell: Cell, place: int, recipe: Recipe, folder: Path, data: NoisyData) -> None:
    """Train and measure one network, unless that was done before."""
    path = cell.folder / f"{place}.json"
    if path.exists():
        return
    begin = time.process_time()
    model = start(cell, recipe, data, folder)
    initial = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(key(cell, recipe))
    flips = cell.data in ("fashion", "cifar", "camvid patches")
    epochs = train(model, recipe, data.train, data.labels, flips=flips, generator=generator)
    trained = time.process_time()
    found = figures(model, initial, data.train, data.labels)
    arrays = arrays_of(model, data)
    found["train_accuracy"] = float(np.mean(arrays["logits"].argmax(1) == data.labels.numpy()))
    found["test_accuracy"] = float(np.mean(arrays["test predicted"] == data.test_labels.numpy()))
    about = asdict(recipe) | {"epochs_trained": epochs, "seconds": trained - begin}
    about |= {"seconds_measured": time.process_time() - trained}
    np.savez(cell.folder / f"{place}.npz", **arrays)
    save_file(model.state_dict(), cell.folder / f"{place}.safetensors")
    path.write_text(json.dumps({"recipe": about, "figures": found}), encoding="utf-8")
    print(
        f"{cell.data}, {cell.noise}, {place}: {json.dumps(about)} {found['train_accuracy']:.3f} "
        f"{found['test_accuracy']:.3f}",
        flush=True,
    )


def measure_flatness(cell: Cell, folder: Path) -> None:
    """Measure the flatness of a cell's networks as a scan does, where that was not done before."""
    places = range(len(recipes(cell)))
    todo = [
        place
        for place in places
        if (cell.folder / f"{place}.safetensors").exists()
        and not (cell.folder / f"{place}.flatness.json").exists()
    ]
    if not todo:
        return
    data = samples(cell, folder)
    source = source_of(data.train, data.labels, data.classes)
    for place in todo:
        model = build(recipes(cell)[place], data)
        model.load_state_dict(load_file(cell.folder / f"{place}.safetensors"))
        found = flatness(model.eval(), source, options=default_options(), device=CPU, advance=silent)
        if isinstance(found, Skipped):
            print(f"{cell.data}, {cell.noise}, {place}: {found.reason}", flush=True)
            continue
        shares = {"flatness": found.unchanged.value} | {
            f"flatness, {one.size:g}": one.unchanged for one in found.sizes
        }
        (cell.folder / f"{place}.flatness.json").write_text(json.dumps(shares), encoding="utf-8")


def _make_all(cell: Cell, chosen: Sequence[tuple[int, Recipe]], folder: Path) -> int:
    """Make some networks of a cell; return how many failed."""
    if all((cell.folder / f"{place}.json").exists() for place, _ in chosen):
        return 0
    data = samples(cell, folder)
    prepare(cell, data)
    failed = 0
    for place, recipe in chosen:
        try:
            make(cell, place, recipe, folder, data)
        except Exception as error:  # a network that diverged in training, say: the others go on
            failed += 1
            print(f"{cell.data}, {cell.noise}, {place}: {type(error).__name__}: {error}", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure what is missing; return the exit code, 1 if that failed."""
    parser = make_parser(__doc__, data=True)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    failed = 0
    whole = recipes(cells()[0])
    half = len(whole) // 2
    # half of the networks of every cell first: what is there is balanced when the time is up
    for part in (slice(half), slice(half, None)):
        for cell in cells():
            chosen = list(enumerate(recipes(cell)))[part]
            failed += _make_all(cell, chosen, args.data_dir)
    for cell in cells():
        measure_flatness(cell, args.data_dir)
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
