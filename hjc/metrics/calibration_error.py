"""Expected calibration error of the top-1 probability, with bins of equal mass."""

import math

import numpy as np
from scipy.special import erf

from hjc.arrays import Float64, IntArray

#: bins of equal mass; 15 is what most papers use (Guo et al. 2017)
ECE_BINS = 15


def confidence_blocks(confidence: Float64, limit: int | None = None) -> tuple[IntArray, int]:
    """Number the distinct confidences in ascending order: block of each row (n,), number of blocks.

    Rows of one confidence are one block, so the error does not depend on the order of rows. With ``limit``,
    neighbouring confidences are merged into about that many blocks of equal row counts (the bootstrap's shortcut).
    """
    _, block = np.unique(confidence, return_inverse=True)
    block = block.reshape(-1).astype(np.int64)
    size = int(block.max()) + 1 if len(block) else 0
    if limit is not None and size > limit:
        # Rank of the block's first row, cut into `limit` runs: ties stay together.
        first = np.r_[0, np.cumsum(np.bincount(block, minlength=size))[:-1]]
        coarse = first * limit // len(block)
        _, renumber = np.unique(coarse, return_inverse=True)
        block = renumber.reshape(-1)[block].astype(np.int64)
        size = int(block.max()) + 1
    return block, size


def ece_from_blocks(
    mass: Float64, confidence: Float64, correct: Float64, bins: int = ECE_BINS
) -> tuple[Float64, Float64]:
    """ECE and debiased ECE of R weightings at once, from block sums.

    Args:
        mass: (F, R) weight of each block, blocks in ascending order of confidence.
        confidence: (F, R) weight times confidence, summed over the block.
        correct: (F, R) weight times [top-1 is right], summed over the block.
        bins: number m of equal-mass bins.

    Returns:
        ``(ece, debiased)``, each (R,): the plug-in ``sum_b 1/m |accuracy_b - confidence_b|``, and the same less
        its estimated bias (Kumar, Liang & Ma 2019, "Verified uncertainty calibration", section 5 for the l1 error:
        accuracy_b resampled from a normal; here the mean of the folded normal is taken in closed form), at least 0.
        The weight of a block that straddles a bin's edge is divided between the bins, so a weight of 2 is the same
        as the row twice. NaN where the mass is 0.
    """
    total = mass.sum(axis=0)
    r = len(total)
    if mass.shape[0] == 0:
        return np.full(r, np.nan), np.full(r, np.nan)
    m = bins
    cumulative = [np.vstack([np.zeros(r), np.cumsum(a, axis=0)]) for a in (mass, confidence, correct)]
    edges = np.linspace(0.0, 1.0, m + 1)[:, None] * total  # (m+1, R)
    at_edge = _interpolate(cumulative[0], cumulative[1:], edges)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_bin = total / m
        conf = np.diff(at_edge[0], axis=0) / per_bin
        acc = np.clip(np.diff(at_edge[1], axis=0) / per_bin, 0.0, 1.0)
        gap = np.abs(acc - conf)
        ece = gap.mean(axis=0)
        spread = np.sqrt(acc * (1.0 - acc) / per_bin)
        z = gap / np.where(spread > 0, spread, 1.0)
        folded = spread * math.sqrt(2.0 / math.pi) * np.exp(-0.5 * z**2) + gap * erf(z / math.sqrt(2.0))
        debiased = np.maximum(2.0 * ece - np.where(spread > 0, folded, gap).mean(axis=0), 0.0)
    empty = ~(total > 0)
    return np.where(empty, np.nan, ece), np.where(empty, np.nan, debiased)


def _interpolate(x: Float64, ys: list[Float64], at: Float64) -> list[Float64]:
    """Piecewise-linear y(at) per column, for non-decreasing ``x`` (F+1, R), each y (F+1, R), ``at`` (E, R)."""
    f, r = x.shape
    scale = np.where(x[-1] > 0, x[-1], 1.0)
    # One search for all columns: column j is moved to the interval [2j, 2j+1].
    offset = 2.0 * np.arange(r)
    keys = (x / scale + offset).T.ravel()
    wanted = (at / scale + offset).T.ravel()
    upper = np.searchsorted(keys, wanted, side="left").reshape(r, -1) - f * np.arange(r)[:, None]
    upper = np.clip(upper, 1, f - 1).T  # (E, R)
    lower = upper - 1
    x0, x1 = np.take_along_axis(x, lower, 0), np.take_along_axis(x, upper, 0)
    share = np.clip((at - x0) / np.where(x1 > x0, x1 - x0, 1.0), 0.0, 1.0)
    share = np.where(x1 > x0, share, 1.0)
    out = []
    for y in ys:
        y0, y1 = np.take_along_axis(y, lower, 0), np.take_along_axis(y, upper, 0)
        out.append(y0 + share * (y1 - y0))
    return out
