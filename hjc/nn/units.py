"""Texts as weighted units (words, pairs of words), units as n-grams: arrays without torch.

n texts, m units of all texts, U distinct units, g n-grams of all distinct units, H width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float32, IntArray, spans

#: rows of a table that are summed up together
BLOCK = 1024


@dataclass(frozen=True)
class UnitTexts:
    """Texts as units.

    Attributes:
        buckets: (g,) of the n-grams of each distinct unit, one unit after the other. ends: (U + 1,) where they begin.
        units: (m,) the distinct unit at each place of the texts, one text after the other. weights: (m,) of each, 1 a
            text in sum. starts: (n + 1,) where the texts begin; a text without a word has none.
    """

    buckets: npt.NDArray[np.int32]
    ends: IntArray
    units: npt.NDArray[np.int32]
    weights: Float32
    starts: IntArray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batch(self, rows: IntArray) -> tuple[npt.NDArray[Any], ...]:
        """Of some texts: the n-grams of each distinct unit, where they begin, the weight of each; then the unit of each
        place, its weight and its text."""
        places = spans(self.starts[rows], self.starts[rows + 1])
        owner = np.repeat(np.arange(len(rows)), self.starts[rows + 1] - self.starts[rows])
        distinct, unit = np.unique(self.units[places], return_inverse=True)
        size = self.ends[distinct + 1] - self.ends[distinct]
        grams = self.buckets[spans(self.ends[distinct], self.ends[distinct + 1])].astype(np.int64)
        share = np.repeat(1 / np.sqrt(size), size).astype(np.float32)
        return grams, np.cumsum(size) - size, share, unit.reshape(-1), self.weights[places], owner


def sums_of(table: Float32, rows: npt.NDArray[Any], starts: IntArray, weights: Float32 | None = None) -> Float32:
    """(n, H): of each of n texts (or units) the sum of the rows of a table, ``rows[starts[i]:starts[i + 1]]``; 0 where
    there are none.

    A block at a time, whose rows stay in the processor's cache.

    Args:
        weights: (m,) of the rows; None: 1.
    """
    out = np.zeros((len(starts) - 1, table.shape[1]), np.float32)
    filled = np.flatnonzero(np.diff(starts))
    first, last = starts[filled], starts[filled + 1]
    begin = 0
    while begin < len(filled):
        end = max(begin + 1, int(np.searchsorted(last, first[begin] + BLOCK, "right")))
        block = slice(int(first[begin]), int(last[end - 1]))
        values = table.take(rows[block], axis=0)
        if weights is not None:
            values *= weights[block, None]
        out[filled[begin:end]] = np.add.reduceat(values, first[begin:end] - first[begin], axis=0)
        begin = end
    return out
