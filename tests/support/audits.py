"""Audits built by hand, for tests of everything that reads one: no model, no data, no measuring."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import itertools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from cohaudit import results
from cohaudit.results.suppression import Suppression

HOSTILE = (
    "<script>alert('name')</script>",
    '"><img src=x onerror="alert(1)">&amp;\'',
    "\u202egnp.exe\u2066 \u0007\n\t\x00",
    "x" * 10_000,
    "🦊👩‍👩‍👧‍👦 $\\frac{1}{0}$ 猫 قطة {{ 7 * 7 }} {% raw %}",
)
"""Names that try to run, to leave an attribute, to reorder text, to stretch the page, or to be typeset."""

PreviewKind = Literal["image", "wave", "row", "text", "none"]

KINDS = np.array(["typical", "ambiguous", "rare", "duplicate"])


def make_audit(
    *,
    classes: int = 10,
    layers: int = 5,
    samples: int = 240,
    suspects: int = 12,
    suppressed: int = 0,
    evidence: int = 5,
    others: int = 0,
    questions: int = 4,
    kind: PreviewKind = "image",
    image_side: int = 8,
    auditable: bool = True,
    told: bool = True,
    sketched: bool = False,
    hostile: bool = False,
    gates: tuple[results.GateResult, ...] = (),
    holdout: bool = False,
    seed: int = 0,
) -> results.Audit:
    """Return an audit whose numbers are as consistent as those of a real scan."""
    rng = np.random.default_rng(seed)
    class_names = _names(classes, "class {}", hostile)
    ids = _names(samples, "train/{:04d}.png", hostile)
    table = _samples(rng, ids, class_names, suspects if auditable and told else 0, auditable)
    place_of = {name: place for place, name in enumerate(class_names)}
    columns = {name: table[name].to_numpy() for name in ("loss", "suspect")}
    columns |= {name: table[name].map(place_of).to_numpy() for name in ("label", "predicted")}
    found = _evidence(rng, table, others, evidence, kind)
    asked = tuple(table["id"][:questions]) if auditable else ()
    coherence = _coherence(rng, samples)
    nothing = results.Skipped("coherence", "the model is not auditable")
    return results.Audit(
        version="0.1.0",
        subject=_subject(samples, hostile),
        settings=_settings(),
        sanity=_sanity(classes, auditable),
        notices=(f"Measured on {samples} of {2 * samples} samples.",),
        coherence=coherence if auditable else nothing,
        gradients=results.MeasuredGradients(samples, "all samples", 0.0),
        layers=tuple(
            _layer(rng, i, layers, samples, name)
            for i, name in enumerate(_names(layers, "body.{}.fc", hostile))
        ),
        classes=tuple(_class(rng, place, name, columns) for place, name in enumerate(class_names)),
        class_cosines=_cosines(rng, classes, sketched) if auditable else nothing,
        samples=table,
        cosine_error=0.015625,
        representation="the input of layer body.1.fc",
        outside=(results.OutsidePrediction("a random forest on the 8 input columns", 0.8125),),
        evidence=found,
        suppressed=_suppressed(table, class_names, suppressed),
        previews=_previews(rng, found, kind, image_side, hostile, asked),
        calibration=results.Skipped("calibration by reviewed labels", "no label was reviewed"),
        corrections=results.Skipped("corrected labels", "no file of provenance lies beside the data"),
        questions=asked,
        risk=_risk(holdout) if auditable else results.Skipped("risk", "the model is not auditable"),
        crossfit=_crossfit() if holdout else results.Skipped("cross-fit", "not asked for: --crossfit"),
        wrong_labels=_wrong_labels(told),
        audits=_optional_audits(rng, layers, samples, class_names, hostile)
        if auditable
        else _no_optional_audits(),
        certificate=_certificate(),
        skipped=(results.Skipped("layer embed", "its weights are frozen"),) if layers > 2 else (),
        gates=gates,
        timings={"gradients": 3.25, "checkpoint": 0.0125, "judgment": 0.5},
    )


def _wrong_labels(told: bool) -> results.WrongLabels:
    if told:
        return results.WrongLabels(results.Estimate(0.0625, 0.046875, 0.09375), 0.075, 0.83, True, "high")
    return results.WrongLabels(results.Estimate(0.0625, 0.0, 0.125), 0.104, 0.31, False, "unclear")


def gate(*, failed: bool) -> results.GateResult:
    """Return a gate on the risk that has failed or passed."""
    limit = "high" if failed else "severe"
    reason = f"the risk is high, {'at or above' if failed else 'below'} {limit}"
    return results.GateResult(f"risk>={limit}", "high (0.15625)", failed, reason)


def _names(count: int, pattern: str, hostile: bool) -> list[str]:
    names = [pattern.format(i) for i in range(count)]
    if hostile:
        names[: len(HOSTILE)] = HOSTILE[:count]
    return names


def _samples(
    rng: np.random.Generator, ids: list[str], names: list[str], suspects: int, auditable: bool
) -> pd.DataFrame:
    n = len(ids)
    label = np.arange(n) % len(names)
    suspicion = np.clip(rng.beta(1, 12, n), 0, 0.49)
    flagged = rng.permutation(n)[:suspects]
    suspicion[flagged] = rng.uniform(0.5, 1.0, len(flagged))
    suggested = label.copy()
    suggested[flagged] = (label[flagged] + 1) % len(names)
    support = 0.8 - 1.4 * suspicion
    return pd.DataFrame(
        {
            "id": ids,
            "label": [names[i] for i in label],
            "predicted": [names[i] for i in label],
            "suggested": [names[i] for i in suggested],
            "suggestion": np.where(suggested == label, 1 - suspicion, suspicion),
            "suspicion": suspicion,
            "rank": np.argsort(np.argsort(-suspicion)) + 1,
            "suspect": suspicion >= 0.5,
            "kind": np.where(
                suspicion >= 0.5, "mislabeled", KINDS[rng.integers(0, 4, n)] if auditable else ""
            ),
            "certainty": rng.uniform(0.5, 1.0, n),
            "duplicate_of": [ids[i - 1] if i % 7 == 3 else "" for i in range(n)],
            "memorization": suspicion,
            "loss": rng.gamma(1.0, 0.02, n),
            "margin": rng.normal(9.0, 2.0, n),
            "gradient_norm": rng.gamma(1.0, 0.3, n),
            "support": support if auditable else np.full(n, np.nan),
            "support_count": pd.array(rng.integers(0, n, n) if auditable else [None] * n, dtype="Int64"),
            "loo_margin": 1.0 - 2.0 * suspicion,
            "out_of_fold": np.full(n, np.nan),
            "supporters": [f"{ids[i - 1]};{ids[i - 2]}" for i in range(n)],
            "opponents": [ids[i - 3] for i in range(n)],
            "content": [content(i)[7:23] for i in ids],
        }
    )


def _suppressed(table: pd.DataFrame, names: list[str], count: int) -> tuple[Suppression, ...]:
    """Return entries for the last samples of the table, which are then no suspects."""
    return tuple(
        Suppression(
            content(i), label, f"Ada of {names[-1]}", f"odd, but a {label}", i, "2027-06-30" * (k % 2)
        )
        for k, (i, label) in enumerate(zip(table["id"][-count:], table["label"][-count:], strict=True))
        if count
    )


def _evidence(
    rng: np.random.Generator, table: pd.DataFrame, others: int, per_side: int, kind: PreviewKind
) -> tuple[results.Evidence, ...]:
    suspects = table[table["suspect"]].sort_values("suspicion", ascending=False)
    shown = table[~table["suspect"] & (table["kind"] != "typical")].groupby("kind").head(others)
    per_side = min(per_side, (len(table) - 1) // 2)
    ids, labels = table["id"].to_numpy(object), table["label"].to_numpy(object)
    position = {sample_id: place for place, sample_id in enumerate(ids)}
    found = []
    for sample_id in (*suspects["id"], *shown["id"]):
        near = rng.choice(len(table) - 1, 2 * per_side, replace=False)
        near += near >= position[sample_id]  # of all samples but this one
        cosines = np.sort(rng.uniform(0.2, 0.95, 2 * per_side))[::-1]
        pairs = list(zip(ids[near], labels[near], cosines.tolist(), strict=True))
        supporters = tuple(
            results.Neighbor(i, name, c, k == 0) for k, (i, name, c) in enumerate(pairs[:per_side])
        )
        opponents = tuple(results.Neighbor(i, name, -c, False) for i, name, c in pairs[per_side:])
        place, line = ("data/train.csv", len(found) + 2) if kind == "row" else (f"data/{sample_id}", 0)
        found.append(results.Evidence(sample_id, supporters, opponents, content(sample_id), place, line))
    return tuple(found)


def _previews(
    rng: np.random.Generator,
    found: tuple[results.Evidence, ...],
    kind: PreviewKind,
    side: int,
    hostile: bool,
    asked: tuple[str, ...],
) -> dict[str, results.Preview]:
    named = [e.id for e in found] + [n.id for e in found for n in (*e.supporters, *e.opponents)]
    named += asked
    columns = _names(14, "mean_column_{}", hostile)
    texts = itertools.cycle(HOSTILE if hostile else ["the service was slow but the soup was good"])
    make = {
        "image": lambda: results.Preview("image", image=png(rng, side)),
        "wave": lambda: results.Preview("wave", image=png(rng, 48)),
        "row": lambda: results.Preview("row", row={c: f"{rng.normal():.4g}" for c in columns}),
        "text": lambda: results.Preview("text", text=next(texts)),
        "none": lambda: results.Preview("none"),
    }[kind]
    return {sample_id: make() for sample_id in dict.fromkeys(named)}


def content(sample_id: str) -> str:
    """Return what a sample's hash could be."""
    return "sha256:" + hashlib.sha256(sample_id.encode()).hexdigest()


