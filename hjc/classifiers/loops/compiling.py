"""How loops are compiled, and what several of them need."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import numba
import numpy as np

#: 2^64 divided by the golden ratio
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """The function as machine code, made at its first call."""
    try:
        found = numba.njit(cache=True)(function)
    except RuntimeError:  # no folder can be written: compiled again in each process
        return cast(_F, numba.njit(function))
    _forgive(cast(Any, found)._cache)
    return cast(_F, found)


def _forgive(cache: Any) -> None:
    """What is kept only saves time: nothing fails where it is damaged, or cannot be written."""
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*key: Any) -> Any:
        try:
            return load(*key)
        except Exception:  # whatever unpickling raises of files that a crash has cut off: they are made again
            try:
                cache.flush()
            except OSError:
                cache.disable()
            return None

    def save_overload(*made: Any) -> None:
        with suppress(OSError):  # a full disk, a quota: compiled again in each process
            save(*made)

    cache.load_overload, cache.save_overload = load_overload, save_overload


@compiled
def longer(array: Any, size: int) -> Any:
    """The array, and room behind it up to this size."""
    out = np.empty(size, array.dtype)
    out[: len(array)] = array
    return out
