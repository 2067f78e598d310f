"""Counts and shares per code and domain from a stream of probabilities; memory does not grow with rows."""

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.metrics.bootstrap import PoissonStream
from hjc.metrics.level_proba import LevelProba
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
        replicates: of a bootstrap in one pass, which summed probabilities (``hard``: the counts of codes) then carry:
            row i counts Poisson(1) times in each (Chamandy et al. 2012). Domains are different rows: each has a stream
            of its own, by ``seed`` and its name.
    """

    def __init__(
        self, taxonomy: Taxonomy, level: int | None = None, *, replicates: int = 0, hard: bool = False, seed: int = 0
    ) -> None:
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
        self.replicates, self.hard, self.seed = replicates, hard, seed
        self._streams: list[PoissonStream] = []
        self._drawn: list[Float64] = []  # of each domain (R, K + 1): sums of w z and of w

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
        new = list(self._number)[len(self._size) :]
        for name in ("_hard", "_soft", "_square", "_size") if new else ():
            sums = getattr(self, name)
            setattr(self, name, np.concatenate([sums, np.zeros((len(new), *sums.shape[1:]))]))
        seeds = [zlib.crc32(repr((self.seed, d)).encode()) for d in new]
        self._streams += [PoissonStream(self.replicates, seed) for seed in seeds]
        self._drawn += [np.zeros((self.replicates, self.tree.num_leaves + 1)) for _ in new]
        return codes

    def update(
        self,
        log_proba: FloatArray,
        weights: npt.ArrayLike | None = None,
        domain: Sequence[Hashable] | None = None,
    ) -> None:
        """Add a batch (B, L), weights (B,) and the domain of each row (a region, or a tuple of region and month)."""
        p, best = level_proba(self.taxonomy, log_proba, self.level)
        w = as_weights(weights, len(p))
        codes = self._codes(domain, len(p))
        shape = (len(self._number), len(p))
        for slot, power in enumerate((w, w**2)):
            weigh = csr_array((power, (codes, np.arange(len(p)))), shape=shape)
            np.add.at(self._hard[:, slot], (codes, best), power)
            self._soft[:, slot] += weigh @ p
        self._square += weigh @ node_sums(self.tree, p) ** 2
        np.add.at(self._size, codes, np.c_[np.ones(len(p)), w, w**2])
        for i in np.unique(codes).tolist() if self.replicates else ():
            at = np.flatnonzero(codes == i)
            times = self._streams[i].times(w[at])
            one = csr_array((np.ones(len(at)), (np.arange(len(at)), best[at])), shape=(len(at), p.shape[1]))
            self._drawn[i][:, :-1] += times @ (one if self.hard else p[at])
            self._drawn[i][:, -1] += times.sum(axis=1)

    def _rows_of(self, domain: Any) -> slice:
        """Of the sums, those of a domain, or of all (None)."""
        if domain is not None and domain not in self._number:
            raise KeyError(f"domain {domain!r} has no rows; there are {len(self._number)} domains")
        return slice(None) if domain is None else slice(self._number[domain], self._number[domain] + 1)

    def classify_and_count(self, domain: Any = None) -> ShareEstimate:
        """Share of the rows coded to each node. Biased whenever errors do not cancel (Forman 2008).

        The variance is that of sampling rows, linearised for the ratio: sum w^2 (z - s)^2 / W^2 * n/(n - 1). It knows
        nothing of the bias: with many rows the interval is narrow around a wrong number.
        """
        wz, w2z = node_sums(self.tree, self._hard[self._rows_of(domain)].sum(axis=0))
        return self._estimate(
            domain, True, wz, w2z, w2z, "classify_and_count",
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
        at = self._rows_of(domain)
        (wz, w2z), w2z2 = node_sums(self.tree, self._soft[at].sum(axis=0)), self._square[at].sum(axis=0)
        out = self._estimate(
            domain, False, wz, w2z, w2z2, "summed_probabilities",
            "right only where probabilities are calibrated on rows like these",
        )  # fmt: skip
        if target == "population":
            return out
        return replace(out, variance=np.maximum(w2z - w2z2, 0) / out.total**2, replicates=None)

    def _estimate(
        self, domain: Any, hard: bool, wz: Float64, w2z: Float64, w2z2: Float64, method: str, note: str
    ) -> ShareEstimate:
        at = self._rows_of(domain)
        n, w, w2 = self._size[at].sum(axis=0).tolist()
        if w <= 0:
            raise ValueError(f"{method}: the domain has no rows with a positive weight")
        share = wz / w
        spread = np.maximum(w2z2 - 2 * share * w2z + share**2 * w2, 0.0)
        variance = spread / w**2 * (n / (n - 1) if n > 1 else 1.0)
        draws = None
        if self.replicates and hard == self.hard:
            drawn = np.sum(self._drawn[at], axis=0)
            draws = node_sums(self.tree, drawn[:, :-1] / drawn[:, -1:])
        return ShareEstimate(self.tree, share, variance, w, int(n), kish(w, w2), method, draws, (note,))


def level_proba(taxonomy: Taxonomy, log_proba: FloatArray, level: int) -> tuple[Float64, IntArray]:
    """Probabilities (B, K) of a level, rows divided by their sum so that float32 rounding does not add up, and the most
    probable column (B,)."""
    levels = LevelProba.of(taxonomy, log_proba)
    p = levels.at(level)
    return p / p.sum(axis=1, keepdims=True), levels.ordered(level).argmax(axis=1)
