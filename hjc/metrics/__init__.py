"""Metrics of hierarchical classification: pure functions on leaf log-probabilities, without torch.

``LevelProba`` sums a batch of leaf log-probabilities up the tree, once; ``score_rows`` reduces it to a few numbers a
row and level (:class:`RowScores`); ``level_metrics`` turns those into metrics, ``intervals_of`` into intervals.
"""

from typing import TYPE_CHECKING

from hjc.plugins.lazy import lazy

if TYPE_CHECKING:
    from hjc.metrics.baseline import log_loss_baseline, prior_log_proba, score_constant
    from hjc.metrics.bootstrap import Resamples, intervals_of, replicate_metrics
    from hjc.metrics.calibration_error import ECE_BINS, equal_mass_bins, expected_calibration_error
    from hjc.metrics.level_proba import LevelProba
    from hjc.metrics.levels import COUNTS, METRICS, RECALL_AT, level_metrics
    from hjc.metrics.rows import RowScores, iter_batches, score_batches, score_rows
    from hjc.metrics.triplets import triplet_accuracy

__all__ = [
    "COUNTS",
    "ECE_BINS",
    "METRICS",
    "RECALL_AT",
    "LevelProba",
    "Resamples",
    "RowScores",
    "equal_mass_bins",
    "expected_calibration_error",
    "intervals_of",
    "iter_batches",
    "level_metrics",
    "log_loss_baseline",
    "prior_log_proba",
    "replicate_metrics",
    "score_batches",
    "score_constant",
    "score_rows",
    "triplet_accuracy",
]

__getattr__ = lazy(
    __name__,
    {
        "hjc.metrics.baseline": ("log_loss_baseline", "prior_log_proba", "score_constant"),
        "hjc.metrics.bootstrap": ("Resamples", "intervals_of", "replicate_metrics"),
        "hjc.metrics.calibration_error": ("ECE_BINS", "equal_mass_bins", "expected_calibration_error"),
        "hjc.metrics.level_proba": ("LevelProba",),
        "hjc.metrics.levels": ("COUNTS", "METRICS", "RECALL_AT", "level_metrics"),
        "hjc.metrics.rows": ("RowScores", "iter_batches", "score_batches", "score_rows"),
        "hjc.metrics.triplets": ("triplet_accuracy",),
    },
)
