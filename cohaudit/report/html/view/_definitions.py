"""What each figure of the report is, in a formula and in plain words.

Every number in a definition comes from the audit, from its settings or from the constants that the analysis
itself computes with, so that a definition cannot outlive what it defines.
"""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.analysis import expected_score as score
from cohaudit.analysis import generalization_gap as gap_model
from cohaudit.analysis import label_verdict
from cohaudit.config.used import setting
from cohaudit.report.words import compact, number, percent, points, prose, raised
from cohaudit.results import LEVELS, Audit, kinds, thresholds

SCORE_CONSTANTS = (
    *("INTERCEPT", "SLOPE", "INTERCEPT_ALONE", "SLOPE_ALONE", "MAX_SUPPORT"),
    *("INTERCEPT_CROSSFIT", "SLOPE_CROSSFIT", "OUT_OF_FOLD", "MIN_SAMPLES_PER_CLASS"),
)
"""Constants of `analysis.expected_score` that its definition quotes."""


@dataclass(frozen=True)
class Definition:
    """One or several figures that are defined together."""

    name: str
    formula: str
    words: str
    figures: tuple[str, ...]
    """What it defines: fields of results as `Class.field`, columns of the sample table as `samples.name`."""
    settings: tuple[str, ...] = ()
    """Settings that it quotes."""
    constants: tuple[str, ...] = ()
    """Constants that it quotes, as `module.NAME`."""


def definitions(audit: Audit) -> tuple[Definition, ...]:
    """Define every figure that the report shows, with the settings that it was measured with."""
    return (
        _accuracy(),
        *_coherence(audit),
        _support(audit),
        _cosine_error(audit),
        _outside(audit),
        _margin(audit),
        _suspicion(audit),
        _kinds(),
        _memorization(),
        _expected_score(),
        _score_interval(),
        _expected_as_given(),
        _gap(audit),
        _class_gap(),
        _share_of_the_gap(),
        _holdout_coherence(),
        _out_of_fold(),
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
            "layers' α, weighted by their energy.",
            figures=("Layer.energy", "Layer.gradient_norm", "samples.gradient_norm"),
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
        f"The neighbors are the {neighbors}: those that act on the same weights. Supporters have a "
        "positive cosine, opponents a negative one. The support count is the number of samples with a "
        f"cosine of at least {thresholds.LEAF_COSINE:g}, whose steps would change mostly the same "
        "weights in the same direction. A sample "
        "with few of them is learned on its own.",
        figures=("samples.support", "samples.support_count", "Neighbor.cosine"),
        settings=("neighbors",),
        constants=("thresholds.LEAF_COSINE",),
    )


