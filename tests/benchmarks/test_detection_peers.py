"""The label cleaners of the detection benchmark: each against its definition, written out slowly."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanlab.filter import find_label_issues
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.detection import detectors
from benchmarks.detection.peers import (
    averages,
    collect,
    confident_learning,
    gradient_similarity,
    input_curvature,
    last_layer,
    neighbors,
    relation_graph,
    second_split,
    simifeat,
    transitions,
)
from benchmarks.shared.label_noise import NoisyData, load_noisy
from benchmarks.shared.measuring import measure_model
from benchmarks.shared.recipes import RECIPES, TextTransformer
from benchmarks.shared.training import logits_of, train_epoch

CLASSES = 4


def clouds(count: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 points in a cloud for each class, [count, width], and labels of which some are wrong."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(CLASSES, size=count)
    centers = generator.normal(size=(CLASSES, width))
    x = (centers[truth] * 2 + generator.normal(size=(count, width))).astype(np.float32)
    wrong = generator.random(count) < 0.2
    return x, np.where(wrong, (truth + 1) % CLASSES, truth)


def test_neighbors_in_blocks_are_those_of_all_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "BLOCK", 7)
    x, _ = clouds(40, 5)
    indices, cosines = neighbors.nearest_neighbors(x, 6)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    every = unit @ unit.T
    for i in range(40):
        order = [j for j in np.argsort(-every[i]) if j != i][:6]
        assert indices[i].tolist() == order
        assert cosines[i].numpy() == pytest.approx(every[i, order], abs=1e-6)
    assert neighbors.nearest_neighbors(x[:3], 6)[0].shape == (3, 2)


def test_simifeat_votes_and_ranks_as_written_out() -> None:
    x, y = clouds(90, 6)
    found = simifeat.simifeat(x, y, CLASSES)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = np.maximum(unit @ unit.T, 0).astype(float)
    score = np.empty(90)
    outvoted = np.empty(90, dtype=bool)
    pairs = np.empty((90, 2), dtype=int)
    for i in range(90):
        order = [j for j in np.argsort(-cosines[i]) if j != i][: simifeat.VOTERS - 1]
        pairs[i] = order[:2]
        votes = np.zeros(CLASSES)
        votes[y[i]] += 2 * cosines[i, order[0]] - cosines[i, order[1]]
        for j in order:
            votes[y[j]] += cosines[i, j]
        score[i] = 1 - votes[y[i]] / np.linalg.norm(votes)
        outvoted[i] = votes.argmax() != y[i]
    assert found["SimiFeat-V"] == pytest.approx(outvoted + score, abs=1e-5)

    prior, matrix = transitions.estimate_transitions(torch.from_numpy(y), torch.from_numpy(pairs), CLASSES)
    accused = np.zeros(90, dtype=bool)
    for label in range(CLASSES):
        share = 1 - matrix[label, label] * prior[label] / np.mean(y == label)
        own = np.flatnonzero(y == label)
        bound = np.percentile(score[own], 100 * (1 - min(max(share, 0.05), 0.95)))
        accused[own] = score[own] >= bound - 1e-6
    assert found["SimiFeat-R"] == pytest.approx(accused + score, abs=1e-5)
    assert 0.1 < accused.mean() < 0.5


def test_transitions_are_recovered_where_neighbors_share_the_class() -> None:
    generator = np.random.default_rng(0)
    prior = np.array([0.5, 0.3, 0.2])
    matrix = np.array([[0.8, 0.2, 0.0], [0.05, 0.85, 0.1], [0.1, 0.2, 0.7]])
    truth = np.sort(generator.choice(3, size=30_000, p=prior))
    labels = np.array([generator.choice(3, p=matrix[t]) for t in truth])
    position = np.arange(30_000)
    pairs = np.stack([position - 1, position - 2], 1) % 30_000  # sorted: the class changes twice
    found, estimate = transitions.estimate_transitions(torch.from_numpy(labels), torch.from_numpy(pairs), 3)
    assert found == pytest.approx(prior, abs=0.03)
    assert estimate == pytest.approx(matrix, abs=0.03)


def test_expected_consensus_is_a_sum_over_true_classes() -> None:
    generator = np.random.default_rng(1)
    p = generator.dirichlet(np.ones(3))
    matrix = generator.dirichlet(np.ones(3), size=3)
    one, two, three = transitions.expected(torch.from_numpy(p), torch.from_numpy(matrix))
    for a in range(3):
        assert one[a].item() == pytest.approx(sum(p[i] * matrix[i, a] for i in range(3)))
        for b in range(3):
            assert two[a, b].item() == pytest.approx(
                sum(p[i] * matrix[i, a] * matrix[i, b] for i in range(3))
            )
            for c in range(3):
                by_hand = sum(p[i] * matrix[i, a] * matrix[i, b] * matrix[i, c] for i in range(3))
                assert three[a, b, c].item() == pytest.approx(by_hand)


def test_the_relation_graph_is_the_one_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relation_graph, "BLOCK", 13)
    x, y = clouds(50, 5)
    p = np.random.default_rng(0).dirichlet(np.full(CLASSES, 0.3), size=50).astype(np.float32)
    relation = np.zeros((50, 50))
    for i in range(50):
        for j in range(50):
            cosine = float(x[i] @ x[j]) / float(np.linalg.norm(x[i]) * np.linalg.norm(x[j]))
            kernel = max(0.0, cosine) * float(p[i] @ p[j])
            if kernel > relation_graph.CUT:
                relation[i, j] = kernel**4 * (1 if y[i] == y[j] else -1)
    reliability = relation.sum(1)
    accused = reliability / np.abs(reliability).max() < -0.05
    assert accused.any()
    expected = reliability - 2 * relation[:, accused].sum(1)
    assert relation_graph.relation_graph(x, p, y) == pytest.approx(-expected, abs=1e-5)


def smooth_network(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES)).eval()


def squared_hessian(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return Tr(H²) of one sample's loss in its input, in float64."""
    double = copy.deepcopy(model).double()
    hessian = torch.autograd.functional.hessian(
        lambda point: F.cross_entropy(double(point[None]), y[None]), x.double()
    )
    return float(hessian.square().sum())


