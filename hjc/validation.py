"""What a model keeps of its validation rows: enough for thresholds, conformal sets and corrections, and no text.

Made once after training (:func:`describe_validation`), stored as calibration_scores.npz beside the model. The rows are
those that also fitted the calibrator; their calibrated scores are therefore cross-fitted: each row's come from a
calibrator (of the chosen kind) that was fitted on the other folds.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hjc.calibration import (
    CalibrationFit,
    Calibrator,
    Identity,
    assign_folds,
    choose,
    cross_fit,
    summarise,
)
from hjc.calibration.diagnostics import TopOutcomes
from hjc.classifiers.base import Classifier
from hjc.classifiers.storage import ModelDirError, check_derived, model_fingerprint
from hjc.data.jobdata import JobData
from hjc.decision import HierarchicalConformal, SplitConformal, ThresholdFit, fit_thresholds, greedy_path
from hjc.decision.conformal import conformal_quantile, level_scores
from hjc.decision.hierarchical import path_scores
from hjc.drift import Profile
from hjc.statistics import Confusion
from hjc.taxonomy import Taxonomy
from hjc.taxonomy.tree import FloatArray, IntArray

Float64 = npt.NDArray[np.float64]

SCORES_FILE = "calibration_scores.npz"
FORMAT_VERSION = 1
FOLDS = 5
VARIANTS = ("raw", "calibrated")
SET_SCORES = ("lac", "aps")
#: validation log-probabilities are kept between the passes while they are no larger than this, else computed again
KEEP_BYTES = 256 << 20
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class VariantScores:
    """Scores of n rows by raw or by calibrated probabilities (D levels, L leaves).

    confidence (n, D) probability of the most probable code of the level, top (n, D) its node; lac, aps (n, D)
    nonconformity of the gold code (NaN where it is not known at the level); path (n,) the nonconformity of
    hierarchical conformal prediction; mean_proba (L,) mean leaf probabilities, by weight.
    """

    confidence: Float64
    top: IntArray
    lac: Float64
    aps: Float64
    path: Float64
    mean_proba: Float64


class ValidationScores:
    """Stored outcomes of the validation rows, and what can be fitted from them at prediction time.

    Args:
        gold: (n,) nodes, all known. weight: (n,).
        variants: "raw", and "calibrated" where a calibrator changes anything (else it stands for raw).
    """

    def __init__(self, taxonomy: Taxonomy, gold: IntArray, weight: Float64, variants: dict[str, VariantScores]) -> None:
        self.taxonomy, self.gold, self.weight, self.variants = taxonomy, gold, weight, variants

    def __len__(self) -> int:
        return len(self.gold)

    def variant(self, calibrated: bool = False) -> VariantScores:
        """The scores by calibrated or by raw probabilities."""
        return self.variants.get("calibrated" if calibrated else "raw", self.variants["raw"])

    @cached_property
    def _column(self) -> IntArray:
        return np.asarray(self.taxonomy.level_column[self.gold])

    def outcomes(self, calibrated: bool = False) -> TopOutcomes:
        """Confidence and correctness of the most probable code of every level."""
        v = self.variant(calibrated)
        level = np.arange(self.taxonomy.depth)[None, :]
        return TopOutcomes(
            v.confidence, self.taxonomy.level_column[v.top, level] == self._column, self._column >= 0, v.top
        )

    def thresholds(
        self, target: float, *, rule: str = "back_off", calibrated: bool = False, by_group: bool = False
    ) -> ThresholdFit:
        """Thresholds that reach a wanted accuracy (:func:`hjc.decision.fit_thresholds`)."""
        return fit_thresholds(self.taxonomy, self.outcomes(calibrated), target, rule=rule, by_group=by_group)

    def conformal_sets(
        self, level: int, alpha: float, *, calibrated: bool = False, score: str = "lac"
    ) -> SplitConformal:
        """Prediction sets of a level that hold the true code with probability at least 1 - alpha.

        Raises:
            ValueError: unknown score or level, alpha outside (0, 1), no row with a code at the level.
        """
        if score not in SET_SCORES:
            raise ValueError(f"score: got {score!r}, stored are {list(SET_SCORES)}")
        values = getattr(self.variant(calibrated), score)[:, self.taxonomy.check_level(level) - 1]
        values = values[~np.isnan(values)]
        if not len(values):
            raise ValueError(f"no validation row has a code at level {level}: nothing to calibrate sets on")
        quantiles = {"": conformal_quantile(values, alpha)}
        return SplitConformal(self.taxonomy, level, alpha, score, quantiles, len(values))

    def conformal_node(self, alpha: float, *, calibrated: bool = False) -> HierarchicalConformal:
        """The rule that gives one node which holds the true code with probability at least 1 - alpha."""
        quantiles = {"": conformal_quantile(self.variant(calibrated).path, alpha)}
        return HierarchicalConformal(self.taxonomy, alpha, quantiles, len(self))

    def confusion(self, level: int, calibrated: bool = False) -> Confusion:
        """Weighted counts of (coded, true) at a level, for :func:`hjc.statistics.correct_counts`."""
        out = Confusion(self.taxonomy, level)
        true = self._column[:, out.level - 1]
        use = true >= 0
        coded = self.taxonomy.level_column[self.variant(calibrated).top[:, out.level - 1], out.level - 1]
        np.add.at(out.weight, (coded[use], true[use]), self.weight[use])
        np.add.at(out.weight_square, (coded[use], true[use]), self.weight[use] ** 2)
        out.rows, out.left_out = int(use.sum()), int((~use).sum())
        return out

    def prior(self, level: int, calibrated: bool = False) -> Float64:
        """(K,) mean probabilities of the level's columns over the validation rows, all above 0."""
        nodes = self.taxonomy.level_nodes(level)
        sums = np.add.reduceat(self.variant(calibrated).mean_proba, self.taxonomy.leaf_slice[nodes, 0])
        return np.maximum(sums, 1e-12)

    # ------------------------------------------------------------------ storage

    def save(self, directory: str | Path) -> Path:
        """Write calibration_scores.npz (arrays only, no pickle) beside the finished model."""
        arrays: dict[str, Any] = {
            "format_version": np.array(FORMAT_VERSION),
            "taxonomy_hash": np.array(self.taxonomy.hash),
            "model_sha256": np.array(model_fingerprint(directory)),
            "gold": self.gold.astype(np.int32),
            "weight": self.weight,
        }
        for name, v in self.variants.items():
            arrays |= {f"{name}_{key}": value for key, value in vars(v).items()}
            arrays[f"{name}_top"] = v.top.astype(np.int32)
        path = Path(directory) / SCORES_FILE
        part = path.with_name(f".{SCORES_FILE}.part")
        with part.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
        part.replace(path)
        return path

    @classmethod
    def load(cls, directory: str | Path, taxonomy: Taxonomy) -> "ValidationScores":
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the model has none (it had no validation rows).
            ModelDirError: the file is damaged or belongs to another model.
        """
        path = Path(directory) / SCORES_FILE
        if not path.exists():
            raise ValueError(
                f"{directory} has no {SCORES_FILE}: the model was trained without validation rows, with "
                "evaluation.calibrate=false, or by an older hjc. Thresholds and conformal sets need validation rows: "
                "train with data.valid=[FILE] or data.valid_fraction=0.1; for a finished run the same training command "
                "adds the file"
            )
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
            version = int(found["format_version"])
            if version != FORMAT_VERSION:
                raise ValueError(f"format {version}, this hjc reads {FORMAT_VERSION}: train again or change hjc")
            check_derived(directory, SCORES_FILE, str(found["model_sha256"]))
            if str(found["taxonomy_hash"]) != taxonomy.hash:
                raise ValueError("made on another tree")
            fields = VariantScores.__dataclass_fields__
            variants = {
                name: VariantScores(**{key: found[f"{name}_{key}"] for key in fields})
                for name in VARIANTS
                if f"{name}_top" in found
            }
            return cls(taxonomy, found["gold"].astype(np.int64), found["weight"], variants)
        except ModelDirError:
            raise
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ModelDirError(f"{path}: truncated or altered ({error}); train again, or copy it again") from error


# ---------------------------------------------------------------------- making


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
    )
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
            out.path[rows] = path_scores(taxonomy, *greedy_path(taxonomy, x), gold[rows])
            out.mean_proba[:] += weight[rows] @ np.exp(x.astype(np.float64))
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
    profile = Profile(taxonomy, oov=getattr(classifier, "oov_share", None))
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
    return ValidationResult(fit.calibrator, fit, ValidationScores(taxonomy, rows.gold, weight, variants), profile)


def update_profile(profile: Profile, rows: IntArray, log_proba: FloatArray, texts: Any, languages: Any = None) -> None:
    """Add a batch of a data set to a drift profile: positions ``rows`` of texts and, where known, languages."""
    at = rows.tolist()
    named = languages is not None and any(languages)
    profile.update(
        log_proba, texts=[texts[i] for i in at], languages=[languages[i] or "und" for i in at] if named else None
    )
