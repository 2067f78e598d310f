"""From probabilities to codes: Bayes decisions, back-off, abstention, thresholds and conformal sets."""

from hjc.decision.conformal import SplitConformal, cover_nodes, fit_conformal
from hjc.decision.cost import bayes_decision
from hjc.decision.cost_table import CostTable, read_cost_table
from hjc.decision.exchangeability import check_exchangeability
from hjc.decision.hierarchical import HierarchicalConformal, fit_hierarchical_conformal
from hjc.decision.review import ReviewPlan, review_plan
from hjc.decision.rules import Decisions, Thresholds, back_off
from hjc.decision.thresholds import ThresholdFit, fit_thresholds

__all__ = [
    "CostTable",
    "Decisions",
    "HierarchicalConformal",
    "ReviewPlan",
    "SplitConformal",
    "ThresholdFit",
    "Thresholds",
    "back_off",
    "bayes_decision",
    "check_exchangeability",
    "cover_nodes",
    "fit_conformal",
    "fit_hierarchical_conformal",
    "fit_thresholds",
    "read_cost_table",
    "review_plan",
]
