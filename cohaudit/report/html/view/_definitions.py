"""What each figure of the report is, in a formula and in plain words.

Every number in a definition comes from the audit, from its settings or from the constants that the analysis
itself computes with, so that a definition cannot outlive what it defines.
"""

from __future__ import annotations

from cohaudit.analysis import label_verdict
from cohaudit.config.used import setting
from cohaudit.report.html.view._definition import Definition
from cohaudit.report.html.view._score_definitions import score_definitions
from cohaudit.report.words import compact, number, percent, prose, raised
from cohaudit.results import Audit, kinds, thresholds


def definitions(audit: Audit) -> tuple[Definition, ...]:
    """Define every figure that the report shows, with the settings that it was measured with."""
    return (
        _accuracy(),
        *_coherence(audit),
        _support(audit),
        _supporters(),
        _cosine_error(audit),
        _outside(audit),
        _margin(audit),
        _suspicion(audit),
        _kinds(),
        _memorization(),
        *score_definitions(audit),
        _certificate(audit),
    )


def _accuracy() -> Definition:
    return Definition(
        "Accuracy and loss",
        "accuracy = share of samples with prediction = label;  ℓᵢ = −ln P(label of i)",
        "Balanced accuracy is the mean of the classes' accuracies, chance is 1 / number of classes. The "
        "loss is the cross-entropy of the given label in nats, without a temperature.",
        figures=(
            *("Sanity.accuracy", "Sanity.balanced_accuracy", "Sanity.chance", "Sanity.mean_loss"),
            *("ClassResult.accuracy", "ClassResult.mean_loss", "samples.loss"),
        ),
    )


def _coherence(audit: Audit) -> tuple[Definition, ...]:
    return (
        Definition(
            "Coherence α",
            "α = ‖μ‖² / mean ‖gᵢ‖²",
            "gᵢ is the gradient of sample i's loss, μ the mean over the samples. α is the share of a "
            "gradient that all samples have in common, between 0 and 1. Intervals are bootstraps over the "
            f"samples ({setting(audit.settings, 'bootstrap'):,} resamples), at "
            f"{setting(audit.settings, 'confidence'):.0%} confidence: how far a value depends on which "
            "samples were drawn, for these weights. New samples that the network was not trained on can lie "
            "outside.",
            figures=("Coherence.alpha",),
            settings=("bootstrap", "confidence"),
        ),
        Definition(
            "m-coherence",
            "m · α",
            "The average number of the m samples, itself included, that a step on one sample helps: m when "
            "all agree, 1 when every sample stands alone, below 1 when they cancel. Near convergence "
            "gradients cancel in any model, because the mean gradient vanishes; α and m-coherence then say "
            "little. Measure at a temperature above 1, or on an earlier checkpoint.",
            figures=("Coherence.m_coherence",),
        ),
        Definition(
            "Pairwise coherence αᵤ",
            "αᵤ = (m · α − 1) / (m − 1)",
            "α without each sample's agreement with itself: 0 when gradients are orthogonal, whatever m "
            "is. Use it to compare sets of different sizes.",
            figures=("Coherence.pairwise",),
        ),
        Definition(
            "Energy and gradient norm",
            "energy = Σ ‖gᵢ in the layer‖² / Σ ‖gᵢ‖²;  norm = √(mean ‖gᵢ in the layer‖²)",
            "The energy is a layer's share of the squared gradients. The model's α is the mean of its "
            "layers' α, weighted by their energy. Of many samples, some are drawn in proportion to the "
            "square of their residuals, and stand for all: the intervals hold the error.",
            figures=(
                "Layer.energy",
                "Layer.gradient_norm",
                "samples.gradient_norm",
                "MeasuredGradients.samples",
                "MeasuredGradients.energy_error",
            ),
        ),
        Definition(
            "Cosine of two classes",
            "cos(mean gᵢ over one class, mean gᵢ over the other)",
            "Above 0, a step that helps one class helps the other. Below 0, the two classes pull the "
            "weights in opposite directions. The error (±) is the root mean square error for other "
            "samples of the same kind under these weights: how much the cosine depends on which samples were "
            "drawn, and how far noise pulls it to 0.",
            figures=("ClassCosines.matrix", "ClassCosines.error", "ClassCosines.sampling"),
        ),
    )


