"""The array library that an array belongs to, and its dtypes.

Nothing here imports an array library that the user has not imported: the library is found through the array itself.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy

from ..errors import BackendError

Array = Any
"""An array of NumPy, CuPy or JAX (traced or not)."""


Namespace = ModuleType | Any
"""An array library, as the module with its functions: `numpy`, `cupy` or `jax.numpy`."""


def namespace(x: Array) -> Namespace:
    """The array library that x belongs to. Raises BackendError if x is not a supported array."""
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    cupy = sys.modules.get("cupy")  # only its newest versions have the method
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy
    raise BackendError(f"no array library is known for {type(x).__name__}: give arrays of NumPy, CuPy or JAX")


def from_library(xp: Namespace, name: str) -> Callable[[Array], Array] | None:
    """The array library's special function with this name, or None for NumPy, which has no special functions.

    JAX and CuPy have them in another module, and `kernels`, which stands for CuPy in a formula, in its own.
    """
    if hasattr(xp, name):
        return getattr(xp, name)
    place = {"jax.numpy": "jax.lax", "cupy": "cupyx.scipy.special"}.get(xp.__name__)
    return None if place is None else getattr(importlib.import_module(place), name)


def to_host(x: Any) -> numpy.ndarray:
    """Convert x, an array of any library or nested lists, to a NumPy array."""
    try:
        return numpy.asarray(x)
    except TypeError:  # CuPy refuses to copy from the device implicitly
        if not hasattr(x, "get"):
            raise
        return x.get()


def constant(x: Array) -> Array:
    """x as a constant, through which JAX computes no gradient: for numbers that cancel out, as softmax's largest score.

    A gradient of the largest number divides by the count of numbers that equal it. That may be 0 in a compiled
    function, which may round the numbers in one way when it looks for the largest, and in another when it counts.
    """
    return sys.modules["jax"].lax.stop_gradient(x) if namespace(x).__name__ == "jax.numpy" else x


def scattered(x: Array, index: Array, onto: Array) -> Array:
    """`onto`, (R, D), with each row of x, (N, D), added to the row that its index names, (N,).

    It is added in place where arrays can be changed: a table of embeddings is large, and few of its rows change.
    """
    xp = namespace(x)
    if xp.__name__ == "jax.numpy":
        return onto.at[index].add(x)
    xp.add.at(onto, index, x)
    return onto


DTYPES = ("float64", "float32", "float16", "bfloat16")


def dtype_of(xp: Namespace, dtype: Any) -> Any:
    """The library's dtype with this name. Raises BackendError if the library does not support it."""
    if not hasattr(xp, "asarray"):
        raise BackendError(f"xp must be the module of an array library, such as numpy, cupy or jax.numpy, not {xp!r}")
    try:
        name = dtype if isinstance(dtype, str) or dtype is None else numpy.dtype(dtype).name
    except TypeError:
        name = dtype
    if name not in DTYPES:
        raise BackendError(f"unknown dtype {name}: give one of {', '.join(x for x in DTYPES if hasattr(xp, x))}")
    if not hasattr(xp, name):
        raise BackendError(
            f"{xp.__name__} has no {name}: load as float32, which can represent its numbers, or with xp=jax.numpy"
        )
    kind = numpy.dtype(getattr(xp, name))
    if xp.asarray(numpy.zeros((), kind)).dtype != kind:
        raise BackendError(f"{xp.__name__} is not set up for {name}: call jax.config.update('jax_enable_x64', True)")
    return kind


def cast(x: Array, dtype: Any) -> Array:
    """x converted to dtype, or x itself if it already has that dtype."""
    return x if x.dtype == dtype else x.astype(dtype)


def is_float(dtype: Any) -> bool:
    """Return whether a dtype is float64, float32, float16 or bfloat16. (NumPy gives bfloat16 the kind V.)"""
    return dtype.kind in "fV" and dtype.itemsize <= 8


def widened(dtype: Any) -> Any:
    """float32 if dtype is float16 or bfloat16, otherwise dtype itself."""
    return numpy.dtype("float32") if dtype.itemsize == 2 and is_float(dtype) else dtype


def widen(x: Array) -> Array:
    """x converted to float32 if it is float16 or bfloat16, otherwise x itself."""
    return cast(x, widened(x.dtype))


def lowest(dtype: Any) -> float:
    """The most negative finite number of a dtype."""
    return float(numpy.finfo(dtype).min)


def compute_dtype(xp: Namespace, dtype: Any) -> Any:
    """The dtype in which a library computes on arrays of dtype: on NumPy, float32 for half precision, for speed."""
    return widened(dtype) if xp is numpy else dtype


def computable(x: Array) -> Array:
    """x converted to the dtype in which its library computes."""
    return cast(x, compute_dtype(namespace(x), x.dtype))


quietly = numpy.errstate(invalid="ignore", over="ignore")
"""Decorator that silences NumPy's warnings for a formula that may return NaN, such as 0/0 if all labels are ignored."""


def as_container(cls: type, of: Array, flatten: Callable[[Any], tuple[Iterable[Any], Any]], build: Callable) -> None:
    """Register cls as a container of arrays with the array library of `of`. JAX needs this for results of `jax.jit`."""
    if namespace(of).__name__ == "jax.numpy":
        _register_with_jax(cls, flatten, build)


@functools.cache
def _register_with_jax(cls: type, flatten: Callable, build: Callable) -> None:
    sys.modules["jax"].tree_util.register_pytree_node(cls, flatten, build)
