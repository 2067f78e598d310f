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
    KINDS,
    CalibrationFit,
    Calibrator,
    Identity,
    assign_folds,
    choose,
    cross_fit,
    summarise,
)
from hjc.classifiers.base import Classifier
from hjc.data.codesets import likeliest
from hjc.data.jobdata import JobData
from hjc.evaluation.validation_scores import ValidationScores, VariantScores
from hjc.metrics import LevelProba, RowScores, score_rows
from hjc.statistics.drift import Profile
from hjc.taxonomy import Taxonomy

FOLDS = 5
#: validation log-probabilities are kept between the passes while they are no larger than this, else computed again
KEEP_BYTES = 256 << 20


class KeptBatches:
    """A classifier's batches on texts that can be gone through several times: kept when small, else computed again.

    ``more``: (n, L) of rows behind the texts that are known already.
    """

    def __init__(
        self, classifier: Classifier, texts: tuple[str, ...], keep_bytes: int = KEEP_BYTES,
        more: FloatArray | None = None,
    ) -> None:  # fmt: skip
        self._classifier, self._texts, self._more = classifier, texts, more
        self._keep = len(texts) * classifier.taxonomy.num_leaves * 4 <= keep_bytes
        self._kept: list[tuple[IntArray, FloatArray]] | None = None

    def __iter__(self) -> Iterator[tuple[IntArray, FloatArray]]:
        if self._more is not None:
            yield np.arange(len(self._more)) + len(self._texts), self._more
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
    """One pass over (rows, log_proba) batches of rows that all have a code."""
    scores = RowScores.empty(len(gold), taxonomy.depth, conformal=True)
    mean_square, mean_proba = np.zeros(len(taxonomy)), np.zeros(taxonomy.num_leaves)
    for rows, batch in batches:
        levels = LevelProba.of(taxonomy, batch)
        scores.put(rows, score_rows(taxonomy, levels, gold[rows], conformal=True))
        mean_square += weight[rows] @ levels.nodes() ** 2
        mean_proba += weight[rows] @ levels.at(taxonomy.depth)
    return VariantScores(scores, mean_proba / max(mean_proba.sum(), 1e-300), mean_square / max(weight.sum(), 1e-300))


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

    Rows that trained, as models coded them that have not seen them (``classifier.cross_fitted``), are validation rows
    too. Where the rows are not of the kinds that the model is for (``classifier.calibrated_by``) probabilities stay as
    they are.

    Probabilities are gone through twice (three times where a calibrator is worth it); memory holds a batch of them, or
    all while they are below :data:`KEEP_BYTES`.

    Raises:
        ValueError: no row has a code.
    """
    rows = valid.labelled()
    if not len(rows):
        raise ValueError("calibration needs validation rows with codes, got none")
    texts, more = rows.texts, None
    if classifier.cross_fitted is not None:
        trained, more = classifier.cross_fitted
        rows = JobData.concat([rows, trained])
    taxonomy, weight = classifier.taxonomy, np.ones(len(rows))  # data.weight is that of the training loss
    profile = Profile(taxonomy, oov=classifier.oov_share if classifier.has_vocabulary else None)
    kept = KeptBatches(classifier, texts, more=more)
    gold = rows.gold.copy()  # of several codes the most probable one, filled in the first pass

    def watched() -> Iterator[tuple[IntArray, FloatArray]]:
        for r, x in kept:
            update_profile(profile, r, x, rows.texts, rows.language)
            if rows.sets is not None:
                gold[r] = likeliest(rows.sets[r], taxonomy.node_log_proba(x.astype(np.float64)))
            yield r, x

    data = summarise(taxonomy, watched(), rows.target, groups=rows.group, folds=FOLDS, seed=seed)
    fit = choose(data, kinds=KINDS if classifier.calibrated_by(valid) else ())
    variants = {"raw": variant_scores(taxonomy, kept, gold, weight)}
    if not isinstance(fit.calibrator, Identity):
        by_fold = cross_fit(data, fit)
        fold = assign_folds(np.arange(len(rows)), rows.group, FOLDS, seed)

        def calibrated() -> Iterator[tuple[IntArray, FloatArray]]:
            for r, x in kept:
                for k, calibrator in by_fold.items():
                    mine = fold[r] == k
                    if mine.any():
                        yield r[mine], calibrator.transform(x[mine])

        variants["calibrated"] = variant_scores(taxonomy, calibrated(), gold, weight)
    return ValidationResult(
        fit.calibrator, fit, ValidationScores(taxonomy, gold, weight, variants, rows.language), profile
    )


def update_profile(profile: Profile, rows: IntArray, log_proba: FloatArray, texts: Any, languages: Any = None) -> None:
    """Add a batch of a data set to a drift profile: positions ``rows`` of texts and, where known, languages."""
    at = rows.tolist()
    named = languages is not None and any(languages)
    profile.update(
        log_proba, texts=[texts[i] for i in at], languages=[languages[i] or "und" for i in at] if named else None
    )
