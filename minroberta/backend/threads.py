"""Several threads for one call: each computes several formulas, including matrix products, for its share of the rows.

A BLAS library has its own threads, but between two products, only one of these threads works, and the results that it
needs are in the caches of the others. Here, threadpoolctl limits the library to one thread, and each share is computed
in a thread of its own. If the library cannot be limited for all threads at once, the work is not divided.
"""

import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from .locks import Lock

Item = TypeVar("Item")
Result = TypeVar("Result")

SHARE = 256 * 1024
"""Smallest share of a thread in bytes. With a smaller share, a thread waits for the GIL longer than it computes."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)


def is_inside() -> bool:
    """Return whether the caller runs in one of the threads of `each`."""
    return _inside.get()


def count() -> int:
    """Number of threads for a call: as many as the BLAS library would use, or 1 if the caller already runs in one of
    the threads of `each`.
    """
    return 1 if is_inside() or _shareable() is None else _limit.count()


def libraries() -> list[dict[str, Any]]:
    """The BLAS libraries of this process, as threadpoolctl describes them."""
    return _controller().select(user_api="blas").info()


@functools.cache
def _controller() -> Any:
    import threadpoolctl  # type: ignore[import-untyped]  # takes time to load, and small calls do not need it

    return threadpoolctl.ThreadpoolController()


@functools.cache
def _shareable() -> Any:
    """The controller of an OpenBLAS built with pthreads, or None if only the calling thread can be limited."""
    if sys.platform == "emscripten":  # there are no threads, and threadpoolctl's way to look for them is outdated
        return None
    found = _controller().select(internal_api="openblas")
    return found if found and all(one.threading_layer == "pthreads" for one in found.lib_controllers) else None


class _Limit:
    """A limit of one thread of BLAS while there is a user. They are counted, as the limit is that of the process."""

    def __init__(self) -> None:
        self._lock, self._users = Lock(), 0

    def count(self) -> int:
        """The number of BLAS's threads, without this limit."""
        return self._before if self._users else max(one.num_threads or 1 for one in _shareable().lib_controllers)

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = self.count()
                self._limiter = _shareable().limit(limits=1)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limiter.restore_original_limits()


_limit = _Limit()


def limited() -> contextlib.AbstractContextManager[None]:
    """Within this context, BLAS has one thread, and only `each` uses several: for a pass of a thousand small products.

    The threads of BLAS wait for each other in every product: beside a busy process, for ten times as long as they work.
    """
    return contextlib.nullcontext() if _shareable() is None else _limit


def each(function: Callable[[Item], Result], items: Sequence[Item], nbytes: int) -> list[Result]:
    """Return function(item) for each item, in order. Several threads are used if the items are large enough.

    nbytes: the size of all items together. If the items are too small for one thread each, the calling thread computes
    all of them, and BLAS is limited to one thread too.
    """
    if len(items) < 2 or nbytes < SHARE or (threads := count()) == 1 or not _free.acquire(blocking=False):
        return [function(item) for item in items]
    try:
        with _limit:
            if nbytes < SHARE * len(items):
                return [function(item) for item in items]
            token = _inside.set(True)
            contexts = [copy_context() for _ in items]  # so that the caller's numpy.errstate holds in the threads too
            _inside.reset(token)
            return list(_pool(threads, os.getpid()).map(Context.run, contexts, itertools.repeat(function), items))
    finally:
        _free.release()


_free = Lock()
"""Held by the call that uses several threads, because the limit on BLAS applies to the whole process."""


@functools.cache
def _pool(threads: int, process: int) -> Any:
    """The thread pool of a process. Threads do not survive a fork, so a forked process starts its own pool."""
    from concurrent.futures import ThreadPoolExecutor  # takes time to load, and small calls do not need it

    return ThreadPoolExecutor(threads, "minroberta")
