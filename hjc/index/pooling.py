"""From similarities of single texts to one score a group: a leaf is as near as its texts are.

B queries, n vectors, G groups, k neighbours. With several texts a group there are two ways: the nearest text decides
(``max``), or all near texts add up (``logsumexp``, ``t ln sum exp(s / t)``, at least the maximum and at most
``t ln(texts)`` above it).
"""

import math

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float32, IntArray
from hjc.errors import check_choice, check_range
from hjc.index.exact import Neighbours

POOLINGS = ("max", "logsumexp")
#: float32 similarities in memory at a time (32 MB)
_BLOCK = 8_000_000


def check_groups(groups: npt.ArrayLike, n: int, num_groups: int) -> IntArray:
    """(n,) int64. Raises ValueError for another length, or numbers outside 0..num_groups-1."""
    g = np.asarray(groups)
    if g.shape != (n,) or g.dtype.kind not in "iu":
        raise ValueError(f"groups: got {g.dtype} of shape {g.shape}, expected ({n},) integers, one for each vector")
    if n:
        inside = g.min() >= 0 and g.max() < num_groups
        check_range("groups", f"{g.min()} to {g.max()}", inside, f"0 to {num_groups - 1}")
    return g.astype(np.int64)


def _check(pooling: str, temperature: float) -> None:
    check_choice("pooling", pooling, POOLINGS)
    check_range("temperature", temperature, math.isfinite(temperature) and temperature > 0, "numbers above 0")


def pool_all(
    vectors: Float32, queries: Float32, groups: IntArray, num_groups: int, pooling: str, temperature: float
) -> Float32:
    """(B, G) from all n unit vectors."""
    _check(pooling, temperature)
    out = np.full((len(queries), num_groups), -np.inf, dtype=np.float32)
    if not len(vectors):
        return out
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    present = ordered[starts]
    sizes = np.diff(np.r_[starts, len(ordered)])
    in_order = bool((order == np.arange(len(order))).all())
    step = max(1, _BLOCK // len(vectors))
    for first in range(0, len(queries), step):
        similarity = queries[first : first + step] @ vectors.T
        np.clip(similarity, -1, 1, out=similarity)
        if not in_order:
            similarity = similarity[:, order]
        top = np.maximum.reduceat(similarity, starts, axis=1)
        if pooling == "logsumexp":
            similarity -= np.repeat(top, sizes, axis=1)
            similarity /= temperature
            np.exp(similarity, out=similarity)
            top = top + temperature * np.log(np.add.reduceat(similarity, starts, axis=1))
        out[first : first + step, present] = top
    return out


def pool_neighbours(found: Neighbours, groups: IntArray, num_groups: int, pooling: str, temperature: float) -> Float32:
    """(B, G) from the k nearest vectors of each query; -inf for a group that none of them belongs to."""
    _check(pooling, temperature)
    rows = np.repeat(np.arange(len(found.position)), found.position.shape[1])
    columns = groups[found.position].ravel()
    values = found.similarity.ravel()
    out = np.full((len(found.position), num_groups), -np.inf, dtype=np.float32)
    np.maximum.at(out, (rows, columns), values)
    if pooling == "logsumexp":
        total = np.zeros(out.shape, dtype=np.float64)
        np.add.at(total, (rows, columns), np.exp((values - out[rows, columns]).astype(np.float64) / temperature))
        hit = total > 0
        out[hit] += temperature * np.log(total[hit])
    return out
