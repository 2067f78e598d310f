"""Array helpers on trees: log-sum-exp over segments, tempered conditionals, chaining them down to the leaves."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.taxonomy.tree import Taxonomy


def log_softmax(x: FloatArray) -> FloatArray:
    """Rows of (B, K) minus their log-sum-exp; a row of nothing but -inf becomes uniform. Same dtype out as in."""
    z = np.asarray(x, dtype=np.float64)
    lse = segment_logsumexp(z, np.array([0]))
    out = np.where(np.isfinite(lse), z - np.where(np.isfinite(lse), lse, 0.0), -np.log(z.shape[1]))
    return out.astype(np.asarray(x).dtype, copy=False)


def segment_logsumexp(x: FloatArray, starts: npt.ArrayLike) -> Float64:
    """Log of the sum of exp over segments of the last axis: (..., M) -> (..., S), each with its own maximum out.

    ``starts`` (S,) are the first positions, ascending, first one 0; a segment ends where the next begins.
    """
    z = np.asarray(x, dtype=np.float64)
    first = np.asarray(starts, dtype=np.int64)
    widths = np.diff(np.r_[first, z.shape[-1]])
    top = np.maximum.reduceat(z, first, axis=-1)
    finite = np.where(np.isfinite(top), top, 0.0)
    total = np.add.reduceat(np.exp(z - np.repeat(finite, widths, axis=-1)), first, axis=-1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(total) + finite)


def sum_paths(values: FloatArray, taxonomy: Taxonomy) -> FloatArray:
    """(B, N) values of nodes, such as log P(node | parent) -> (B, L) sums over the path of each leaf."""
    total = values.copy()
    bounds = np.searchsorted(taxonomy.level, np.arange(2, taxonomy.depth + 2))  # nodes lie in order of their level
    for start, stop in pairwise(bounds.tolist()):
        total[:, start:stop] += total[:, taxonomy.parents[start:stop]]
    return np.ascontiguousarray(total[:, taxonomy.leaves])


def tempered_conditionals(taxonomy: Taxonomy, log_proba: FloatArray, power: npt.ArrayLike) -> Float64:
    """log of P(node | parent)^power, renormalised among siblings: (B, L) -> (B, N).

    ``power`` is 1/T for each sibling group, (G,). The parent's own probability cancels in the normalisation, so node
    marginals are tempered directly. Siblings under an impossible parent get equal conditionals (it changes nothing).
    """
    starts = taxonomy.group_slice[:, 0]
    sizes = np.diff(np.r_[starts, len(taxonomy)])
    powers = np.asarray(power, dtype=np.float64)
    if powers.shape != starts.shape or not (powers > 0).all():
        raise ValueError(f"power: got shape {powers.shape}, expected {starts.shape} positive numbers")
    z = taxonomy.node_log_proba(np.asarray(log_proba, dtype=np.float64)) * np.repeat(powers, sizes)
    norm = np.repeat(segment_logsumexp(z, starts), sizes, axis=-1)
    uniform = np.repeat(-np.log(sizes), sizes)
    alive = np.isfinite(norm)
    return np.where(alive, z - np.where(alive, norm, 0.0), uniform)


def as_gold(taxonomy: Taxonomy, gold: Any, rows: int) -> IntArray:
    """Node numbers (rows,), -1 for none. Raises ValueError for another shape or a number that is no node."""
    g = np.asarray(gold)
    if g.shape != (rows,) or not np.issubdtype(g.dtype, np.integer):
        raise ValueError(f"gold: got {g.dtype} of shape {g.shape}, expected {rows} node numbers (taxonomy.encode)")
    if ((g < -1) | (g >= len(taxonomy))).any():
        raise ValueError(f"gold: node numbers must lie in -1..{len(taxonomy) - 1}, got {g.min()}..{g.max()}")
    return g.astype(np.int64)
