"""Computation in pieces: blocks that fit in the cache, and shares for several threads.

Functions are written as if they were computed as a whole; a decorator, chosen by what is independent, schedules them:

    @rowwise        rows (the last axis) are independent            a formula, in blocks
    @blockwise      sequences, heads and queries are independent    an attention, in blocks
    @placewise      positions are independent                       several formulas, a share for each thread
    @sequencewise   sequences are independent                       the whole encoder, a share for each thread

Only NumPy computes in pieces. Other libraries compute every function as a whole, and CuPy a row-wise formula as one
kernel. While values are recorded, the last two decorators have no effect on NumPy either, so that every named value is
complete.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ..errors import BackendError
from ..trace import is_recording, is_watched
from . import fused, kernels, threads
from .arrays import Array, Namespace, cast, is_float, namespace, widen, widened

BLOCK = 96 * 1024
"""Bytes in one block of rows. A few blocks fit in a core's L2 cache. Each is smaller than 128 KiB, the size from which
the C library would map fresh pages for every temporary array."""

WIDE = 512 * 1024
"""Bytes in one block of rows if there are several threads. Larger than `BLOCK`, so that calls wait less for the GIL.
With 2 MiB, gelu of (928, 1024) takes five times as long."""

SCORES = 1024 * 1024
"""Bytes of the attention scores in one block."""

MANY = 96
"""Smallest number of rows for a thread. With fewer, separate products are slower than one multithreaded product."""

FAIR = 1.15
"""Largest share of the positions that one thread may get, as a multiple of an equal share."""

FEW = 64
"""Largest number of rows for which x Wᵀ is computed as (W xᵀ)ᵀ."""

# --- blocks ---------------------------------------------------------------------------------------------------------


def rowwise(formula: Callable[..., Array]) -> Callable[..., Array]:
    """Schedule formula(x, *others, **constants), whose rows (the last axis) are independent: (..., D) -> (..., D).

    The others have the shape of x. NumPy computes blocks of rows that fit in the cache, on several threads if the array
    is large. The block size does not affect the result. CuPy computes one kernel if there are no others. Half-precision
    arrays are computed in float32 and returned in the dtype of x. Raises BackendError for integers.
    """

    def in_float32(x: Array, *others: Array, **constants: Any) -> Array:
        return cast(formula(widen(x), *map(widen, others), **constants), x.dtype)

    @functools.wraps(formula)
    def scheduled(x: Array, *others: Array, **constants: Any) -> Array:
        if not is_float(x.dtype):
            raise BackendError(f"{formula.__name__} takes floating-point arrays, not {x.dtype}: give float32")
        if not others and kernels.fuses(x, constants):
            return kernels.fused(formula, x, constants)
        if namespace(x) is not numpy or x.nbytes <= block_size():
            return in_float32(x, *others, **constants)
        arrays = [array.reshape(-1, x.shape[-1]) for array in (x, *others)]
        result = numpy.empty(arrays[0].shape, x.dtype)

        def compute(share: slice) -> None:
            for block in blocks(share, max(1, block_size() // (x.shape[-1] * x.itemsize))):
                result[block] = in_float32(*(rows[block] for rows in arrays), **constants)

        threads.each(compute, shares(len(result), x.nbytes), x.nbytes)
        return result.reshape(x.shape)

    return scheduled


def block_size() -> int:
    """Size in bytes of a block of rows for the calling thread."""
    return WIDE if threads.is_inside() else BLOCK


def blockwise(formula: Callable[..., Array]) -> Callable[..., Array]:
    """Schedule an attention formula(q, k, v, mask), in which sequences, heads and queries are independent.

    NumPy computes the formula in blocks. A block is a range of queries for a few heads of one sequence, so the memory
    that is needed grows linearly with the length, not quadratically. Several threads compute the blocks if the
    attention is large. On JAX, `fused` chooses among several ways to compute the same.
    """

    @functools.wraps(formula)
    def scheduled(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
        (B, H, L, E), S = q.shape, k.shape[2]
        if namespace(q) is not numpy:
            return fused.chosen(formula, q, k)(q, k, v, mask)
        queries = min(L, max(1, SCORES // (S * q.itemsize)))
        heads = max(1, SCORES // (queries * S * q.itemsize))
        result = numpy.empty((B, L, H, E), q.dtype).swapaxes(1, 2)  # in the order in which heads are merged

        def compute(block: tuple[slice, slice, slice]) -> None:
            one, some, rows = block
            result[one, some, rows] = formula(
                q[one, some, rows], k[one, some], v[one, some], None if mask is None else _mask_of(mask, one, rows)
            )

        all_blocks = itertools.product(blocks(slice(0, B), 1), blocks(slice(0, H), heads), blocks(slice(0, L), queries))
        threads.each(compute, list(all_blocks), B * H * L * S * q.itemsize)
        return result

    return scheduled


def _mask_of(mask: Array, one: slice, rows: slice) -> Array:
    """The part of a mask, (B, 1, L, S) where B and L may be 1, for a range of queries of one sequence."""
    return mask[one if len(mask) > 1 else slice(None), :, rows if mask.shape[2] > 1 else slice(None)]


def blocks(rows: slice, step: int) -> list[slice]:
    """Split the rows into blocks of `step` rows; the last block may be smaller."""
    return [slice(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step)]


def steady(xp: Namespace) -> contextlib.AbstractContextManager[None]:
    """A context for passes of many small products: on NumPy, only our threads are several, and BLAS has one."""
    return threads.limited() if xp is numpy else contextlib.nullcontext()


# --- shares ---------------------------------------------------------------------------------------------------------


def placewise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Schedule function(x, ...), in which positions are independent: (..., I) to one or several arrays (..., O).

    NumPy divides a large x among threads, and each computes the whole function for its share, (1, rows, I).
    """

    @functools.wraps(function)
    def scheduled(x: Array, *rest: Any) -> Any:
        if is_recording() or namespace(x) is not numpy or len(parts := shares(x.size // x.shape[-1], x.nbytes)) < 2:
            return function(x, *rest)
        rows = x.reshape(1, -1, x.shape[-1])
        made = threads.each(lambda part: function(rows[:, part], *rest), parts, x.nbytes)
        if not isinstance(made[0], tuple):
            return _joined(made, x)
        return tuple(_joined(several, x) for several in zip(*made, strict=True))

    return scheduled


def _joined(parts: Sequence[Array], x: Array) -> Array:
    """Join the results of the shares, (1, rows, O) each, into one array with the leading axes of x."""
    return numpy.concatenate(parts, axis=1).reshape(*x.shape[:-1], -1)


def sequencewise(function: Callable[..., Array]) -> Callable[..., Array]:
    """Schedule function(x, p, config, inputs), in which sequences are independent: (B, L, D) to (B, L, D).

    inputs: one object per layer, with a method `of_sequences` that takes a slice. NumPy divides a large batch among
    threads. Each thread computes all layers for its sequences, and no thread waits for another before the end.
    """

    @functools.wraps(function)
    def scheduled(x: Array, p: Any, config: Any, inputs: Sequence[Any]) -> Array:
        if is_watched() or len(parts := sequence_shares(x, [x.shape[1]] * len(x))) < 2:
            return function(x, p, config, inputs)

        def share(some: slice) -> Array:
            return function(x[some], p, config, [own.of_sequences(some) for own in inputs])

        return numpy.concatenate(each(share, parts, x, x.size))

    return scheduled


def each(function: Callable[[Any], Array], items: Sequence[Any], x: Array, numbers: int) -> list[Array]:
    """Return function(item) for each item. NumPy uses several threads if `numbers`, the count of elements, is large."""
    if namespace(x) is not numpy:
        return [function(item) for item in items]
    return threads.each(function, items, numbers * x.itemsize)


def shares(rows: int, nbytes: int) -> list[slice]:
    """Equal shares of the rows, one per thread, if they are large enough; otherwise a single share of all rows."""
    count = threads.count() if rows >= 2 * MANY and nbytes >= 2 * threads.SHARE else 1
    if rows < count * MANY or nbytes < count * threads.SHARE:
        count = 1
    return blocks(slice(0, rows), max(1, -(-rows // count)))


def sequence_shares(x: Array, lengths: Sequence[int]) -> list[slice]:
    """Shares of neighbouring sequences, one per thread, if they are nearly equal; otherwise a single share of all.

    lengths: the length of each sequence in x.
    """
    positions = sum(lengths)
    if namespace(x) is not numpy or (count := len(shares(positions, x.nbytes))) < 2:
        return [slice(0, len(lengths))]
    middles = numpy.cumsum(lengths) - numpy.divide(lengths, 2)
    starts = numpy.searchsorted(middles, [positions * i / count for i in range(1, count)]).tolist()
    parts = [slice(*ends) for ends in itertools.pairwise([0, *starts, len(lengths)])]
    most = max(sum(lengths[part]) for part in parts)
    return parts if most * count <= FAIR * positions else [slice(0, len(lengths))]


# --- products -------------------------------------------------------------------------------------------------------


def product(x: Array, weight: Array) -> Array:
    """x Wᵀ. x: (..., I), weight: (O, I). Returns (..., O).

    On NumPy and CuPy, a whole batch is computed as a product of matrices. `x @ weight.T` would be one product for each
    sequence on NumPy. On CuPy it would be a batched product, for which CuPy copies the weight and converts half types
    to float32. For few rows, NumPy computes (W xᵀ)ᵀ, which is 25 to 50% faster with its BLAS library.
    """
    xp = namespace(x)
    if xp.__name__ == "jax.numpy":
        return x @ weight.T
    rows = x.reshape(-1, x.shape[-1])
    if xp is numpy and len(rows) <= FEW:
        result = numpy.ascontiguousarray((weight @ rows.T).T)
    else:
        result = matrix_product(rows, weight.T)
    return result.reshape(*x.shape[:-1], len(weight))  # (N, O) -> (..., O)


def matrix_product(x: Array, y: Array) -> Array:
    """x y for matrices: (N, I), (I, O) -> (N, O).

    If there are many rows, several of our threads compute some of them each, with one thread of BLAS. The threads of
    NumPy's BLAS library wait for each other in every product, and for long if other programs use the processor.
    """
    if namespace(x) is not numpy or len(parts := shares(len(x), x.nbytes)) < 2:
        return x @ y
    result = numpy.empty((len(x), y.shape[1]), numpy.result_type(x, y))
    threads.each(lambda some: numpy.matmul(x[some], y, out=result[some]), parts, x.nbytes)
    return result


def matmul(x: Array, y: Array) -> Array:
    """x y in each head. x: (B, H, L, N), y: (B, H, N, M) or (N, M). Returns (B, H, L, M).

    As in `matrix_product`, several of our threads compute some sequences or heads each.
    """
    if namespace(x) is not numpy or threads.is_inside() or x.nbytes < threads.SHARE:
        return x @ y
    result = numpy.empty((*x.shape[:3], y.shape[-1]), numpy.result_type(x, y))
    several, count = (0, len(x)) if len(x) > 1 else (1, x.shape[1])

    def compute(some: slice) -> None:
        own = (slice(None),) * several + (some,)
        numpy.matmul(x[own], y[own] if y.ndim == 4 else y, out=result[own])

    threads.each(compute, blocks(slice(0, count), max(1, -(-count // threads.count()))), result.nbytes)
    return result


def product_of_heads(x: Array, y: Array) -> Array:
    """x y in each head, in float32 if y is float16 or bfloat16, so that no sum exceeds the range of float16.

    x: (B, H, L, N), y: (B, H, N, M) or (N, M). Returns (B, H, L, M). x may be rounded to y's dtype.
    """
    dtype = widened(y.dtype)
    if y.dtype == dtype:
        return matmul(x, y)
    xp = namespace(y)
    if xp.__name__ == "jax.numpy":
        return xp.matmul(cast(x, y.dtype), y, preferred_element_type=dtype)
    if kernels.multiplies(x, y):
        return kernels.product_of_halves(cast(x, y.dtype), y)
    return x.astype(dtype, order="C") @ y.astype(dtype, order="C")
