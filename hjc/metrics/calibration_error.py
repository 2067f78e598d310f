"""Expected calibration error of the stated code's probability, on bins of equal mass."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from hjc.arrays import Float64, IntArray

#: bins of equal mass; 15 is what most papers use (Guo et al. 2017)
ECE_BINS = 15


@dataclass(frozen=True)
class Bins:
    """Bins of confidence: (b,) share of the weight, mean confidence, accuracy, effective number of rows; (n,) member,
    the bin of each row."""

    share: Float64
    confidence: Float64
    accuracy: Float64
    size: Float64
    member: IntArray


def checked_rows(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Float64, Float64, Float64]:
    """Confidence, correctness and weights (ones without) as (n,) float64.

    Raises:
        ValueError: no rows, lengths that differ, or weights that are negative or all 0.
    """
    c, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    w = np.ones(len(c)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(c) == 0 or y.shape != c.shape or w.shape != c.shape:
        raise ValueError(f"expected at least one row and equal lengths, got {c.shape}, {y.shape} and {w.shape}")
    if not (w >= 0).all() or w.sum() <= 0:
        raise ValueError("weights must be numbers from 0, not all 0")
    return c, y, w


def bin_members(confidence: Float64, weights: Float64, bins: int = ECE_BINS) -> tuple[IntArray, int]:
    """Bin of each row (n,) and how many bins there are: bins hold about the same weight, in ascending order.

    Rows of one confidence are one block, which lies where the middle of its mass lies; so no order of rows matters, and
    there may be fewer than ``bins``. Without any weight all rows are one bin.
    """
    if bins < 1:
        raise ValueError(f"bins: got {bins}, allowed are integers from 1")
    _, block = np.unique(confidence, return_inverse=True)
    mass = np.bincount(block, weights)
    total = mass.sum()
    middle = (np.cumsum(mass) - mass / 2) / (total if total > 0 else 1.0)
    which, of_block = np.unique(np.minimum((middle * bins).astype(np.int64), bins - 1), return_inverse=True)
    return of_block[block.reshape(-1)], len(which)


def sums_by(key: npt.NDArray[np.integer[Any]], values: npt.ArrayLike, size: int) -> Float64:
    """(size,) sums of values by key 0..size-1."""
    return np.asarray(np.bincount(key, values, minlength=size), dtype=np.float64)


def equal_mass_bins(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = ECE_BINS, weights: npt.ArrayLike | None = None
) -> Bins:
    """The bins of :func:`bin_members` with what lies in them."""
    c, y, w = checked_rows(confidence, correct, weights)
    member, count = bin_members(c, w, bins)
    mass, conf, hits, square = (sums_by(member, v, count) for v in (w, w * c, w * y, w * w))
    some = np.maximum(mass, 1e-300)
    return Bins(mass / w.sum(), conf / some, hits / some, mass**2 / np.maximum(square, 1e-300), member)


def debiased_gap(gap: Float64, noise: Float64) -> Float64:
    """Gaps |accuracy - confidence| of bins less what sampling noise alone adds to them.

    |N(d, s)| has the mean of the folded normal, larger than |d|; the excess is subtracted, taken at the unbiased
    estimate d^2 = gap^2 - s^2. The normal approximation is that of Kumar, Liang & Ma (2019), Verified Uncertainty
    Calibration, section 5, who take it at the observed gap and so leave more than half of the bias.

    Args:
        noise: s^2, the variance of the accuracy of each bin.
    """
    true, spread = np.sqrt(np.maximum(gap**2 - noise, 0.0)), np.sqrt(noise)
    z = np.divide(true, spread, out=np.full_like(true, np.inf), where=spread > 0)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(gap - 2 * (spread * density - true * ndtr(-z)))


def errors_of_bins(mass: Float64, confidence: Float64, correct: Float64, square: Float64) -> tuple[Float64, Float64]:
    """``ece`` and ``ece_plain`` of R weightings at once, from sums over b bins.

    Args:
        mass, confidence, correct, square: (b, R) sums of the weight, of weight times confidence, of weight times [the
            code is right], and of the squared weight (it makes the effective number of rows, Kish 1965).

    Returns:
        Each (R,): the sum over bins of share times :func:`debiased_gap`, at least 0; and the plain sum of share times
        gap, which on few rows is mostly noise. NaN where the mass is 0.
    """
    total = mass.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        some = np.where(mass > 0, mass, 1.0)
        accuracy = np.clip(correct / some, 0.0, 1.0)
        gap = np.abs(accuracy - confidence / some)
        size = mass**2 / np.where(square > 0, square, 1.0)
        noise = accuracy * (1 - accuracy) / np.maximum(size - 1, 1)
        of = np.where(total > 0, total, np.nan)
        return (
            np.maximum((mass * debiased_gap(gap, noise)).sum(axis=0) / of, 0.0),
            np.asarray((mass * gap).sum(axis=0) / of),
        )


def expected_calibration_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = ECE_BINS, weights: npt.ArrayLike | None = None
) -> float:
    """The ``ece`` of all tables: debiased, on bins of equal mass. Chosen in experiments/ece_choice."""
    c, y, w = checked_rows(confidence, correct, weights)
    member, count = bin_members(c, w, bins)
    sums = (sums_by(member, v, count)[:, None] for v in (w, w * c, w * y, w * w))
    return float(errors_of_bins(*sums)[0][0])
