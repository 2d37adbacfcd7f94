"""The precision of float32 matrix products, on libraries that compute them with fewer bits unless told otherwise."""

import contextlib
import os
import sys
from collections.abc import Iterator

from ..errors import BackendError
from ..trace import is_recording
from .arrays import Array, namespace

PRECISIONS = ("highest", "high", "default")


def check_precision(precision: str) -> None:
    """Raise BackendError for an unknown precision."""
    if precision not in PRECISIONS:
        raise BackendError(f"unknown precision {precision!r}: give one of {', '.join(PRECISIONS)}")


@contextlib.contextmanager
def precise(x: Array, precision: str) -> Iterator[None]:
    """Compute the matrix products within the block with this precision; x: an array of the library and its dtype.

    "highest": products of float32 arrays are float32 products. "high": on JAX on a GPU, three products of TF32 (of the
    factors' upper halves, and of each upper half and the other's lower half), which keep 22 bits of each factor;
    elsewhere "highest". "default": as the library is set up; JAX computes one product of TF32 on a GPU, and of bfloat16
    on a TPU. While values are recorded, the precision is always the highest. Float64 and half types are not affected.

    NumPy always computes float32 products. So does CuPy, unless the environment variable CUPY_TF32 is 1: then anything
    but "default" raises BackendError, as does an unknown precision.
    """
    check_precision(precision)
    xp, precision = namespace(x), "highest" if is_recording() else precision
    if precision == "default":
        yield
    elif xp.__name__ == "jax.numpy":
        with sys.modules["jax"].default_matmul_precision(_name_in_jax(x, precision)):
            yield
    elif xp.__name__ == "cupy" and os.environ.get("CUPY_TF32") == "1":
        raise BackendError(
            f"CUPY_TF32=1 makes CuPy's products less precise than precision={precision!r}: unset the variable before "
            "importing CuPy, or load the model with precision='default'"
        )
    else:
        yield


def _name_in_jax(x: Array, precision: str) -> str:
    """JAX's name of a precision. Its own "high" would be one product of TF32 on a GPU, with 11 bits of each factor."""
    if precision == "high" and x.dtype == "float32" and sys.modules["jax"].default_backend() == "gpu":
        return "TF32_TF32_F32_X3"
    return "highest"
