"""How well a space of vectors keeps an order that is known: the triplet ranking accuracy."""

from typing import Any

import numpy as np
import numpy.typing as npt

_BLOCK = 65_536


def triplet_accuracy(vectors: npt.ArrayLike, triplets: npt.ArrayLike) -> float:
    """Share of triplets (anchor, near, far) with cosine(anchor, near) > cosine(anchor, far).

    The triplet ranking accuracy of arXiv:2507.09949. A tie is wrong, so vectors that are all equal score 0; the
    cosine with a vector of zeros is 0.

    Args:
        vectors: (N, H), a row a node.
        triplets: (T, 3) row numbers.

    Raises:
        ValueError: other shapes, row numbers outside the vectors, NaN or infinity, or no triplets.
    """
    x = np.asarray(vectors, dtype=np.float64)
    t = np.asarray(triplets)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(f"vectors: got shape {x.shape}, expected (nodes, dimensions) of finite numbers")
    if t.ndim != 2 or t.shape[1:] != (3,) or t.dtype.kind not in "iu" or not len(t):
        raise ValueError(f"triplets: got {t.dtype} of shape {t.shape}, expected (triplets, 3) integers, at least one")
    if t.min() < 0 or t.max() >= len(x):
        raise ValueError(f"triplets: got row numbers {t.min()} to {t.max()} for {len(x)} vectors")
    x = x / _positive(np.abs(x).max(axis=1, keepdims=True, initial=0.0))
    x = x / _positive(np.sqrt(np.einsum("ij,ij->i", x, x))[:, None])
    right = 0
    for start in range(0, len(t), _BLOCK):
        anchor, near, far = x[t[start : start + _BLOCK].T]
        right += int((_dots(anchor, near) > _dots(anchor, far)).sum())
    return right / len(t)


def _dots(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.einsum("ij,ij->i", a, b))


def _positive(length: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(length > 0, length, 1.0)
