"""Rows of mostly zeros, as arrays: what a linear model counts and reads, in NumPy alone.

The attributes are those of SciPy's CSR matrices, so that either is taken where rows are only read. B rows, F columns,
n non-zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hjc.arrays import Float32, IntArray, spans

if TYPE_CHECKING:
    from scipy import sparse


class Csr(Protocol):
    """Rows one after the other: SparseRows, or a ``csr_matrix`` with sorted columns."""

    @property
    def indptr(self) -> Any: ...
    @property
    def indices(self) -> Any: ...
    @property
    def data(self) -> Any: ...
    @property
    def shape(self) -> Any: ...


@dataclass(frozen=True, eq=False)
class SparseRows:
    """B rows.

    Attributes:
        indptr: (B + 1,) where each row begins. indices: (n,) columns, ascending in a row, each once.
        data: (n,) float32. width: F.
    """

    indptr: IntArray
    indices: IntArray
    data: Float32
    width: int

    @classmethod
    def counted(cls, owner: IntArray, column: IntArray, rows: int, width: int) -> "SparseRows":
        """How often each of so many rows has each column; ``owner``, ``column`` (m,): one cell an occurrence."""
        bits = int(width).bit_length()
        kind: Any = np.int32 if rows << bits < 2**31 else np.int64  # half of the bytes where it can be
        cell = (owner.astype(kind, copy=False) << bits) | column.astype(kind, copy=False)
        cell.sort()
        first = np.flatnonzero(cell[1:] != cell[:-1])
        first = np.concatenate([np.zeros(min(1, len(cell)), np.int64), first + 1])
        count = np.diff(first, append=len(cell)).astype(np.float32)
        cell = cell[first]
        indptr = np.searchsorted(cell, np.arange(rows + 1, dtype=np.int64) << bits)
        return cls(indptr, cell & kind((1 << bits) - 1), count, width)

    @classmethod
    def of(cls, matrix: "sparse.csr_matrix") -> "SparseRows":
        """Of a SciPy matrix, whose columns are sorted in place."""
        matrix.sort_indices()
        return cls(matrix.indptr, matrix.indices, matrix.data.astype(np.float32, copy=False), matrix.shape[1])

    @classmethod
    def stacked(cls, parts: Sequence["SparseRows"]) -> "SparseRows":
        """One below the other, all of one width."""
        ends = np.cumsum([0, *(part.indptr[-1] for part in parts)])
        indptr = [part.indptr[1:] + end for part, end in zip(parts, ends.tolist(), strict=False)]
        indices, data = np.concatenate([p.indices for p in parts]), np.concatenate([p.data for p in parts])
        return cls(np.concatenate([[0], *indptr]), indices, data, parts[0].width)

    @classmethod
    def beside(cls, parts: Sequence["SparseRows"], loops: Any = None) -> "SparseRows":
        """Blocks of columns of the same rows, side by side. loops: :mod:`hjc.classifiers.loops`, or None."""
        if len(parts) == 1:
            return parts[0]
        sizes = np.array([np.diff(part.indptr) for part in parts])  # (blocks, B)
        indptr = np.concatenate([[0], np.cumsum(sizes.sum(axis=0))])
        begin = indptr[:-1] + np.cumsum(sizes, axis=0) - sizes  # of each block of each row
        indices = np.empty(int(indptr[-1]), np.int64)
        data, width = np.empty(len(indices), np.float32), 0
        if loops is not None:
            place = indptr[:-1].copy()
            for part in parts:
                loops.put(place, indices, data, part.indptr, part.indices, part.data, width)
                width += part.width
            return cls(indptr, indices, data, width)
        for part, size, start in zip(parts, sizes, begin, strict=True):
            place = spans(start, start + size)
            indices[place], data[place] = part.indices + width, part.data
            width += part.width
        return cls(indptr, indices, data, width)

    @property
    def shape(self) -> tuple[int, int]:
        """(B, F)."""
        return len(self.indptr) - 1, self.width

    def scaled(self, length: float = 1.0, loops: Any = None) -> "SparseRows":
        """Each row with this Euclidean length; empty rows stay empty. loops: as of :meth:`beside`."""
        if loops is not None:
            data = self.data.copy()
            loops.scale(self.indptr, data, length)
            return replace(self, data=data)
        owner = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        # one after the other, as the loops do
        squares = np.bincount(owner, self.data.astype(np.float64) ** 2, self.shape[0])
        factors = np.where(squares > 0, length / np.sqrt(np.where(squares > 0, squares, 1)), 0).astype(np.float32)
        return replace(self, data=self.data * np.repeat(factors, np.diff(self.indptr)))

    def scipy(self) -> "sparse.csr_matrix":
        """The same rows as SciPy's matrix."""
        from scipy import sparse  # who only predicts does without

        return sparse.csr_matrix((self.data, self.indices, self.indptr), shape=self.shape)
