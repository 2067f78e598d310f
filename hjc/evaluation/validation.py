"""Validation rows: the calibrator is fitted on them, and their outcomes kept for thresholds, sets and corrections.

Made once after training (:func:`describe_validation`), stored as calibration_scores.npz beside the model
(module ``validation_scores``), without texts. The rows are those that also fitted the calibrator; their calibrated
scores are therefore cross-fitted: each row's come from a calibrator (of the chosen kind) fitted on the other folds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.calibration import (
    CalibrationFit,
    Calibrator,
    Identity,
    assign_folds,
    choose,
    cross_fit,
    summarise,
)
from hjc.classifiers.base import Classifier
from hjc.data.jobdata import JobData
from hjc.decision import greedy_path
from hjc.decision.conformal import level_scores
from hjc.decision.hierarchical import path_scores
from hjc.evaluation.validation_scores import SCORES_FILE, SET_SCORES, ValidationScores, VariantScores
from hjc.statistics.drift import Profile
from hjc.taxonomy import Taxonomy

__all__ = [
    "SCORES_FILE",
    "KeptBatches",
    "ValidationResult",
    "ValidationScores",
    "VariantScores",
    "describe_validation",
    "update_profile",
    "variant_scores",
]

FOLDS = 5
#: validation log-probabilities are kept between the passes while they are no larger than this, else computed again
KEEP_BYTES = 256 << 20
_ROWS = 1024


class KeptBatches:
    """A classifier's batches on texts that can be gone through several times: kept when small, else computed again."""

    def __init__(self, classifier: Classifier, texts: tuple[str, ...], keep_bytes: int = KEEP_BYTES) -> None:
        self._classifier, self._texts = classifier, texts
        self._keep = len(texts) * classifier.taxonomy.num_leaves * 4 <= keep_bytes
        self._kept: list[tuple[IntArray, FloatArray]] | None = None

    def __iter__(self) -> Iterator[tuple[IntArray, FloatArray]]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[tuple[IntArray, FloatArray]] = []
        for rows, log_proba in self._classifier.iter_log_proba(self._texts):
            if self._keep:
                kept.append((rows, log_proba))
            yield rows, log_proba
        if self._keep:
            self._kept = kept


def variant_scores(taxonomy: Taxonomy, batches: Any, gold: IntArray, weight: Float64) -> VariantScores:
    """One pass over (rows, log_proba) batches."""
    n, depth = len(gold), taxonomy.depth
    column = taxonomy.level_column[gold]
    out = VariantScores(
        confidence=np.zeros((n, depth)),
        top=np.zeros((n, depth), dtype=np.int64),
        lac=np.full((n, depth), np.nan),
        aps=np.full((n, depth), np.nan),
        path=np.zeros(n),
        mean_proba=np.zeros(taxonomy.num_leaves),
        rank=np.zeros((n, depth), dtype=np.int64),
        mean_square=np.zeros(len(taxonomy)),
    )
    assert out.rank is not None and out.mean_square is not None
    for all_rows, batch in batches:
        for start in range(0, len(all_rows), _ROWS):
            rows, x = np.asarray(all_rows[start : start + _ROWS]), batch[start : start + _ROWS]
            at = np.arange(len(rows))
            for d in range(depth):
                level = taxonomy.aggregate(x, d + 1)
                best = level.argmax(axis=1)
                out.top[rows, d] = taxonomy.level_nodes(d + 1)[best]
                out.confidence[rows, d] = np.minimum(np.exp(level[at, best].astype(np.float64)), 1.0)
                own = column[rows, d]
                for name in SET_SCORES:
                    score = level_scores(level, name, None)[at, np.maximum(own, 0)]
                    getattr(out, name)[rows, d] = np.where(own >= 0, score, np.nan)
                mine = level[at, np.maximum(own, 0)]
                ties = (level == mine[:, None]) & (np.arange(level.shape[1]) < own[:, None])
                out.rank[rows, d] = np.where(own >= 0, 1 + (level > mine[:, None]).sum(axis=1) + ties.sum(axis=1), 0)
            out.mean_square[:] += weight[rows] @ np.exp(2 * taxonomy.node_log_proba(x).astype(np.float64))
            out.path[rows] = path_scores(taxonomy, *greedy_path(taxonomy, x), gold[rows])
            out.mean_proba[:] += weight[rows] @ np.exp(x.astype(np.float64))
    out.mean_square[:] /= max(weight.sum(), 1e-300)
    out.mean_proba[:] /= max(out.mean_proba.sum(), 1e-300)
    return out


@dataclass(frozen=True)
class ValidationResult:
    """The calibrator with the table of its choice, the stored scores, and the drift profile of the rows."""

    calibrator: Calibrator
    fit: CalibrationFit
    scores: ValidationScores
    profile: Profile

    @property
    def choice(self) -> pd.DataFrame:
        """A line per kind of calibrator: kind, ridge, log_loss (cross-validated), gain, gain_se, chosen."""
        return self.fit.table


def describe_validation(classifier: Classifier, valid: JobData, *, seed: int = 0) -> ValidationResult:
    """Fit a calibrator on validation rows and gather what thresholds, conformal sets and drift checks need.

    Probabilities are gone through twice (three times where a calibrator is worth it); memory holds a batch of them, or
    all while they are below :data:`KEEP_BYTES`.

    Raises:
        ValueError: no row has a code.
    """
    rows = valid.labelled()
    if not len(rows):
        raise ValueError("calibration needs validation rows with codes, got none")
    taxonomy, weight = classifier.taxonomy, np.ones(len(rows))  # data.weight is that of the training loss
    profile = Profile(taxonomy, oov=classifier.oov_share if classifier.has_vocabulary else None)
    kept = KeptBatches(classifier, rows.texts)

    def watched() -> Iterator[tuple[IntArray, FloatArray]]:
        for r, x in kept:
            update_profile(profile, r, x, rows.texts, rows.language)
            yield r, x

    data = summarise(taxonomy, watched(), rows.gold, groups=rows.group, folds=FOLDS, seed=seed)
    fit = choose(data)
    variants = {"raw": variant_scores(taxonomy, kept, rows.gold, weight)}
    if not isinstance(fit.calibrator, Identity):
        by_fold = cross_fit(data, fit)
        fold = assign_folds(np.arange(len(rows)), rows.group, FOLDS, seed)

        def calibrated() -> Iterator[tuple[IntArray, FloatArray]]:
            for r, x in kept:
                for k, calibrator in by_fold.items():
                    mine = fold[r] == k
                    if mine.any():
                        yield r[mine], calibrator.transform(x[mine])

        variants["calibrated"] = variant_scores(taxonomy, calibrated(), rows.gold, weight)
    return ValidationResult(
        fit.calibrator, fit, ValidationScores(taxonomy, rows.gold, weight, variants, rows.language), profile
    )


def update_profile(profile: Profile, rows: IntArray, log_proba: FloatArray, texts: Any, languages: Any = None) -> None:
    """Add a batch of a data set to a drift profile: positions ``rows`` of texts and, where known, languages."""
    at = rows.tolist()
    named = languages is not None and any(languages)
    profile.update(
        log_proba, texts=[texts[i] for i in at], languages=[languages[i] or "und" for i in at] if named else None
    )
