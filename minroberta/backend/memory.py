"""What a process does with memory that is freed."""

import numpy


def keep_freed_memory() -> None:
    """Let glibc keep up to 62 MiB of what is freed: else every large value of a call lies in fresh pages.

    It keeps twice the size of the largest block that it was given back, of those below 32 MiB (mallopt(3),
    M_MMAP_THRESHOLD). The block here is never touched, so that it costs no memory. Elsewhere this does nothing.
    """
    numpy.empty(31 * 1024 * 1024, "u1")
