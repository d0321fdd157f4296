"""Definitions of the figures on new data: expected score, gap, holdout and cross-fit."""

from __future__ import annotations

from cohaudit.analysis import expected_score as score
from cohaudit.analysis import generalization_gap as gap_model
from cohaudit.config.used import setting
from cohaudit.report.html.view._definition import Definition
from cohaudit.report.words import compact, number, points, raised
from cohaudit.results import LEVELS, Audit, kinds, thresholds

SCORE_CONSTANTS = (
    *("INTERCEPT", "SLOPE", "INTERCEPT_ALONE", "SLOPE_ALONE", "MAX_SUPPORT"),
    *("INTERCEPT_CROSSFIT", "SLOPE_CROSSFIT", "OUT_OF_FOLD", "MIN_SAMPLES_PER_CLASS"),
    *("INTERCEPT_FLAT", "SLOPE_FLAT", "FLATNESS"),
)
"""Constants of `analysis.expected_score` that its definition quotes."""


def score_definitions(audit: Audit) -> tuple[Definition, ...]:
    """Define every figure of the verdict on new data."""
    return (
        _expected_score(),
        _score_interval(),
        _expected_as_given(),
        _gap(audit),
        _class_gap(),
        _share_of_the_gap(),
        _holdout_coherence(),
        _out_of_fold(),
    )


def _expected_score() -> Definition:
    intercept, slope = (number(k) for k in (score.INTERCEPT, score.SLOPE))
    alone = f"σ({number(score.INTERCEPT_ALONE)} + {number(score.SLOPE_ALONE)} · logit x)"
    copies = (
        f"σ({number(score.INTERCEPT_CROSSFIT)} + {number(score.SLOPE_CROSSFIT)} · logit x + "
        f"{number(score.OUT_OF_FOLD)} · logit f)"
    )
    flat = (
        f"σ({number(score.INTERCEPT_FLAT)} + {number(score.SLOPE_FLAT)} · logit x + "
        f"{number(score.FLATNESS)} · logit f)"
    )
    return Definition(
        "Expected accuracy",
        f"σ({intercept} + {slope} · logit x)",
        "x is the support: the mean probability that the other samples give to the model's own answers, by "
        "the pool of predictions that labels are judged by. Support outside "
        f"{compact(1 - score.MAX_SUPPORT)} to {compact(score.MAX_SUPPORT)} counts as the nearer of these "
        f"two. Where nothing is predicted from the raw data, the formula is {alone}; with a cross-fit it is "
        f"{copies}, where f is the mean probability that the copies' answers are the true labels; with the "
        f"audit of the flatness and no cross-fit it is {flat}, where f is the share of the answers that stay "
        "with noise in the weights. Reviewed labels add to the log-odds: those of the share of the pool's "
        "likeliest labels that are right by the "
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
        f"±{points(score.HALF_WIDTH_CROSSFIT)}, with the flatness ±{points(score.HALF_WIDTH_FLAT)}, and at "
        f"least ±{points(score.HALF_WIDTH_FEW)} · √({score.FEW_SAMPLES} / N) for N up to "
        f"{score.FEW_SAMPLES} samples without a cross-fit, or ±{points(score.HALF_WIDTH_REVIEWED)} with "
        "reviewed "
        "labels. The sampling error of the support widens it. It should contain the accuracy of "
        f"{score.COVERAGE:.0%} of networks on data that no constant was chosen on.",
        figures=("Risk.coverage",),
        constants=tuple(
            f"expected_score.{name}"
            for name in (
                *("HALF_WIDTH", "HALF_WIDTH_ALONE", "HALF_WIDTH_CROSSFIT", "HALF_WIDTH_FEW", "FEW_SAMPLES"),
                "HALF_WIDTH_FLAT",
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
