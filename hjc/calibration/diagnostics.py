"""Is a classifier calibrated? ECE with its bias taken out, Brier decomposition, curves for plots, isotonic check.

These work on two numbers a row, the probability of the stated code and whether it was right, so that a whole test set
fits in memory whatever the number of leaves; ``top_outcomes`` gathers them batch by batch for every level.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.calibration.conditionals import as_gold, as_leaf_log_proba
from hjc.calibration.summary import iter_batches
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class TopOutcomes:
    """Per row and level: probability of the most probable code, whether it is the gold one, whether gold is known."""

    confidence: Float64  # (n, D)
    correct: BoolArray  # (n, D)
    known: BoolArray  # (n, D) False where gold is missing or above the level
    top: IntArray  # (n, D) node of the most probable code

    def level(self, level: int) -> tuple[Float64, BoolArray]:
        """Confidence and correctness of the rows whose gold is known at a level."""
        keep = self.known[:, level - 1]
        return self.confidence[keep, level - 1], self.correct[keep, level - 1]


def top_outcomes(taxonomy: Taxonomy, log_proba: FloatArray | Iterable[Any], gold: npt.ArrayLike) -> TopOutcomes:
    """One pass over batches; rows in the order of ``gold``."""
    wanted = as_gold(taxonomy, gold, len(np.asarray(gold)))
    n, depth = len(wanted), taxonomy.depth
    confidence, correct = np.full((n, depth), np.nan), np.zeros((n, depth), dtype=bool)
    nodes = np.full((n, depth), -1, dtype=np.int64)
    column = np.where(wanted[:, None] >= 0, taxonomy.level_column[wanted], -1)
    for rows, batch in iter_batches(log_proba):
        x = as_leaf_log_proba(taxonomy, batch)
        for d in range(depth):
            level = taxonomy.aggregate(x, d + 1)
            top = level.argmax(axis=1)
            confidence[rows, d] = np.exp(np.take_along_axis(level, top[:, None], axis=1)[:, 0].astype(np.float64))
            correct[rows, d] = top == column[rows, d]
            nodes[rows, d] = taxonomy.level_nodes(d + 1)[top]
    return TopOutcomes(confidence, correct, column >= 0, nodes)


@dataclass(frozen=True)
class Bins:
    """Equal-mass bins of confidence: (b,) weight share, mean confidence, accuracy, effective size, edges (b+1,)."""

    share: Float64
    confidence: Float64
    accuracy: Float64
    size: Float64
    edges: Float64
    member: IntArray  # (n,) bin of each row


def equal_mass_bins(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15, weights: npt.ArrayLike | None = None
) -> Bins:
    """Bins that hold about the same weight; equal confidences are never split, so there may be fewer than ``bins``."""
    c, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    w = np.ones(len(c)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(c) == 0 or c.shape != y.shape or w.shape != c.shape:
        raise ValueError(f"expected at least one row and equal lengths, got {c.shape}, {y.shape} and {w.shape}")
    if bins < 1:
        raise ValueError(f"bins: got {bins}, allowed are integers from 1")
    values, inverse = np.unique(c, return_inverse=True)
    mass = np.bincount(inverse, w)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()  # a value belongs where the middle of its mass lies
    _, of_value = np.unique(np.minimum((middle * bins).astype(np.int64), bins - 1), return_inverse=True)
    member = of_value[inverse]
    total = np.bincount(member, w)
    mean_c, mean_y = np.bincount(member, w * c) / total, np.bincount(member, w * y) / total
    size = total**2 / np.bincount(member, w**2)  # Kish's effective size; the count when weights are equal
    first = np.r_[0, np.flatnonzero(np.diff(of_value)) + 1]
    return Bins(total / w.sum(), mean_c, mean_y, size, np.r_[values[first], values[-1]], member)


def expected_calibration_error(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    bins: int = 15,
    weights: npt.ArrayLike | None = None,
    power: int = 1,
    debias: bool = True,
) -> float:
    """Expected calibration error on equal-mass bins, with the part that sampling noise alone would show taken out.

    power 1: sum of share |accuracy - confidence|. Under noise |N(d, s)| has the mean of the folded normal, larger
    than |d|; the excess is subtracted, taken at the bin's own unbiased d^2 - s^2 (the normal approximation is that of
    the code of Kumar, Liang & Ma 2019, Verified Uncertainty Calibration, who take it at the observed d and so leave
    more than half of the bias of a perfectly calibrated bin). power 2: root of sum of share (d^2 - accuracy
    (1 - accuracy) / (size - 1)), the debiased l2 error of the same paper. Both are floored at 0.
    """
    if power not in (1, 2):
        raise ValueError(f"power: got {power}, allowed are 1 and 2")
    b = equal_mass_bins(confidence, correct, bins, weights)
    d = np.abs(b.accuracy - b.confidence)
    noise = b.accuracy * (1 - b.accuracy) / np.maximum(b.size - 1, 1)
    if power == 2:
        return float(np.sqrt(max((b.share * (d**2 - debias * noise)).sum(), 0.0)))
    if not debias:
        return float(b.share @ d)
    s = np.sqrt(noise)
    true = np.sqrt(np.maximum(d**2 - noise, 0.0))
    z = np.divide(true, s, out=np.full_like(d, np.inf), where=s > 0)
    excess = 2 * (s * norm.pdf(z) - true * norm.cdf(-z))  # mean of |N(true, s)| minus true
    return float(max(b.share @ (d - excess), 0.0))


@dataclass(frozen=True)
class BrierParts:
    """brier = reliability - resolution + uncertainty + within_variance - within_covariance."""

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_variance: float
    within_covariance: float


def brier_decomposition(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15, weights: npt.ArrayLike | None = None
) -> BrierParts:
    """Brier score of the top code's probability, decomposed on equal-mass bins (Murphy 1973, J. Appl. Meteorol. 12).

    With the two within-bin terms of Stephenson, Coelho & Jolliffe (2008, Weather and Forecasting 23) the identity is
    exact.
    """
    c, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    w = np.ones(len(c)) if weights is None else np.asarray(weights, dtype=np.float64)
    b = equal_mass_bins(c, y, bins, w)
    w = w / w.sum()
    base = float(w @ y)
    dc, dy = c - b.confidence[b.member], y - b.accuracy[b.member]
    return BrierParts(
        brier=float(w @ (c - y) ** 2),
        reliability=float(b.share @ (b.confidence - b.accuracy) ** 2),
        resolution=float(b.share @ (b.accuracy - base) ** 2),
        uncertainty=base * (1 - base),
        within_variance=float(w @ dc**2),
        within_covariance=float(2 * w @ (dc * dy)),
    )


def classwise_ece(
    log_proba: FloatArray,
    gold: npt.ArrayLike,
    *,
    bins: int = 15,
    weights: npt.ArrayLike | None = None,
    min_support: int = 1,
) -> pd.DataFrame:
    """Calibration error of each column of a level against all others (classwise ECE of Kull et al. 2019, NeurIPS).

    Args:
        log_proba: (n, K) of one level (``taxonomy.aggregate``); ``gold``: (n,) columns.

    Returns:
        column, support, mean_probability, share, ece (debiased, equal-mass); their mean over columns is classwise ECE.
    """
    p, y = np.exp(np.asarray(log_proba, dtype=np.float64)), np.asarray(gold)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    support = np.bincount(y, minlength=p.shape[1])
    lines = [
        {
            "column": k,
            "support": int(support[k]),
            "mean_probability": float(np.average(p[:, k], weights=w)),
            "share": float(np.average(y == k, weights=w)),
            "ece": expected_calibration_error(p[:, k], y == k, bins=bins, weights=w),
        }
        for k in np.flatnonzero(support >= min_support)
    ]
    return pd.DataFrame(lines, columns=["column", "support", "mean_probability", "share", "ece"])


def reliability_table(
    taxonomy: Taxonomy, outcomes: TopOutcomes, *, bins: int = 15, confidence_level: float = 0.95
) -> pd.DataFrame:
    """Points of the reliability curve of every level: level, bin, n, confidence, accuracy, low, high (Wilson)."""
    z = float(norm.ppf(0.5 + confidence_level / 2))
    out = []
    for level in range(1, taxonomy.depth + 1):
        c, y = outcomes.level(level)
        if len(c) == 0:
            continue
        b = equal_mass_bins(c, y, bins)
        n = b.size
        centre = (b.accuracy + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(b.accuracy * (1 - b.accuracy) / n + z**2 / (4 * n**2))
        out.append(
            pd.DataFrame(
                {
                    "level": level, "bin": np.arange(1, len(n) + 1), "n": n, "confidence": b.confidence,
                    "accuracy": b.accuracy, "low": centre - half, "high": centre + half,
                }
            )
        )  # fmt: skip
    return pd.concat(out, ignore_index=True)


def calibration_table(taxonomy: Taxonomy, outcomes: TopOutcomes, *, bins: int = 15) -> pd.DataFrame:
    """A line per level: n, accuracy, confidence, ece (debiased), ece_raw, ece_l2, isotonic_gain and Brier's parts."""
    lines = []
    for level in range(1, taxonomy.depth + 1):
        c, y = outcomes.level(level)
        if len(c) == 0:
            continue
        parts = brier_decomposition(c, y, bins=bins)
        lines.append(
            {
                "level": level,
                "n": len(c),
                "accuracy": float(y.mean()),
                "confidence": float(c.mean()),
                "ece": expected_calibration_error(c, y, bins=bins),
                "ece_raw": expected_calibration_error(c, y, bins=bins, debias=False),
                "ece_l2": expected_calibration_error(c, y, bins=bins, power=2),
                "isotonic_gain": isotonic_top(c, y).gain,
                **vars(parts),
            }
        )
    return pd.DataFrame(lines)


@dataclass(frozen=True)
class IsotonicTop:
    """The monotone map of confidence to accuracy: steps (x, y), and the Brier score it would gain (in-sample)."""

    x: Float64
    y: Float64
    gain: float

    def __call__(self, confidence: npt.ArrayLike) -> Float64:
        return np.interp(np.asarray(confidence, dtype=np.float64), self.x, self.y)


def isotonic_top(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> IsotonicTop:
    """Isotonic regression of correctness on the top code's probability (Zadrozny & Elkan 2002): a diagnostic.

    It changes only the number shown for the stated code, not the distribution (siblings would no longer sum to their
    parent), hence no calibrator is made of it. A gain well above zero says that a temperature is not enough.
    """
    c, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    w = np.ones(len(c)) if weights is None else np.asarray(weights, dtype=np.float64)
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(c, y, sample_weight=w)
    gain = np.average((c - y) ** 2, weights=w) - np.average((model.predict(c) - y) ** 2, weights=w)
    return IsotonicTop(np.asarray(model.X_thresholds_), np.asarray(model.y_thresholds_), float(gain))