def _cosine_error(audit: Audit) -> Definition:
    return Definition(
        "Error of a cosine",
        "√(mean (sketched ‖gᵢ‖² / exact ‖gᵢ‖² − 1)² / 2)",
        "Cosines between samples come from sketches: short random projections of their gradients. The "
        f"standard error of a cosine near 0 is about {number(audit.cosine_error)}; it shrinks toward ±1. "
        "Norms, α and m-coherence are exact.",
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
        "answers too.",
        figures=(
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


def _expected_score() -> Definition:
    intercept, slope = (number(k) for k in (score.INTERCEPT, score.SLOPE))
    alone = f"σ({number(score.INTERCEPT_ALONE)} + {number(score.SLOPE_ALONE)} · logit x)"
    copies = (
        f"σ({number(score.INTERCEPT_CROSSFIT)} + {number(score.SLOPE_CROSSFIT)} · logit x + "
        f"{number(score.OUT_OF_FOLD)} · logit f)"
    )
    return Definition(
        "Expected accuracy",
        f"σ({intercept} + {slope} · logit x)",
        "x is the support: the mean probability that the other samples give to the model's own answers, by "
        "the pool of predictions that labels are judged by. Support outside "
        f"{compact(1 - score.MAX_SUPPORT)} to {compact(score.MAX_SUPPORT)} counts as the nearer of these "
        f"two. Where nothing is predicted from the raw data, the formula is {alone}; with a cross-fit it is "
        f"{copies}, where f is the mean probability that the copies' answers are the true labels. Reviewed "
        "labels add to the log-odds: those of the share of the pool's likeliest labels that are right by the "
        "review, minus those of the share that are right by the pool. With fewer than "
        f"{score.MIN_SAMPLES_PER_CLASS} samples a class on average there is no estimate.",
        figures=("Risk.expected", "RiskTerm.measured", "RiskTerm.adds"),
        constants=tuple(f"expected_score.{name}" for name in SCORE_CONSTANTS),
    )


def _score_interval() -> Definition:
    return Definition(
        "Interval of the expected accuracy",
        f"expected accuracy ± {points(score.HALF_WIDTH)} points, cut off at 0 and 1",
        f"Without the raw data it is ±{points(score.HALF_WIDTH_ALONE)} points, with a cross-fit "
        f"±{points(score.HALF_WIDTH_CROSSFIT)}, and at least ±{points(score.HALF_WIDTH_FEW)} for up to "
        f"{score.FEW_SAMPLES} samples without one, or ±{points(score.HALF_WIDTH_REVIEWED)} with reviewed "
        "labels. The sampling error of the support widens it. It should contain the accuracy of "
        f"{score.COVERAGE:.0%} of networks on data that no constant was chosen on.",
        figures=("Risk.coverage",),
        constants=tuple(
            f"expected_score.{name}"
            for name in (
                *("HALF_WIDTH", "HALF_WIDTH_ALONE", "HALF_WIDTH_CROSSFIT", "HALF_WIDTH_FEW", "FEW_SAMPLES"),
                *("HALF_WIDTH_REVIEWED", "COVERAGE"),
            )
        ),
    )


def _expected_as_given() -> Definition:
    return Definition(
        "Expected accuracy on labels as given",
        "the same, with x the mean probability that the model's answers would be given as labels",
        "Labels would be given anew with as many wrong ones as the fit of the noise rates finds. With a "
        "cross-fit it is the accuracy of the copies. The interval is "
        f"±{points(score.HALF_WIDTH_GIVEN)} points, ±{points(score.HALF_WIDTH_GIVEN_CROSSFIT)} with a "
        "cross-fit. A holdout, which may have been labeled with more care, has no part in it.",
        figures=("Risk.expected_given",),
        constants=("expected_score.HALF_WIDTH_GIVEN", "expected_score.HALF_WIDTH_GIVEN_CROSSFIT"),
    )


def _gap(audit: Audit) -> Definition:
    low, *others = LEVELS
    # six digits: 100 · 0.07 is 7.000000000000001
    bounds = [f"{100 * bound:.6g}" for bound in setting(audit.settings, "risk_levels")]
    levels = ", ".join(f"{level} from {bound}" for level, bound in zip(others, bounds, strict=True))
    return Definition(
        "Gap and risk level",
        "gap = training accuracy − expected accuracy on new data with right labels",
        "The predicted gap is that without the holdout. With a holdout, the expected accuracy is the mean of "
        "prediction and measurement, each weighted by its precision. The accuracy on the holdout's labels as "
        "given has Wilson's interval. For the accuracy on its right labels, the holdout's labels are judged "
        "like those of the training data, which adds a standard error of "
        f"{points(score.JUDGED_ERROR)} points. The risk is {low} below {bounds[0]} points, {levels}.",
        figures=(
            *("Risk.gap", "Risk.predicted", "Holdout.accuracy", "Holdout.gap"),
            *("Holdout.right_accuracy", "Holdout.right_gap"),
        ),
        settings=("risk_levels",),
        constants=("expected_score.JUDGED_ERROR",),
    )


def _class_gap() -> Definition:
    accuracy = gap_model.CLASS_ACCURACY
    agreement = gap_model.CLASS_AGREEMENT
    return Definition(
        "Gap of a class",
        f"gap + {number(accuracy)} · (accuracy − mean) − {number(abs(agreement))} · (agreement − mean)",
        "The agreement of a class is the mean of two shares: of the samples that the other samples put "
        "into the class, those that the model puts there too; and the other way round. Here the other "
        f"samples' predictions are those by the network's layers, with the weights R² (1 − "
        f"r){raised(thresholds.SUSPICION_POWER)}. The interval is "
        f"±{points(gap_model.CLASS_HALF_WIDTH)} points, cut so that the accuracy on new data stays between "
        "0 and 1.",
        figures=("ClassResult.predicted_gap",),
        constants=(
            "thresholds.SUSPICION_POWER",
            *(
                f"generalization_gap.{name}"
                for name in ("CLASS_ACCURACY", "CLASS_AGREEMENT", "CLASS_HALF_WIDTH")
            ),
        ),
    )


def _share_of_the_gap() -> Definition:
    return Definition(
        "Share of the gap",
        "samples: Σ memorization / N;  class: its gap · its share of the samples",
        f"The sum runs over samples with a memorization of at least {kinds.MEMORIZED:g}. "
        "No share exceeds the whole gap, and shares overlap: a memorized sample of a class counts for "
        "both. The share of a layer or of the training loss is unknown; their measured figures are r as "
        "above and the mean loss in nats.",
        figures=("Driver.measured", "Driver.lowers"),
        constants=("kinds.MEMORIZED",),
    )


def _holdout_coherence() -> Definition:
    return Definition(
        "Coherence with a holdout",
        "⟨μ, μ′⟩ / √(mean ‖gᵢ‖² · mean ‖g′ⱼ‖²)",
        "μ and μ′ are the mean gradients of the training and of the holdout samples. Within the training "
        "data the figure is αᵤ. The cosine of μ and μ′ is shown beside it.",
        figures=("Holdout.cosine", "Holdout.within", "Holdout.across"),
    )


def _out_of_fold() -> Definition:
    return Definition(
        "Out-of-fold accuracy",
        "share of samples whose label a copy predicts that was trained on the other folds",
        "Copies of the network were trained again, each on all folds but one, and each predicts the fold "
        "that it has not seen. The labels count as given, right or wrong. The interval is Wilson's; it "
        "covers the sampling of the data, not the luck of the training runs. A sample is unseen if its "
        "class is in no other fold. The probability of a sample's label by the copy that did not see it is "
        "in samples.csv.",
        figures=(
            "Crossfit.accuracy",
            "Crossfit.folds",
            "Crossfit.unseen",
            "Crossfit.epochs",
            "samples.out_of_fold",
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
