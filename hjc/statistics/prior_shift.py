"""Shares under prior shift by EM on probabilities (Saerens, Latinne & Decaestecker 2002), without labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, FloatArray
from hjc.metrics.rows import iter_batches
from hjc.statistics.estimate import SharedError, ShareEstimate, kish, node_sums, node_variances
from hjc.statistics.totals import as_weights, level_proba
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True, eq=False)
class PriorError(SharedError):
    """The error that comes from the estimated prior: ``factor`` (K, K), its covariance is factor factor'."""

    source: Any
    tree: Taxonomy
    factor: Float64

    def covariance(self, other: "PriorError") -> Float64:
        a, b = (node_sums(self.tree, x.factor.T) for x in (self, other))  # (K, N)
        return np.asarray((a * b).sum(axis=0))


_KEEP_CELLS = 20_000_000  # of float64: 160 MB


def _prior(taxonomy: Taxonomy, level: int, prior: npt.ArrayLike) -> Float64:
    p = np.asarray(prior, dtype=np.float64)
    k = len(taxonomy.level_nodes(level))
    if p.shape != (k,) or not (p > 0).all():
        raise ValueError(
            f"training_prior: got shape {p.shape} with {int((p <= 0).sum())} values not above 0; expected ({k},) "
            "positive shares: of codes that training never saw, give the floor that the classifier gives them"
        )
    return np.asarray(p / p.sum())


def em_prior_shift(
    taxonomy: Taxonomy,
    level: int,
    log_proba: FloatArray | Iterable[Any],
    training_prior: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    prior_rows: float | None = None,
    tolerance: float = 1e-7,
    most: int = 500,
) -> ShareEstimate:
    """Maximum-likelihood shares when P(text | code) is that of training and only P(code) changed.

    With ratios r_ik = p_i(k) / training_k the likelihood is sum_i w_i log sum_k s_k r_ik; EM: s_k <- weighted mean of
    s_k r_ik / sum_j s_j r_ij (Saerens et al. 2002, eq. 2.9). Concave, so the start does not matter. Needs calibrated
    probabilities (Alexandari, Kundaje & Shrikumar 2020) and their own prior. Variance: sandwich of the observed
    information on the simplex, over codes with a positive share (those at 0 are taken as 0).

    Args:
        log_proba: (n, L), a list of batches, or anything that can be gone through again and again (one pass an
            iteration; two batches' memory). A one-shot generator is refused.
        training_prior: (K,) shares of the level's columns that the probabilities are calibrated to: usually the mean of
            the calibrated probabilities over validation rows.
        weights: (n,) survey weights, in the order of rows.
        prior_rows: labelled rows that ``training_prior`` was estimated from (where it is a mean of probabilities, the
            number of labels that would be as precise: ``ValidationScores.prior_rows``); its multinomial error then
            enters the variance through ds/d log prior (implicit differentiation of the score). None: it is exact.
    """
    if not isinstance(log_proba, np.ndarray) and iter(log_proba) is log_proba:
        raise TypeError(
            "log_proba is a one-shot iterator, but EM passes over the rows many times: give a list of batches"
        )
    prior = _prior(taxonomy, taxonomy.check_level(level), training_prior)
    tree = taxonomy.truncate(level)
    n = sum(len(rows) for rows, _ in iter_batches(log_proba))
    w_all = as_weights(weights, n)
    total = float(w_all.sum())
    if total <= 0:
        raise ValueError("em_prior_shift: no rows with a positive weight")

    def compute() -> Iterable[tuple[Float64, Float64]]:
        for rows, batch in iter_batches(log_proba):
            yield level_proba(taxonomy, batch, level)[0] / prior, w_all[rows]

    # Few rows are kept: exponentials are most of a pass. Many are computed anew in each.
    kept = list(compute()) if n * len(prior) <= _KEEP_CELLS else None

    def ratios() -> Iterable[tuple[Float64, Float64]]:
        return compute() if kept is None else kept

    share, converged = prior.copy(), False
    for _ in range(most):
        new = np.zeros_like(share)
        for r, w in ratios():
            new += share * ((w / np.maximum(r @ share, 1e-300)) @ r)
        new /= new.sum()
        converged = bool(np.abs(new - share).max() < tolerance)
        share = new
        if converged:
            break
    information, score = np.zeros((len(share), len(share))), np.zeros((len(share), len(share)))
    for r, w in ratios():
        g = r / np.maximum(r @ share, 1e-300)[:, None]
        information += (g * w[:, None]).T @ g
        score += (g * (w**2)[:, None]).T @ g
    covariance = simplex_covariance(information, score, share > 1e-6)
    error = None
    if prior_rows is not None:
        factor = prior_error(information, share, prior, total, prior_rows)
        covariance += factor @ factor.T
        error = PriorError(training_prior, tree, factor)
    notes = ["right only where P(text | code) is that of the training data and probabilities are calibrated"]
    if not converged:
        notes.append(f"EM had not converged after {most} passes")
    return ShareEstimate(
        tree, node_sums(tree, share), node_variances(tree, covariance), total, n, kish(total, float(w_all @ w_all)),
        "em_prior_shift", notes=tuple(notes), shared=error,
    )  # fmt: skip


def prior_error(information: Float64, share: Float64, prior: Float64, total: float, rows: float) -> Float64:
    """Factor (K, K) of the covariance of the shares that comes from a prior estimated on ``rows`` labelled rows.

    Score g_k = sum_i w_i r_ik / (r_i s), equal to the total weight where s_k > 0. Its derivative by log prior_j is
    s_j I_kj - delta_kj g_k, by s it is -I; so ds = P (I diag(s) - total) d log prior with P the inverse of I on the
    simplex. Cov(log prior) = (diag(1 / prior) - 1) / rows = F F', F = diag(prior^-1/2) (I - q q') / sqrt(rows), q =
    sqrt(prior).
    """
    inverse = simplex_covariance(information, information, share > 1e-6)
    jacobian = inverse @ (information * share - total * np.eye(len(share)))
    root = np.sqrt(prior)
    return np.asarray(
        jacobian @ ((np.eye(len(prior)) - np.outer(root, root)) / root[:, None]) / np.sqrt(max(rows, 1.0))
    )


def simplex_covariance(information: Float64, score: Float64, active: BoolArray) -> Float64:
    """B (B' I B)^-1 (B' S B) (B' I B)^-1 B' with B a basis of the directions that keep the sum, among active codes."""
    k = len(active)
    at = np.flatnonzero(active)
    basis = np.zeros((k, max(len(at) - 1, 0)))
    if basis.shape[1] == 0:
        return np.zeros((k, k))
    basis[at[:-1], np.arange(len(at) - 1)] = 1.0
    basis[at[-1], :] = -1.0
    bread = np.linalg.pinv(basis.T @ information @ basis, hermitian=True)
    return np.asarray(basis @ bread @ (basis.T @ score @ basis) @ bread @ basis.T)
