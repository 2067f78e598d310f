"""Scores of many linear estimators: sparse rows times sparse weights, feature by feature.

Features that most of the rows and many of the estimators have are multiplied as dense matrices; of the others only
what is there. SciPy multiplies these where it is at hand and rows are many; else NumPy alone does, in the same order
of summation, with the same numbers. B rows, F features, E estimators, n weights, H features taken as dense.
"""

import sys
from functools import cache
from typing import Any

import numpy as np

from hjc.arrays import BoolArray, Float32, FloatArray, IntArray, spans
from hjc.classifiers.sparse_rows import Csr

#: products of a dense matrix that take the time of one of a sparse one, and products of a sparse one that take the
#: time in which one weight is written into a dense one (measured: OpenBLAS against scikit-learn, 300 to 3,500 columns)
_DENSE_PACE, _WRITING = 60, 0.5
#: so few rows are not worth an import
_FEW_ROWS = 16


class FeatureWeights:
    """Weights (F, E).

    Args:
        starts: (F + 1,) where the weights of each feature begin. estimators: (n,) whose weights they are, ascending
            for a feature. values: (n,) float32. number: E.
    """

    def __init__(self, starts: IntArray, estimators: Any, values: Float32, number: int) -> None:
        self.starts, self.estimators, self.values = starts, estimators, values
        self._size = np.diff(starts)
        self.shape = len(self._size), number
        self._matrix: Any = None

    def scores(self, rows: Csr) -> FloatArray:
        """(B, E) float32 products. Memory: dense blocks of B x E, H x E and B x H."""
        few = rows.shape[0] <= _FEW_ROWS
        if not ("scipy.sparse" in sys.modules if few else has_scipy()):
            return self.plain_scores(rows)
        from scipy import sparse

        dense, rest = self._split(rows)
        # SciPy multiplies what has one type of numbers of columns; else it copies all weights each time
        kind = np.int32 if max(len(self.values), len(rows.data), *self.shape) < 2**31 else np.int64
        if self._matrix is None:
            place = self.estimators.astype(kind, copy=False), self.starts.astype(kind, copy=False)
            self._matrix = sparse.csr_matrix((self.values, *place), shape=self.shape)
        indptr, indices, data = rest
        place = indices.astype(kind, copy=False), indptr.astype(kind, copy=False)
        given = sparse.csr_matrix((data, *place), shape=rows.shape)
        out: FloatArray
        if few and "sklearn.utils.extmath" not in sys.modules:
            out = (given @ self._matrix).toarray()
        else:
            # writes dense sums at once: the same numbers as SciPy's in half of the time, after half a second of import
            from sklearn.utils.extmath import safe_sparse_dot

            out = np.asarray(safe_sparse_dot(given, self._matrix, dense_output=True))
        if len(dense):
            out += _columns(rows, dense) @ self._matrix[dense].toarray()
        return out

    def _split(self, rows: Csr) -> tuple[IntArray, tuple[IntArray, IntArray, Float32]]:
        """(H,) features that are sooner multiplied as dense columns; indptr, indices and data of the others."""
        number = rows.shape[0]
        times = np.bincount(rows.indices, minlength=self.shape[0])
        dense: BoolArray = times * self._size > self.shape[1] * (number / _DENSE_PACE + _WRITING)
        chosen = np.flatnonzero(dense)
        if not len(chosen):
            return chosen, (rows.indptr, rows.indices, rows.data)
        rest = np.flatnonzero(~dense[rows.indices])
        return chosen, (np.searchsorted(rest, rows.indptr), rows.indices[rest], rows.data[rest])

    def plain_scores(self, rows: Csr) -> FloatArray:
        """:meth:`scores` by NumPy alone: all rows that have a feature at once, one feature after the other."""
        dense, (indptr, indices, data) = self._split(rows)
        number = rows.shape[0]
        out = np.zeros((number, self.shape[1]), np.float32)
        order = np.argsort(indices, kind="stable")
        owner, value = np.repeat(np.arange(number), np.diff(indptr))[order], data[order]
        feature = indices[order]
        first = np.flatnonzero(np.diff(feature, prepend=-1))
        last = first + np.diff(first, append=len(order))
        for column, begin, end in zip(feature[first].tolist(), first.tolist(), last.tolist(), strict=True):
            at, x, here = owner[begin:end], value[begin:end], slice(self.starts[column], self.starts[column + 1])
            if end - begin == 1:
                out[at[0], self.estimators[here]] += x[0] * self.values[here]
            else:
                out[at[:, None], self.estimators[here]] += x[:, None] * self.values[here]
        if len(dense):
            weights = np.zeros((len(dense), self.shape[1]), np.float32)
            place = spans(self.starts[dense], self.starts[dense + 1])
            weights[np.repeat(np.arange(len(dense)), self._size[dense]), self.estimators[place]] = self.values[place]
            out += _columns(rows, dense) @ weights
        return out

    def of(self, estimator: int) -> Float32:
        """(F,) weights of an estimator."""
        out = np.zeros(self.shape[0], np.float32)
        here = np.flatnonzero(self.estimators == estimator)
        out[np.searchsorted(self.starts, here, "right") - 1] = self.values[here]
        return out


def _columns(rows: Csr, columns: IntArray) -> Float32:
    """(B, H) some columns of rows."""
    number, width = rows.shape
    line = np.full(width, -1)
    line[columns] = np.arange(len(columns))
    at = line[rows.indices]
    here = np.flatnonzero(at >= 0)
    owner = np.repeat(np.arange(number), np.diff(rows.indptr))[here]
    out = np.zeros((number, len(columns)), np.float32)
    out[owner, at[here]] = rows.data[here]
    return out


@cache
def has_scipy() -> bool:
    """SciPy and scikit-learn, whose products are faster, are installed."""
    try:
        import sklearn.utils.extmath  # noqa: F401
    except ImportError:
        return False
    return True
