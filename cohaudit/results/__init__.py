"""The audit as data: frozen dataclasses, and JSON in and out."""

from cohaudit.results.audit import SCHEMA_VERSION, Audit, Subject
from cohaudit.results.audits import (
    AuditResults,
    BackgroundForce,
    ClippedSample,
    CoherentWidth,
    DecayRange,
    DepthTrend,
    Flatness,
    InputColumn,
    Inputs,
    LayerDecay,
    LayerRatio,
    LayerSteadiness,
    LayerSurvival,
    LayerUnits,
    Memory,
    NoiseSize,
    RobustStep,
    StepShare,
    SubNetwork,
    Survival,
    TrainedDecay,
)
from cohaudit.results.checks import Certificate, Check, GateResult, Sanity
from cohaudit.results.coherence import ClassCosines, ClassResult, Coherence, Layer, MeasuredGradients, by_gap
from cohaudit.results.corrections import CorrectionRound, Corrections, LabelChange
from cohaudit.results.estimate import Estimate, Skipped
from cohaudit.results.evidence import Evidence, Neighbor, Preview
from cohaudit.results.gap import LEVELS, Crossfit, Driver, Holdout, Level, Risk, RiskTerm, format_points
from cohaudit.results.labels import LabelSummary, WrongLabels, format_wrong_labels
from cohaudit.results.outside import OutsidePrediction
from cohaudit.results.reviewed import Answer, ReviewCalibration
from cohaudit.results.sample_table import SAMPLE_COLUMNS, SampleRow
from cohaudit.results.short_repr import use_short_reprs
from cohaudit.results.suppression import Suppression
from cohaudit.results.trajectory import Point, Series, Stability, StabilityTerm, Trajectory

__all__ = [
    "LEVELS",
    "SAMPLE_COLUMNS",
    "SCHEMA_VERSION",
    "Answer",
    "Audit",
    "AuditResults",
    "BackgroundForce",
    "Certificate",
    "Check",
    "ClassCosines",
    "ClassResult",
    "ClippedSample",
    "Coherence",
    "CoherentWidth",
    "CorrectionRound",
    "Corrections",
    "Crossfit",
    "DecayRange",
    "DepthTrend",
    "Driver",
    "Estimate",
    "Evidence",
    "Flatness",
    "GateResult",
    "Holdout",
    "InputColumn",
    "Inputs",
    "LabelChange",
    "LabelSummary",
    "Layer",
    "LayerDecay",
    "LayerRatio",
    "LayerSteadiness",
    "LayerSurvival",
    "LayerUnits",
    "Level",
    "MeasuredGradients",
    "Memory",
    "Neighbor",
    "NoiseSize",
    "OutsidePrediction",
    "Point",
    "Preview",
    "ReviewCalibration",
    "Risk",
    "RiskTerm",
    "RobustStep",
    "SampleRow",
    "Sanity",
    "Series",
    "Skipped",
    "Stability",
    "StabilityTerm",
    "StepShare",
    "SubNetwork",
    "Subject",
    "Suppression",
    "Survival",
    "TrainedDecay",
    "Trajectory",
    "WrongLabels",
    "by_gap",
    "format_points",
    "format_wrong_labels",
]

use_short_reprs([value for value in globals().values() if isinstance(value, type)])
