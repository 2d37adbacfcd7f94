"""Which array library an array belongs to, and in which pieces a formula is computed on it.

No library is imported here that the user has not imported: an array says itself where it comes from.
"""

import functools
import importlib
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy

from . import threads
from .errors import BackendError

Array = Any
"""An array of NumPy, CuPy or JAX (traced or not)."""

Namespace = ModuleType | Any
"""What such an array's functions are found in: `numpy`, `cupy`, `jax.numpy`."""

BLOCK = 96 * 1024
"""Bytes in one block of rows: a few fit a core's second-level cache, and each is less than the 128 KiB from which the C
library would fetch fresh pages for every temporary."""

WIDE = 2 * 1024 * 1024
"""Bytes of a block in one of several threads, among whom the interpreter's lock changes hands at every call."""

SCORES = 1024 * 1024
"""Bytes of the attention scores in one block."""

MANY = 96
"""Rows of one thread, at least: with fewer its products are slower than those that all threads make together."""

FAIR = 1.15
"""How much more than its part one thread may get of sequences."""

FEW = 64
"""Rows up to which a product is made the other way round."""


def namespace(x: Array) -> Namespace:
    """The array library that x belongs to, by the array API standard's own question. Raises BackendError."""
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    cupy = sys.modules.get("cupy")  # whose arrays answer only in its newest versions
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy
    raise BackendError(f"no array library known for {type(x).__name__}: give arrays of NumPy, CuPy or JAX")


def from_library(xp: Namespace, name: str) -> Callable[[Array], Array] | None:
    """A special function from the library's own place for them, or None where it has none."""
    place = {"jax.numpy": "jax.lax", "cupy": "cupyx.scipy.special"}.get(xp.__name__)
    return None if place is None else getattr(importlib.import_module(place), name)


def to_host(x: Any) -> numpy.ndarray:
    """A NumPy array with the values of x: an array of any library, or nested lists."""
    try:
        return numpy.asarray(x)
    except TypeError:  # CuPy's refuses to leave the device unasked
        if not hasattr(x, "get"):
            raise
        return x.get()


# --- dtypes ---------------------------------------------------------------------------------------------------------

DTYPES = ("float64", "float32", "float16", "bfloat16")


def dtype_of(xp: Namespace, dtype: Any) -> Any:
    """The library's dtype of that name. Raises BackendError where the library cannot hold it."""
    if not hasattr(xp, "asarray"):
        raise BackendError(f"xp is an array library, such as numpy, cupy or jax.numpy, not {xp!r}")
    try:
        name = dtype if isinstance(dtype, str) or dtype is None else numpy.dtype(dtype).name
    except TypeError:
        name = dtype
    if name not in DTYPES:
        raise BackendError(f"dtype {name} is not known: give one of {', '.join(x for x in DTYPES if hasattr(xp, x))}")
    if not hasattr(xp, name):
        raise BackendError(f"{xp.__name__} has no {name}: load as float32, which holds every {name} number")
    kind = numpy.dtype(getattr(xp, name))
    if xp.asarray(numpy.zeros((), kind)).dtype != kind:
        raise BackendError(
            f"{xp.__name__} gives no {name} as it is set up: call jax.config.update('jax_enable_x64', True)"
        )
    return kind


def cast(x: Array, dtype: Any) -> Array:
    """x as dtype; x itself where it is so already."""
    return x if x.dtype == dtype else x.astype(dtype)


def is_float(dtype: Any) -> bool:
    """Whether it is float64, float32, float16 or bfloat16, which is a type that NumPy does not know."""
    return dtype.kind in "fV" and dtype.itemsize <= 8


def widened(dtype: Any) -> Any:
    """float32 for float16 and bfloat16; dtype itself otherwise."""
    return numpy.dtype("float32") if dtype.itemsize == 2 and is_float(dtype) else dtype


def widen(x: Array) -> Array:
    """x in float32 if it is of a half type; x itself otherwise."""
    return cast(x, widened(x.dtype))


