"""Attention on JAX without storing the scores of all heads: by cuDNN, or by the formula for one head after the other.

On an NVIDIA GPU, calls that JAX compiles use cuDNN's kernel, for bfloat16 and the sizes that `fits` names, and only
after it has given the formula's result for an example of the same length and head size on the same device. On a
processor, the formula is computed for one head after the other if the scores of a head are large.
"""

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy

from .arrays import Array, lowest, namespace, widened

PLATFORM, KERNEL = "gpu", "cudnn"
"""JAX's name of the devices, and the implementation of `jax.nn.dot_product_attention` there."""

SINCE = (0, 10)
"""The first version of JAX whose kernel is taken. In earlier ones, some masks were not supported."""

SHORTEST = 128
"""Smallest length for the kernel. The scores of shorter sequences take little memory."""

LARGEST_HEAD = 128
"""Largest head size that the kernel takes on every GPU that has it."""

LARGE = 512 * 1024
"""Bytes of the scores of a head from which a processor computes one head after the other."""

log = logging.getLogger(__name__)

Attend = Callable[..., Array]
"""A function of q: (B, H, L, E), k, v: (B, H, S, E), and an additive mask, (B, 1, 1 or L, S); or None."""

_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


def chosen(formula: Attend, q: Array, k: Array) -> Attend:
    """The function for the attention of q and k: the kernel, the formula head by head, or the formula for all heads."""
    if serves(q, k):
        return attend
    is_large = q.shape[2] * k.shape[2] * widened(q.dtype).itemsize >= LARGE
    if is_large and namespace(q).__name__ == "jax.numpy":
        return functools.partial(head_by_head, formula)
    return formula


# --- on a processor -------------------------------------------------------------------------------------------------


def head_by_head(formula: Attend, q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """The formula for one head after the other, whose scores fit in a processor's cache; for all on other devices."""
    jax = sys.modules["jax"]

    def one_by_one(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
        heads = tuple(x.swapaxes(0, 1)[:, :, None] for x in (q, k, v))  # (B, H, L, E) -> (H, B, 1, L, E)
        return jax.lax.map(lambda head: formula(*head, mask), heads)[:, :, 0].swapaxes(0, 1)

    return jax.lax.platform_dependent(q, k, v, mask, cpu=one_by_one, default=formula)


# --- on a GPU -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def allowing(allowed: bool) -> Iterator[None]:
    """Let `serves` choose the kernel within the block, or not."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def serves(q: Array, k: Array) -> bool:
    """Return whether the kernel is allowed here, and computes attention for q and k."""
    return _allowed.get() and fits(q.dtype, q.shape[2], k.shape[2], q.shape[3])


def fits(dtype: Any, queries: int, keys: int, head_size: int) -> bool:
    """Return whether the kernel is taken for this dtype and these sizes: bfloat16, and as many queries as keys.

    Not for float16, where JAX hides keys by adding -32768 to their scores: other scores may be lower than that.
    """
    size_fits = not head_size % 8 and head_size <= LARGEST_HEAD
    return dtype == "bfloat16" and SHORTEST <= queries == keys and not keys % 2 and size_fits


def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """softmax(q kᵀ / √E + mask) v by the kernel, with the scores in float32.

    mask: (B or 1, 1, 1 or L, S), 0 for keys to attend to, and other numbers for keys to ignore. Each query must have a
    key to attend to; the result for others is arbitrary. q: (B, H, L, E); k, v: (B, H, S, E). Returns (B, H, L, E).
    """
    jax = sys.modules["jax"]
    shape = len(q), 1, q.shape[2], k.shape[2]  # the kernel repeats a mask for all heads, but not for all queries
    seen = None if mask is None else namespace(mask).broadcast_to(mask == 0, shape)
    by_position = (x.swapaxes(1, 2) for x in (q, k, v))  # (B, H, L, E) -> (B, L, H, E)
    return jax.nn.dot_product_attention(*by_position, mask=seen, implementation=KERNEL).swapaxes(1, 2)


# --- the check of the kernel ----------------------------------------------------------------------------------------


def is_right(formula: Attend, x: Array, length: int, head_size: int) -> bool:
    """Return whether the kernel is right for a model with the parameter x and sequences of this length.

    formula: the attention that the kernel has to agree with, which is called with NumPy arrays. The kernel is not used
    if the model is on several devices.
    """
    devices = x.devices()
    if len(devices) > 1 or not fits(x.dtype, length, length, head_size):
        return False
    return _agrees(formula, *devices, x.dtype, length, head_size)


@functools.cache
def _agrees(formula: Attend, device: Any, dtype: Any, length: int, head_size: int) -> bool:
    """Compare the kernel with the formula on an example: a sequence in which a third is padding, and a causal one."""
    jax = sys.modules["jax"]
    if device.platform != PLATFORM or jax.__version_info__ < SINCE:
        return False
    example = numpy.random.RandomState(0).standard_normal((3, 2, 2, length, head_size)).astype(dtype)  # B = H = 2
    mask = numpy.zeros((2, 1, length, length), numpy.float32)
    mask[0, ..., -(length // 3) :] = lowest(mask.dtype)
    mask[1, 0] = numpy.triu(numpy.full_like(mask[1, 0], lowest(mask.dtype)), 1)
    exact = formula(*example.astype(numpy.float32), mask)
    try:
        with jax.ensure_compile_time_eval():  # the model may be called by a function that JAX traces
            found = numpy.asarray(jax.jit(attend)(*jax.device_put((*example, mask), device)), numpy.float32)
    except Exception as error:  # the library, the driver or the GPU may refuse with any error
        log.debug("attention of %d positions is not fused: %s", length, error)
        return False
    distance = abs(found - exact).max()
    log.debug("attention of %d positions by %s is %.1e from the formula", length, KERNEL, distance)
    return bool(distance <= 4 * float(jax.numpy.finfo(dtype).eps))  # some roundings of numbers of the order of 1
