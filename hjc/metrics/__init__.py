"""Metrics of hierarchical classification: pure functions on leaf log-probabilities, without torch."""

from hjc.metrics.levels import METRICS, RECALL_AT, level_metrics
from hjc.metrics.rows import RowScores, score_rows

__all__ = ["METRICS", "RECALL_AT", "RowScores", "level_metrics", "score_rows"]
