"""How loops are compiled, and what several of them need."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numba
import numpy as np

#: 2^64 divided by the golden ratio
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_F = TypeVar("_F", bound=Callable[..., Any])


#: every loop, those that others call before them
_LOOPS: list[Any] = []


class NotCompiledError(RuntimeError):
    """A loop cannot be had on this machine; nothing was changed."""


def compiled(function: _F) -> _F:
    """The function as machine code, made at its first call."""
    try:
        loop = numba.njit(cache=True)(function)
    except RuntimeError:  # no folder can be written: compiled again in each process
        loop = numba.njit(function)
    _LOOPS.append(loop)
    return cast(_F, loop)


def guarded(loop: _F) -> _F:
    """The loop; what was kept of it and is damaged is compiled again.

    Raises:
        NotCompiledError: of a call, where that fails too: the disk is full, say.
    """

    @wraps(loop)
    def call(*given: Any) -> Any:
        try:
            return loop(*given)
        except MemoryError:
            raise
        except Exception as error:  # whatever unpickling raises of files that a crash has cut off
            name = cast(Any, loop).__name__
            what = f"{type(error).__name__}: {error}".strip(": ")
            kept = cast(Any, loop).stats.cache_path or "memory"
            warnings.warn(
                f"the compiled loop {name!r} failed ({what:.200}): what Numba keeps in {kept} is thrown away, and it "
                "is compiled again",
                stacklevel=2,
            )
            try:
                for each in _LOOPS:
                    if each is loop or not each.signatures:  # of others, what is needed is at hand
                        each.recompile()  # forgets what is kept
                return loop(*given)
            except MemoryError:
                raise
            except Exception as again:
                raise NotCompiledError(f"{type(again).__name__}: {again}".strip(": ")[:200]) from again

    return cast(_F, call)


@compiled
def longer(array: Any, size: int) -> Any:
    """The array, and room behind it up to this size."""
    out = np.empty(size, array.dtype)
    out[: len(array)] = array
    return out
