"""Metrics of hierarchical classification: pure functions on leaf log-probabilities, without torch.

``score_rows`` reduces a batch of leaf log-probabilities to a few numbers a row and level (:class:`RowScores`);
``level_metrics`` turns those into metrics, ``bootstrap_intervals`` and ``paired_difference`` into intervals.
"""

from hjc.metrics.baseline import log_loss_baseline, prior_log_proba, score_constant
from hjc.metrics.bootstrap import (
    PairedDifference,
    Resamples,
    bootstrap_intervals,
    paired_difference,
    replicate_metrics,
)
from hjc.metrics.calibration_error import ECE_BINS
from hjc.metrics.levels import COUNTS, METRICS, RECALL_AT, level_metrics
from hjc.metrics.rows import RowScores, score_rows
from hjc.metrics.triplets import triplet_accuracy

__all__ = [
    "COUNTS",
    "ECE_BINS",
    "METRICS",
    "RECALL_AT",
    "PairedDifference",
    "Resamples",
    "RowScores",
    "bootstrap_intervals",
    "level_metrics",
    "log_loss_baseline",
    "paired_difference",
    "prior_log_proba",
    "replicate_metrics",
    "score_constant",
    "score_rows",
    "triplet_accuracy",
]
