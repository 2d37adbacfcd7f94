"""Freed memory that is kept for the next call."""

import numpy


def keep_freed_memory() -> None:
    """Let glibc keep up to 62 MiB of freed memory, so that the arrays of the next call need no fresh pages.

    The limit is twice the size of the largest block below 32 MiB freed so far (mallopt(3), M_MMAP_THRESHOLD).
    The block allocated here is never written to, so it uses no memory. With another C library, this has no effect.
    """
    numpy.empty(31 * 1024 * 1024, "u1")
