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
from concurrent.futures import ThreadPoolExecutor
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
    libraries = None if is_inside() else _libraries()
    return 1 if libraries is None else max((one.num_threads for one in libraries.lib_controllers), default=1)


def libraries() -> list[dict[str, Any]]:
    """What threadpoolctl tells of the matrix libraries of this process; nothing without it."""
    found = _libraries()
    return [] if found is None else found.info()


@functools.cache
def _libraries() -> Any:
    """What steers the matrix libraries of this process, or None without threadpoolctl."""
    try:
        import threadpoolctl  # type: ignore[import-untyped]
    except ImportError:
        return None
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def each(function: Callable[[Item], Result], items: Sequence[Item], nbytes: int) -> list[Result]:
    """function(item) of each, in order; on several threads if items of so many bytes in all are worth it.

    Where they are too small for that, they are for a matrix library's threads as well.
    """
    if len(items) < 2 or nbytes < SHARE or (threads := count()) == 1:
        return [function(item) for item in items]
    if nbytes < SHARE * len(items):
        with _single:
            return [function(item) for item in items]
    token = _inside.set(True)
    contexts = [copy_context() for _ in items]  # what the caller has set, such as numpy.errstate, holds there too
    _inside.reset(token)
    with _single:
        return list(_pool(threads, os.getpid()).map(Context.run, contexts, itertools.repeat(function), items))


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """The threads of a process; after a fork there are none, so that it makes its own."""
    return ThreadPoolExecutor(threads, "minroberta")


class _Single:
    """Within the block, matrix libraries make each product in one thread. Who leaves last gives them theirs back."""

    def __init__(self) -> None:
        self.lock, self.users, self.limit = threading.Lock(), 0, None

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.limit = _libraries().limit(limits=1)
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.limit.restore_original_limits()  # type: ignore[attr-defined]


_single = _Single()