def png(rng: np.random.Generator, side: int) -> str:
    """Return a data URI of noise: the least compressible picture of that size."""
    pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _estimate(value: float, half: float) -> results.Estimate:
    return results.Estimate(float(value), float(value - half), float(value + half))


def _coherence(rng: np.random.Generator, samples: int) -> results.Coherence:
    pairwise = rng.uniform(-0.01, 0.2)
    alpha = (1 + (samples - 1) * pairwise) / samples
    half = 0.1 * abs(pairwise) + 0.002
    return results.Coherence(
        samples, _estimate(alpha, half), _estimate(samples * alpha, samples * half), _estimate(pairwise, half)
    )


def _layer(rng: np.random.Generator, i: int, layers: int, samples: int, name: str) -> results.Layer:
    skipped = i == 1 and layers > 2
    coherence = (
        results.Skipped(f"layer {name}", "no gradient reaches it") if skipped else _coherence(rng, samples)
    )
    path: Literal["closed form", "vmap", "loop"] = "vmap" if i % 4 == 3 else "closed form"
    energy = 2 * (i + 1) / (layers * (layers + 1))
    return results.Layer(name, "Linear", 1000 * (i + 1), path, energy, float(rng.uniform(0.01, 1)), coherence)


def _class(
    rng: np.random.Generator, place: int, name: str, columns: Mapping[str, Any]
) -> results.ClassResult:
    own = columns["label"] == place
    size = int(own.sum())
    coherence: results.Coherence | results.Skipped = _coherence(rng, size)
    if size < 2:
        coherence = results.Skipped(f"class {name}", "it has one sample; a coherence needs two")
    gap = results.Estimate(0.0625 + rng.integers(8) / 64, -0.125, 0.5)
    return results.ClassResult(
        name=name,
        samples=size,
        accuracy=float((columns["predicted"][own] == place).mean()),
        mean_loss=float(columns["loss"][own].mean()),
        suspects=int(columns["suspect"][own].sum()),
        predicted_gap=gap,
        coherence=coherence,
    )


