"""How good a model is: metrics, calibration, decision rules, and what is kept of its validation rows."""

from hjc.evaluation.evaluate import Evaluation
from hjc.evaluation.model import evaluate_model

__all__ = ["Evaluation", "evaluate_model"]