def test_curvature_is_the_trace_of_the_squared_hessian() -> None:
    points, labels = clouds(12, 5)
    x, y = torch.from_numpy(points), torch.from_numpy(labels)
    model = smooth_network(5)
    exact = [squared_hessian(model, x[i], y[i]) for i in range(12)]
    # the relative error of Hutchinson's method is at most sqrt(2 / probes), here 0.037
    found = input_curvature.input_curvature(model.double(), x.double(), y, probes=1500)
    assert found == pytest.approx(exact, rel=0.17)
    assert input_curvature.mean_curvature([model, model], x.double(), y) == pytest.approx(
        input_curvature.input_curvature(model, x.double(), y)
    )


def test_curvature_in_one_number_needs_one_probe() -> None:
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    y = torch.arange(9) % CLASSES
    model = smooth_network(1).double()
    exact = [squared_hessian(model, x[i], y[i]) for i in range(9)]
    assert input_curvature.input_curvature(model, x, y, probes=1) == pytest.approx(exact, rel=0.02, abs=1e-5)


def test_curvature_of_words_is_that_of_their_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_curvature, "BATCH", 4)
    torch.manual_seed(0)
    model = TextTransformer(6, CLASSES, width=8).eval()
    words = torch.randint(1, 50, (10, 6))
    y = torch.arange(10) % CLASSES

    class FromEmbedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, embedded: Tensor) -> Tensor:
            hidden = self.inner.norm(self.inner.blocks(embedded + self.inner.positions))
            return self.inner.head(hidden.mean(1))

    found = input_curvature.input_curvature(model, words, y)
    same = input_curvature.input_curvature(FromEmbedding().eval(), model.embed(words).detach(), y)
    assert found == pytest.approx(same, rel=1e-3)
    assert not any(module._forward_hooks for module in model.modules())


def test_integers_that_no_embedding_reads_have_no_curvature() -> None:
    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.one_hot(x, CLASSES).float().sum(1)

    words = torch.randint(0, CLASSES, (5, 3))
    assert not input_curvature.has_input_gradient(Counts(), words)
    with pytest.raises(ValueError, match=r"int64 and no nn\.Embedding reads them"):
        input_curvature.input_curvature(Counts(), words, torch.zeros(5).long())


