"""Memory that the C library keeps for the next step instead of giving it back."""

import ctypes
import os

#: numbers in glibc's <malloc.h>: when freed memory at the end of the heap goes back, and how large a mapped block is
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = 2**30


def keep_memory() -> bool:
    """Let freed blocks of up to 1 GiB stay with this process; the peak is what it was.

    Every step needs the same tensors again. By default glibc returns large ones to the system, which then clears every
    page anew: a fifth of the processor's time in a training on a CPU went there.

    Returns:
        Whether the C library took it (glibc has the call; elsewhere nothing changes).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, KEPT)) and bool(mallopt(TRIM_THRESHOLD, 2 * KEPT - 1))
