"""Trains the runs of the stopping benchmark, measures their checkpoints, and saves what any rule may need.

Each network is trained twice: on all samples, for the rules that need no holdout; and on nine tenths of them,
with patience on the rest, as is usual. The holdout has as many wrong labels as the training samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.audits.stopping_networks import NETWORKS, augment, norm_cnn, rate_factor
from benchmarks.audits.stopping_plan import CACHE, Plan
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.measuring import measure_model, source_of
from benchmarks.shared.training import accuracy, logits_of, train_epoch
from benchmarks.verdicts.planted_noise import plant
from benchmarks.verdicts.samples import DATA_SETS
from cohaudit.analysis.leave_one_out import leave_one_out
from cohaudit.pipeline.outside import predict_from_inputs

MAX_TEST = 3000
"""Test samples, at most."""
HELD_OUT = 10
"""One sample in this many is held out."""
PATIENCE = 8
"""Epochs without a better accuracy on the holdout after which training stops."""
BATCH = 50
"""Samples per step."""
SGD_RATE = 0.05
"""Largest learning rate of SGD with momentum."""
ADAMW_RATE = 2e-3
"""Largest learning rate of AdamW."""
FINE_TUNING = 0.4
"""Learning rate of fine-tuning, as a share of that of training from scratch."""
FEATURES = 256
"""Largest length of a layer's view: a quarter of a scan's, for a fifth of the time."""
PRETRAINING = 3000
"""Other images that a network is pretrained on, for a few epochs."""


def samples(plan: Plan, folder: Path) -> NoisyData:
    """Return a run's samples, with the labels that its network is given."""
    clean = DATA_SETS[plan.data].load(folder, plan.seed)
    rng = np.random.default_rng(plan.seed)
    some = torch.from_numpy(rng.permutation(len(clean.truth))[: plan.samples])
    human = {name: labels[some] for name, labels in clean.human.items()}
    clean = replace(clean, train=clean.train[some], truth=clean.truth[some], human=human)
    labels = plant(clean, plan.noise, plan.seed)
    few = torch.from_numpy(rng.permutation(len(clean.test))[:MAX_TEST])
    train, test = clean.train, clean.test[few]
    if plan.network == "CNN, pretrained" and train.shape[1] == 1:
        # pretrained on three colors
        train, test = (part.expand(-1, 3, -1, -1).contiguous() for part in (train, test))
    return NoisyData(train, labels, clean.truth, test, clean.test_labels[few], clean.classes)


def pretrained(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a network trained on other images with right labels; saved once trained."""
    file = CACHE / "pretrained.pt"
    if not file.exists():
        with np.load(folder / "cifar10_20k.npz") as arrays:
            x = torch.from_numpy(arrays["x_train"][-PRETRAINING:]).float().div_(255)
            y = torch.from_numpy(arrays["y_train"][-PRETRAINING:]).long()
        x = ((x - x.mean()) / x.std()).permute(0, 3, 1, 2).contiguous()
        torch.manual_seed(0)
        model = norm_cnn(3, 10)
        optimizer = torch.optim.SGD(model.parameters(), SGD_RATE, momentum=0.9)
        for _ in range(5):
            train_epoch(model, optimizer, x, y, 100)
        CACHE.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    state: dict[str, Tensor] = torch.load(file, weights_only=True)
    return state


def start(plan: Plan, data: NoisyData, folder: Path) -> nn.Module:
    """Return the network as training finds it."""
    torch.manual_seed(plan.seed)
    model = NETWORKS[plan.network](data)
    if plan.network == "CNN, pretrained":
        # the classes of the new task are new to the head
        own = model.state_dict()
        loaded = pretrained(folder)
        head = list(own)[-2:]
        model.load_state_dict(own | {name: value for name, value in loaded.items() if name not in head})
    return model


def train(plan: Plan, model: nn.Module, inputs: Tensor, labels: Tensor, after: Callable[[int], bool]) -> None:
    """Train a network by a run's schedule; `after` is called after every epoch, and says whether to go on."""
    rate = (ADAMW_RATE if plan.adamw else SGD_RATE) * (FINE_TUNING if "pretrained" in plan.network else 1)
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
        if plan.adamw
        else torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=5e-4)
    )
    generator = torch.Generator().manual_seed(plan.seed)
    per_epoch = -(-len(labels) // BATCH)
    for epoch in range(plan.epochs):
        model.train()
        for place, batch in enumerate(torch.randperm(len(labels), generator=generator).split(BATCH)):
            factor = rate_factor(plan.schedule, (epoch + place / per_epoch) / plan.epochs)
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            x = inputs[batch]
            if plan.augmentation:
                x = augment(x, flip=plan.data != "digits", generator=generator)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x), labels[batch]).backward()
            optimizer.step()
        model.eval()
        if not after(epoch + 1):
            return


def carry_out(plan: Plan, folder: Path) -> None:
    """Train and measure a run, unless that was done before."""
    if plan.file.exists():
        return
    data = samples(plan, folder)
    model = start(plan, data, folder)
    states: dict[int, dict[str, Tensor]] = {}
    answers: list[NDArray[np.int8]] = []

    def after(epoch: int) -> bool:
        answers.append(logits_of(model, data.train).argmax(1).to(torch.int8).numpy())
        if epoch in plan.checkpoints:
            states[epoch] = {name: value.clone() for name, value in model.state_dict().items()}
        return True

    train(plan, model, data.train, data.labels, after)
    labels = data.labels.numpy()
    outside = predict_from_inputs(source_of(data.train, data.labels, data.classes), 256, plan.seed)
    saved: dict[str, Any] = {
        "labels": labels,
        "truth": data.truth.numpy(),
        "outside": outside.probability.astype(np.float32),
        "answers": np.stack(answers),
        "patience": np.array(_with_holdout(plan, data, folder)),
    }
    shown = []
    for state in states.values():
        model.load_state_dict(state)
        shown.append(_shown(model.eval(), data))
    for name in shown[0]:
        saved[name] = np.stack([own[name] for own in shown])
    CACHE.mkdir(parents=True, exist_ok=True)
    torch.save(states, plan.file.with_suffix(".pt"))
    unfinished = plan.file.with_suffix(".part.npz")
    np.savez(unfinished, **saved)
    unfinished.replace(plan.file)


