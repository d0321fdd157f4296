"""Earlier checkpoints of a training run beside the audited one: real files, one real run."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from support.scanning import scan
from support.trainings import without_page
from torch import Tensor, nn

import cohaudit
from cohaudit.audits.training.earlier_predictions import predict_with
from cohaudit.errors import CheckpointError, CohauditError, ConfigError, EngineError, ModelError
from cohaudit.gradients import Options, Source, measure
from cohaudit.loading.checkpoint import Checkpoint, load_checkpoint
from cohaudit.results.json_encode import audit_to_json

NET = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(),
                         nn.Linear(32, 4))
"""
EPOCHS = (2, 4, 10, 60)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Training:
    """A folder with checkpoints, the audited one last; the data; and which labels are wrong."""

    folder: Path
    checkpoints: tuple[Path, ...]
    inputs: Tensor
    labels: Tensor
    wrong: np.ndarray

    def model(self, epoch: int = EPOCHS[-1]) -> nn.Module:
        """Return the network after an epoch."""
        found = network()
        found.load_state_dict(self.state(epoch))
        return found.eval()

    def state(self, epoch: int) -> dict[str, Tensor]:
        return load_checkpoint(self.folder / f"ckpt-{epoch}.pt").tensors

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        return self.inputs, self.labels

    @property
    def source(self) -> Source:
        ids = [str(i) for i in range(len(self.labels))]
        return Source(lambda i: self.inputs[list(i)], self.labels.numpy(), ids, list("0123"))


def network() -> nn.Module:
    scope: dict[str, Any] = {}
    exec(NET, scope)
    return scope["build"]()


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Train on what no linear view tells, every fifth label wrong, until most of those are memorized."""
    folder = tmp_path_factory.mktemp("training")
    torch.manual_seed(0)
    inputs = torch.randn(400, 8)
    true = 2 * ((inputs[:, 0] > 0) ^ (inputs[:, 1] > 0)).long() + (inputs[:, 2] > 0).long()
    wrong = torch.arange(400) % 5 == 0
    labels = torch.where(wrong, (true + 1 + torch.randint(3, (400,))) % 4, true)
    (folder / "net.py").write_text(NET)
    np.savez(folder / "train.npz", inputs=inputs.numpy(), labels=labels.numpy())
    (folder / "cohaudit.toml").write_text('model = "net.py:build"\ndata = "train.npz"\nbootstrap = 20\n')
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for epoch in range(1, EPOCHS[-1] + 1):
        for batch in torch.randperm(400).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        if epoch in EPOCHS:
            torch.save({"epoch": epoch, "state_dict": model.state_dict()}, folder / f"ckpt-{epoch}.pt")
    paths = tuple(folder / f"ckpt-{epoch}.pt" for epoch in EPOCHS)
    return Training(folder, paths, inputs, labels, wrong.numpy())


@pytest.fixture(scope="module")
def scanned(training: Training, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Return the result of scanning all checkpoints, in the order in which a shell sorts them."""
    out = tmp_path_factory.mktemp("scanned")
    first, *rest = sorted(training.checkpoints, key=str)
    assert first.name == "ckpt-10.pt"
    result = scan(first, *rest, "--out", out)
    assert result.exit_code == 0, result.output
    return result, out


def samples(*args: Any, **kwargs: Any) -> pd.DataFrame:
    return cohaudit.scan(*args, bootstrap=20, **kwargs).samples


# what is found


def test_the_last_one_is_audited_and_the_earlier_ones_are_named(
    training: Training, scanned: tuple[Any, Path]
) -> None:
    result, out = scanned
    *earlier, last = training.checkpoints
    said = result.stderr.splitlines()[0]
    assert said == f"auditing {last}; earlier ones, in this order: {', '.join(map(str, earlier))}"
    assert f"settings from {training.folder / 'cohaudit.toml'}" in result.stderr
    assert "run the earlier checkpoints: 1,200 samples" in result.stderr
    audit = cohaudit.read_audit(out / "audit.json")
    assert audit.subject.checkpoint == str(last)
    hashes = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in earlier}
    assert list(audit.subject.earlier.items()) == list(hashes.items())
    assert audit.timings["run the earlier checkpoints"] > 0
    assert "Earlier checkpoints used:" in result.stdout
    assert result.stdout.count("Weights: ") == 1, "one line, not one for each of them"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Earlier checkpoints" in page
    assert hashes[str(earlier[0])][:12] in page
    assert "Earlier checkpoints" not in page.replace("<dt>Earlier checkpoints</dt>", "", 1)


