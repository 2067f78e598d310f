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

from hjc.arrays import BoolArray, Float64, FloatArray
from hjc.calibration.conditionals import as_gold
from hjc.errors import name_some
from hjc.metrics.level_proba import as_leaf_log_proba
from hjc.statistics.estimate import SharedError, ShareEstimate, node_covariances, node_sums, node_variances
from hjc.statistics.totals import as_weights
from hjc.taxonomy.tree import Taxonomy

KINDS = ("misclassification", "calibration")
SOLVERS = ("auto", "inverse", "least_squares", "em")


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
        x = as_leaf_log_proba(self.taxonomy, log_proba)
        g = as_gold(self.taxonomy, gold, len(x))
        w = as_weights(weights, len(x))
        true = np.where(g >= 0, self.taxonomy.level_column[g, self.level - 1], -1)
        use = true >= 0
        coded = self.taxonomy.aggregate(x[use], self.level).argmax(axis=1)
        np.add.at(self.weight, (coded, true[use]), w[use])
        np.add.at(self.weight_square, (coded, true[use]), w[use] ** 2)
        self.rows += int(use.sum())
        self.left_out += int((~use).sum())

    def effective(self) -> Float64:
        """(K, K) counts scaled so that each true code has its effective (Kish) number of rows."""
        w2 = self.weight_square.sum()
        return np.asarray(self.weight * (self.weight.sum() / w2 if w2 > 0 else 0.0))


@dataclass(frozen=True, eq=False)
class MatrixError(SharedError):
    """The error of corrected shares that comes from the labelled rows behind the matrix (delta method).

    matrix (K, K) and the effective rows ``size`` (K,) behind its columns (misclassification: ``linear`` is its inverse,
    ``share`` the corrected shares) or its rows (calibration: ``linear`` None, ``share`` the coded shares).
    """

    source: Confusion
    tree: Taxonomy
    matrix: Float64
    size: Float64
    share: Float64
    linear: Float64 | None

    def covariance(self, other: "MatrixError") -> Float64:
        w = self.share * other.share / self.size
        if self.linear is None:
            inner = np.diag(w @ self.matrix) - (self.matrix * w[:, None]).T @ self.matrix
            return node_covariances(self.tree, inner)
        assert other.linear is not None
        inner = np.diag(self.matrix @ w) - (self.matrix * w) @ self.matrix.T
        return node_covariances(self.tree, self.linear @ inner @ other.linear.T)


@dataclass(frozen=True)
class _Matrix:
    probability: Float64  # (K, K) [i, j]; columns (misclassification) or rows (calibration) sum to 1
    size: Float64  # (K,) effective rows behind each
    notes: tuple[str, ...]


def _named(tree: Taxonomy, columns: BoolArray) -> str:
    return name_some(tree.codes[i] for i in tree.leaves[columns].tolist())


def misclassification_matrix(tree: Taxonomy, counts: Float64) -> _Matrix:
    """P(coded i | true j). A true code without labelled rows is taken to be coded right as often as all are, its
    errors spread like all coded rows; said in the notes."""
    size = counts.sum(axis=0)
    total = counts.sum()
    if total <= 0:
        raise ValueError("the confusion matrix holds no labelled rows at this level")
    accuracy = np.trace(counts) / total
    default = (1 - accuracy) * (counts.sum(axis=1) / total)[:, None] + accuracy * np.eye(len(counts))
    empty = size <= 0
    matrix = np.where(empty[None, :], default, counts / np.where(empty, 1.0, size)[None, :])
    notes = (f"no labelled rows of true code {_named(tree, empty)}: overall accuracy assumed",) if empty.any() else ()
    return _Matrix(matrix, np.where(empty, 1.0, size), notes)


def calibration_matrix(tree: Taxonomy, counts: Float64) -> _Matrix:
    """P(true j | coded i). A code that no labelled row was coded to is taken as right; said in the notes."""
    size = counts.sum(axis=1)
    if counts.sum() <= 0:
        raise ValueError("the confusion matrix holds no labelled rows at this level")
    empty = size <= 0
    matrix = np.where(empty[:, None], np.eye(len(counts)), counts / np.where(empty, 1.0, size)[:, None])
    notes = (f"no labelled rows coded {_named(tree, empty)}: taken as right",) if empty.any() else ()
    return _Matrix(matrix, np.where(empty, 1.0, size), notes)


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


