"""What a model keeps of its validation rows, and the rules and corrections that can be fitted from it at any time.

Rows of validation made them (:mod:`hjc.evaluation.validation`); the file calibration_scores.npz lies beside the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import Float64, IntArray
from hjc.classifiers.derived import read_derived, write_derived
from hjc.decision import (
    HierarchicalConformal,
    SplitConformal,
    ThresholdFit,
    fit_conformal,
    fit_hierarchical_conformal,
    fit_thresholds,
)
from hjc.errors import ModelDirError
from hjc.metrics import RowScores
from hjc.statistics import Confusion
from hjc.taxonomy import Taxonomy

SCORES_FILE = "calibration_scores.npz"
FORMAT_VERSION = 1
VARIANTS = ("raw", "calibrated")
#: what conformal rules can be calibrated by: a language or the most probable level-1 code (Mondrian)
GROUPINGS = ("language", "group")


@dataclass(frozen=True, eq=False)
class VariantScores:
    """Validation rows by raw or by calibrated probabilities: row scores with nonconformity, and sums over all rows.

    Attributes:
        scores: of the n rows, with ``aps`` and ``path``.
        mean_proba: (L,) mean leaf probabilities, by weight; mean_square: (N,) mean squared probability of every node
            (None in files of an older hjc).
        ranked: ranks beyond the first are known (not in files of an older hjc).
    """

    scores: RowScores
    mean_proba: Float64
    mean_square: Float64 | None = None
    ranked: bool = True

    def to_arrays(self) -> dict[str, Any]:
        """What is stored, by name."""
        s = self.scores
        out = {
            "confidence": s.confidence, "top": s.top, "lac": -np.expm1(s.log_p), "aps": s.aps, "path": s.path,
            "mean_proba": self.mean_proba, "mean_square": self.mean_square, "rank": s.rank if self.ranked else None,
        }  # fmt: skip
        return {key: value for key, value in out.items() if value is not None}

    @classmethod
    def from_arrays(cls, taxonomy: Taxonomy, gold: IntArray, stored: Mapping[str, Any]) -> "VariantScores":
        """The inverse of :meth:`to_arrays`; Brier scores are not stored. Raises KeyError where something is missing."""
        scores = RowScores.empty(len(gold), taxonomy.depth, conformal=True)
        level, column = np.arange(taxonomy.depth)[None, :], taxonomy.level_column[gold]
        right = taxonomy.level_column[stored["top"], level] == column
        with np.errstate(divide="ignore"):
            log_p = np.log1p(-np.asarray(stored["lac"]))
        rank = stored.get("rank", np.where(right, 1, 2))
        for values, found in (
            (scores.gold, gold), (scores.valid, column >= 0), (scores.rank, np.where(column >= 0, rank, 0)),
            (scores.log_p, log_p), (scores.top, stored["top"]), (scores.confidence, stored["confidence"]),
            (scores.aps, stored["aps"]), (scores.path, stored["path"]),
        ):  # fmt: skip
            assert values is not None
            values[:] = found
        return cls(scores, stored["mean_proba"], stored.get("mean_square"), "rank" in stored)


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

    def outcomes(self, calibrated: bool = False) -> RowScores:
        """The row scores by calibrated or by raw probabilities."""
        return self.variant(calibrated).scores

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
            return tuple(self.taxonomy.codes[i] for i in self.outcomes(calibrated).top[:, 0].tolist())
        if not any(self.language):
            raise ValueError(
                "by language: the languages of the validation rows are not known. Train with data.language_column=NAME "
                "(a run of an older hjc: remove its calibration_scores.npz and repeat its training command)"
            )
        return self.language

    def conformal_sets(
        self, level: int, alpha: float, *, calibrated: bool = False, score: str = "lac", by: str | None = None
    ) -> SplitConformal:
        """Prediction sets of a level that hold the true code with probability at least 1 - alpha.

        Args:
            score: lac, aps or raps.
            by: None, "language" or "group": the probability then holds within each (Mondrian). Groups with fewer rows
                than 1 / alpha - 1, and such as never occurred, get the threshold of all rows, without a promise.

        Raises:
            ValueError: unknown score, level or ``by``, alpha outside (0, 1), no row with a code at the level.
        """
        v = self.variant(calibrated)
        if score == "raps" and not v.ranked:
            raise ValueError(f"score raps: {SCORES_FILE} is of an older hjc; remove it and repeat the training command")
        groups = None if by is None else self.groups(by, calibrated)
        return fit_conformal(self.taxonomy, level, v.scores, alpha, score=score, groups=groups)

    def conformal_node(self, alpha: float, *, calibrated: bool = False, by: str | None = None) -> HierarchicalConformal:
        """The rule that gives one node which holds the true code with probability at least 1 - alpha; ``by`` as in
        :meth:`conformal_sets`."""
        groups = None if by is None else self.groups(by, calibrated)
        return fit_hierarchical_conformal(self.taxonomy, self.outcomes(calibrated), alpha, groups=groups)

    def confusion(self, level: int, calibrated: bool = False) -> Confusion:
        """Weighted counts of (coded, true) at a level, for :func:`hjc.statistics.correct_counts`."""
        out = Confusion(self.taxonomy, level)
        true = self.taxonomy.level_column[self.gold, out.level - 1]
        use = true >= 0
        coded = self.taxonomy.level_column[self.outcomes(calibrated).top[:, out.level - 1], out.level - 1]
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
            arrays |= {f"{name}_{key}": value for key, value in v.to_arrays().items()}
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
            gold = found["gold"].astype(np.int64)
            variants = {}
            for name in VARIANTS:
                own = {key.removeprefix(f"{name}_"): v for key, v in found.items() if key.startswith(f"{name}_")}
                if own:
                    variants[name] = VariantScores.from_arrays(taxonomy, gold, own)
            language = found["language"].tolist() if "language" in found else ()
            return cls(taxonomy, gold, found["weight"], variants, language)
        except (ValueError, KeyError, TypeError) as error:
            path = Path(directory) / SCORES_FILE
            raise ModelDirError(f"{path}: truncated or altered ({error}); train again, or copy it again") from error
