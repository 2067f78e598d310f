"""Calibration of leaf log-probabilities on validation data, coherent up the tree; and whether it is needed."""

from hjc.calibration.base import Calibrator, Chain, Identity
from hjc.calibration.classwise import ClasswiseCounts
from hjc.calibration.diagnostics import brier_decomposition, calibration_table, isotonic_gain
from hjc.calibration.fit import KINDS, CalibrationFit, choose, cross_fit, fit_calibrator
from hjc.calibration.scaling import ConditionalTemperature, Temperature, VectorScaling
from hjc.calibration.summary import assign_folds, summarise

__all__ = [
    "KINDS",
    "CalibrationFit",
    "Calibrator",
    "Chain",
    "ClasswiseCounts",
    "ConditionalTemperature",
    "Identity",
    "Temperature",
    "VectorScaling",
    "assign_folds",
    "brier_decomposition",
    "calibration_table",
    "choose",
    "cross_fit",
    "fit_calibrator",
    "isotonic_gain",
    "summarise",
]
