"""The array library that an array belongs to, and its dtypes.

Nothing here imports a library that the user has not imported: an array's library is found from the array itself.
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
"""The module with the functions of such an array: `numpy`, `cupy`, `jax.numpy`."""


def namespace(x: Array) -> Namespace:
    """The array library that x belongs to, by the protocol of the array API standard. Raises BackendError."""
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    cupy = sys.modules.get("cupy")  # only its newest versions have the method
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy
    raise BackendError(f"no array library known for {type(x).__name__}: give arrays of NumPy, CuPy or JAX")


def from_library(xp: Namespace, name: str) -> Callable[[Array], Array] | None:
    """The array library's special function with this name, or None for NumPy, which has none."""
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


DTYPES = ("float64", "float32", "float16", "bfloat16")


def dtype_of(xp: Namespace, dtype: Any) -> Any:
    """The library's dtype with this name. Raises BackendError if the library does not support it."""
    if not hasattr(xp, "asarray"):
        raise BackendError(f"xp must be an array library, such as numpy, cupy or jax.numpy, not {xp!r}")
    try:
        name = dtype if isinstance(dtype, str) or dtype is None else numpy.dtype(dtype).name
    except TypeError:
        name = dtype
    if name not in DTYPES:
        raise BackendError(f"unknown dtype {name}: give one of {', '.join(x for x in DTYPES if hasattr(xp, x))}")
    if not hasattr(xp, name):
        raise BackendError(f"{xp.__name__} has no {name}: load as float32, which can represent every {name} number")
    kind = numpy.dtype(getattr(xp, name))
    if xp.asarray(numpy.zeros((), kind)).dtype != kind:
        raise BackendError(f"{xp.__name__} is not set up for {name}: call jax.config.update('jax_enable_x64', True)")
    return kind


def cast(x: Array, dtype: Any) -> Array:
    """x as dtype; x itself if it has that dtype already."""
    return x if x.dtype == dtype else x.astype(dtype)


def is_float(dtype: Any) -> bool:
    """Return whether a dtype is float64, float32, float16 or bfloat16 (whose kind in NumPy is V)."""
    return dtype.kind in "fV" and dtype.itemsize <= 8


def widened(dtype: Any) -> Any:
    """float32 for float16 and bfloat16; dtype itself otherwise."""
    return numpy.dtype("float32") if dtype.itemsize == 2 and is_float(dtype) else dtype


def widen(x: Array) -> Array:
    """x in float32 if it is float16 or bfloat16; x itself otherwise."""
    return cast(x, widened(x.dtype))


def lowest(dtype: Any) -> float:
    """The most negative finite number of a dtype."""
    return float(numpy.finfo(dtype).min)


def compute_dtype(xp: Namespace, dtype: Any) -> Any:
    """The dtype that a library computes in if it stores dtype: NumPy has no fast matrix products for half types."""
    return widened(dtype) if xp is numpy else dtype


def computable(x: Array) -> Array:
    """x in the dtype that its library computes in."""
    return cast(x, compute_dtype(namespace(x), x.dtype))


quietly = numpy.errstate(invalid="ignore", over="ignore")
"""Decorator for a formula that may validly return NaN, such as 0/0 if every label is ignored."""


def as_container(cls: type, of: Array, flatten: Callable[[Any], tuple[Iterable[Any], Any]], build: Callable) -> None:
    """Register cls with the array's library as a container of arrays. JAX requires this for results of `jax.jit`."""
    if namespace(of).__name__ == "jax.numpy":
        _register_with_jax(cls, flatten, build)


@functools.cache
def _register_with_jax(cls: type, flatten: Callable, build: Callable) -> None:
    sys.modules["jax"].tree_util.register_pytree_node(cls, flatten, build)
