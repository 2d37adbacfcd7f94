"""A stand-in for CuPy where there is no GPU: arrays that refuse what NumPy does to another library's array.

Like CuPy's, they are not converted to NumPy arrays unasked, work with no NumPy function, give scalars as arrays, and
wrap an index that is out of range silently. Inside, they compute with NumPy.
"""

import sys
from typing import Any

import numpy as np

FUNCTIONS = (
    "arange", "asarray", "broadcast_to", "clip", "concatenate", "einsum", "exp", "full", "log", "logaddexp", "maximum",
    "minimum", "ones", "ones_like", "pad", "sqrt", "stack", "take_along_axis", "tanh", "where", "zeros", "zeros_like",
)  # fmt: skip
DTYPES = ("float64", "float32", "float16", "dtype")
METHODS = ("astype", "clip", "cumsum", "max", "mean", "reshape", "sum", "swapaxes")
OPERATORS = (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "matmul",
    "pow",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and",
    "or",
)


class StrictArray:
    """One array of the stand-in library."""

    __array_ufunc__ = None  # np.ndarray + StrictArray is then a TypeError
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return sys.modules[__name__]

    def __array__(self, *_: Any, **__: Any) -> None:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_function__(self, *_: Any, **__: Any) -> None:
        raise TypeError("a NumPy function was called on another library's array")

    def __bool__(self) -> bool:
        raise TypeError("a value decides what is computed: jax.jit could not trace this")

    def __len__(self) -> int:
        return len(self.values)

    def get(self) -> np.ndarray:
        return self.values.copy()

    def __getitem__(self, key: Any) -> "StrictArray":
        return StrictArray(self.values[_wrapped(_unwrap(key), self.values.shape)])

    def __neg__(self) -> "StrictArray":
        return StrictArray(-self.values)

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)
    T = property(lambda self: StrictArray(self.values.T))


def _wrapped(key: Any, shape: tuple[int, ...]) -> Any:
    """An index array modulo the length of its axis, as on a GPU, which does not check it."""
    if isinstance(key, np.ndarray) and key.dtype.kind in "iu":
        return key % shape[0]
    return key


def _unwrap(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("a NumPy array was mixed with another library's")
    if isinstance(value, StrictArray):
        return value.values
    if isinstance(value, tuple | list):
        return type(value)(_unwrap(item) for item in value)
    return value


def _method(name: str) -> Any:
    def method(self: StrictArray, *args: Any, **kwargs: Any) -> StrictArray:
        return StrictArray(getattr(self.values, name)(*_unwrap(args), **kwargs))

    return method


def _operator(name: str) -> Any:
    def operator(self: StrictArray, other: Any) -> Any:
        return StrictArray(getattr(self.values, name)(_unwrap(other)))

    return operator


def _function(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> StrictArray:
        return StrictArray(getattr(np, name)(*_unwrap(args), **kwargs))

    return function


def nonzero(x: StrictArray) -> tuple[StrictArray, ...]:
    return tuple(map(StrictArray, np.nonzero(x.values)))


class add:
    """The one function that writes into an array."""

    @staticmethod
    def at(x: StrictArray, index: StrictArray, other: StrictArray) -> None:
        np.add.at(x.values, index.values, other.values)


def asarray(values: Any, dtype: Any = None) -> StrictArray:
    """Host to device: the one place that takes NumPy arrays."""
    return StrictArray(np.array(values.values if isinstance(values, StrictArray) else values, dtype=dtype))


for _name in METHODS:
    setattr(StrictArray, _name, _method(_name))
for _name in OPERATORS:
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))
    if _name not in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(StrictArray, f"__r{_name}__", _operator(f"__r{_name}__"))
for _name in FUNCTIONS:
    if _name != "asarray":
        globals()[_name] = _function(_name)
for _name in DTYPES:
    globals()[_name] = getattr(np, _name)
