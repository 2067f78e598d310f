"""Names of array types, for annotations; shapes stand in the docstrings. And what NumPy lacks: runs of numbers."""

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
#: any floating type
FloatArray = npt.NDArray[np.floating[Any]]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
#: of strings
ObjectArray = npt.NDArray[np.object_]


def spans(starts: IntArray, stops: IntArray) -> IntArray:
    """All numbers from each start up to its stop, laid end to end.

    >>> spans(np.array([5, 0, 7]), np.array([7, 0, 10])).tolist()
    [5, 6, 7, 8, 9]
    """
    sizes = stops - starts
    ends = np.cumsum(sizes)
    found: IntArray = np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
    return found