def lowest(dtype: Any) -> float:
    """The most negative finite number of a dtype."""
    return float(numpy.finfo(dtype).min)


def compute_dtype(xp: Namespace, dtype: Any) -> Any:
    """What a library computes in when it stores dtype: NumPy has matrix products for no half type."""
    return widened(dtype) if xp is numpy else dtype


# --- schedule -------------------------------------------------------------------------------------------------------


def rowwise(formula: Callable[..., Array]) -> Callable[..., Array]:
    """Schedule a formula of one or several arrays of a shape, whose rows (last axis) do not mix.

    On NumPy it runs on blocks of rows that fit the cache, of large arrays on several threads; elsewhere on the whole
    arrays. Half types are computed in float32 and given back as they came. The result does not depend on the blocks.
    """

    def in_float32(*arrays: Array, **constants: Any) -> Array:
        return cast(formula(*map(widen, arrays), **constants), arrays[0].dtype)

    @functools.wraps(formula)
    def scheduled(x: Array, *others: Array, **constants: Any) -> Array:
        if not is_float(x.dtype):
            raise BackendError(f"{formula.__name__} is for floating-point arrays, not {x.dtype}: give float32")
        if namespace(x) is not numpy or x.nbytes <= block_size():
            return in_float32(x, *others, **constants)
        rows = [array.reshape(-1, array.shape[-1]) for array in (x, *others)]
        result = numpy.empty(rows[0].shape, x.dtype)

        def compute(share: slice) -> None:
            for block in blocks(share, max(1, block_size() // (x.shape[-1] * x.itemsize))):
                result[block] = in_float32(*(array[block] for array in rows), **constants)

        threads.each(compute, shares(len(result), x.nbytes), x.nbytes)
        return result.reshape(x.shape)

    return scheduled


def block_size() -> int:
    """Bytes of a block of rows, where this runs."""
    return WIDE if threads.is_inside() else BLOCK


def by_rows(function: Callable[[Array], Sequence[Array]], x: Array) -> Sequence[Array]:
    """function(x), whose rows (last axis) do not mix; on NumPy and of a large x by shares, on several threads.

    It takes (..., I), here all rows or a share of them as one sequence, (1, rows, I); and gives several (..., O).
    """
    if namespace(x) is not numpy or len(parts := shares(x.size // x.shape[-1], x.nbytes)) < 2:
        return function(x)
    rows = x.reshape(1, -1, x.shape[-1])
    made = threads.each(lambda part: function(rows[:, part]), parts, x.nbytes)
    joined = [numpy.concatenate(several, axis=1) for several in zip(*made, strict=True)]
    return [array.reshape(*x.shape[:-1], -1) for array in joined]


def each(function: Callable[[Any], Array], items: Sequence[Any], x: Array, numbers: int) -> list[Array]:
    """function(item) of each, which makes so many numbers of x in all: on NumPy by `threads.each`."""
    if namespace(x) is not numpy:
        return [function(item) for item in items]
    return threads.each(function, items, numbers * x.itemsize)


def shares(rows: int, nbytes: int) -> list[slice]:
    """Rows of so many bytes in all, dealt out to the threads, if that makes shares which are worth it."""
    count = threads.count() if rows >= 2 * MANY and nbytes >= 2 * threads.SHARE else 1
    if rows < count * MANY or nbytes < count * threads.SHARE:
        count = 1
    return blocks(slice(0, rows), max(1, -(-rows // count)))


def sequence_shares(x: Array, lengths: Sequence[int]) -> list[slice]:
    """Sequences of these lengths, all places of x, dealt out to the threads, neighbours together, if that is fair."""
    places = sum(lengths)
    if namespace(x) is not numpy or (count := len(shares(places, x.nbytes))) < 2:
        return [slice(0, len(lengths))]
    middles = numpy.cumsum(lengths) - numpy.divide(lengths, 2)
    starts = numpy.searchsorted(middles, [places * i / count for i in range(1, count)]).tolist()
    parts = [slice(*ends) for ends in itertools.pairwise([0, *starts, len(lengths)])]
    most = max(sum(lengths[part]) for part in parts)
    return parts if most * count <= FAIR * places else [slice(0, len(lengths))]


def blocks(rows: slice, step: int) -> list[slice]:
    """The rows, so many at a time."""
    return [slice(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step)]


def keep_freed_memory() -> None:
    """Let glibc keep up to 62 MiB of what is freed: else every large value of a call lies in fresh pages.

    It keeps twice the size of the largest block that it was given back, of those below 32 MiB (mallopt(3),
    M_MMAP_THRESHOLD). The block here is never touched, so that it costs no memory. Elsewhere this does nothing.
    """
    numpy.empty(31 * 1024 * 1024, "u1")


def product(x: Array, weight: Array) -> Array:
    """x Wᵀ. x: (..., I), weight: (O, I). Returns (..., O).

    On NumPy a batch is one product, where `x @ weight.T` would be one a sequence. Of few rows its library makes
    (W xᵀ)ᵀ faster, by a quarter to a half.
    """
    if namespace(x) is not numpy:
        return x @ weight.T
    rows = x.reshape(-1, x.shape[-1])
    result = numpy.empty((*x.shape[:-1], len(weight)), numpy.result_type(x, weight))
    if len(rows) <= FEW:
        result.reshape(-1, len(weight))[:] = (weight @ rows.T).T
    else:
        numpy.matmul(rows, weight.T, out=result.reshape(-1, len(weight)))
    return result


def blockwise(formula: Callable[..., Array]) -> Callable[..., Array]:
    """Schedule an attention: sequences, heads and queries do not mix.

    On NumPy it runs on blocks of the queries of some heads of one sequence, so that its memory grows with the length
    and not with the square of it, and large ones on several threads; elsewhere on the whole arrays.
    """

    @functools.wraps(formula)
    def scheduled(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
        (B, H, L, E), S = q.shape, k.shape[2]
        if namespace(q) is not numpy:
            return formula(q, k, v, mask)
        queries = min(L, max(1, SCORES // (S * q.itemsize)))
        heads = max(1, SCORES // (queries * S * q.itemsize))
        result = numpy.empty((B, L, H, E), q.dtype).swapaxes(1, 2)  # in the order in which heads are merged

        def compute(block: tuple[slice, slice, slice]) -> None:
            one, some, rows = block
            result[one, some, rows] = formula(
                q[one, some, rows], k[one, some], v[one, some], None if mask is None else _part(mask, one, rows)
            )

        all_blocks = itertools.product(blocks(slice(0, B), 1), blocks(slice(0, H), heads), blocks(slice(0, L), queries))
        threads.each(compute, list(all_blocks), B * H * L * S * q.itemsize)
        return result

    return scheduled


def _part(mask: Array, one: slice, rows: slice) -> Array:
    """Of a mask (B or 1, 1, L or 1, S) what one sequence's queries attend under."""
    return mask[one if len(mask) > 1 else slice(None), :, rows if mask.shape[2] > 1 else slice(None)]


quietly = numpy.errstate(invalid="ignore", over="ignore")
"""Decorates a formula whose NaN is an answer, as 0/0 is where every label is ignored."""


# --- containers -----------------------------------------------------------------------------------------------------


def as_container(cls: type, of: Array, flatten: Callable[[Any], tuple[Iterable[Any], Any]], build: Callable) -> None:
    """Tell the array's library that cls is a container of arrays. JAX wants to know before `jax.jit` may return one."""
    if namespace(of).__name__ == "jax.numpy":
        _register_with_jax(cls, flatten, build)


@functools.cache
def _register_with_jax(cls: type, flatten: Callable, build: Callable) -> None:
    sys.modules["jax"].tree_util.register_pytree_node(cls, flatten, build)