def _cosines(rng: np.random.Generator, classes: int, sketched: bool) -> results.ClassCosines:
    half = np.triu(rng.uniform(-0.8, 0.4, (classes, classes)), 1)
    matrix = half + half.T + np.eye(classes)
    sampling = 0.0625 * (1 - np.eye(classes))
    return results.ClassCosines(
        tuple(tuple(row) for row in matrix.tolist()),
        0.03125 if sketched else 0.0,
        tuple(tuple(row) for row in sampling.tolist()),
    )


def _risk(holdout: bool = False) -> results.Risk:
    terms = (
        results.RiskTerm(
            "predictions without support from other samples",
            0.8125,
            0.1875,
            "The other samples support 81.3% of the predictions.",
        ),
        results.RiskTerm(
            "correction from trained networks", 0.84375, -0.03125, "Networks did 3.1 points better."
        ),
    )
    drivers = (
        results.Driver(
            "samples", "samples", 0.125, "12.5% of the labels are memorized.", "Drop them.", 0.09375
        ),
        results.Driver(
            "class", "class 3", 0.25, "Class 3: 75% expected on new data.", "Collect more of it.", 0.03125
        ),
        results.Driver(
            "layer",
            "body.1.fc",
            0.75,
            "The input of layer body.1.fc already fits 75%.",
            "Stop earlier.",
            results.Skipped("effect on the gap", "measure it by training again"),
        ),
    )
    predicted = results.Estimate(0.15625, 0.125, 0.1875)
    given = results.Estimate(0.75, 0.6875, 0.8125)
    nothing = results.Skipped("holdout", "none was given: --holdout")
    if not holdout:
        return results.Risk(
            results.Estimate(0.84375, 0.8125, 0.875),
            given,
            predicted,
            predicted,
            0.8,
            "high",
            terms,
            drivers,
            nothing,
        )
    measured = results.Holdout(
        "test.npz",
        "f" * 64,
        500,
        3,
        0.8125,
        results.Estimate(0.1875, 0.15625, 0.21875),
        results.Estimate(0.828125, 0.78125, 0.875),
        results.Estimate(0.171875, 0.125, 0.21875),
        0.5,
        0.03125,
        0.015625,
    )
    gap = results.Estimate(0.171875, 0.15625, 0.1875)
    expected = results.Estimate(0.828125, 0.8125, 0.84375)
    return results.Risk(expected, given, gap, predicted, 0.8, "high", terms, drivers, measured)


