"""Calibration of leaf log-probabilities on validation data, coherent up the tree; and whether it is needed."""

from hjc.calibration.base import Calibrator, Chain, Identity, read_calibrator, write_calibrator
from hjc.calibration.classwise import ClasswiseCounts
from hjc.calibration.diagnostics import (
    brier_decomposition,
    calibration_table,
    classwise_ece,
    equal_mass_bins,
    expected_calibration_error,
    isotonic_top,
    reliability_table,
    top_outcomes,
)
from hjc.calibration.fit import KINDS, CalibrationFit, choose, cross_fit, fit_calibrator
from hjc.calibration.scaling import ConditionalTemperature, Temperature, VectorScaling
from hjc.calibration.summary import CalibrationRows, assign_folds, iter_batches, summarise

__all__ = [
    "KINDS",
    "CalibrationFit",
    "CalibrationRows",
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
    "classwise_ece",
    "cross_fit",
    "equal_mass_bins",
    "expected_calibration_error",
    "fit_calibrator",
    "isotonic_top",
    "iter_batches",
    "read_calibrator",
    "reliability_table",
    "summarise",
    "top_outcomes",
    "write_calibrator",
]
