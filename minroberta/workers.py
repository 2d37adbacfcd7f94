"""Work on several processes: each has the model, its weights as the same pages of memory, and one thread for products.

Every worker is an executor of its own with one process, so that whichever dies, the job that it had is known.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy

from .config import Config
from .errors import InputError, WorkerError
from .formats import place, safetensors
from .weights import flat, tree

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")
"""Where the libraries of matrix products read, as they are loaded, how many threads they may have."""


Place = tuple[str, int, str, tuple[int, ...]]
"""Where an array stands: a file, the byte, dtype and shape."""


def on_workers(model: Any, function: Callable[..., Any], jobs: Sequence[tuple], count: int) -> Iterator[Any]:
    """function(model, *job) for each job, in order, on so many processes, which stay for the model's next call.

    They have the weights that the model had when they started. Raises InputError, WorkerError.
    """
    if model.xp is not numpy:
        raise InputError(f"workers compute with NumPy, and this model is on {model.xp.__name__}: call without them")
    pool = _pools.get(model)
    if pool is None or pool.count != count or not pool.close.alive:
        places, take_away = share(model.params)
        arguments = type(model), model.config, places, model.head, model.tokenizer
        pool = _pools[model] = Workers(count, _rebuild, arguments, take_away)
    try:
        yield from pool.map(function, jobs)
    except WorkerDied as died:
        rows = jobs[died.job][0]
        text = "" if model.tokenizer is None else f", the first of them {model.decode(rows[0])[:200]!r}"
        raise WorkerError(f"a worker process died with {len(rows)} inputs{text}") from died


_pools: "weakref.WeakKeyDictionary[Any, Workers]" = weakref.WeakKeyDictionary()


def _rebuild(kind: type, config: Config, places: dict[str, Place], head: str, tokenizer: Any) -> Any:
    return kind(config, mapped(places), head, tokenizer)


class WorkerDied(Exception):
    """A process died; `job` is the number of what it had."""

    def __init__(self, job: int) -> None:
        super().__init__(job)
        self.job = job


class Workers:
    """Processes that each have one object, `build(*arguments)`, and call functions with it.

    They start at the first call, and end with `close`, or when nobody holds this any more; then what `take_away`
    removes is needed no longer. Ctrl-C is for the caller.
    """

    def __init__(self, count: int, build: Callable[..., Any], arguments: tuple, take_away: Callable[[], Any]) -> None:
        self.count = count
        self._arguments = (build, arguments)
        self._executors = [self._new() for _ in range(count)]
        self.close = weakref.finalize(self, _close, self._executors, take_away)

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of threads, but no threads
        return ProcessPoolExecutor(1, context, _start, self._arguments)

    def map(self, function: Callable[..., Any], jobs: Iterable[tuple]) -> Iterator[Any]:
        """function(object, *job) for each job, in their order. A worker has one job at a time.

        Raises what the function raises, and WorkerDied.
        """
        waiting, done, told = enumerate(jobs), {}, 0
        running: dict[Future, tuple[int, int]] = {}  # the job and the worker of each

        def go_on(worker: int) -> None:
            for number, job in itertools.islice(waiting, 1):
                running[self._submit(worker, function, job)] = number, worker

        try:
            for worker in range(self.count):
                go_on(worker)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number, worker = running.pop(future)
                    try:
                        done[number] = future.result()
                    except BrokenProcessPool as error:
                        raise WorkerDied(number) from error
                    go_on(worker)
                while told in done:
                    yield done.pop(told)
                    told += 1
        except BaseException:  # an interrupt too: what still runs would answer to the next call
            self.close()
            raise

    def _submit(self, worker: int, function: Callable[..., Any], job: tuple) -> Future:
        with _as_worker():
            try:
                return self._executors[worker].submit(_call, function, job)
            except BrokenProcessPool:  # it died since the last call
                self._executors[worker] = self._new()
                return self._executors[worker].submit(_call, function, job)


@contextlib.contextmanager
def _as_worker() -> Iterator[None]:
    """Within the block, a process that starts has one thread for its matrix products, and is deaf to Ctrl-C.

    A Ctrl-C here waits for the end of the block: a process that is half started would be nobody's.
    """
    came: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if in_main else None
    before = {name: os.environ.get(name) for name in THREADS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if hasattr(signal, "pthread_sigmask") else None
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_main:
            signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
        if came:
            signal.raise_signal(signal.SIGINT)


def _close(executors: list[ProcessPoolExecutor], take_away: Callable[[], Any]) -> None:
    for executor in executors:
        for process in (executor._processes or {}).values():  # shutdown would wait for what they are at
            process.terminate()
        executor.shutdown(wait=False, cancel_futures=True)
    take_away()  # last, for a worker that is starting would miss it


# --- in a worker ----------------------------------------------------------------------------------------------------

_object: Any = None


def _start(build: Callable[..., Any], arguments: tuple) -> None:
    global _object
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where no process inherits that
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    _object = build(*arguments)


def _end_with(parent: Any) -> None:
    """A worker holds the pipe of its jobs open itself, so that it would outlive a parent that was killed."""
    parent.join()
    os._exit(1)


def _call(function: Callable[..., Any], job: tuple) -> Any:
    return function(_object, *job)


# --- weights as the same pages ----------------------------------------------------------------------------------------


def share(params: Any) -> tuple[dict[str, Place], Callable[[], Any]]:
    """Where the arrays of a tree stand in files; and what takes away the file that some were written to for that.

    Arrays that are mapped from a file stay there.
    """
    arrays = flat(params)
    places = {name: where for name, x in arrays.items() if (where := place(x))}
    others = {name: x for name, x in arrays.items() if name not in places}
    folder = tempfile.TemporaryDirectory(prefix="minroberta-")
    if others:
        path = Path(folder.name) / "others.safetensors"
        safetensors.write(path, others, {})
        file = safetensors.File(path)
        places |= {name: where for name in others if (where := place(file[name]))}
    return places, folder.cleanup


def mapped(places: dict[str, Place]) -> Any:
    """The tree of the arrays at these places."""
    return tree(
        {
            name: numpy.asarray(numpy.memmap(path, dtype, "r", offset, shape))
            for name, (path, offset, dtype, shape) in places.items()
        }
    )
