"""Calibration of leaf log-probabilities on validation data, coherent up the tree; and whether it is needed."""

from typing import TYPE_CHECKING

# what a model directory may hold: known as soon as anything of calibration is
from hjc.calibration.base import Calibrator, Chain, Identity
from hjc.calibration.scaling import ConditionalTemperature, Temperature, VectorScaling
from hjc.plugins.lazy import lazy

if TYPE_CHECKING:
    from hjc.calibration.classwise import ClasswiseCounts
    from hjc.calibration.diagnostics import brier_decomposition, calibration_table, isotonic_gain
    from hjc.calibration.fit import KINDS, CalibrationFit, choose, cross_fit, fit_calibrator
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

__getattr__ = lazy(
    __name__,
    {
        "hjc.calibration.classwise": ("ClasswiseCounts",),
        "hjc.calibration.diagnostics": ("brier_decomposition", "calibration_table", "isotonic_gain"),
        "hjc.calibration.fit": ("KINDS", "CalibrationFit", "choose", "cross_fit", "fit_calibrator"),
        "hjc.calibration.summary": ("assign_folds", "summarise"),
    },
)
