"""Do two samples come from one distribution? Distances of histograms, a classifier two-sample test, and MMD."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr
from scipy.stats import norm, rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hjc.arrays import Float64

#: random draws from which the play of chance is read
DRAWS = 2000


@dataclass(frozen=True)
class TwoSample:
    """A statistic and its p-value under "same distribution"."""

    statistic: float
    p_value: float


def smoothed(counts: npt.ArrayLike) -> Float64:
    """Shares with half a row added to each cell, so that an empty cell has a finite logarithm."""
    c = np.asarray(counts, dtype=np.float64) + 0.5
    return np.asarray(c / c.sum(axis=-1, keepdims=True))


def psi(reference: npt.ArrayLike, new: npt.ArrayLike) -> Any:
    """Population stability index of counts (..., K): sum (q - p) ln(q / p), the symmetrised KL divergence; (...)."""
    p, q = smoothed(reference), smoothed(new)
    return ((q - p) * np.log(q / p)).sum(axis=-1)


def null_counts(
    reference: npt.ArrayLike, new: npt.ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> tuple[Float64, Float64]:
    """What the counts (K,) of both would be if nothing had changed: two arrays (draws, K).

    Whole numbers are rows: the rows of both are dealt out at random, cells of few rows included (the permutation test;
    multivariate hypergeometric). Sums of probabilities are drawn as the counts of as many rows: those of rows of which
    each is in one cell only spread at least as much, so that chance is rather over- than understated.

    The chi-square(K - 1) * (1/n + 1/m) of Yurdakul & Naranjo (2020) for the stability index is the limit for many rows
    in every cell; with few it is far too low.
    """
    rng = np.random.default_rng(seed)
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(new, dtype=np.float64)
    both = a + b
    if (a % 1 == 0).all() and (b % 1 == 0).all():
        drawn = rng.multivariate_hypergeometric(both.astype(np.int64), int(b.sum()), size=draws, method="marginals")
        return both - drawn, drawn.astype(np.float64)
    share = both / both.sum()
    first, second = (rng.multinomial(max(1, round(x.sum())), share, size=draws).astype(np.float64) for x in (a, b))
    return first, second


def quantile(values: npt.ArrayLike, level: float) -> float:
    """The value that at most a share 1 - ``level`` of values from chance lies above."""
    return float(np.quantile(np.asarray(values), level, method="higher"))


def jensen_shannon(reference: npt.ArrayLike, new: npt.ArrayLike) -> float:
    """Jensen-Shannon divergence in bits of two vectors of counts or shares: 0 equal, 1 disjoint (Lin 1991)."""
    p, q = (np.asarray(x, dtype=np.float64) / np.sum(x) for x in (reference, new))
    m = (p + q) / 2
    return float((rel_entr(p, m) + rel_entr(q, m)).sum() / (2 * np.log(2)))


def auc(negative: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Probability that a positive's score is above a negative's, ties counting half (Mann & Whitney 1947)."""
    a, b = np.asarray(negative, dtype=np.float64), np.asarray(positive, dtype=np.float64)
    rank = rankdata(np.r_[a, b])
    return float((rank[len(a) :].sum() - len(b) * (len(b) + 1) / 2) / (len(a) * len(b)))


def _drawn(
    reference: npt.ArrayLike, new: npt.ArrayLike, rng: np.random.Generator, least: int, most: int
) -> tuple[Float64, Float64]:
    """At most ``most`` rows of each, in random order. Raises ValueError where they are no samples of one kind."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (reference, new))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < least:
        raise ValueError(
            f"features: got {a.shape} and {b.shape}, expected (rows, H) of equal H with at least {least} rows each"
        )
    return a[rng.permutation(len(a))[:most]], b[rng.permutation(len(b))[:most]]


def classifier_test(reference: npt.ArrayLike, new: npt.ArrayLike, *, seed: int = 0, most: int = 5000) -> TwoSample:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017): can a linear model tell on held-out rows which sample a row
    is from? Statistic: AUC on the half not trained on (0.5 = it cannot); p-value of the Mann-Whitney test of it.

    Args:
        reference: (n, H) features, ``new`` (m, H); at most ``most`` rows of each are used, at least 8 are needed.
    """
    a, b = _drawn(reference, new, np.random.default_rng(seed), 8, most)
    ha, hb = len(a) // 2, len(b) // 2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
    model.fit(np.r_[a[:ha], b[:hb]], np.r_[np.zeros(ha), np.ones(hb)])
    low, high = model.decision_function(a[ha:]), model.decision_function(b[hb:])
    value = auc(low, high)
    n, m = len(low), len(high)
    z = (value - 0.5) / np.sqrt((n + m + 1) / (12 * n * m))
    return TwoSample(value, float(norm.sf(z)))


def mmd_test(
    reference: npt.ArrayLike, new: npt.ArrayLike, *, permutations: int = 999, seed: int = 0, most: int = 500
) -> TwoSample:
    """Unbiased squared maximum mean discrepancy, Gaussian kernel of median width, permutation p-value (Gretton et al.
    2012, eq. 3 and section 5). At most ``most`` rows of each sample are used."""
    rng = np.random.default_rng(seed)
    a, b = _drawn(reference, new, rng, 2, most)
    x = np.r_[a, b]
    square = (x**2).sum(axis=1)
    distance = np.maximum(square[:, None] + square[None, :] - 2 * x @ x.T, 0.0)
    width = float(np.median(distance[np.triu_indices(len(x), 1)]))
    kernel = np.exp(-distance / (width if width > 0 else 1.0))
    np.fill_diagonal(kernel, 0.0)

    def statistic(first: Float64) -> Float64:
        """Of every column of (rows, splits): 1 where a row is of the first sample, 0 of the second."""
        n, m, ks = first.sum(axis=0), (1 - first).sum(axis=0), kernel @ first
        aa, ab = (first * ks).sum(axis=0), ((1 - first) * ks).sum(axis=0)
        bb = kernel.sum() - aa - 2 * ab
        return np.asarray(aa / (n * (n - 1)) + bb / (m * (m - 1)) - 2 * ab / (n * m))

    first = (np.arange(len(x)) < len(a)).astype(np.float64)
    splits = np.stack([first, *(rng.permutation(first) for _ in range(permutations))], axis=1)
    observed, *others = statistic(splits)
    return TwoSample(float(observed), float((1 + np.sum(others >= observed)) / (1 + permutations)))
