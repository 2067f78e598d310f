"""Names of array types, for annotations. Shapes stand in the docstrings."""

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
