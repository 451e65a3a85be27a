"""The memory that a server's process keeps: glibc holds on to what is freed unless it is told not to.

Other C libraries have none of these calls, and need none of them.
"""

import ctypes
import gc

_LIBC = ctypes.CDLL(None)
_IS_GLIBC = hasattr(_LIBC, "malloc_trim")
# Their numbers in glibc's malloc.h. A threshold that is set stays; by itself it grows to the largest block ever freed.
_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES = -3, 2**20
# What is freed at the heap's end stays up to here. Where one threshold is set the other no longer grows, and at its
# first 128 KiB the arrays of every request were given back and fetched anew, zeroed: 1,000 rows took 2.4 times as long.
_M_TRIM_THRESHOLD, _KEPT_BYTES = -1, 2**24
_M_ARENA_MAX = -8


def settle() -> None:
    """Give back what only loading took, and spare the garbage collector what stays for the life of the process."""
    give_back()
    gc.freeze()
    if _IS_GLIBC:
        # Nor is it to keep large bodies that are freed, among which later ones would find no room.
        _LIBC.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
        _LIBC.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        # A thread's own heap would be a second one that keeps what is freed; Python's threads take turns anyway.
        _LIBC.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Free what only refers to itself, as connections that have ended do, and give back whole pages, wherever they lie.

    Of a large request's many small parts glibc gives back only those above the last block that is still in use: under
    attack a server of 100 MiB kept 170 more of them.
    """
    gc.collect()
    if _IS_GLIBC:
        _LIBC.malloc_trim(0)