@pytest.fixture(scope="module")
def layer() -> last_layer.LastLayer:
    x, y = clouds(60, 5)
    return last_layer.fit_last_layer(last_layer.standardized(x, 100), y, CLASSES)


def test_the_fitted_layer_is_scikit_learns(layer: last_layer.LastLayer) -> None:
    theirs = LogisticRegression(C=1 / last_layer.DECAY, fit_intercept=False, tol=1e-8, max_iter=5000)
    theirs.fit(layer.inputs, layer.labels)
    difference = layer.weights.T - theirs.coef_
    assert np.abs(difference).max() < 1e-3


def test_leave_one_out_is_close_to_fitting_without_the_sample(layer: last_layer.LastLayer) -> None:
    hat = last_layer.hat_matrices(layer)
    loss = last_layer.leave_one_out_loss(layer, hat)
    exact = []
    before = []
    for i in range(60):
        rest = np.arange(60) != i
        without = last_layer.fit_last_layer(layer.inputs[rest, :-1], layer.labels[rest], CLASSES)
        logits = torch.from_numpy(layer.inputs[i] @ without.weights)
        exact.append(F.cross_entropy(logits, torch.tensor(layer.labels[i])).item())
        before.append(-np.log(layer.probabilities[i, layer.labels[i]]))
    # one Newton step falls short where a sample moves the fit a lot: a flip's loss of 5.9 comes out as 5.5
    assert loss == pytest.approx(exact, rel=0.1, abs=0.02)
    change = last_layer.leave_one_out_change(layer, hat)
    assert np.corrcoef(change, np.subtract(exact, before))[0, 1] > 0.97
    # without a sample, its loss rises
    assert (change > 0).all()


def test_self_influence_takes_the_hessian_of_the_objective(layer: last_layer.LastLayer) -> None:
    x, y = torch.from_numpy(layer.inputs), torch.from_numpy(layer.labels)
    weights = torch.from_numpy(layer.weights)

    def objective(w: Tensor) -> Tensor:
        return F.cross_entropy(x @ w, y, reduction="sum") + last_layer.DECAY / 2 * w.square().sum()

    hessian = torch.autograd.functional.hessian(objective, weights).reshape(weights.numel(), -1)
    found = last_layer.self_influence(layer, last_layer.hat_matrices(layer))
    for i in range(0, 60, 7):
        w = weights.clone().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(x[i : i + 1] @ w, y[i : i + 1]), w)
        assert found[i] == pytest.approx(float(g.flatten() @ torch.linalg.solve(hessian, g.flatten())))


def test_representer_values_sum_to_the_logits(layer: last_layer.LastLayer) -> None:
    alpha = -layer.residuals / last_layer.DECAY
    kernel = layer.inputs @ layer.inputs.T
    assert kernel @ alpha == pytest.approx(layer.logits, abs=1e-4)
    own = np.abs(alpha[np.arange(60), layer.labels]) * np.diag(kernel)
    assert last_layer.representer(layer) == pytest.approx(own)


def test_wide_features_are_projected_on_what_varies_most() -> None:
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(50, 9)) * np.arange(1, 10) + 3).astype(np.float32)
    whole = last_layer.standardized(x, 9)
    assert whole.mean(0) == pytest.approx(0, abs=1e-6)
    assert (whole**2).mean() == pytest.approx(1)
    few = last_layer.standardized(x, 3)
    kept = np.linalg.svd(whole, compute_uv=False)[:3] ** 2
    assert few.shape == (50, 3)
    assert (few**2).sum() == pytest.approx(kept.sum())


def test_agra_is_the_cosine_with_the_mean_gradient() -> None:
    points, labels = clouds(30, 5)
    x, y = torch.from_numpy(points).double(), torch.from_numpy(labels)
    torch.manual_seed(0)
    weight = torch.randn(CLASSES, 5, dtype=torch.float64, requires_grad=True)
    gradients = [
        torch.autograd.grad(F.cross_entropy(x[i : i + 1] @ weight.T, y[i : i + 1]), weight)[0].flatten()
        for i in range(30)
    ]
    mean = torch.stack(gradients).mean(0)
    residuals = (x @ weight.detach().T).softmax(1) - F.one_hot(y, CLASSES)
    found = gradient_similarity.agra(residuals.numpy(), x.numpy())
    assert found == pytest.approx([-float(F.cosine_similarity(g, mean, dim=0)) for g in gradients])


