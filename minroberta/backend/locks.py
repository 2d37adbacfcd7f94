"""Locks for threads that a forked process finds free: the thread that held one does not exist there."""

import os
import threading
import weakref
from types import TracebackType


class Lock:
    """A `threading.Lock` that is free in a process forked while another thread held it.

    What it guards must not depend on what that thread would still have done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _all.add(self)

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock. Without blocking, return False if another thread has it."""
        return self._lock.acquire(blocking)

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def free(self) -> None:
        """Replace the lock by a free one."""
        self._lock = threading.Lock()


_all: "weakref.WeakSet[Lock]" = weakref.WeakSet()


def _free_all() -> None:
    for lock in list(_all):
        lock.free()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_free_all)