def unfold_least_squares(matrix: Float64, coded: Float64) -> Float64:
    """Shares on the simplex with the least squared distance of M share to the coded shares (non-negative least squares
    with the sum held to 1 by a heavy row: Lawson & Hanson 1974, chapter 22)."""
    from scipy.optimize import nnls

    heavy = 1e4
    solution, _ = nnls(np.r_[matrix, heavy * np.ones((1, len(coded)))], np.r_[coded, heavy])
    return np.asarray(solution / solution.sum())


def solve_shares(matrix: Float64, coded: Float64, solver: str = "auto") -> tuple[Float64, str]:
    """True shares and the solver used. "auto": the inverse if it is well conditioned (below 1e3) and on the simplex,
    otherwise EM."""
    if solver not in SOLVERS:
        raise ValueError(f"solver: got {solver!r}, allowed are {list(SOLVERS)}")
    if solver in ("auto", "inverse"):
        well = np.linalg.cond(matrix) < 1e3
        if solver == "inverse" or well:
            share = np.linalg.lstsq(matrix, coded, rcond=None)[0]
            if solver == "inverse" or (share >= 0).all():
                return np.asarray(share / share.sum()), "inverse"
    if solver == "least_squares":
        return unfold_least_squares(matrix, coded), "least_squares"
    return unfold_em(matrix, coded), "em"


def _multinomial_covariance(p: Float64, n: float) -> Float64:
    return np.asarray((np.diag(p) - np.outer(p, p)) / max(n, 1.0))


def correct_counts(
    counted: ShareEstimate,
    confusion: Confusion,
    *,
    kind: str = "misclassification",
    solver: str = "auto",
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
    share, covariance, used, notes, (m, linear) = _corrected(tree, coded, counts, kind, solver, counted.effective)
    error = MatrixError(confusion, tree, m.probability, m.size, coded if linear is None else share, linear)
    if confusion.left_out:
        notes = (*notes, f"{confusion.left_out} labelled rows without a code at this level were left out")
    draws = None
    if replicates:
        draws = node_sums(
            tree, bootstrap_corrected(tree, coded, counted.effective, counts, kind, solver, replicates, seed)
        )
    return ShareEstimate(
        tree, node_sums(tree, share), node_variances(tree, covariance), counted.total, counted.rows,
        counted.effective, f"confusion_{kind}_{used}", draws, notes, error,
    )  # fmt: skip


def _corrected(
    tree: Taxonomy, coded: Float64, counts: Float64, kind: str, solver: str, n: float
) -> tuple[Float64, Float64, str, tuple[str, ...], tuple[_Matrix, Float64 | None]]:
    spread = _multinomial_covariance(coded, n)
    if kind == "calibration":
        m = calibration_matrix(tree, counts)
        share = m.probability.T @ coded
        covariance = m.probability.T @ spread @ m.probability
        w = coded**2 / m.size
        covariance += np.diag(w @ m.probability) - (m.probability * w[:, None]).T @ m.probability
        return share, covariance, "matrix", m.notes, (m, None)
    m = misclassification_matrix(tree, counts)
    share, used = solve_shares(m.probability, coded, solver)
    w = share**2 / m.size
    inner = spread + np.diag(m.probability @ w) - (m.probability * w) @ m.probability.T
    inverse: Float64 = np.asarray(np.linalg.pinv(m.probability, rcond=1e-3))
    notes = m.notes
    if used != "inverse":
        notes = (*notes, f"solved by {used}: the matrix is ill-conditioned or its inverse gives negative shares; "
                 "prefer bootstrap intervals")  # fmt: skip
    return share, inverse @ inner @ inverse.T, used, notes, (m, inverse)


def bootstrap_corrected(
    tree: Taxonomy,
    coded: Float64,
    n: float,
    counts: Float64,
    kind: str,
    solver: str,
    replicates: int,
    seed: int,
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
        if kind == "calibration":
            out.append(calibration_matrix(tree, again).probability.T @ c)
        else:
            out.append(solve_shares(misclassification_matrix(tree, again).probability, c, solver)[0])
    return np.array(out)
