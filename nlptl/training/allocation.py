"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import functools
import platform

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
AHEAD = 64 * 2**20  # bytes asked for beyond what is needed, so that growing is rare


@functools.cache
def keep_freed_memory() -> None:
    """Keep what is freed for the next tensor; for processes that compute. Does nothing where there is no glibc.

    By default glibc gives a large block back when it is freed and takes a new one for the next tensor, and the system
    fills each page of it with zeros first: a fifth of a step of fine-tuning goes into that.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_TRIM_THRESHOLD, -1)
    mallopt(M_TOP_PAD, AHEAD)
    mallopt(M_MMAP_MAX, 0)