def _crossfit() -> results.Crossfit:
    accuracy = results.Estimate(0.8125, 0.78125, 0.84375)
    return results.Crossfit(5, "SGD with learning rate 0.05 (as set)", (12, 9, 14, 11, 10), accuracy, 3)


def _sanity(classes: int, auditable: bool) -> results.Sanity:
    chance = 1 / classes
    if auditable:
        return results.Sanity(
            True,
            0.9996,
            0.9995,
            chance,
            0.021,
            "the model predicts its training labels far better than chance",
        )
    reason = (
        "no better than chance on its own training labels: check the weights and the order of the classes"
    )
    return results.Sanity(False, chance, chance, chance, 2.31, reason)


def _subject(samples: int, hostile: bool) -> results.Subject:
    return results.Subject(
        checkpoint=HOSTILE[0] if hostile else "fixtures/digits/model.safetensors",
        checkpoint_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        checkpoint_format="safetensors",
        earlier={HOSTILE[0]: "", HOSTILE[2]: "5e88"} if hostile else {"run/ckpt-2.pt": "4dff4ea340f0a823"},
        model="net.py:build",
        parameters=38_000,
        data=HOSTILE[3] if hostile else "fixtures/digits/train.npz",
        data_fingerprint="2c26b46b68ffc68ff99b453c1d304134",
        samples=samples,
        samples_total=2 * samples,
    )


