"""Exact nearest neighbours by cosine: a matrix product in blocks, whose result does not depend on the blocks.

A matrix product gives the same pair of vectors results that differ in the last bit with the size of the batch. So the
product only finds candidates (all that come within ``SLACK`` of the k-th); their similarity is then computed again,
each pair for itself. Equal vectors get equal similarities, and ties go to the vector that stands first.
n vectors, B queries, H dimensions.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float32, IntArray

#: far more than rounding can change the inner product of two float32 unit vectors
SLACK = 1e-5
#: vectors and queries of a block; its float32 similarities take 32 MB
VECTOR_BLOCK = 32_768
QUERY_BLOCK = 256
#: ties beyond the k-th that are kept for a query until they are ordered by position
_TIES_KEPT = 1024
_PAIRS = 8192


class Neighbours(NamedTuple):
    """Nearest vectors of B queries, nearest first; ties by position.

    Attributes:
        position: (B, k) int64 position of each vector in the index.
        similarity: (B, k) float32 cosine.
    """

    position: IntArray
    similarity: Float32


def as_vectors(vectors: npt.ArrayLike, name: str, dimensions: int | None = None) -> Float32:
    """(n, H) float32.

    Raises:
        ValueError: not two-dimensional, no columns, other than ``dimensions`` columns, or not finite.
    """
    x = np.ascontiguousarray(vectors, dtype=np.float32)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name}: got shape {x.shape}, expected (rows, dimensions)")
    if dimensions is not None and x.shape[1] != dimensions:
        raise ValueError(f"{name}: got {x.shape[1]} dimensions, the index has {dimensions}; use the encoder it has")
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        raise ValueError(f"{name}: {bad.size:,} rows hold NaN or infinity (first: row {bad[0]})")
    return x


def normalise(vectors: Float32) -> Float32:
    """Each row divided by its length; a row of zeros stays zero, so its cosine with anything is 0."""
    # the largest entry first, so that squares neither overflow nor vanish
    scale = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    x = vectors / np.where(scale > 0, scale, 1)
    length = np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]
    return np.asarray(x / np.where(length > 0, length, 1), dtype=np.float32)


def pair_similarity(vectors: Float32, queries: Float32, rows: IntArray, positions: IntArray) -> Float32:
    """(m,) inner products of pairs, each computed for itself."""
    out = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        out[part] = np.einsum("ij,ij->i", queries[rows[part]], vectors[positions[part]])
    return np.clip(out, -1, 1)


def exact_search(vectors: Float32, queries: Float32, k: int) -> Neighbours:
    """The k nearest of n unit vectors for each of B unit queries (k is at most n).

    Memory: one block of similarities and about k + 1,000 candidates a query, whatever n is.
    """
    n, k = len(vectors), min(k, len(vectors))
    position = np.zeros((len(queries), k), dtype=np.int64)
    similarity = np.zeros((len(queries), k), dtype=np.float32)
    if k == 0 or not len(queries):
        return Neighbours(position, similarity)
    for first in range(0, len(queries), QUERY_BLOCK):
        block = queries[first : first + QUERY_BLOCK]
        rows = places = np.empty(0, dtype=np.int64)
        scores: Float32 = np.empty(0, dtype=np.float32)
        bound: Float32 = np.full(len(block), -np.inf, dtype=np.float32)
        for start in range(0, n, VECTOR_BLOCK):
            product = block @ vectors[start : start + VECTOR_BLOCK].T
            if start == 0 and (width := product.shape[1]) >= k:
                bound = np.partition(product, width - k, axis=1)[:, width - k] - np.float32(SLACK)
            new_rows, columns = np.nonzero(product >= bound[:, None])
            rows = np.concatenate([rows, new_rows])
            places = np.concatenate([places, columns + start])
            scores = np.concatenate([scores, product[new_rows, columns]])
            rows, places, scores, bound = _keep_best(rows, places, scores, len(block), k)
        position[first : first + len(block)], similarity[first : first + len(block)] = _order(
            vectors, block, rows, places, k
        )
    return Neighbours(position, similarity)


def _keep_best(
    rows: IntArray, places: IntArray, scores: Float32, queries: int, k: int
) -> tuple[IntArray, IntArray, Float32, Float32]:
    """Candidates within ``SLACK`` of the k-th of their query, and that bound for each query (-inf: fewer than k)."""
    order = np.lexsort((places, -scores, rows))
    rows, places, scores = rows[order], places[order], scores[order]
    starts = np.searchsorted(rows, np.arange(queries + 1))
    counts = np.diff(starts)
    bound: Float32 = np.full(queries, -np.inf, dtype=np.float32)
    full = counts >= k
    bound[full] = scores[starts[:-1][full] + k - 1] - np.float32(SLACK)
    rank = np.arange(len(rows)) - starts[rows]
    keep = (scores >= bound[rows]) & (rank < k + _TIES_KEPT)
    return rows[keep], places[keep], scores[keep], bound


def _order(vectors: Float32, queries: Float32, rows: IntArray, places: IntArray, k: int) -> tuple[IntArray, Float32]:
    """The first k candidates of each query by similarity computed pair by pair, then by position."""
    exact = pair_similarity(vectors, queries, rows, places)
    order = np.lexsort((places, -exact, rows))
    starts = np.searchsorted(rows[order], np.arange(len(queries)))
    chosen = order[starts[:, None] + np.arange(k)]
    return places[chosen], exact[chosen]
