"""Trains recipes again: on each half of the samples, with another seed, and for earlier checkpoints.

    python -m benchmarks.same_data.retrained --data-dir DIR     train what is missing (20 minutes on one core)

The networks of `benchmarks.same_data.evidence` must be there; those that fit their labels are trained again.
What is saved beside them:

- `n.halves.npz`: answers to each half of the samples by a network that was trained on the other half;
- `n.second.npz`: answers by a network of the same recipe with another seed, trained on all samples;
- `n.earlier.npz`: answers by earlier checkpoints of the network's own run, which is run again for them;
- `n.discrepancy.json`: how far another head can disagree on disturbed samples while it agrees on the others.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.generalization.evidence import last_input, last_linear
from benchmarks.same_data.cells import Cell, cells, samples
from benchmarks.same_data.perturbed import disturbed_inputs, natural
from benchmarks.same_data.recipes import Recipe, build, key, recipes, start, train
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.results import read_json
from benchmarks.shared.training import accuracy, logits_of
from cohaudit.pipeline.crossfit.folds import assign_folds
from cohaudit.review.diff.ranking import FITTED

SECOND = 100
"""What is added to a recipe's seed for the second network."""
EARLIER = {"half": 0.5, "three quarters": 0.75}
"""Earlier checkpoint → share of its run's epochs."""
FLIPPED = ("fashion", "cifar", "camvid patches")
"""Data sets whose images are as likely as their mirror images."""
CRITIC_STEPS = 100
"""Steps of the search for a head that disagrees."""
CLOSE = 1e-4
"""Largest difference of a weight up to which a run repeats another: sums may be in another order."""

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A network that is trained again.

    Attributes:
        cell: Its cell.
        place: Its place among the recipes.
        recipe: Its recipe.
        data: Samples and labels of the cell.
        folder: Folder of the data.
    """

    cell: Cell
    place: int
    recipe: Recipe
    data: NoisyData
    folder: Path

    def trained(
        self,
        recipe: Recipe,
        x: Tensor,
        y: Tensor,
        *,
        watch: Callable[[int, nn.Module], None] = lambda epoch, model: None,
    ) -> nn.Module:
        """Return a network trained on some samples, as `evidence.make` trains it.

        Args:
            recipe: The recipe, perhaps with another seed.
            x: Samples.
            y: Labels as given.
            watch: Called after each epoch with its number and the network.
        """
        model = start(self.cell, recipe, self.data, self.folder)
        train(
            model,
            recipe,
            x,
            y,
            flips=self.cell.data in FLIPPED,
            generator=torch.Generator().manual_seed(key(self.cell, recipe)),
            after_epoch=lambda epoch: watch(epoch, model),
        )
        return model

    def answers(self, model: nn.Module) -> Arrays:
        """Return a network's answers to the training samples, plain and disturbed, and to test samples."""
        x = self.data.train
        generator = torch.Generator().manual_seed(0)
        disturbed = disturbed_inputs(model, x, self.data.labels, generator)
        arrays = {"logits": logits_of(model, x)} | {f"on {name}": found for name, found in disturbed.items()}
        tested = logits_of(model, self.data.test).argmax(1).to(torch.int16).numpy()
        return {name: found.numpy().astype(np.float16) for name, found in arrays.items()} | {
            "test predicted": tested
        }


def halves(task: Task) -> Arrays:
    """Return the answers to each half of the samples by a network that never saw them."""
    x = task.data.train
    y = task.data.labels
    folds = torch.from_numpy(assign_folds(y.numpy(), [row.tobytes() for row in x.numpy()], 2, 0))
    logits = torch.zeros(len(y), task.data.classes)
    fitted = []
    for fold in (0, 1):
        own = folds != fold
        model = task.trained(task.recipe, x[own], y[own])
        fitted.append(accuracy(model, x[own], y[own]))
        logits[~own] = logits_of(model, x[~own])
    return {
        "logits": logits.numpy().astype(np.float16),
        "folds": folds.to(torch.int8).numpy(),
        "fitted": np.array(fitted),
    }


def second(task: Task) -> Arrays:
    """Return the answers of a network of the same recipe with another seed."""
    again = replace(task.recipe, seed=task.recipe.seed + SECOND)
    return task.answers(task.trained(again, task.data.train, task.data.labels))


def earlier(task: Task) -> Arrays:
    """Return the answers of earlier checkpoints, and whether the run is the network's own."""
    epochs = read_json(task.cell.folder / f"{task.place}.json")["recipe"]["epochs_trained"]
    at = {max(1, round(share * epochs)): name for name, share in EARLIER.items()}
    found: Arrays = {}

    def watch(epoch: int, model: nn.Module) -> None:
        if epoch in at:
            answers = task.answers(copy.deepcopy(model).eval())
            found.update({f"{at[epoch]}: {name}": array for name, array in answers.items()})

    model = task.trained(task.recipe, task.data.train, task.data.labels, watch=watch)
    saved = load_file(task.cell.folder / f"{task.place}.safetensors")
    off = max(float((value - saved[name]).abs().max()) for name, value in model.state_dict().items())
    return found | {"same run": np.array(off <= CLOSE)}


