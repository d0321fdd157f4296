"""From measurements to findings: each figure of the audit, made by the pure functions beside this file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohaudit.coherence import (
    Resampling,
    class_cosines,
    coherence,
    interval_deviations,
    scaled_sketches,
)
from cohaudit.config import Config
from cohaudit.gradients import Measurement, Source
from cohaudit.memorization import (
    Neighborhood,
    Suspicion,
    neighborhood_support,
    strongest_neighbors,
    suspect_labels,
)
from cohaudit.results import (
    SAMPLE_COLUMNS,
    ClassCosines,
    ClassResult,
    Coherence,
    Layer,
    Risk,
    Sanity,
    Skipped,
)
from cohaudit.risk import estimate_risk
from cohaudit.sanity import check_sanity

Array = NDArray[np.float64]
NO_VERDICT = "the model is not auditable, see the sanity check"


@dataclass(frozen=True)
class Judgment:
    """The findings; fields as in `results.Audit`, and each suspect's neighbors by sample index."""

    sanity: Sanity
    coherence: Coherence | Skipped
    layers: tuple[Layer, ...]
    classes: tuple[ClassResult, ...]
    class_cosines: ClassCosines | Skipped
    samples: pd.DataFrame
    neighbors: dict[int, Neighborhood]
    risk: Risk | Skipped
    skipped: tuple[Skipped, ...]


def judge(measured: Measurement, source: Source, config: Config, resampling: Resampling) -> Judgment:
    """Turn measurements into findings.

    Args:
        measured: What the gradient pass gave.
        source: The samples measured; only labels, ids and class names are used.
        config: Thresholds and sizes.
        resampling: How intervals are made.
    """
    classes = len(source.class_names)
    sanity = check_sanity(measured.predicted, source.labels, classes, float(measured.loss.mean()))
    found = _suspicion(measured, source, config)
    suspect = np.zeros(len(source.labels), dtype=bool)
    if sanity.auditable and found is not None:
        suspect = found.probability >= config.suspicion_threshold
    samples = _table(measured, source, config, found, suspect)
    whole, layers = _layers(measured, resampling)
    ranked = np.argsort(-samples["suspicion"].to_numpy(), kind="stable")
    wanted = ranked[suspect[ranked]]
    neighborhoods = strongest_neighbors(measured.sketches, wanted, config.evidence)
    risk = _risk(sanity, found, samples, classes, config)
    class_results = _classes(measured, source, suspect, resampling)
    return Judgment(
        sanity=sanity,
        coherence=whole,
        layers=layers,
        classes=class_results,
        class_cosines=class_cosines(measured.class_gram, measured.class_gram_error),
        samples=samples,
        neighbors=dict(zip(wanted.tolist(), neighborhoods, strict=True)),
        risk=risk,
        skipped=_skipped(
            found, whole, risk, *(p.coherence for p in layers), *(p.coherence for p in class_results)
        ),
    )


def _suspicion(measured: Measurement, source: Source, config: Config) -> Suspicion | None:
    if not measured.features.shape[1]:
        return None
    return suspect_labels(
        measured.features, source.labels, len(source.class_names), config.ridge, config.rounds
    )


def _table(
    measured: Measurement,
    source: Source,
    config: Config,
    found: Suspicion | None,
    suspect: NDArray[np.bool_],
) -> pd.DataFrame:
    """Return the table of samples, columns SAMPLE_COLUMNS."""
    support = neighborhood_support(measured.sketches, config.neighbors)
    names = np.array(source.class_names, dtype=object)
    suggested = source.labels if found is None else np.where(suspect, found.suggested, source.labels)
    empty = np.zeros(len(source.labels))
    columns = {
        "id": list(source.ids),
        "label": names[source.labels],
        "predicted": names[measured.predicted],
        "suggested": names[suggested],
        "suspicion": empty if found is None else found.probability,
        "suspect": suspect,
        "loss": measured.loss,
        "margin": measured.margin,
        "gradient_norm": np.sqrt(measured.squared_norms.sum(1)),
        "support": support.support,
        "support_count": support.count,
        "loo_margin": empty if found is None else found.margin,
    }
    return pd.DataFrame(columns, columns=list(SAMPLE_COLUMNS))


def _layers(measured: Measurement, resampling: Resampling) -> tuple[Coherence | Skipped, tuple[Layer, ...]]:
    """Return the coherence of the whole gradient and of each layer's part."""
    count = len(measured.scale)
    sketches = scaled_sketches(measured.sketches, measured.scale)
    deviations = interval_deviations(sketches, [layer.columns for layer in measured.layers], resampling)
    energy = measured.squared_norms.sum(0)
    total = float(energy.sum())
    layers = tuple(
        Layer(
            name=layer.name,
            kind=layer.kind,
            parameters=layer.parameters,
            path=layer.path,
            energy=float(energy[k]) / total if total > 0 else 0.0,
            gradient_norm=float(np.sqrt(energy[k] / count)),
            coherence=coherence(
                f"layer {layer.name}",
                float(measured.total_squares[k]),
                float(energy[k]),
                count,
                deviations[k],
            ),
        )
        for k, layer in enumerate(measured.layers)
    )
    whole = coherence("the model", float(measured.total_squares.sum()), total, count, deviations[-1])
    return whole, layers


def _classes(
    measured: Measurement, source: Source, suspect: NDArray[np.bool_], resampling: Resampling
) -> tuple[ClassResult, ...]:
    results = []
    sketches = scaled_sketches(measured.sketches, measured.scale)
    for c, name in enumerate(source.class_names):
        members = np.flatnonzero(source.labels == c)
        deviations = interval_deviations(sketches[members], [slice(None)], resampling)[-1]
        energy = float(measured.squared_norms[members].sum())
        results.append(
            ClassResult(
                name=name,
                samples=len(members),
                accuracy=float(np.mean(measured.predicted[members] == c)),
                mean_loss=float(measured.loss[members].mean()),
                suspects=int(suspect[members].sum()),
                coherence=coherence(
                    f"class {name}", float(measured.class_squares[c].sum()), energy, len(members), deviations
                ),
            )
        )
    return tuple(results)


def _risk(
    sanity: Sanity, found: Suspicion | None, samples: pd.DataFrame, classes: int, config: Config
) -> Risk | Skipped:
    if not sanity.auditable:
        return Skipped("risk", NO_VERDICT)
    if found is None:
        return Skipped("risk", "no layer gives a representation of the samples to predict labels from")
    fitted = (samples["label"] == samples["predicted"]).to_numpy()
    return estimate_risk(
        mean_support=float(samples["support"].mean()),
        accuracy=sanity.accuracy,
        leave_one_out_accuracy=found.accuracy,
        memorized_share=float(np.mean(found.probability * fitted)),
        classes=classes,
        levels=config.risk_levels,
    )


def _skipped(found: Suspicion | None, *parts: object) -> tuple[Skipped, ...]:
    missing = [part for part in parts if isinstance(part, Skipped)]
    if found is None:
        missing.append(
            Skipped("suspicion", "no layer gives a representation of the samples to predict labels from")
        )
    return tuple(missing)
