"""Counts corrected for classifier error by a confusion matrix from labelled rows.

Two matrices, two assumptions. Misclassification, P(coded i | true j): holds when only the shares of true codes changed
since the labelled sample (prior shift). Calibration, P(true j | coded i): holds when only the shares of coded rows
changed, or nothing did; more stable (Buonaccorsi 2010, Measurement Error, chapter 2; Meertens et al. 2022, Kloos et al.
2021 compare their mean squared errors).
"""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64, FloatArray
from hjc.calibration.conditionals import as_gold
from hjc.errors import name_some
from hjc.statistics.estimate import SharedError, ShareEstimate, node_covariances, node_sums, node_variances
from hjc.statistics.totals import as_weights, level_proba
from hjc.taxonomy.tree import Taxonomy

KINDS = ("misclassification", "calibration")


class Confusion:
    """Weighted counts of (coded i, true j) at one level, from labelled rows batch by batch."""

    def __init__(self, taxonomy: Taxonomy, level: int) -> None:
        self.taxonomy, self.level = taxonomy, taxonomy.check_level(level)
        self.tree = taxonomy.truncate(level)
        k = self.tree.num_leaves
        self.weight: Float64 = np.zeros((k, k))
        self.weight_square: Float64 = np.zeros((k, k))
        self.rows = 0
        self.left_out = 0

    def update(self, log_proba: FloatArray, gold: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> None:
        """Add labelled rows (B, L), gold nodes (B,); rows whose gold is above the level are counted in ``left_out``."""
        _, coded = level_proba(self.taxonomy, log_proba, self.level)
        g = as_gold(self.taxonomy, gold, len(coded))
        w = as_weights(weights, len(coded))
        true = np.where(g >= 0, self.taxonomy.level_column[g, self.level - 1], -1)
        use = true >= 0
        np.add.at(self.weight, (coded[use], true[use]), w[use])
        np.add.at(self.weight_square, (coded[use], true[use]), w[use] ** 2)
        self.rows += int(use.sum())
        self.left_out += int((~use).sum())

    def effective(self) -> Float64:
        """(K, K) counts scaled so that each true code has its effective (Kish) number of rows."""
        w2 = self.weight_square.sum()
        return np.asarray(self.weight * (self.weight.sum() / w2 if w2 > 0 else 0.0))


@dataclass(frozen=True, eq=False)
class MatrixError(SharedError):
    """The error of corrected shares that comes from the labelled rows behind the matrix (delta method).

    Columns of ``matrix`` (K, K) sum to 1, ``size`` (K,) effective labelled rows are behind each and ``share`` (K,) of
    the rows: true codes of a misclassification matrix, whose inverse is ``outer``; coded ones of a calibration matrix
    (``outer`` None).
    """

    source: Confusion
    tree: Taxonomy
    matrix: Float64
    size: Float64
    share: Float64
    outer: Float64 | None

    def columns(self, other: "MatrixError") -> Float64:
        """(K, K) covariance of the shares of the deepest level."""
        w = self.share * other.share / self.size
        inner = np.diag(self.matrix @ w) - (self.matrix * w) @ self.matrix.T
        if self.outer is None:
            return inner
        assert other.outer is not None
        return np.asarray(self.outer @ inner @ other.outer.T)

    def covariance(self, other: "MatrixError") -> Float64:
        return node_covariances(self.tree, self.columns(other))


def transitions(tree: Taxonomy, counts: Float64, kind: str) -> tuple[Float64, Float64, tuple[str, ...]]:
    """P(coded i | true j), or P(true i | coded j) for "calibration": (K, K), effective rows (K,) behind each column,
    and notes.

    A true code without labelled rows is taken to be coded right as often as all are, its errors spread like all coded
    rows; a code that no labelled row was coded to is taken as right. The notes say so.
    """
    total, eye = counts.sum(), np.eye(len(counts))
    if total <= 0:
        raise ValueError("the confusion matrix holds no labelled rows at this level")
    if kind == "calibration":
        counts, default, said = counts.T, eye, ("coded", "taken as right")
    else:
        accuracy = np.trace(counts) / total
        default = (1 - accuracy) * (counts.sum(axis=1) / total)[:, None] + accuracy * eye
        said = ("of true code", "overall accuracy assumed")
    size = counts.sum(axis=0)
    empty = size <= 0
    size = np.where(empty, 1.0, size)
    codes = name_some(tree.codes[i] for i in tree.leaves[empty].tolist()) if empty.any() else ""
    notes = (f"no labelled rows {said[0]} {codes}: {said[1]}",) if codes else ()
    return np.where(empty, default, counts / size), size, notes


def unfold_em(matrix: Float64, coded: Float64, *, tolerance: float = 1e-10, most: int = 20_000) -> Float64:
    """Maximum-likelihood true shares given coded shares: share_j <- share_j sum_i coded_i M_ij / (M share)_i.

    The EM of a multinomial through a known channel (Richardson 1972; Lucy 1974; D'Agostini 1995). Stays on the simplex;
    equals the inverse where that is on the simplex.
    """
    share = np.full(len(coded), 1 / len(coded))
    for _ in range(most):
        fitted = matrix @ share
        ratio = np.divide(coded, fitted, out=np.zeros_like(coded), where=fitted > 0)
        new = share * (matrix.T @ ratio)
        new /= new.sum()
        if np.abs(new - share).max() < tolerance:
            return np.asarray(new)
        share = new
    return np.asarray(share)


def solve_shares(matrix: Float64, coded: Float64) -> tuple[Float64, str]:
    """True shares and how they were found: by the inverse if it is well conditioned (below 1e3) and on the simplex,
    otherwise by EM."""
    if np.linalg.cond(matrix) < 1e3:
        share = np.linalg.lstsq(matrix, coded, rcond=None)[0]
        if (share >= 0).all():
            return np.asarray(share / share.sum()), "inverse"
    return unfold_em(matrix, coded), "em"


def correct_counts(
    counted: ShareEstimate,
    confusion: Confusion,
    *,
    kind: str = "misclassification",
    replicates: int = 0,
    seed: int = 0,
) -> ShareEstimate:
    """Classify-and-count corrected by the confusion matrix (module docstring: which kind when).

    Analytic variance by the delta method. misclassification, s = M^-1 c: M^-1 [Cov(c) + sum_j s_j^2 Cov(M_.j)] M^-T;
    calibration, s = R^T c: R^T Cov(c) R + sum_i c_i^2 Cov(R_i.). Both sources of error, rows counted and rows labelled,
    are multinomial with their effective numbers of rows (and independent of each other).

    Args:
        counted: of :meth:`CodeTotals.classify_and_count` at the level of ``confusion``.
        replicates: bootstrap instead (0: none): counted and labelled rows are drawn again, multinomially. Replicates of
            two estimates with the same seed use the same labelled draws: :func:`change` with ``shared_audit``.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, allowed are {list(KINDS)}")
    tree = confusion.tree
    if counted.tree != tree:
        raise ValueError("counted shares and confusion matrix are at different levels or on different trees")
    coded, counts = counted.level_share, confusion.effective()
    matrix, size, notes = transitions(tree, counts, kind)
    if kind == "calibration":
        share, used, linear, error = (
            matrix @ coded,
            "matrix",
            matrix,
            MatrixError(confusion, tree, matrix, size, coded, None),
        )
    else:
        share, used = solve_shares(matrix, coded)
        linear = np.asarray(np.linalg.pinv(matrix, rcond=1e-3))
        error = MatrixError(confusion, tree, matrix, size, share, linear)
        if used != "inverse":
            notes += (f"solved by {used}: the matrix is ill-conditioned or its inverse gives negative shares; "
                      "prefer bootstrap intervals",)  # fmt: skip
    spread = (np.diag(coded) - np.outer(coded, coded)) / max(counted.effective, 1.0)
    covariance = linear @ spread @ linear.T + error.columns(error)
    if confusion.left_out:
        notes += (f"{confusion.left_out} labelled rows without a code at this level were left out",)
    draws = None
    if replicates:
        drawn = bootstrap_corrected(tree, coded, counted.effective, counts, kind, replicates, seed)
        draws = node_sums(tree, drawn)
    return ShareEstimate(
        tree, node_sums(tree, share), node_variances(tree, covariance), counted.total, counted.rows,
        counted.effective, f"confusion_{kind}_{used}", draws, notes, error,
    )  # fmt: skip


def bootstrap_corrected(
    tree: Taxonomy, coded: Float64, n: float, counts: Float64, kind: str, replicates: int, seed: int
) -> Float64:
    """(R, K) corrected shares from multinomial draws of the labelled counts (K, K) and of the coded shares.

    The labelled draws depend on the seed alone, those of the coded rows on the coded shares as well: the rows of
    another period are other rows, and with one stream for both their errors would seem to move together.
    """
    own = zlib.crc32(np.ascontiguousarray(coded).tobytes())
    labelled, sampled = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1, own])
    m, size = counts.sum(), max(round(n), 1)
    out: list[Any] = []
    p = np.clip(coded, 0, None)
    for _ in range(replicates):
        again = labelled.multinomial(max(round(m), 1), (counts / m).ravel()).reshape(counts.shape).astype(np.float64)
        c = sampled.multinomial(size, p / p.sum()) / size
        matrix, _, _ = transitions(tree, again, kind)
        out.append(matrix @ c if kind == "calibration" else solve_shares(matrix, c)[0])
    return np.array(out)
