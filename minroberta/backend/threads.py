"""Several threads for one call: each takes its share of the rows through several formulas, and makes its own products.

A matrix library has threads of its own, but between two products all but one of them wait, and what one has made lies
in another's cache. With threadpoolctl, which can tell the library to stay in one thread meanwhile, the shares are dealt
out here instead. Without it everything is computed in the order in which it is written.
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
"""Bytes in the share of one thread, at least: with less it waits for the interpreter's lock more than it computes."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)


def is_inside() -> bool:
    """Whether this is one of several threads already."""
    return _inside.get()


def count() -> int:
    """How many threads there are to be had: as many as the matrix library would use itself; one in one of them."""
    library = None if is_inside() else _shareable()
    return 1 if library is None else max(one.num_threads or 1 for one in library.lib_controllers)


def libraries() -> list[dict[str, Any]] | None:
    """What threadpoolctl tells of the matrix libraries of this process; None where it is not installed."""
    controller = _controller()
    return None if controller is None else controller.select(user_api="blas").info()


@functools.cache
def _controller() -> Any:
    try:
        import threadpoolctl  # type: ignore[import-untyped]
    except ImportError:
        return None
    return threadpoolctl.ThreadpoolController()


@functools.cache
def _shareable() -> Any:
    """What steers OpenBLAS with threads of its own, or None: other libraries' limits hold for the caller alone."""
    controller = _controller()
    found = None if controller is None else controller.select(internal_api="openblas")
    return found if found and all(one.threading_layer == "pthreads" for one in found.lib_controllers) else None


def each(function: Callable[[Item], Result], items: Sequence[Item], nbytes: int) -> list[Result]:
    """function(item) of each, in order; on several threads if items of so many bytes in all are worth it.

    Where they are too small for that, they are for a matrix library's threads as well.
    """
    if len(items) < 2 or nbytes < SHARE or (threads := count()) == 1 or not _free.acquire(blocking=False):
        return [function(item) for item in items]
    try:
        with _shareable().limit(limits=1):
            if nbytes < SHARE * len(items):
                return [function(item) for item in items]
            token = _inside.set(True)
            contexts = [copy_context() for _ in items]  # what the caller has set, as numpy.errstate, holds there too
            _inside.reset(token)
            return list(_pool(threads, os.getpid()).map(Context.run, contexts, itertools.repeat(function), items))
    finally:
        _free.release()


_free = threading.Lock()
"""Held by the one call that shares its work: the library's limit is the process's, and one thread's to set."""


@functools.cache
def _pool(threads: int, process: int) -> Any:
    """The threads of a process; after a fork there are none, so that it makes its own."""
    from concurrent.futures import ThreadPoolExecutor  # which no small call needs, and takes time to load

    return ThreadPoolExecutor(threads, "minroberta")
