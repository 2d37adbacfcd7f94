"""Several threads for one call: each takes its share of the rows through several formulas, matrix products included.

A BLAS library has its own threads, but all but one of them wait between two products, and one thread's results are in
the cache of another. Here threadpoolctl limits the library to one thread, and each share runs in a thread instead. If
the library cannot be limited for all threads at once, the work is not shared.
"""

import functools
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SHARE = 256 * 1024
"""Smallest share of a thread in bytes: with less, it waits for the GIL more than it computes."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)


def is_inside() -> bool:
    """Return whether the caller runs in one of the threads of `each`."""
    return _inside.get()


def count() -> int:
    """Number of threads for a call: as many as the BLAS library would use, or 1 within one of the threads."""
    library = None if is_inside() else _shareable()
    return 1 if library is None else max(one.num_threads or 1 for one in library.lib_controllers)


def libraries() -> list[dict[str, Any]]:
    """The BLAS libraries of this process, as threadpoolctl describes them."""
    return _controller().select(user_api="blas").info()


@functools.cache
def _controller() -> Any:
    import threadpoolctl  # type: ignore[import-untyped]  # takes time to load, and small calls do not need it

    return threadpoolctl.ThreadpoolController()


@functools.cache
def _shareable() -> Any:
    """The controller of OpenBLAS with its own threads, or None: other limits apply only to the calling thread."""
    found = _controller().select(internal_api="openblas")
    return found if found and all(one.threading_layer == "pthreads" for one in found.lib_controllers) else None


def each(function: Callable[[Item], Result], items: Sequence[Item], nbytes: int) -> list[Result]:
    """function(item) for each item, in order; on several threads if the items, `nbytes` in all, are large enough.

    If the items are too small for threads, all run in the calling thread, and BLAS is limited to one thread too.
    """
    if len(items) < 2 or nbytes < SHARE or (threads := count()) == 1 or not _free.acquire(blocking=False):
        return [function(item) for item in items]
    try:
        with _shareable().limit(limits=1):
            if nbytes < SHARE * len(items):
                return [function(item) for item in items]
            token = _inside.set(True)
            contexts = [copy_context() for _ in items]  # so that the caller's numpy.errstate holds in the threads too
            _inside.reset(token)
            return list(_pool(threads, os.getpid()).map(Context.run, contexts, itertools.repeat(function), items))
    finally:
        _free.release()


_free = threading.Lock()
"""Held by the call that shares its work: the limit is for the whole process, so only one call may set it."""


@functools.cache
def _pool(threads: int, process: int) -> Any:
    """The threads of a process. They do not survive a fork, so the new process starts its own."""
    from concurrent.futures import ThreadPoolExecutor  # takes time to load, and small calls do not need it

    return ThreadPoolExecutor(threads, "minroberta")
