"""From probabilities to codes: argmax, Bayes decisions, back-off, abstention, thresholds and conformal sets."""

from hjc.decision.conformal import ConformalSets, SplitConformal, cover_nodes, fit_conformal
from hjc.decision.cost import BayesDecision, bayes_decision
from hjc.decision.cost_table import CostTable, read_cost_table
from hjc.decision.exchangeability import ExchangeabilityCheck, check_exchangeability
from hjc.decision.hierarchical import HierarchicalConformal, fit_hierarchical_conformal
from hjc.decision.review import ReviewPlan, review_plan
from hjc.decision.rules import (
    REASONS,
    Decisions,
    LevelArgmax,
    Reason,
    Thresholds,
    argmax_levels,
    back_off,
    greedy_path,
    top_k,
)
from hjc.decision.thresholds import ThresholdFit, fit_thresholds, lower_bound

__all__ = [
    "REASONS",
    "BayesDecision",
    "ConformalSets",
    "CostTable",
    "Decisions",
    "ExchangeabilityCheck",
    "HierarchicalConformal",
    "LevelArgmax",
    "Reason",
    "ReviewPlan",
    "SplitConformal",
    "ThresholdFit",
    "Thresholds",
    "argmax_levels",
    "back_off",
    "bayes_decision",
    "check_exchangeability",
    "cover_nodes",
    "fit_conformal",
    "fit_hierarchical_conformal",
    "fit_thresholds",
    "greedy_path",
    "lower_bound",
    "read_cost_table",
    "review_plan",
    "top_k",
]