def _support(audit: Audit) -> Definition:
    neighbors = f"{setting(audit.settings, 'neighbors')} samples with the largest |cosine|"
    if audit.subject.samples < audit.subject.samples_total:
        neighbors += " (fewer on a subsample, in proportion)"
    return Definition(
        "Neighborhood support",
        "sᵢ = mean of cos(gᵢ, gⱼ) over the neighbors j",
        f"The neighbors are the {neighbors}: those that act on the same weights. The support "
        f"count is the number of samples with a cosine of at least {thresholds.LEAF_COSINE:g}, whose steps "
        "would change mostly the same weights in the same direction. A sample with few of them is learned "
        "on its own. A dash stands where not all pairs of gradients were compared: on more samples than "
        f"{thresholds.ALL_PAIRS:,}, or where the gradients of some were measured one by one.",
        figures=("samples.support", "samples.support_count"),
        settings=("neighbors",),
        constants=("thresholds.LEAF_COSINE", "thresholds.ALL_PAIRS"),
    )


def _supporters() -> Definition:
    return Definition(
        "Supporters and opponents",
        "whitened cosine = uᵢ M uⱼ / √(uᵢ M uᵢ · uⱼ M uⱼ),  M = (Σ u uᵀ + λI)⁻¹,  u = r ⊗ (a₁, a₂, …)",
        f"With λ = {thresholds.WHITENING_RIDGE:g}; r is the residual p − y at the output and a₁, a₂, … what "
        "the layers receive, each scaled to length 1. That stands for the sample's gradient, and a forward "
        "pass tells it. Two samples have a large cosine if they look alike to the layers and their labels "
        "err alike. What many samples share counts less than in a plain cosine. Supporters have a positive "
        "whitened cosine, opponents a negative one: training on them probably raises, or lowers, the margin "
        "of the label. It is an estimate; retrained networks agree with it in part.",
        figures=("Neighbor.cosine",),
        constants=("thresholds.WHITENING_RIDGE",),
    )


def _cosine_error(audit: Audit) -> Definition:
    return Definition(
        "Error of a cosine",
        "√(mean (sketched ‖gᵢ‖² / exact ‖gᵢ‖² − 1)² / 2)",
        "Cosines between gradients come from sketches: short random projections of them. The "
        f"standard error of a cosine near 0 is about {number(audit.cosine_error)}; it shrinks toward ±1. "
        "Norms need no sketch; neither do α and m-coherence, where the sums are over all samples.",
        figures=("Audit.cosine_error",),
    )


def _outside(audit: Audit) -> Definition:
    views = [f"{prose(one.name)} (accuracy {percent(one.accuracy)})" for one in audit.outside]
    return Definition(
        "Prediction from the raw data",
        "accuracy = share of samples with out-of-fold prediction = label",
        "Models that never saw the network predict each label from the data of other samples: "
        f"{'; '.join(views) or 'none here, see Skipped'}. A wrong label that the network has fitted cannot "
        "have changed what they predict.",
        figures=("OutsidePrediction.accuracy",),
    )


def _margin(audit: Audit) -> Definition:
    return Definition(
        "Leave-one-out margin",
        "qᵢ(given label) − largest qᵢ(other label)",
        "qᵢ is the probability of each label of sample i by all other samples: a pool of ridge regressions "
        f"on {prose(audit.representation) or 'a representation, which this model lacks'}, of the answers of "
        "earlier checkpoints, if given, of the model's own answer, and of the predictions from the raw data. "
        f"{_weight(thresholds.SUSPICION_POWER)} The raw data's predictions have the weight "
        f"{thresholds.OUTSIDE_WEIGHT} R². Below 0, the other samples suggest another label.",
        figures=("samples.loo_margin",),
        constants=("thresholds.SUSPICION_POWER", "thresholds.OUTSIDE_WEIGHT"),
    )


