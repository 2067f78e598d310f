"""The change of shares between two periods, with its own interval.

Var(new - old) = Var(new) + Var(old) - 2 Cov. The covariance is not 0 where both were corrected with the same labelled
rows (their error moves both estimates the same way and largely cancels), nor where the same units are in both periods
(an ad that is still online, a panel of enterprises). The module knows both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from hjc.arrays import Float64, IntArray
from hjc.statistics.estimate import ShareEstimate, code_table, node_sums
from hjc.taxonomy.tree import Taxonomy

INDEPENDENT, SAME_LABELS, SAME_UNITS = "independent", "same labelled rows", "paired units"


@dataclass(frozen=True)
class Change:
    """New share minus old share, (N,) each, with standard errors and a normal interval.

    ``how`` the two were related: independent, corrected with the same labelled rows, or of paired units.
    """

    tree: Taxonomy
    change: Float64
    se: Float64
    how: str = INDEPENDENT

    @property
    def paired(self) -> bool:
        """Whether a covariance entered."""
        return self.how != INDEPENDENT

    def interval(self, confidence: float = 0.95) -> tuple[Float64, Float64]:
        """(low, high), (N,) each."""
        z = float(norm.ppf(0.5 + confidence / 2))
        return self.change - z * self.se, self.change + z * self.se

    def to_frame(self, confidence: float = 0.95) -> pd.DataFrame:
        """A line a code: level, code, title, change, se, low, high, significant (0 outside the interval)."""
        low, high = self.interval(confidence)
        return code_table(
            self.tree,
            {
                "change": self.change,
                "se": self.se,
                "low": low,
                "high": high,
                "significant": (low > 0) | (high < 0),
            },
        )


def change(
    new: ShareEstimate, old: ShareEstimate, *, shared_audit: bool = False, unit_variance: npt.ArrayLike | None = None
) -> Change:
    """New minus old.

    Rows of the two are taken as different ones. Where both carry the error of the same labelled rows (a confusion
    matrix, a prior), its covariance is taken into account by itself.

    Args:
        shared_audit: use bootstrap replicates instead: both must carry some, made with the same seed of the labelled
            sample (replicate r of one belongs to replicate r of the other), and the standard error is that of the
            paired differences.
        unit_variance: (N,) of :func:`unit_variance`, where the same units are in both
            periods; it replaces the variances of both, which then must have no other part than that of sampling rows.

    Raises:
        ValueError: the trees differ, or ``shared_audit`` without paired replicates.
    """
    if new.tree != old.tree:
        raise ValueError("change: the two estimates are on different trees or levels")
    difference = new.share - old.share
    if unit_variance is not None:
        return Change(new.tree, difference, np.sqrt(np.maximum(unit_variance, 0.0)), SAME_UNITS)
    if shared_audit:
        a, b = new.replicates, old.replicates
        if a is None or b is None or a.shape != b.shape:
            raise ValueError("shared_audit needs replicates of both estimates, as many and with the same seed")
        return Change(new.tree, difference, (a - b).std(axis=0, ddof=1), SAME_LABELS)
    if new.shared is None or old.shared is None or new.shared.source is not old.shared.source:
        return Change(new.tree, difference, np.hypot(_known(new, new.se), _known(old, old.se)))
    variance = _known(new) ** 2 + _known(old) ** 2 - 2 * new.shared.covariance(old.shared)
    return Change(new.tree, difference, np.sqrt(np.maximum(variance, 0.0)), SAME_LABELS)


def _known(estimate: ShareEstimate, se: Float64 | None = None) -> Float64:
    """(N,) standard errors, of a share of nothing that of the interval without events: the analytic 0 would make the
    least difference significant."""
    found = np.sqrt(estimate.variance) if se is None else se
    nothing = (estimate.share <= 1e-6) & (found <= 1e-9)
    least = (1 - 0.025 ** (1 / estimate.effective)) / 1.959964 if estimate.effective >= 1 else 1.0
    return np.asarray(np.where(nothing, least, found))


def unit_variance(
    tree: Taxonomy, values: Callable[[IntArray], Float64], weight: Float64, unit: IntArray, period: IntArray,
    chunk: int = 4096,
) -> Float64:  # fmt: skip
    """(N,) variance of the difference of two means when rows of one unit go together, within and across periods.

    Linearised for the two ratios with units as clusters (Sarndal, Swensson & Wretman 1992, sections 4.2 and 5.6, with
    replacement): u = sum over a unit's rows of w (z - share) / sum w, new minus old; variance m / (m - 1) sum u^2 over
    the m units. Without a unit in common and with one row a unit it is the sum of both variances.

    Args:
        values: positions of rows -> (b, K) by column of the tree (probabilities, or 0 and 1 for coded); asked twice for
            every row, ``chunk`` rows (and the rest of a unit) at a time.
        weight, unit, period: (n,) of every row; units numbered from 0, period 1 new and 0 old.

    Raises:
        ValueError: a period has no row with a positive weight.
    """
    n = len(weight)
    total = np.bincount(period, weight, minlength=2)
    if not (total > 0).all():
        raise ValueError("a change needs rows with a positive weight in each period")
    share = np.zeros((2, len(tree)))
    for start in range(0, n, chunk):
        rows = np.arange(start, min(start + chunk, n))
        z = node_sums(tree, values(rows))
        for t in (0, 1):
            share[t] += np.where(period[rows] == t, weight[rows], 0.0) @ z / total[t]
    order = np.argsort(unit, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(unit[order]) != 0])  # where units begin
    out, m, begin = np.zeros(len(tree)), len(first), 0
    while begin < m:
        end = max(int(np.searchsorted(first, first[begin] + chunk)), begin + 1)
        rows = order[first[begin] : first[end] if end < m else n]
        side = period[rows]
        factor = np.where(side == 1, 1.0, -1.0) * weight[rows] / total[side]
        u = factor[:, None] * (node_sums(tree, values(rows)) - share[side])
        out += (np.add.reduceat(u, first[begin:end] - first[begin], axis=0) ** 2).sum(axis=0)
        begin = end
    return out * (m / (m - 1) if m > 1 else 1.0)
