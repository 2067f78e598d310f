"""Do two samples come from one distribution? Distances of histograms, a classifier two-sample test, and MMD."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr
from scipy.stats import chi2, norm, rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hjc.arrays import BoolArray, Float64


@dataclass(frozen=True)
class TwoSample:
    """A statistic and its p-value under "same distribution"."""

    statistic: float
    p_value: float


def smoothed(counts: npt.ArrayLike) -> Float64:
    """Shares with half a row added to each cell, so that an empty cell has a finite logarithm."""
    c = np.asarray(counts, dtype=np.float64) + 0.5
    return np.asarray(c / c.sum())


def psi(reference: npt.ArrayLike, new: npt.ArrayLike) -> float:
    """Population stability index of two vectors of counts: sum (q - p) ln(q / p), the symmetrised KL divergence."""
    p, q = smoothed(reference), smoothed(new)
    return float(((q - p) * np.log(q / p)).sum())


def psi_noise(reference: npt.ArrayLike, new: npt.ArrayLike, level: float = 0.99) -> float:
    """Quantile of PSI when nothing changed: chi-square(K - 1) * (1/n + 1/m) (Yurdakul & Naranjo 2020), K cells in use.

    Without it a stability index of many cells and few rows calls noise a drift.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(new, dtype=np.float64)
    cells = int(((a + b) > 0).sum())
    if a.sum() <= 0 or b.sum() <= 0:
        return float("inf")
    return float(chi2.ppf(level, max(cells - 1, 1)) * (1 / a.sum() + 1 / b.sum()))


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
    reference: npt.ArrayLike, new: npt.ArrayLike, *, permutations: int = 200, seed: int = 0, most: int = 500
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

    def statistic(first: BoolArray) -> float:
        n, m = int(first.sum()), int((~first).sum())
        s = first.astype(np.float64)
        ks = kernel @ s
        aa, ab = s @ ks, (1 - s) @ ks
        bb = kernel.sum() - aa - 2 * ab
        return float(aa / (n * (n - 1)) + bb / (m * (m - 1)) - 2 * ab / (n * m))

    first = np.arange(len(x)) < len(a)
    observed = statistic(first)
    above = sum(statistic(rng.permutation(first)) >= observed for _ in range(permutations))
    return TwoSample(observed, (1 + above) / (1 + permutations))
