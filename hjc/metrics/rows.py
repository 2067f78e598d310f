"""What is kept of a row's probabilities: a few numbers per level, from which every metric follows.

A model may return a million rows of three thousand leaf probabilities; they are scored batch by batch and thrown away.
B rows of a batch, n rows in all, L leaves, D levels, K columns of a level.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.taxonomy.tree import Taxonomy

#: how far from 1 a row of probabilities may sum (half-precision models stay well inside)
SUM_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class RowScores:
    """Scores of n rows at D levels (column d-1 is level d). Cells where ``valid`` is False hold fillers.

    Attributes:
        gold: (n,) gold node, a leaf or an inner node.
        valid: (n, D) the gold code is determined at the level: an inner gold node is not, below its own level.
        rank: (n, D) 1-based rank of the gold column among the level's marginal probabilities. Ties go to the column
            that stands first (depth-first code order), the order in which ``Classifier.predict`` lists codes.
        log_p: (n, D) ln P(gold) at the level, nats; -inf where the model held the gold code impossible.
        top: (n, D) node of the most probable column (defined in every cell; at level D it is the most probable leaf).
        confidence: (n, D) probability of ``top`` (defined in every cell).
        sq: (n, D) multiclass Brier score of the row, ``sum_k (p_k - [k is gold])**2``, 0 to 2.
    """

    gold: IntArray
    valid: BoolArray
    rank: npt.NDArray[np.int32]
    log_p: Float64
    top: npt.NDArray[np.int32]
    confidence: Float64
    sq: Float64

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def depth(self) -> int:
        return int(self.rank.shape[1])

    @classmethod
    def empty(cls, n: int, depth: int) -> Self:
        """n rows to be filled with :meth:`put`; until then no cell is valid and gold is -1."""
        return cls(
            gold=np.full(n, -1, dtype=np.int64),
            valid=np.zeros((n, depth), dtype=bool),
            rank=np.zeros((n, depth), dtype=np.int32),
            log_p=np.full((n, depth), np.nan),
            top=np.full((n, depth), -1, dtype=np.int32),
            confidence=np.full((n, depth), np.nan),
            sq=np.full((n, depth), np.nan),
        )

    def put(self, rows: npt.ArrayLike, part: "RowScores") -> None:
        """Write the scores of a batch at positions ``rows`` (in place)."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(part, f.name)

    def take(self, rows: npt.ArrayLike) -> "RowScores":
        """The rows at positions (or under a boolean mask) ``rows``, in that order."""
        index = np.asarray(rows)
        index = index.astype(np.int64) if index.size == 0 and index.dtype != bool else index  # [] arrives as float
        return RowScores(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @staticmethod
    def concat(parts: Sequence["RowScores"]) -> "RowScores":
        """The rows of all parts one after the other. Raises ValueError without parts or with different depths."""
        if not parts:
            raise ValueError("RowScores.concat: got no parts, expected at least one")
        if len(depths := {p.depth for p in parts}) > 1:
            raise ValueError(f"RowScores.concat: parts have {sorted(depths)} levels, expected the same number")
        return RowScores(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(RowScores)})