def _shown(model: nn.Module, data: NoisyData) -> dict[str, NDArray[Any]]:
    """Return what a checkpoint shows, and how good it is."""
    measured = measure_model(model, data.train, data.labels, data.classes, feature_size=FEATURES)
    labels = data.labels.numpy()
    scores = [leave_one_out(view.rows, labels, data.classes).scores for view in measured.views]
    test = logits_of(model, data.test).argmax(1) == data.test_labels
    return {
        "own": measured.probability,
        "views": np.stack(scores).astype(np.float32),
        "loss": measured.loss,
        "squares": measured.squared_norms.sum(1),
        "layer squares": measured.squared_norms.sum(0),
        "layer totals": measured.total_squares,
        "alignment": head_alignment(model, data.train, data.labels),
        "right on test": test.numpy(),
    }


def head_alignment(model: nn.Module, inputs: Tensor, labels: Tensor) -> NDArray[np.float64]:
    """Return the cosine between each sample's negative gradient and the weights of the last dense layer, [N].

    Gradient-weight alignment (Hölzl, Rueckert & Kaissis, NeurIPS 2025, arXiv 2510.25480) by the head alone,
    as its authors measure it.
    """
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    entered: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0].detach()))
    try:
        logits = logits_of(model, inputs).double()
    finally:
        hook.remove()
    x = torch.cat(entered).double()
    residual = logits.softmax(1) - F.one_hot(labels, logits.shape[1])
    weight = head.weight.detach().double()
    along = -(residual * (x @ weight.T)).sum(1)
    size = residual.norm(dim=1) * x.norm(dim=1) * weight.norm()
    cosine: NDArray[np.float64] = (along / size.clamp_min(torch.finfo(size.dtype).tiny)).numpy()
    return cosine


def _with_holdout(plan: Plan, data: NoisyData, folder: Path) -> tuple[float, float, float]:
    """Train on nine tenths until the accuracy on the rest stops rising.

    Returns:
        Best epoch, its accuracy on the holdout, and on the test data.
    """
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(plan.seed))
    held = order[: len(order) // HELD_OUT]
    rest = order[len(order) // HELD_OUT :]
    model = start(plan, data, folder)
    best = (0.0, -1.0, 0.0)

    def after(epoch: int) -> bool:
        nonlocal best
        value = accuracy(model, data.train[held], data.labels[held])
        if value > best[1]:
            best = (float(epoch), value, accuracy(model, data.test, data.test_labels))
        return epoch - best[0] < PATIENCE

    train(plan, model, data.train[rest], data.labels[rest], after)
    return best


@dataclass(frozen=True)
class Run:
    """A finished run; K checkpoints, E epochs, V views, N samples, C classes, L layers, T test samples.

    Attributes:
        plan: What was trained.
        labels: Labels as given, [N].
        truth: True labels, [N].
        outside: Predictions of the labels from the raw data, [N, C].
        answers: The network's answers after every epoch, [E, N].
        own: Its class probabilities at every checkpoint, [K, N, C].
        views: Leave-one-out scores of its layers' views, input side first, [K, V, N, C].
        loss: Loss of every sample, in nats, [K, N].
        squares: Squared norm of every sample's gradient, [K, N].
        layer_squares: Sum of these by layer, [K, L].
        layer_totals: Squared norm of the samples' summed gradient, by layer, [K, L].
        alignment: Cosine of every sample's negative gradient and the weights of the head, [K, N].
        right_on_test: Whether each test sample is answered rightly, [K, T].
        patience: Test accuracy of the run with a holdout at its best epoch.
    """

    plan: Plan
    labels: NDArray[np.int64]
    truth: NDArray[np.int64]
    outside: NDArray[np.float64]
    answers: NDArray[np.int8]
    own: NDArray[np.float32]
    views: NDArray[np.float32]
    loss: NDArray[np.float64]
    squares: NDArray[np.float64]
    layer_squares: NDArray[np.float64]
    layer_totals: NDArray[np.float64]
    alignment: NDArray[np.float64]
    right_on_test: NDArray[np.bool_]
    patience: float

    @property
    def test(self) -> NDArray[np.float64]:
        """Test accuracy of every checkpoint, [K]."""
        share: NDArray[np.float64] = self.right_on_test.mean(1)
        return share


def load_run(plan: Plan) -> Run:
    """Return a finished run from disk."""
    with np.load(plan.file) as saved:
        a = {name: saved[name] for name in saved.files}
    return Run(
        plan=plan,
        labels=a["labels"],
        truth=a["truth"],
        outside=a["outside"].astype(np.float64),
        answers=a["answers"],
        own=a["own"],
        views=a["views"],
        loss=a["loss"],
        squares=a["squares"],
        layer_squares=a["layer squares"],
        layer_totals=a["layer totals"],
        alignment=a["alignment"],
        right_on_test=a["right on test"],
        patience=float(a["patience"][2]),
    )
