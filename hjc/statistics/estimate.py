"""An estimate of shares of codes at every level of a tree, with intervals, flags, and the change between two."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from hjc.arrays import Float64
from hjc.taxonomy.tree import Taxonomy

#: an estimate whose standard error is above this part of it is flagged "imprecise" (a usual publication rule)
IMPRECISE = 0.33
#: effective rows (Kish) below which a domain is flagged "few rows"
FEW_ROWS = 30


def node_sums(tree: Taxonomy, columns: npt.ArrayLike) -> Float64:
    """Values of leaf columns (..., L) -> sums for every node (..., N): how counts and shares add up the tree."""
    x = np.asarray(columns, dtype=np.float64)
    total = np.concatenate([np.zeros((*x.shape[:-1], 1)), np.cumsum(x, axis=-1)], axis=-1)
    out = total[..., tree.leaf_slice[:, 1]] - total[..., tree.leaf_slice[:, 0]]
    out[..., tree.leaves] = x  # exact, not a difference of sums
    return np.asarray(out)


def node_variances(tree: Taxonomy, covariance: Float64) -> Float64:
    """Covariance of leaf columns (L, L) -> variance of every node's sum (N,), rounding errors below 0 cut off."""
    return np.asarray(np.maximum(node_covariances(tree, covariance), 0.0))


def node_covariances(tree: Taxonomy, covariance: Float64) -> Float64:
    """Covariance of leaf columns of two estimates (L, L) -> covariance of every node's two sums (N,)."""
    rows = node_sums(tree, covariance)  # (L, N)
    start, stop = tree.leaf_slice.T
    total = np.concatenate([np.zeros((1, len(tree))), np.cumsum(rows, axis=0)])
    nodes = np.arange(len(tree))
    return np.asarray(total[stop, nodes] - total[start, nodes])


def kish(weight_sum: float, weight_square_sum: float) -> float:
    """Kish's (1965) effective number of rows, (sum w)^2 / sum w^2; 0 for no rows."""
    return weight_sum**2 / weight_square_sum if weight_square_sum > 0 else 0.0


def share_interval(
    share: npt.ArrayLike, se: npt.ArrayLike, effective: float, confidence: float = 0.95
) -> tuple[Float64, Float64]:
    """Interval of a share on the logit scale, mapped back: inside (0, 1) and longer towards the middle.

    logit(s) +- z se / (s (1 - s)) (Korn & Graubard 1998 compare it with others for survey proportions). Where the
    standard error is above half the distance to the boundary the logit is no longer near normal, and the plain interval
    is cut to [0, 1]; at 0 (or 1) itself the far limit is at least that of zero events in ``effective`` rows,
    1 - (alpha/2)^(1/effective) (Clopper & Pearson 1934).
    """
    s, e = np.asarray(share, dtype=np.float64), np.asarray(se, dtype=np.float64)
    alpha = 1 - confidence
    z = float(norm.ppf(1 - alpha / 2))
    inside = (e <= 0.5 * np.minimum(s, 1 - s)) & (s > 1e-12) & (s < 1)
    p = np.where(inside, s, 0.5)
    centre, half = logit(p), z * e / (p * (1 - p))
    low = np.where(inside, expit(centre - half), np.clip(s - z * e, 0, 1))
    high = np.where(inside, expit(centre + half), np.clip(s + z * e, 0, 1))
    none = 1 - (alpha / 2) ** (1 / effective) if effective >= 1 else 1.0
    nothing = (s <= 1e-12) | ((s <= 1e-6) & (e <= 0))  # EM leaves a trace where there is nothing
    high = np.where(nothing, np.maximum(high, none), high)
    low = np.where(s >= 1 - 1e-12, np.minimum(low, 1 - none), low)
    return low, high


class SharedError(ABC):
    """The part of an estimate's error that comes from labelled rows which other estimates use as well."""

    #: two errors of one source move together; others are independent
    source: Any

    @abstractmethod
    def covariance(self, other: Any) -> Float64:
        """(N,) covariance with the error that the same source causes in another estimate on the same tree."""


@dataclass(frozen=True)
class ShareEstimate:
    """Shares of the codes of a tree (cut at the level of estimation) that add up: a parent is the sum of its children.

    share (N,), variance (N,) by node; ``total`` is the weight that shares refer to (count = share * total, the total
    taken as known); ``effective`` the effective number of rows; ``replicates`` (R, N) of a bootstrap, if made;
    ``notes`` what a reader must know; ``shared`` the part of the error that other estimates may share.
    """

    tree: Taxonomy
    share: Float64
    variance: Float64
    total: float
    rows: int
    effective: float
    method: str
    replicates: Float64 | None = None
    notes: tuple[str, ...] = field(default=())
    shared: SharedError | None = None

    @property
    def se(self) -> Float64:
        """(N,) standard errors: of the replicates if there are any, otherwise the analytic ones."""
        if self.replicates is not None:
            return np.asarray(self.replicates.std(axis=0, ddof=1))
        return np.asarray(np.sqrt(self.variance))

    @property
    def level_share(self) -> Float64:
        """(K,) shares of the deepest level's columns."""
        return np.asarray(self.share[self.tree.leaves])

    def interval(self, confidence: float = 0.95) -> tuple[Float64, Float64]:
        """(low, high), (N,) each; :func:`share_interval`."""
        return share_interval(self.share, self.se, self.effective, confidence)

    def flags(self) -> list[str]:
        """A warning for each node, "" for none: few rows, imprecise, negative."""
        se = self.se
        out = []
        for s, e in zip(self.share.tolist(), se.tolist(), strict=True):
            words = []
            if self.effective < FEW_ROWS:
                words.append("few rows")
            if s > 0 and e > IMPRECISE * s:
                words.append("imprecise")
            if s < 0:
                words.append("negative")
            out.append(", ".join(words))
        return out

    def to_frame(self, confidence: float = 0.95) -> pd.DataFrame:
        """A line a code: level, code, title, share, se, low, high, count, count_low, count_high, rows, method, flag."""
        low, high = self.interval(confidence)
        values = {"share": self.share, "se": self.se, "low": low, "high": high, "count": self.share * self.total}
        values |= {"count_low": low * self.total, "count_high": high * self.total}
        return code_table(self.tree, {**values, "rows": self.rows, "method": self.method, "flag": self.flags()})


def code_table(tree: Taxonomy, values: Mapping[str, Any]) -> pd.DataFrame:
    """A line a code of every level: level, code, title, and values by name, (N,) or one for all."""
    nodes = [tree.level_nodes(level) for level in range(1, tree.depth + 1)]
    at = np.concatenate(nodes)
    head = {
        "level": np.repeat(np.arange(tree.depth) + 1, [len(of_level) for of_level in nodes]),
        "code": [tree.codes[i] for i in at],
        "title": [tree.title(i) for i in at],
    }
    return pd.DataFrame(head | {name: np.broadcast_to(value, len(tree))[at] for name, value in values.items()})