def _settings() -> dict[str, object]:
    return {
        "seed": 0,
        "temperature": 1.0,
        "neighbors": 20,
        "confidence": 0.9,
        "bootstrap": 200,
        "suspicion_threshold": 0.5,
        "risk_levels": (0.05, 0.1, 0.2),
        "label_levels": (0.02, 0.05, 0.15),
        "gallery": 500,
        "class_names": (),
        "limit": 0,
        "fail_on": ("risk>=high",),
    }


def _certificate() -> results.Certificate:
    checks = (
        results.Check("squared norms against autograd", "body.0.fc", 3.1e-7, 1e-3),
        results.Check("mean of ⟨g_i, μ⟩ against ‖μ‖²", "body.2.fc", 8.4e-6, 1e-3),
    )
    return results.Certificate(8, checks, 0.9987)


def _optional_audits(
    rng: np.random.Generator, layers: int, samples: int, class_names: list[str], hostile: bool
) -> results.AuditResults:
    names = _names(layers, "body.{}.fc", hostile)
    ratios = np.exp(rng.normal(-3, 1, layers)).tolist()
    estimates = [results.Estimate(r, r / 2, r * 2) for r in ratios]
    return results.AuditResults(
        depth=results.DepthTrend(
            layers=tuple(
                results.LayerRatio(name, one, one.value / before.value)
                for name, one, before in zip(names, estimates, [estimates[0], *estimates], strict=False)
            ),
            orthogonal=0.004,
            slope=results.Estimate(0.3, 0.1, 0.5),
            advice="The coherent share rises with depth: nothing to do.",
        ),
        memory=results.Memory(
            optimizer="two moments (Adam, AdamW)",
            coherence=0.125,
            layers=tuple(results.LayerSteadiness(name, 0.25, 100) for name in names),
            advice="12.5% of the gradients' energy was one steady direction: nothing to do.",
        ),
        width=_width(rng, names),
        inputs=_inputs(_names(3, "column {}", hostile)),
        decay=results.BackgroundForce(
            trained=results.TrainedDecay(0.001, True, False),
            l2=results.DecayRange(0.0005, 0.03),
            l1=results.DecayRange(0.00025, 0.002),
            l2_at=0.001,
            l1_at=0.0005,
            coherent=0.25,
            lost_incoherent=0.625,
            lost_coherent=0.0625,
            layers=tuple(results.LayerDecay(name, 0.25, 0.5, 0.375, 0.75, 0.5) for name in names),
            advice="The trained decay of 0.001 lies in the range that separates the weights: nothing to do.",
        ),
        robust=_robust_step(rng, names),
        trajectory=_trajectory(rng, samples, class_names, names),
        stability=results.Stability(
            terms=tuple(
                results.StabilityTerm(
                    checkpoint=f"step-{k}.pt",
                    steps=10,
                    rate=0.1,
                    alpha=0.2,
                    smoothness=3.0,
                    lipschitz=2.0,
                    adds=0.5,
                    total=0.5 * k,
                    log10_bound=float(k),
                    measured=0.1 * k if k else results.Skipped("gap of the losses", "none was given"),
                )
                for k in range(3)
            ),
            advice="The gap in loss is below 10^2.0 nats, which bounds nothing here: nothing to do.",
        ),
        flatness=results.Flatness(
            samples=samples,
            draws=4,
            sizes=(results.NoiseSize(0.15, 0.9375), results.NoiseSize(0.3, 0.625)),
            unchanged=results.Estimate(0.78125, 0.75, 0.8125),
            advice="With noise in the weights, 78.1% of the answers stay.",
        ),
    )


def _inputs(names: list[str]) -> results.Inputs:
    noise, signal, rare = (
        results.InputColumn(
            name=name,
            coherence=coherence,
            shuffled=results.Estimate(0.0, -0.0015, 0.0015),
            score=2000 * coherence,
            most=coherence + 0.0015,
            samples=samples,
            verdict=verdict,
        )
        for name, coherence, samples, verdict in zip(
            names, (0.0005, 0.25, 0.001), (640.0, 500.0, 12.5), ("noise", "signal", "rare"), strict=True
        )
    )
    return results.Inputs(
        layer="body.0.fc",
        total=4,
        signal=1,
        noise=1,
        rare=1,
        constant=1,
        columns=(noise, rare, signal),
        constants=("always the same",),
        advice=f"1 of 3 varying columns carries only noise: {names[0]}. Train again without it.",
    )