def test_only_what_is_said_of_labels_changes(training: Training, scanned: tuple[Any, Path]) -> None:
    alone = cohaudit.scan(training.model(), training.data, bootstrap=20)
    several = cohaudit.read_audit(scanned[1] / "audit.json")
    changed = {"suggested", "suggestion", "suspicion", "rank", "suspect", "kind", "certainty"}
    changed |= {"memorization", "loo_margin"}
    same = [name for name in alone.samples if name not in changed]
    pd.testing.assert_frame_equal(alone.samples[same], several.samples[same], rtol=1e-4)
    assert not np.allclose(alone.samples["loo_margin"], several.samples["loo_margin"], atol=0.01)
    assert alone.subject.earlier == {}


def test_wrong_labels_stand_out_more(training: Training) -> None:
    model = training.model()
    assert (model(training.inputs).argmax(1) == training.labels).double().mean() > 0.95, "memorized"
    early = [training.state(epoch) for epoch in EPOCHS[:-1]]
    # predictions from the raw data tell most of it, with or without earlier checkpoints
    alone, several = (samples(model, training.data, earlier=given, outside=False) for given in ([], early))
    before, after = (roc_auc_score(training.wrong, -table["loo_margin"]) for table in (alone, several))
    assert after > before + 0.03


def test_two_scans_are_equal_byte_for_byte(
    training: Training, scanned: tuple[Any, Path], tmp_path: Path
) -> None:
    with without_page():
        assert scan(training.checkpoints[0], *training.checkpoints[1:], "--out", tmp_path).exit_code == 0
    first, second = (json.loads((out / "audit.json").read_text()) for out in (scanned[1], tmp_path))
    assert first.pop("timings").keys() == second.pop("timings").keys()
    assert json.dumps(first) == json.dumps(second)


def test_python_takes_paths_and_state_dicts(training: Training, scanned: tuple[Any, Path]) -> None:
    *paths, _ = training.checkpoints
    expected = cohaudit.read_audit(scanned[1] / "audit.json").samples
    given: list[list[Any]] = [
        paths,
        [str(paths[0]), training.state(EPOCHS[1]), paths[2]],
        [{f"module.{name}": value for name, value in training.state(e).items()} for e in EPOCHS[:-1]],
    ]
    for earlier in given:
        audit = cohaudit.scan(training.model(), training.data, bootstrap=20, earlier=earlier)
        pd.testing.assert_frame_equal(audit.samples, expected, rtol=1e-4)
    assert list(audit.subject.earlier.items()) == [(f"earlier[{i}]", "") for i in range(3)]
    assert audit_to_json(audit)


def test_predictions_are_the_probabilities_of_a_measurement(training: Training) -> None:
    options = Options(64, 3.0, 64, 64, 64, 64, 1, 1e-3, 0)
    model, done = training.model(), []
    opens = [lambda path=path: load_checkpoint(path) for path in training.checkpoints[:-1]]
    earlier = predict_with(model, opens, training.source, batch_size=150, device=CPU, advance=done.append)
    assert done == 3 * [150, 150, 100]
    for epoch, found in zip(EPOCHS, earlier.probabilities, strict=False):
        expected = measure(training.model(epoch), training.source, options, CPU, lambda _: None).probability
        assert found.dtype == expected.dtype
        assert found == pytest.approx(expected, abs=1e-6)


def test_only_the_subsample_is_predicted(training: Training, tmp_path: Path) -> None:
    with without_page():
        result = scan(*training.checkpoints[-2:], "--limit", 80, "--out", tmp_path)
    assert result.exit_code == 0
    assert "run the earlier checkpoints: 80 samples" in result.stderr
    assert len(cohaudit.read_audit(tmp_path / "audit.json").samples) == 80


