"""From probabilities to codes: argmax, Bayes decisions, back-off, abstention, thresholds and conformal sets."""

from hjc.decision.conformal import ConformalSets, SplitConformal, cover_nodes, fit_conformal
from hjc.decision.cost import BayesDecision, bayes_decision
from hjc.decision.exchangeability import ExchangeabilityCheck, check_exchangeability
from hjc.decision.hierarchical import HierarchicalConformal, fit_hierarchical_conformal
from hjc.decision.rules import (
    REASONS,
    Decisions,
    LevelArgmax,
    Reason,
    Thresholds,
    argmax_leaf,
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
    "Decisions",
    "ExchangeabilityCheck",
    "HierarchicalConformal",
    "LevelArgmax",
    "Reason",
    "SplitConformal",
    "ThresholdFit",
    "Thresholds",
    "argmax_leaf",
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
    "top_k",
]
