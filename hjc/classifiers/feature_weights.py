"""Scores of many linear estimators: sparse rows times sparse weights, feature by feature.

SciPy multiplies where it is at hand and rows are many; else NumPy alone does, in the same order of summation, with the
same numbers. B rows, F features, E estimators, n weights.
"""

import sys
from functools import cache
from typing import Any

import numpy as np

from hjc.arrays import Float32, FloatArray, IntArray
from hjc.classifiers.compiled import COMPILED, FEW_TEXTS
from hjc.classifiers.sparse_rows import Csr

#: features with a weight in more than this share of the estimators are multiplied as dense rows (faster)
_DENSE_SHARE = 0.1
#: so few rows are not worth an import
_FEW_ROWS = 16


class FeatureWeights:
    """Weights (F, E).

    Args:
        starts: (F + 1,) where the weights of each feature begin. estimators: (n,) whose weights they are, ascending
            for a feature. values: (n,) float32. number: E.
    """

    def __init__(self, starts: IntArray, estimators: Any, values: Float32, number: int) -> None:
        size = np.diff(starts)
        heavy = size > _DENSE_SHARE * number
        self.shape = len(size), number
        self.heavy = np.flatnonzero(heavy)
        self._line = np.where(heavy, np.cumsum(heavy) - 1, -1)  # of each feature: its line in dense
        self.dense = np.zeros((len(self.heavy), number), np.float32)
        here = np.repeat(heavy, size)
        self.dense[np.repeat(np.arange(len(self.heavy)), size[heavy]), estimators[here]] = values[here]
        self.starts = np.concatenate([[0], np.cumsum(np.where(heavy, 0, size))])
        self.estimators, self.values = estimators[~here], values[~here]
        self._matrix: Any = None
        self._laid_out: Any = None  # for compiled loops
        self._same = False  # these give the same sums here

    def scores(self, rows: Csr) -> FloatArray:
        """(B, E) float32 products. Memory: dense blocks of B x E."""
        if (loops := COMPILED.loops) is not None and rows.shape[0] >= FEW_TEXTS:
            try:
                found = self._by_loops(rows, loops)
            except loops.NotCompiledError as error:
                COMPILED.leave_out(f"cannot be compiled ({error})")
                return self._by_libraries(rows)
            if self._same or (found == self._by_libraries(rows)).all():
                self._same = True
                return found
            COMPILED.leave_out("give other sums than NumPy and SciPy on this processor")
        return self._by_libraries(rows)

    def _by_loops(self, rows: Csr, loops: Any) -> FloatArray:
        if self._laid_out is None:
            # numbers without a sign: no place is counted from the end
            small = np.uint16 if self.shape[1] <= 1 << 16 else np.uint32
            places = self.starts.astype(np.uint64), self.estimators.astype(small)
            self._laid_out = self._line, *places, self.values, self.dense
        out = np.zeros((rows.shape[0], self.shape[1]), np.float32)
        loops.product(rows.indptr, rows.indices, rows.data, *self._laid_out, out)
        return out

    def _by_libraries(self, rows: Csr) -> FloatArray:
        few = rows.shape[0] <= _FEW_ROWS
        if not ("scipy.sparse" in sys.modules if few else has_scipy()):
            return self.plain_scores(rows)
        from scipy import sparse

        # SciPy multiplies what has one type of numbers of columns; else it copies all weights each time
        kind = np.int32 if max(len(self.values), len(rows.data), *self.shape) < 2**31 else np.int64
        if self._matrix is None:
            place = self.estimators.astype(kind, copy=False), self.starts.astype(kind, copy=False)
            self._matrix = sparse.csr_matrix((self.values, *place), shape=self.shape)
        place = rows.indices.astype(kind, copy=False), rows.indptr.astype(kind, copy=False)
        given = sparse.csr_matrix((rows.data, *place), shape=rows.shape)
        out: FloatArray
        if few:
            out = (given @ self._matrix).toarray()
        else:
            # writes dense sums at once: the same numbers as SciPy's in half of the time, after half a second of import
            from sklearn.utils.extmath import safe_sparse_dot

            out = np.asarray(safe_sparse_dot(given, self._matrix, dense_output=True))
        if len(self.heavy):
            out += given[:, self.heavy] @ self.dense
        return out

    def plain_scores(self, rows: Csr) -> FloatArray:
        """:meth:`scores` by NumPy alone: all rows that have a feature at once, one feature after the other."""
        number = rows.shape[0]
        out, heavy = np.zeros((2, number, self.shape[1]), np.float32)
        order = np.argsort(rows.indices, kind="stable")
        owner, value = np.repeat(np.arange(number), np.diff(rows.indptr))[order], rows.data[order]
        feature = rows.indices[order]
        first = np.flatnonzero(np.diff(feature, prepend=-1))
        last = first + np.diff(first, append=len(order))
        for column, begin, end in zip(feature[first].tolist(), first.tolist(), last.tolist(), strict=True):
            at, x, line = owner[begin:end], value[begin:end], self._line[column]
            here = slice(self.starts[column], self.starts[column + 1])  # nothing of a heavy feature
            if line >= 0:
                heavy[at] += x[:, None] * self.dense[line]
            elif end - begin == 1:
                out[at[0], self.estimators[here]] += x[0] * self.values[here]
            else:
                out[at[:, None], self.estimators[here]] += x[:, None] * self.values[here]
        out += heavy
        return out

    def of(self, estimator: int) -> Float32:
        """(F,) weights of an estimator."""
        out = np.zeros(self.shape[0], np.float32)
        here = np.flatnonzero(self.estimators == estimator)
        out[np.searchsorted(self.starts, here, "right") - 1] = self.values[here]
        out[self.heavy] = self.dense[:, estimator]
        return out

    def all(self) -> tuple[IntArray, IntArray, Float32]:
        """starts, estimators and values of all weights, as they are given to the constructor."""
        size = np.diff(self.starts)
        size[self.heavy] = np.count_nonzero(self.dense, axis=1)
        starts = np.concatenate([[0], np.cumsum(size)])
        estimators, values = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.float32)
        light = np.ones(len(estimators), bool)
        for line, feature in enumerate(self.heavy.tolist()):
            here = slice(starts[feature], starts[feature + 1])
            light[here] = False
            estimators[here] = np.flatnonzero(self.dense[line])
            values[here] = self.dense[line, estimators[here]]
        estimators[light], values[light] = self.estimators, self.values
        return starts, estimators, values


@cache
def has_scipy() -> bool:
    """SciPy and scikit-learn, whose products are faster, are installed."""
    try:
        import sklearn.utils.extmath  # noqa: F401
    except ImportError:
        return False
    return True