# nothing counts twice


def test_the_audited_one_under_another_name_changes_nothing_but_is_reported(
    training: Training, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(training.folder, tmp_path / "run"))
    last = folder / "ckpt-60.pt"
    save_file(load_checkpoint(last).tensors, folder / "best.safetensors")  # the same weights, another file
    shutil.copy(last, folder / "again.pt")
    audits = []
    for names in ([], ["best.safetensors"], ["again.pt"]):
        paths = [*(folder / name for name in names), last]
        with without_page():
            assert scan(*paths, "--out", tmp_path / "out").exit_code == 0
        audits.append(cohaudit.read_audit(tmp_path / "out/audit.json"))
    for name, audit in zip(("best.safetensors", "again.pt"), audits[1:], strict=True):
        pd.testing.assert_frame_equal(audit.samples, audits[0].samples, check_exact=True)
        assert audit.subject.earlier == {}
        assert audit.skipped[0].name == f"earlier checkpoint {folder / name}"
        assert "the audited one" in audit.skipped[0].reason


def test_two_earlier_ones_with_equal_predictions_count_once(training: Training) -> None:
    first, second = training.state(EPOCHS[0]), training.state(EPOCHS[1])
    once, twice = (
        cohaudit.scan(training.model(), training.data, bootstrap=20, earlier=given)
        for given in ([first, second], [first, dict(first), second])
    )
    pd.testing.assert_frame_equal(once.samples, twice.samples, check_exact=True)
    assert list(twice.subject.earlier) == ["earlier[0]", "earlier[2]"]
    assert [item.name for item in twice.skipped] == ["earlier checkpoint earlier[1]"]
    assert "earlier[0]" in twice.skipped[0].reason


# the model in memory


class Tied(nn.Module):
    """Ties two weights, shares memory between a buffer and a weight, and has what no checkpoint fills."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.second.weight = self.first.weight
        self.register_buffer("row", self.head.weight.detach()[0])
        self.register_buffer("ones", torch.ones(1).expand(8), persistent=False)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.second(torch.relu(self.norm(self.first(x)))))
        found: Tensor = self.head(hidden * self.ones)
        return found

    def get_extra_state(self) -> Any:
        return {"calls": self.calls}

    def set_extra_state(self, state: Any) -> None:
        self.calls = state["calls"]


def other_weights() -> dict[str, Any]:
    """Return a state dict of other values; ties are kept, and buffers are changed too."""
    other = Tied()
    nn.init.normal_(other.first.weight)
    other.norm.running_mean = torch.randn(8)
    other.calls = 7
    return copy.deepcopy(other.state_dict())


def taken(model: nn.Module) -> list[Any]:
    """Return everything about a model that an audit has to leave alone."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    found: list[Any] = [
        (name, id(t), t.data_ptr(), t.requires_grad, id(t.grad), t.tolist()) for name, t in tensors
    ]
    return [*found, *(module.training for module in model.modules()), getattr(model, "calls", None)]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(training: Training, fails: bool) -> None:
    model = Tied()
    model.calls = 3
    model.norm.eval()
    model.first.weight.requires_grad_(False)
    model.head.weight.grad = torch.ones(4, 8)
    before = taken(model)
    earlier = [other_weights(), other_weights()]
    if fails:
        earlier[1]["head.bias"] = torch.full((4,), torch.nan)
        with pytest.raises(CheckpointError, match=r"earlier\[1\], an earlier checkpoint: 1 of .* head\.bias"):
            samples(model, training.data, earlier=earlier)
    else:
        assert len(cohaudit.scan(model, training.data, bootstrap=20, earlier=earlier).subject.earlier) == 2
    assert taken(model) == before


def test_an_interrupt_gives_the_weights_back(training: Training) -> None:
    model = training.model()
    before = taken(model)

    def interrupt(_: int) -> None:
        assert taken(model) != before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_with(
            model,
            [lambda: load_checkpoint(training.checkpoints[0])],
            training.source,
            batch_size=64,
            device=CPU,
            advance=interrupt,
        )
    assert taken(model) == before


