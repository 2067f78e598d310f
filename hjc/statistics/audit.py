"""Shares corrected by an audit: labelled rows with known inclusion probabilities, whatever the classifier.

The difference estimator of survey sampling (Sarndal, Swensson & Wretman 1992, section 6.3): the classifier's total over
all rows plus the weighted sum of its errors over the audited ones. Unbiased for every classifier and every shift,
because the audit is a random sample of the very rows; a good classifier makes it precise. It is prediction-powered
inference (Angelopoulos, Bates, Fannjiang, Jordan & Zrnic 2023, Science 382) for a mean; the tuned version multiplies
predictions by lambda (PPI++, Angelopoulos, Duchi & Zrnic 2023), never worse than the audit alone in large samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.calibration.conditionals import as_gold
from hjc.metrics.bootstrap import Resamples
from hjc.statistics.estimate import ShareEstimate, kish, node_sums
from hjc.statistics.totals import TARGETS, CodeTotals, as_weights, level_proba
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class Audit:
    """Audited rows at one level: predicted (n, K) probabilities, true (n, K) indicators, design weights (n,) =
    survey weight / inclusion probability, stratum number (n,)."""

    tree: Taxonomy
    predicted: Float64
    true: Float64
    weight: Float64
    stratum: IntArray

    def __len__(self) -> int:
        return len(self.weight)

    def take(self, rows: npt.ArrayLike) -> "Audit":
        """Some of the rows: those of a domain, say."""
        return Audit(self.tree, *(getattr(self, f.name)[np.asarray(rows)] for f in fields(self)[1:]))


def make_audit(
    taxonomy: Taxonomy,
    level: int,
    log_proba: FloatArray,
    gold: npt.ArrayLike,
    *,
    inclusion_probability: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    strata: Sequence[Any] | None = None,
) -> Audit:
    """An audit sample at a level.

    Args:
        log_proba: (n, L) of the audited rows; ``gold`` (n,) what the clerks found, known at the level for every row.
        inclusion_probability: (n,) of being audited (relative size is enough); default equal.
        weights: (n,) survey weights of the rows themselves (those given to CodeTotals); default 1.
        strata: (n,) within which rows were drawn independently; default one stratum.

    Raises:
        ValueError: a gold code is missing or above the level: leaving it out would bias the estimate.
    """
    x, _ = level_proba(taxonomy, log_proba, level)
    g = as_gold(taxonomy, gold, len(x))
    column = np.where(g >= 0, taxonomy.level_column[g, taxonomy.check_level(level) - 1], -1)
    if (column < 0).any():
        raise ValueError(
            f"audit: {int((column < 0).sum())} of {len(x)} rows have no gold code at level {level}. Leaving them out "
            "would bias the estimate: code them, estimate at a coarser level, or add codes for the undeterminable"
        )
    pi = np.ones(len(x)) if inclusion_probability is None else np.asarray(inclusion_probability, dtype=np.float64)
    if pi.shape != (len(x),) or not ((pi > 0) & (pi <= 1)).all():
        raise ValueError(
            f"inclusion_probability: got shape {pi.shape}, expected ({len(x)},) numbers above 0 and up to 1"
        )
    true = (np.arange(x.shape[1]) == column[:, None]).astype(np.float64)
    if strata is not None and len(strata) != len(x):
        raise ValueError(f"strata: got {len(strata)} for {len(x)} rows")
    stratum = np.unique([""] * len(x) if strata is None else [str(s) for s in strata], return_inverse=True)[1]
    return Audit(taxonomy.truncate(level), x, true, as_weights(weights, len(x)) / pi, stratum.astype(np.int64))


def stratified_variance(audit: Audit, values: Float64, mean: Float64) -> Float64:
    """Variance (M,) of the weighted mean of values (n, M), linearised for the ratio, strata independent.

    sum_h n_h / (n_h - 1) sum_i (u_i - u_h)^2 with u = w (value - mean) / sum w (Sarndal et al. 1992, section 5.7,
    drawing with replacement within strata). A stratum with one row is put together with the others of one row.
    """
    u = audit.weight[:, None] * (values - mean) / audit.weight.sum()
    count = np.bincount(audit.stratum)
    stratum = np.where(count[audit.stratum] > 1, audit.stratum, len(count))
    out = np.zeros(values.shape[1])
    for h in np.unique(stratum):
        rows = stratum == h
        n = int(rows.sum())
        spread = ((u[rows] - u[rows].mean(axis=0)) ** 2).sum(axis=0) if n > 1 else (u[rows] ** 2).sum(axis=0)
        out += n / max(n - 1, 1) * spread
    return out


def tuning(audit: Audit, rows: float) -> float:
    """lambda of PPI++, one for all codes so that estimates still add up: sum_k cov(y_k, p_k) over
    (1 + n/N) sum_k var(p_k), kept within 0 and 1. N = ``rows``: those that the audit is independent of, inf when it
    was drawn from them (the predictions' own variation over rows then cancels)."""
    w = audit.weight / audit.weight.sum()
    dy, dp = audit.true - w @ audit.true, audit.predicted - w @ audit.predicted
    above, below = float(w @ (dy * dp).sum(axis=1)), float(w @ (dp**2).sum(axis=1))
    ratio = len(audit) / rows
    return float(np.clip(above / ((1 + ratio) * below), 0, 1)) if below > 0 else 0.0


def difference_estimate(
    totals: CodeTotals,
    audit: Audit,
    domain: Any = None,
    *,
    target: str = "population",
    audit_from: str = "batch",
    tuned: bool = True,
    replicates: int = 0,
    seed: int = 0,
) -> ShareEstimate:
    """lambda * mean probability over all rows + weighted mean over the audit of (true - lambda * probability).

    Args:
        totals: sums over all rows at the audit's level.
        audit: audited rows of the same domain (:meth:`Audit.take`).
        domain: domain of ``totals``, None for all.
        target: "population": the rows are themselves a sample. "batch": only the rows' own true shares are wanted.
        audit_from: "batch": audited rows are among those of ``totals``. "elsewhere": independent rows of the same
            population (labelled earlier).
        tuned: choose lambda from the audit; otherwise 1, the plain difference estimator, whose total is unbiased.
        replicates: bootstrap standard errors instead of analytic ones (audited rows drawn again within strata).

    Raises:
        ValueError: an empty audit, other levels, or an unknown target.
    """
    if target not in TARGETS or audit_from not in ("batch", "elsewhere"):
        raise ValueError(
            f"target: got {target!r}, allowed {list(TARGETS)}; audit_from: {audit_from!r}, allowed batch, elsewhere"
        )
    if totals.tree != audit.tree:
        raise ValueError("difference_estimate: totals and audit are at different levels or on different trees")
    if len(audit) < 2:
        raise ValueError(f"difference_estimate: got {len(audit)} audited rows, at least 2 are needed")
    base = totals.summed_probabilities(domain)
    tree = totals.tree
    factor = tuning(audit, base.effective if audit_from == "elsewhere" else np.inf) if tuned else 1.0
    error = node_sums(tree, audit.true - factor * audit.predicted)
    w = audit.weight / audit.weight.sum()
    mean = w @ error
    share = factor * base.share + mean
    of_audit, of_rows = stratified_variance(audit, error, mean), np.zeros(len(share))
    if target == "population":
        # Rows are a sample: an independent audit leaves the variance of predictions over rows; an audit of the rows
        # themselves has removed that with their own errors, and what is left is the variance of the truth over rows.
        plain = np.clip(share, 0, 1)
        of_truth = plain * (1 - plain) / (base.effective if base.effective > 0 else 1.0)
        of_rows = factor**2 * base.variance if audit_from == "elsewhere" else of_truth
    elif audit_from == "elsewhere":
        raise ValueError("target 'batch' needs an audit drawn from the batch: audit_from='batch'")
    draws = _bootstrap(audit, error, factor, base, of_rows, replicates, seed) if replicates else None
    effective = kish(float(audit.weight.sum()), float(audit.weight @ audit.weight))
    return ShareEstimate(
        tree, share, of_audit + of_rows, base.total, base.rows, effective, "ppi" if tuned else "difference", draws,
        (f"{len(audit)} audited rows, lambda {factor:.3f}",),
    )  # fmt: skip


def _bootstrap(
    audit: Audit, error: Float64, factor: float, base: ShareEstimate, extra: Float64, replicates: int, seed: int
) -> Float64:
    """(R, N): audited rows drawn again within strata, plus normal draws with the variance from sampling rows."""
    drawn = Resamples.draw(len(audit), replicates, seed, strata=audit.stratum)
    w = drawn.counts.T * audit.weight
    noise = np.random.default_rng([seed, 1]).normal(size=(replicates, len(base.share)))
    mean = np.asarray((w / w.sum(axis=1, keepdims=True)) @ error)
    return factor * base.share + mean + noise * np.sqrt(np.maximum(extra, 0.0))