def _robust_step(rng: np.random.Generator, names: list[str]) -> results.RobustStep:
    def survivals() -> tuple[results.Survival, ...]:
        return tuple(
            results.Survival(
                name, _estimate(rng.uniform(0.3, 1.1), 0.05), _estimate(rng.uniform(0.4, 1), 0.05)
            )
            for name in ("winsorized, 1% a side", "winsorized, 4% a side", "median of three")
        )

    return results.RobustStep(
        samples=240,
        memorized=24,
        suspects=12,
        averages=survivals(),
        steps=tuple(
            results.StepShare(name, _estimate(share, 0.02), _estimate(share / 2, 0.02))
            for name, share in (("mean", 0.5), ("winsorized, 1% a side", 0.4), ("winsorized, 4% a side", 0.2))
        ),
        layers=tuple(
            results.LayerSurvival(name, 1000, 400 + 600 * (name == names[0]), survivals()) for name in names
        ),
        clipped=tuple(results.ClippedSample(f"{name} sample", 0.75, 0.5, name == names[0]) for name in names),
        clipped_memorized=12,
        advice="Memorized samples, 10% of all, make up 50% of the update: stop here.",
    )


def _trajectory(
    rng: np.random.Generator, samples: int, class_names: list[str], layers: list[str]
) -> results.Trajectory:
    points = tuple(
        results.Point(
            checkpoint=f"epoch-{k}.pt",
            accuracy=0.5 + 0.1 * k,
            corrected=0.6 + 0.05 * k,
            expected=0.55 + 0.04 * k,
            agreement=0.6,
            rating=0.6 + 0.04 * k,
            holdout=0.6 if k else results.Skipped("accuracy on the holdout", "none was given"),
            loss=1.0 / (k + 1),
            m_coherence=12.5,
            easy=0.5,
            typical=0.25,
            hard=0.35,
            memorized=-0.1,
            learned=30,
            forgotten=2,
        )
        for k in range(4)
    )
    series = [results.Series(name, (0.25, 0.125, 0.0, 0.5)) for name in (*layers, *class_names)]
    return results.Trajectory(
        points=points,
        layers=tuple(series[: len(layers)]),
        classes=tuple(series[len(layers) :]),
        judge=2,
        advised=3,
        takeover=-1,
        sizes=(samples - 30, 10, 10, 10),
        learned_at=tuple(rng.integers(-1, 4, samples).tolist()),
        forgotten=tuple(rng.integers(0, 2, samples).tolist()),
        advice="Use epoch-3.pt: corrected accuracy 75.0%.",
    )


def _width(rng: np.random.Generator, names: list[str]) -> results.CoherentWidth:
    layers = []
    for name in names:
        energy = np.sort(rng.dirichlet(np.ones(8)))[::-1].tolist()
        coherence = rng.uniform(-0.01, 0.25, 8).tolist()
        layers.append(
            results.LayerUnits(name, "units", tuple(coherence), tuple(energy), 0.5, (0, 1, 2, 3, 4))
        )
    tried = (results.SubNetwork(0.9, 20, 0.875, 0.5), results.SubNetwork(0.99, 32, 0.9375, 0.75))
    advice = "32 of 40 hidden units hold 99% of the coherent gradient: the others can be cut."
    return results.CoherentWidth(tuple(layers), 8 * len(names), 0.9375, tried, advice)


def _no_optional_audits() -> results.AuditResults:
    names = (field.name for field in dataclasses.fields(results.AuditResults))
    return results.AuditResults(
        **{name: results.Skipped(name, "the model is not auditable") for name in names}
    )
