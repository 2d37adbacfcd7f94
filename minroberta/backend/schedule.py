"""Which array library an array belongs to, and in which pieces a formula is computed on it.

No library is imported here that the user has not imported: an array says itself where it comes from.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ..errors import BackendError
from ..trace import is_recording, is_watched
from . import threads
from .arrays import Array, cast, is_float, namespace, widen

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


# --- dtypes ---------------------------------------------------------------------------------------------------------


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


def placewise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Schedule function(x, ...), in which positions do not mix: (..., I) to (..., O), or to a tuple of such arrays.

    On NumPy a large x is shared among threads: each takes its positions, (1, rows, I), through the whole function.
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
    """The shares of positions, (1, rows, O) each, in one array with the leading axes of x."""
    return numpy.concatenate(parts, axis=1).reshape(*x.shape[:-1], -1)


def sequencewise(function: Callable[..., Array]) -> Callable[..., Array]:
    """Schedule function(x, p, config, inputs), in which sequences do not mix: (B, L, D) to (B, L, D).

    inputs: for each layer what can be split by `of_sequences`. On NumPy a large batch is shared among threads: each
    takes its sequences through all layers, and none waits for another before the end.
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


# --- containers -----------------------------------------------------------------------------------------------------