def score_rows(taxonomy: Taxonomy, log_proba: FloatArray, gold: npt.ArrayLike) -> RowScores:
    """Score a batch of leaf log-probabilities against gold nodes.

    Args:
        log_proba: (B, L) natural-log leaf probabilities; -inf is allowed, NaN is not.
        gold: (B,) gold node numbers in 0..N-1, leaves or inner nodes.

    Raises:
        ValueError: wrong shape, NaN, a row that does not sum to 1 (probabilities or raw scores instead of
            log-probabilities), or a gold number that is not a node.
    """
    x = np.asarray(log_proba)
    node = np.asarray(gold)
    if x.ndim != 2 or x.shape[1] != taxonomy.num_leaves:
        raise ValueError(f"log_proba: got shape {x.shape}, expected (rows, {taxonomy.num_leaves})")
    if node.shape != (len(x),):
        raise ValueError(f"gold: got shape {node.shape}, expected ({len(x)},) as log_proba has {len(x)} rows")
    node = node.astype(np.int64)
    if len(node) and (node.min() < 0 or node.max() >= len(taxonomy)):
        bad = int(np.count_nonzero((node < 0) | (node >= len(taxonomy))))
        raise ValueError(
            f"gold: {bad} of {len(node)} rows are no node number of {taxonomy.name!r} (0 to {len(taxonomy) - 1}); "
            "leave unlabelled rows (-1) out with JobData.labelled()"
        )
    proba = _probabilities(x)
    out = RowScores.empty(len(x), taxonomy.depth)
    if not len(x):
        return out
    out.gold[:] = node
    column = taxonomy.level_column[node]  # (B, D), -1 where undetermined
    out.valid[:] = column >= 0
    for d in range(taxonomy.depth):
        nodes = taxonomy.level_nodes(d + 1)
        leaves_only = len(nodes) == taxonomy.num_leaves
        p = proba if leaves_only else np.add.reduceat(proba, taxonomy.leaf_slice[nodes, 0], axis=1)
        # Leaves are compared as they came: two log-probabilities may differ where their rounded exps do not.
        _score_level(out, d, p, x if leaves_only else p, column[:, d], nodes)
    # Sums of probabilities say nothing of a gold code below e^-700: such rows are taken in log-space, which is slower.
    tiny = np.flatnonzero((out.valid & (out.log_p < -700.0)).any(axis=1))
    for d in range(taxonomy.depth) if len(tiny) else ():
        log_p = taxonomy.aggregate(x[tiny].astype(np.float64), d + 1)
        safe, ok = np.maximum(column[tiny, d], 0), column[tiny, d] >= 0
        out.rank[tiny, d] = np.where(ok, _rank(log_p, safe), 0)
        out.log_p[tiny, d] = np.where(ok, np.minimum(log_p[np.arange(len(tiny)), safe], 0.0), np.nan)
    return out


def _score_level(out: RowScores, d: int, p: Float64, ordered: FloatArray, column: IntArray, nodes: IntArray) -> None:
    """Fill level d+1 of ``out`` from its probabilities (B, K) and a monotone function of them to rank by."""
    rows = np.arange(len(p))
    best = ordered.argmax(axis=1)  # the first of ties
    safe, ok = np.maximum(column, 0), column >= 0
    # A sum of many rounded probabilities may exceed 1 by an ulp; a probability may not.
    gold_p = np.minimum(p[rows, safe], 1.0)
    squares = np.einsum("bk,bk->b", p, p) - p[rows, safe] ** 2 + (1.0 - gold_p) ** 2
    with np.errstate(divide="ignore"):
        log_p = np.log(gold_p) if ordered is p else np.minimum(ordered[rows, safe].astype(np.float64), 0.0)
    out.top[:, d] = nodes[best]
    out.confidence[:, d] = np.minimum(p[rows, best], 1.0)
    out.rank[:, d] = np.where(ok, _rank(ordered, safe), 0)
    out.log_p[:, d] = np.where(ok, log_p, np.nan)
    out.sq[:, d] = np.where(ok, np.maximum(squares, 0.0), np.nan)


def _rank(values: FloatArray, column: IntArray) -> IntArray:
    """1-based rank of a column of each row (B, K), largest first, ties by column."""
    at = values[np.arange(len(values)), column][:, None]
    rank = 1 + np.count_nonzero(values > at, axis=1)
    tied = np.flatnonzero(np.count_nonzero(values == at, axis=1) > 1)
    before = np.arange(values.shape[1])[None, :] < column[tied, None]
    rank[tied] += np.count_nonzero((values[tied] == at[tied]) & before, axis=1)
    return rank


def _probabilities(x: FloatArray) -> Float64:
    """exp of (B, L) log-probabilities in float64; ValueError where rows are none."""
    with np.errstate(over="ignore"):
        proba: Float64 = np.exp(x, dtype=np.float64)
        total = proba.sum(axis=1)
    bad = np.flatnonzero(~(np.abs(total - 1.0) <= SUM_TOLERANCE))
    if not len(bad):
        return proba
    if (nan := np.flatnonzero(np.isnan(x).any(axis=1))).size:
        raise ValueError(f"log_proba: NaN in {len(nan)} of {len(x)} rows, first in row {nan[0]}: a diverged model?")
    raise ValueError(
        f"log_proba: {len(bad)} of {len(x)} rows are no log-probabilities: row {bad[0]} sums to "
        f"{total[bad[0]]:.4g} after exp, expected 1; pass natural logarithms of leaf probabilities"
    )
