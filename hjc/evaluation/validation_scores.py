"""What a model keeps of its validation rows, and the rules and corrections that can be fitted from it at any time.

Rows of validation made them (:mod:`hjc.evaluation.validation`); the file calibration_scores.npz lies beside the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.calibration.diagnostics import TopOutcomes
from hjc.classifiers.derived import read_derived, write_derived
from hjc.decision import HierarchicalConformal, SplitConformal, ThresholdFit, fit_thresholds
from hjc.decision.conformal import conformal_quantile, group_quantiles
from hjc.errors import ModelDirError
from hjc.statistics import Confusion
from hjc.taxonomy import Taxonomy

SCORES_FILE = "calibration_scores.npz"
FORMAT_VERSION = 1
VARIANTS = ("raw", "calibrated")
SET_SCORES = ("lac", "aps")
#: what conformal rules can be calibrated by: a language or the most probable level-1 code (Mondrian)
GROUPINGS = ("language", "group")
#: penalty and ranks free of it of RAPS (Angelopoulos, Bates, Malik & Jordan 2021)
RAPS = (0.01, 5)


@dataclass(frozen=True, eq=False)
class VariantScores:
    """Scores of n rows by raw or by calibrated probabilities (D levels, L leaves).

    confidence (n, D) probability of the most probable code of the level, top (n, D) its node; lac, aps (n, D)
    nonconformity of the gold code (NaN where it is not known at the level); path (n,) the nonconformity of
    hierarchical conformal prediction; mean_proba (L,) mean leaf probabilities, by weight; rank (n, D) of the gold code,
    from 1; mean_square (N,) mean squared probability of every node. The last two are None in files of an older hjc.
    """

    confidence: Float64
    top: IntArray
    lac: Float64
    aps: Float64
    path: Float64
    mean_proba: Float64
    rank: IntArray | None = None
    mean_square: Float64 | None = None


class ValidationScores:
    """Stored outcomes of the validation rows, and what can be fitted from them at prediction time.

    Args:
        gold: (n,) nodes, all known. weight: (n,).
        variants: "raw", and "calibrated" where a calibrator changes anything (else it stands for raw).
        language: of each row, "" where unknown; none at all in files of an older hjc.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        gold: IntArray,
        weight: Float64,
        variants: dict[str, VariantScores],
        language: Sequence[str] = (),
    ) -> None:
        self.taxonomy, self.gold, self.weight, self.variants = taxonomy, gold, weight, variants
        self.language = tuple(language)

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

    def groups(self, by: str, calibrated: bool = False) -> tuple[str, ...]:
        """The group of each validation row: its language, or its most probable level-1 code.

        Raises:
            ValueError: unknown ``by``, or the languages of the validation rows are not known.
        """
        if by not in GROUPINGS:
            raise ValueError(f"by: got {by!r}, allowed are {', '.join(GROUPINGS)}")
        if by == "group":
            return tuple(self.taxonomy.codes[i] for i in self.variant(calibrated).top[:, 0].tolist())
        if not any(self.language):
            raise ValueError(
                "by language: the languages of the validation rows are not known. Train with data.language_column=NAME "
                "(a run of an older hjc: remove its calibration_scores.npz and repeat its training command)"
            )
        return self.language

    def _quantiles(
        self, values: Float64, keep: BoolArray, alpha: float, by: str | None, calibrated: bool
    ) -> dict[str, float]:
        """Thresholds of all rows, and of the groups that have rows enough for this alpha."""
        if by is None:
            return {"": conformal_quantile(values[keep], alpha)}
        names = [g for g, k in zip(self.groups(by, calibrated), keep.tolist(), strict=True) if k]
        found = group_quantiles(values[keep], names, alpha)
        return {name: q for name, q in found.items() if not name or np.isfinite(q)}

    def conformal_sets(
        self, level: int, alpha: float, *, calibrated: bool = False, score: str = "lac", by: str | None = None
    ) -> SplitConformal:
        """Prediction sets of a level that hold the true code with probability at least 1 - alpha.

        Args:
            score: lac, aps or raps.
            by: None, "language" or "group": the probability then holds within each (Mondrian). Groups with fewer rows
                than :func:`rows_needed`, and such as never occurred, get the threshold of all rows, without a promise.

        Raises:
            ValueError: unknown score, level or ``by``, alpha outside (0, 1), no row with a code at the level.
        """
        if score not in (*SET_SCORES, "raps"):
            raise ValueError(f"score: got {score!r}, allowed are lac, aps, raps")
        v, column = self.variant(calibrated), self.taxonomy.check_level(level) - 1
        values = getattr(v, "lac" if score == "lac" else "aps")[:, column]
        known = ~np.isnan(values)
        if not known.any():
            raise ValueError(f"no validation row has a code at level {level}: nothing to calibrate sets on")
        penalty, free = RAPS if score == "raps" else (0.0, 0)
        if score == "raps":
            if v.rank is None:
                raise ValueError(
                    f"score raps: {SCORES_FILE} is of an older hjc; remove it and repeat the training command"
                )
            values = values + penalty * np.maximum(0, v.rank[:, column] - free)
        quantiles = self._quantiles(values, known, alpha, by, calibrated)
        return SplitConformal(
            self.taxonomy, level, alpha, score, quantiles, int(known.sum()), penalty=penalty, free=free,
            unseen="pooled",
        )  # fmt: skip

    def conformal_node(self, alpha: float, *, calibrated: bool = False, by: str | None = None) -> HierarchicalConformal:
        """The rule that gives one node which holds the true code with probability at least 1 - alpha; ``by`` as in
        :meth:`conformal_sets`."""
        values = self.variant(calibrated).path
        quantiles = self._quantiles(values, np.ones(len(values), dtype=bool), alpha, by, calibrated)
        return HierarchicalConformal(self.taxonomy, alpha, quantiles, len(self), unseen="pooled")

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

    def prior_rows(self, level: int, calibrated: bool = False) -> float:
        """How many labels would give a prior as precise as :meth:`prior`, a mean of probabilities: rows times
        sum_k p_k (1 - p_k) over sum_k var(p_k); the number of rows where the variances are not stored.

        Exact for all codes together; a mean of probabilities varies less than a count of labels, by the same factor
        for each code where the classifier is equally sure of all.
        """
        square = self.variant(calibrated).mean_square
        if square is None:
            return float(len(self))
        p = self.prior(level, calibrated)
        variance = float((square[self.taxonomy.level_nodes(level)] - p**2).sum())
        return len(self) * float((p * (1 - p)).sum()) / max(variance, 1e-12)

    # ------------------------------------------------------------------ storage

    def save(self, directory: str | Path) -> Path:
        """Write calibration_scores.npz (arrays only, no pickle) beside the finished model."""
        arrays: dict[str, Any] = {
            "format_version": np.array(FORMAT_VERSION),
            "taxonomy_hash": np.array(self.taxonomy.hash),
            "gold": self.gold.astype(np.int32),
            "weight": self.weight,
            "language": np.array(self.language, dtype=np.str_),
        }
        for name, v in self.variants.items():
            arrays |= {f"{name}_{key}": value for key, value in vars(v).items() if value is not None}
            arrays[f"{name}_top"] = v.top.astype(np.int32)
            if v.rank is not None:
                arrays[f"{name}_rank"] = v.rank.astype(np.int32)
        return write_derived(directory, SCORES_FILE, arrays)

    @classmethod
    def load(cls, directory: str | Path, taxonomy: Taxonomy) -> "ValidationScores":
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the model has none (it had no validation rows).
            ModelDirError: the file is damaged, was altered, or belongs to another model.
        """
        found = read_derived(directory, SCORES_FILE)
        if found is None:
            raise ValueError(
                f"{directory} has no {SCORES_FILE}: the model was trained without validation rows, with "
                "evaluation.calibrate=false, or by an older hjc. Thresholds and conformal sets need validation rows: "
                "train with data.valid=[FILE] or data.valid_fraction=0.1; for a finished run the same training command "
                "adds the file"
            )
        try:
            version = int(found["format_version"])
            if version != FORMAT_VERSION:
                raise ValueError(f"format {version}, this hjc reads {FORMAT_VERSION}: train again or change hjc")
            if str(found["taxonomy_hash"]) != taxonomy.hash:
                raise ValueError("made on another tree")
            variants = {name: _variant(found, name) for name in VARIANTS if f"{name}_top" in found}
            language = found["language"].tolist() if "language" in found else ()
            return cls(taxonomy, found["gold"].astype(np.int64), found["weight"], variants, language)
        except (ValueError, KeyError, TypeError) as error:
            path = Path(directory) / SCORES_FILE
            raise ModelDirError(f"{path}: truncated or altered ({error}); train again, or copy it again") from error


def _variant(stored: dict[str, Any], name: str) -> VariantScores:
    later = ("rank", "mean_square")  # files of an older hjc do without
    keys = [k for k in VariantScores.__dataclass_fields__ if k not in later or f"{name}_{k}" in stored]
    return VariantScores(**{key: stored[f"{name}_{key}"] for key in keys})


def rows_needed(alpha: float) -> int:
    """Validation rows from which a conformal threshold exists: the least n with ceil((n + 1)(1 - alpha)) <= n."""
    return max(int(np.ceil(1 / alpha - 1e-9)) - 1, 1)