def test_one_checkpoint_is_open_at_a_time(training: Training) -> None:
    opened: list[weakref.ref[Checkpoint]] = []

    def opens(path: Path) -> Callable[[], Checkpoint]:
        def open_it() -> Checkpoint:
            assert all(other() is None for other in opened)
            checkpoint = load_checkpoint(path)
            opened.append(weakref.ref(checkpoint))
            return checkpoint

        return open_it

    predict_with(
        training.model(),
        [*map(opens, training.checkpoints)],
        training.source,
        batch_size=64,
        device=CPU,
        advance=lambda _: None,
    )
    assert len(opened) == len(EPOCHS)


# what is refused


def live(model: nn.Module) -> Any:
    return [model.state_dict()]


def states(*values: Any) -> Callable[[nn.Module], Any]:
    return lambda _: list(values)


REFUSED: dict[str, tuple[Callable[[nn.Module], Any], type[CohauditError], str]] = {
    "a path alone": (lambda _: "ckpt-2.pt", ConfigError, "earlier: found a single str"),
    "a state dict alone": (lambda m: m.state_dict(), ConfigError, "earlier: found a single OrderedDict"),
    "a number": (lambda _: 3, ConfigError, "earlier: found a single int"),
    "a list of models": (lambda m: [m], ConfigError, r"earlier\[0\]: a Sequential, neither a path"),
    "the model's own tensors": (live, CheckpointError, r"earlier\[0\]: its tensors are the model's own"),
    "no tensors": (states({"epoch": 3}), CheckpointError, r"earlier\[0\]: a dictionary without tensors"),
    "no file": (states("nowhere.pt"), CheckpointError, r"nowhere\.pt: no such file"),
    "another network": (
        states({"weight": torch.ones(2)}),
        ModelError,
        r"earlier\[0\], an earlier checkpoint: does not fit the model(.|\n)*; or leave this checkpoint out",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_earlier_checkpoint_is_refused(case: str, training: Training) -> None:
    make, error, told = REFUSED[case]
    model = training.model()
    before = taken(model)
    with pytest.raises(error, match=told):
        cohaudit.scan(model, training.data, earlier=make(model))
    assert taken(model) == before


class Picky(nn.Module):
    """Fails where its weights are large."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(x)
        if float(found.abs().max()) > 1e6:
            raise ValueError("far too large")
        return found


def test_a_failing_forward_pass_is_attributed_to_the_checkpoint(training: Training) -> None:
    model = Picky()
    states = [{"head.weight": torch.full((4, 8), value), "head.bias": torch.zeros(4)} for value in (1.0, 1e9)]
    with pytest.raises(ModelError, match=r"earlier\[1\], an earlier checkpoint: sample 0: .*far too large"):
        samples(model, training.data, earlier=states)


def test_a_model_that_takes_no_sample_alone_is_refused_before_a_batch_of_one(training: Training) -> None:
    class Squeezing(Picky):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze()

    state = {"head.weight": torch.ones(4, 8), "head.bias": torch.zeros(4)}
    with pytest.raises(ModelError, match=r"^model: it takes several samples, but not one alone"):
        samples(Squeezing(), training.data, earlier=[state], batch_size=133)


def test_too_little_memory_is_reported(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> Iterator[None]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("cohaudit.gradients.passes.forward.call", exhausted)
    with pytest.raises(
        EngineError, match=r"an earlier checkpoint: --batch-size 128: cpu has too little memory"
    ):
        samples(training.model(), training.data, earlier=[training.state(2)])


def test_a_model_that_mixes_samples_is_not_attributed_to_an_earlier_checkpoint(training: Training) -> None:
    class Mixing(Picky):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(x - x.mean(0))
            return found

    state = {"head.weight": torch.ones(4, 8), "head.bias": torch.zeros(4)}
    with pytest.raises(EngineError, match=r"logits depend on the other samples") as caught:
        samples(Mixing(), training.data, earlier=[state])
    assert "earlier" not in str(caught.value)
