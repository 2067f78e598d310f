"""How loops are compiled, and what several of them need."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

#: 2^64 divided by the golden ratio
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """The function as machine code, made at its first call."""
    try:
        return cast(_F, numba.njit(cache=True)(function))
    except RuntimeError:  # no folder can be written: compiled again in each process
        return cast(_F, numba.njit(function))


@compiled
def longer(array: Any, size: int) -> Any:
    """The array, and room behind it up to this size."""
    out = np.empty(size, array.dtype)
    out[: len(array)] = array
    return out
