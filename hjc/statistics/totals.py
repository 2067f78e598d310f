"""Counts and shares per code and domain from a stream of probabilities; memory does not grow with rows."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.metrics.bootstrap import PoissonStream
from hjc.metrics.level_proba import as_leaf_log_proba
from hjc.statistics.estimate import ShareEstimate, kish, node_sums
from hjc.taxonomy.tree import Taxonomy

TARGETS = ("population", "batch")


def as_weights(weights: npt.ArrayLike | None, rows: int) -> Float64:
    """(rows,) finite weights from 0, default 1. Raises ValueError otherwise."""
    w = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (rows,) or not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError(f"weights: got shape {w.shape}, expected ({rows},) finite numbers from 0")
    return w


class CodeTotals:
    """Streaming sums per domain and node: weights of the rows coded there, and of the probabilities.

    A row is coded to its most probable code of ``level``; counts of coarser levels are sums of that, so that a table
    adds up (the argmax of a coarse level taken by itself need not).

    Args:
        level: the deepest level to be published; default the deepest of the tree.
    """

    def __init__(self, taxonomy: Taxonomy, level: int | None = None) -> None:
        self.taxonomy = taxonomy
        self.level = taxonomy.depth if level is None else taxonomy.check_level(level)
        self.tree = taxonomy.truncate(self.level)
        self._number: dict[Hashable, int] = {}
        # Sums of w z and w^2 z add up the tree, so columns suffice: z = coded here (hard) and z = probability (soft).
        # Sums of w^2 z^2 do not: of a hard z they are those of w^2 z, of probabilities they are kept for every node.
        self._hard = np.zeros((0, 2, self.tree.num_leaves))
        self._soft = np.zeros((0, 2, self.tree.num_leaves))
        self._square = np.zeros((0, len(self.tree)))
        self._size = np.zeros((0, 3))  # rows, sum w, sum w^2

    @property
    def domains(self) -> list[Hashable]:
        """Domains in the order of their first row."""
        return list(self._number)

    @property
    def rows(self) -> int:
        return int(self._size[:, 0].sum())

    def _codes(self, domain: Sequence[Hashable] | None, rows: int) -> IntArray:
        if domain is None:
            names: Sequence[Hashable] = [""] * rows
        elif len(domain) != rows:
            raise ValueError(f"domain: got {len(domain)} for {rows} rows")
        else:
            names = domain
        codes = np.array([self._number.setdefault(d, len(self._number)) for d in names], dtype=np.int64)
        if (more := len(self._number) - len(self._size)) > 0:
            self._hard, self._soft, self._square, self._size = (
                np.concatenate([a, np.zeros((more, *a.shape[1:]))])
                for a in (self._hard, self._soft, self._square, self._size)
            )
        return codes

    def update(
        self,
        log_proba: FloatArray,
        weights: npt.ArrayLike | None = None,
        domain: Sequence[Hashable] | None = None,
    ) -> None:
        """Add a batch (B, L), weights (B,) and the domain of each row (a region, or a tuple of region and month)."""
        x = as_leaf_log_proba(self.taxonomy, log_proba)
        w = as_weights(weights, len(x))
        codes = self._codes(domain, len(x))
        p = level_proba(self.taxonomy, x, self.level)
        rows = np.arange(len(x))
        for power, slot in ((w, 0), (w**2, 1)):
            np.add.at(self._hard[:, slot], (codes, p.argmax(axis=1)), power)
            self._soft[:, slot] += csr_array((power, (codes, rows)), shape=(len(self._number), len(x))) @ p
        weigh = csr_array((w**2, (codes, rows)), shape=(len(self._number), len(x)))
        self._square += weigh @ node_sums(self.tree, p) ** 2
        np.add.at(self._size, codes, np.c_[np.ones(len(x)), w, w**2])

    def _select(self, domain: Any) -> tuple[Float64, Float64, Float64]:
        if domain is not None and domain not in self._number:
            raise KeyError(f"domain {domain!r} has no rows; there are {len(self._number)} domains")
        at = slice(None) if domain is None else slice(self._number[domain], self._number[domain] + 1)
        hard, soft, square, size = (a[at].sum(axis=0) for a in (self._hard, self._soft, self._square, self._size))
        return node_sums(self.tree, hard), np.vstack([node_sums(self.tree, soft), square]), size

    def size(self, domain: Any = None) -> tuple[int, float, float]:
        """(rows, sum of weights, effective rows) of a domain, or of all (None)."""
        n, w, w2 = self._select(domain)[2]
        return int(n), float(w), kish(w, w2)

    def classify_and_count(self, domain: Any = None) -> ShareEstimate:
        """Share of the rows coded to each node. Biased whenever errors do not cancel (Forman 2008).

        The variance is that of sampling rows, linearised for the ratio: sum w^2 (z - s)^2 / W^2 * n/(n - 1). It knows
        nothing of the bias: with many rows the interval is narrow around a wrong number.
        """
        hard, _, size = self._select(domain)
        return self._estimate(
            hard[0], hard[1], hard[1], size, "classify_and_count",
            "classifier error is not corrected: the interval covers sampling only",
        )  # fmt: skip

    def summed_probabilities(self, domain: Any = None, target: str = "population") -> ShareEstimate:
        """Mean probability of each node (probabilistic classify-and-count, Bella et al. 2010).

        Unbiased where the classifier is calibrated on rows like these (fails under a shift of priors).

        Args:
            target: "population": the rows are a sample, the variance is that of sampling. "batch": the rows are all
                there is, what is unknown is their true codes: variance sum w^2 p (1 - p) / W^2.
        """
        if target not in TARGETS:
            raise ValueError(f"target: got {target!r}, allowed are {list(TARGETS)}")
        _, soft, size = self._select(domain)
        out = self._estimate(
            soft[0], soft[1], soft[2], size, "summed_probabilities",
            "right only where probabilities are calibrated on rows like these",
        )  # fmt: skip
        if target == "population":
            return out
        variance = np.maximum(soft[1] - soft[2], 0) / max(size[1], 1e-300) ** 2
        return ShareEstimate(
            out.tree, out.share, variance, out.total, out.rows, out.effective, out.method, notes=out.notes
        )

    def _estimate(
        self, wz: Float64, w2z: Float64, w2z2: Float64, size: Float64, method: str, note: str
    ) -> ShareEstimate:
        n, w, w2 = (float(v) for v in size)
        if w <= 0:
            raise ValueError(f"{method}: the domain has no rows with a positive weight")
        share = wz / w
        spread = np.maximum(w2z2 - 2 * share * w2z + share**2 * w2, 0.0)
        variance = spread / w**2 * (n / (n - 1) if n > 1 else 1.0)
        return ShareEstimate(self.tree, share, variance, w, int(n), kish(w, w2), method, notes=(note,))


def level_proba(taxonomy: Taxonomy, log_proba: FloatArray, level: int) -> Float64:
    """Probabilities (B, K) of a level, rows divided by their sum so that float32 rounding does not add up."""
    p = np.exp(np.asarray(taxonomy.aggregate(log_proba, level), dtype=np.float64))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def bootstrap_summed(
    taxonomy: Taxonomy, level: int, *, replicates: int = 200, seed: int = 0, hard: bool = False
) -> "PoissonBootstrap":
    """A streaming bootstrap of (classify-and-count if ``hard`` else) summed probabilities; update it batch by batch."""
    return PoissonBootstrap(taxonomy, level, replicates, seed, hard)


class PoissonBootstrap:
    """Bootstrap of shares in one pass: row i counts Poisson(1) times in each replicate (Chamandy et al. 2012)."""

    def __init__(self, taxonomy: Taxonomy, level: int, replicates: int, seed: int, hard: bool) -> None:
        self.taxonomy, self.level, self.hard = taxonomy, taxonomy.check_level(level), hard
        self.tree = taxonomy.truncate(level)
        self._rows = PoissonStream(replicates, seed)
        self._sums = np.zeros((replicates, self.tree.num_leaves))
        self._weight = np.zeros(replicates)

    def update(self, log_proba: FloatArray, weights: npt.ArrayLike | None = None) -> None:
        """Add a batch (B, L)."""
        p = level_proba(self.taxonomy, as_leaf_log_proba(self.taxonomy, log_proba), self.level)
        w = as_weights(weights, len(p))
        times = self._rows.times(w)
        if self.hard:
            chosen = csr_array((np.ones(len(p)), (np.arange(len(p)), p.argmax(axis=1))), shape=p.shape)
            self._sums += times @ chosen
        else:
            self._sums += times @ p
        self._weight += times.sum(axis=1)

    def shares(self) -> Float64:
        """(R, N) shares of every node in each replicate: the ``replicates`` of a ShareEstimate."""
        return node_sums(self.tree, self._sums / self._weight[:, None])