def _weight(power: int) -> str:
    return (
        f"Each prediction has the weight R² (1 − r){raised(power)}: R² is the share of the labels' "
        "variance that it explains, r the share that it fits of the labels that the predictions before it do "
        "not support."
    )


def _suspicion(audit: Audit) -> Definition:
    offset = label_verdict.LOG_ODDS_OFFSET
    return Definition(
        "Suspicion",
        f"σ(log odds of a wrong label + {number(offset)})",
        "The log odds follow from the probability of each label by the other samples and from the noise rate "
        "of each class: the share of its labels that are wrong, fitted to all labels. "
        f"{number(offset)} is what the fit lacks on data sets whose wrong labels are known. The suspicion is "
        f"at most {label_verdict.MAX_SUSPICION:g}; a suspect has at least "
        f"{compact(setting(audit.settings, 'suspicion_threshold'))}. No suspects are listed where less than "
        f"{thresholds.MIN_DETERMINED:.0%} of the disputed labels have to be wrong: the others may belong to "
        "hard samples. Once some labels are reviewed, suspicions, share and precision follow from the "
        "answers too. The suggestion is the probability that the suggested label is right. A label that an "
        "audit changed is judged as it was given first, and is wrong now with the probability that it had "
        "when it was changed.",
        figures=(
            *("samples.suggestion", "Corrections.wrong_changes"),
            *("CorrectionRound.wrong_changes", "CorrectionRound.remainder"),
            *("samples.suspicion", "WrongLabels.share", "WrongLabels.disputed", "WrongLabels.determined"),
            *("ReviewCalibration.wrong_share", "ReviewCalibration.precision"),
        ),
        settings=("suspicion_threshold",),
        constants=(
            "label_verdict.MAX_SUSPICION",
            "label_verdict.LOG_ODDS_OFFSET",
            "thresholds.MIN_DETERMINED",
        ),
    )


def _kinds() -> Definition:
    return Definition(
        "Kind and certainty",
        "typical (1 − s) q;  ambiguous (1 − s)(1 − q) t;  rare (1 − s)(1 − q)(1 − t)",
        "s is the suspicion and q the probability of the given label by the other samples. t is the "
        "probability of their two likeliest labels together, scaled so that 0 means all labels are equally "
        "likely and 1 that no third label is possible. A sample is of its likeliest kind, and its certainty "
        "is that probability. Suspects are mislabeled. Near-duplicates look alike to every "
        f"layer: the mean cosine is at least {thresholds.DUPLICATE_COSINE:g}, much nearer than samples "
        "usually are.",
        figures=("samples.certainty",),
        constants=("thresholds.DUPLICATE_COSINE",),
    )


def _memorization() -> Definition:
    return Definition(
        "Memorization",
        f"p · (1 − q); at most {thresholds.MEMORIZATION_NOT_GIVEN:g} if the model does not give the label",
        "p is the probability that a model of this kind gives the label after it saw the sample: "
        f"{thresholds.MEMORIZATION_OWN:g} of it is this model's own probability, the rest is the share of "
        "labels with as much support that it gives. q is the probability that a model would give it that "
        "never saw the sample, by the leave-one-out predictions with weights R² (1 − "
        f"r){raised(thresholds.MEMORIZATION_POWER)}. From {kinds.MEMORIZED:g} on a label "
        "counts as memorized.",
        figures=("samples.memorization",),
        constants=(
            "thresholds.MEMORIZATION_POWER",
            "thresholds.MEMORIZATION_OWN",
            "thresholds.MEMORIZATION_NOT_GIVEN",
            "kinds.MEMORIZED",
        ),
    )


def _certificate(audit: Audit) -> Definition:
    tolerance = compact(setting(audit.settings, "certificate_tolerance"))
    return Definition(
        "Certificate",
        "|fast − autograd| / |autograd|, the largest over samples and layers",
        "The run recomputes some samples one at a time with plain autograd, and stops when an error "
        f"exceeds its tolerance ({tolerance}; more for norms in "
        "bfloat16). The coverage is the share of the trainable parameters whose gradients were measured.",
        figures=("Check.error", "Check.tolerance", "Certificate.parameter_coverage"),
        settings=("certificate_tolerance",),
    )