KINDS: dict[str, Callable[[Task], Arrays]] = {"halves": halves, "second": second, "earlier": earlier}
"""What is trained again; the ending of its file → its function."""
DISCREPANCY = "discrepancy"
"""What is measured of the network as it is."""


def discrepancy(features: Tensor, moved: Tensor, answers: tuple[Tensor, Tensor], head: nn.Linear) -> float:
    """Return the disagreement discrepancy (Rosenfeld & Garg, arXiv 2306.00312): larger is worse.

    A head is sought that gives the network's answers on the training samples, and other ones on disturbed
    samples. The share of the latter where it does, minus that of the former, bounds how much larger the error
    can be there.

    Args:
        features: Inputs of the head on the training samples, [N, F].
        moved: The same on disturbed samples, [N, F].
        answers: The network's answers to both, [N] each.
        head: Its own head, where the search begins; left as it is.
    """
    critic = copy.deepcopy(head)
    optimizer = torch.optim.Adam(critic.parameters(), 0.01)
    for _ in range(CRITIC_STEPS):
        optimizer.zero_grad()
        agree = F.cross_entropy(critic(features), answers[0])
        z = critic(moved)
        own = z.gather(1, answers[1][:, None])[:, 0]
        others = (z.sum(1) - own) / (z.shape[1] - 1)
        (agree + F.softplus(own - others).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        away, here = (
            float((critic(rows).argmax(1) != given).double().mean())
            for rows, given in ((moved, answers[1]), (features, answers[0]))
        )
    return away - here


def discrepancies(task: Task, model: nn.Module) -> dict[str, float]:
    """Return the disagreement discrepancy of a trained network on its samples as they could have been."""
    x = task.data.train
    logits, features = last_input(model, x)
    moved_logits, moved = last_input(model, natural(x, torch.Generator().manual_seed(0)))
    answers = logits.argmax(1), moved_logits.argmax(1)
    return {"natural": discrepancy(features, moved, answers, last_linear(model))}


def _measure_discrepancies(cell: Cell, folder: Path) -> None:
    todo = [place for place in _fitted(cell) if not (cell.folder / f"{place}.discrepancy.json").exists()]
    data = samples(cell, folder) if todo else None
    for place in todo:
        assert data is not None
        task = Task(cell, place, recipes(cell)[place], data, folder)
        model = build(task.recipe, data)
        model.load_state_dict(load_file(cell.folder / f"{place}.safetensors"))
        found = discrepancies(task, model.eval())
        (cell.folder / f"{place}.discrepancy.json").write_text(json.dumps(found), encoding="utf-8")


def _make(cell: Cell, folder: Path, kind: str) -> None:
    """Train what is missing of a kind for the networks of a cell."""
    todo = [place for place in _fitted(cell) if not (cell.folder / f"{place}.{kind}.npz").exists()]
    if not todo:
        return
    data = samples(cell, folder)
    for place in todo:
        task = Task(cell, place, recipes(cell)[place], data, folder)
        np.savez(cell.folder / f"{place}.{kind}.npz", **KINDS[kind](task))
        print(f"{cell.data}, {cell.noise}, {place}: {kind}", flush=True)


def _fitted(cell: Cell) -> list[int]:
    """Return the places of the networks that give nearly all of their labels, as those that are compared."""
    found = []
    for place in range(len(recipes(cell))):
        path = cell.folder / f"{place}.json"
        if path.exists() and read_json(path)["figures"]["train_accuracy"] >= FITTED:
            found.append(place)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing; return the exit code."""
    parser = make_parser(__doc__, data=True)
    parser.add_argument("--kinds", nargs="+", choices=[DISCREPANCY, *KINDS], default=[DISCREPANCY, *KINDS])
    parser.add_argument("--cells", type=int, default=len(cells()), help="the quickest cells (default: all)")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    # the quickest cells first, whole: most pairs are there when the time is up
    for kind in args.kinds:
        for cell in sorted(cells(), key=_seconds)[: args.cells]:
            if kind == DISCREPANCY:
                _measure_discrepancies(cell, args.data_dir)
            else:
                _make(cell, args.data_dir, kind)
    return 0


def _seconds(cell: Cell) -> float:
    """Return how long the networks of a cell that are trained again took."""
    paths = [cell.folder / f"{place}.json" for place in _fitted(cell)]
    return sum(float(read_json(path)["recipe"]["seconds"]) for path in paths)


if __name__ == "__main__":
    raise SystemExit(main())