def test_cleanlabs_filters_come_first_and_by_margin_within() -> None:
    _, y = clouds(300, 5)
    p = np.random.default_rng(0).dirichlet(np.ones(CLASSES), size=300)
    p[np.arange(300), y] += 1
    p /= p.sum(1, keepdims=True)
    p[::9] = np.roll(p[::9], 1, axis=1)
    found = confident_learning.confident_learning(p, y)
    assert len(found) == 5
    for way, name in confident_learning.FILTERS.items():
        issues = find_label_issues(y, p, filter_by=way, n_jobs=1)
        assert 0 < issues.sum() < 150, way
        assert found[name][issues].min() > found[name][~issues].max(), way
    given_probability = found["predicted is not given"] > 1.5
    assert (given_probability <= (p.argmax(1) != y)).all()


def test_averages_are_taken_over_epochs() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(3, 40, CLASSES)).astype(np.float16)
    y = np.arange(40) % CLASSES
    found = averages.averaged_scores(logits, y)
    p = torch.from_numpy(logits.astype(np.float64)).softmax(2).mean(0)
    for i in range(40):
        others = [float(p[i, c]) for c in range(CLASSES) if c != y[i]]
        assert found["mean probability"][i] == pytest.approx(1 - float(p[i, y[i]]))
        assert found["mean probability margin"][i] == pytest.approx(max(others) - float(p[i, y[i]]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=6))
def test_forgotten_is_what_stays_wrong(history: list[list[bool]]) -> None:
    found = second_split.wrong_from(torch.tensor(history))
    for sample, step in enumerate(found):
        own = [row[sample] for row in history]
        assert not any(own[int(step) :])
        assert step == 0 or own[int(step) - 1]


def test_forgetting_leaves_the_network_as_it_is_and_finds_flips(digits: NoisyData) -> None:
    recipe = replace(RECIPES["MLP, SGD"], epochs=60)
    few = digits.first(400)
    state = torch.random.get_rng_state()
    score = second_split.second_split_forgetting(few, recipe, 0, epochs=4)
    assert torch.random.get_rng_state().equal(state)
    assert score.min() >= -5
    assert score.max() <= 0
    assert roc_auc_score(few.wrong, score) > 0.8
    model = recipe.build(few).eval()
    before = copy.deepcopy(model.state_dict())
    half = (few.train[:200], few.labels[:200])
    second_split.forgetting_time(model, recipe, half, (few.train[200:], few.labels[200:]), epochs=1)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


@pytest.fixture(scope="module")
def digits() -> NoisyData:
    return load_noisy("digits", "20 %", 0, Path("nowhere")).first(700)


def test_every_peer_ranks_flips_of_digits_above_chance(digits: NoisyData) -> None:
    torch.manual_seed(0)
    recipe = RECIPES["MLP, SGD"]
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = recipe.optimizer(model)
    logits = []
    for _ in range(150):
        train_epoch(model, optimizer, digits.train, digits.labels, recipe.batch)
        logits.append(logits_of(model, digits.train).half().numpy())
    measured = measure_model(model, digits.train, digits.labels, digits.classes)
    found = collect.peer_scores(digits, model, measured)
    assert found.keys() >= {"SimiFeat-V", "SimiFeat-R", "Neural Relation Graph", "AGRA", "input curvature"}
    auroc = {name: roc_auc_score(digits.wrong, score) for name, score in found.items()}
    assert all(score.dtype == np.float64 and score.shape == (700,) for score in found.values())
    for name, value in auroc.items():
        # in a fitted network the mean gradient nearly vanishes, and with it what AGRA compares with
        assert value > 0.6 or name == "AGRA", (name, value)
    whole = detectors.from_trajectory(np.stack(logits), digits.labels)
    for name in ("mean probability", "mean probability margin", "mean probability, cleanlab confident joint"):
        assert roc_auc_score(digits.wrong, whole[name]) > 0.9
    assert spearmanr(whole["mean probability margin"], whole["AUM"])[0] > 0.8
