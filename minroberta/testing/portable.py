"""An array library whose float64 results are bit-identical on every machine.

Golden files must have the same bytes everywhere, and rounding to float32 does not achieve that: two libraries differ in
the 15th digit, and occasionally a float32 rounding boundary lies between their results. Without this library, NumPy
would store different bytes for 47 of the suite's 525,256 numbers, in 21 of its 41 files. Coarser rounding would make
that rarer, but not impossible (docs/golden.md has the figures).

IEEE 754 fully determines the results of +, -, ·, / and √. Libraries differ in everything else: in the order of
summation, in whether a multiplication and an addition are rounded separately, and in exp, log and tanh. Here, matrix
products are computed from exact parts, summation is pairwise, and exp, log and tanh are built from the five operations.

`runs.exact(model, asarray)` converts a model's weights to such arrays. The formulas run on them as on JAX arrays.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy

# --- the arrays -----------------------------------------------------------------------------------------------------


class PortableArray(numpy.ndarray):
    """A NumPy array with reproducible products and sums."""

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return sys.modules[__name__]

    def __matmul__(self, other: Any) -> "PortableArray":
        return asarray(product(numpy.asarray(self), numpy.asarray(other)))

    def sum(self, axis: int | None = None, *, keepdims: bool = False) -> Any:  # type: ignore[override]
        """Σ x over the last axis, or over all elements. NumPy sums integers, which need no rounding."""
        if self.dtype.kind != "f":
            return super().sum(axis, keepdims=keepdims)
        result = asarray(total(numpy.asarray(self.reshape(-1) if axis is None else self)))
        return result if keepdims else result[..., 0]

    def mean(self, axis: int | None = None, *, keepdims: bool = False) -> Any:  # type: ignore[override]
        """The mean over the last axis, or over all elements."""
        return self.sum(axis, keepdims=keepdims) / (self.size if axis is None else self.shape[axis])


def asarray(values: Any, dtype: Any = None) -> PortableArray:
    """An array of this library."""
    return numpy.asarray(values, dtype).view(PortableArray)


def __getattr__(name: str) -> Any:
    """NumPy's function of this name. Only those with the same results on every machine are used, such as `where`."""
    return getattr(numpy, name)


# --- sums and products ----------------------------------------------------------------------------------------------


def total(x: numpy.ndarray) -> numpy.ndarray:
    """Σ x over the last axis by pairwise summation: halves are added until one element is left. (..., I) -> (..., 1)"""
    while x.shape[-1] > 1:
        half = -(-x.shape[-1] // 2)
        left, right = x[..., :half].copy(), x[..., half:]
        left[..., : right.shape[-1]] += right
        x = left
    return x if x.shape[-1] else numpy.zeros((*x.shape[:-1], 1))


PARTS = 3
"""Number of parts into which a factor is split. Together they hold at least 60 bits of the factor's largest element."""

COLUMNS = 1024
"""Number of columns of the second factor that are split at once, to limit memory."""

LEAST = -900
"""Exponent of 2 below which a row counts as 0, so that the powers of 2 in its parts do not underflow."""


def product(x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
    """The matrix product x y, from parts so short that their products and sums are exact (Ozaki et al. 2012).

    The parts are integers times a power of 2. They have so few bits that a sum of I products fits into float64's 53
    bits, so a matrix library computes it exactly, in any order. x: (..., L, I), y: (..., I, O). Returns (..., L, O).
    """
    bits = (53 - x.shape[-1].bit_length()) // 2
    lefts = parts(x, bits, axis=-1)
    starts = range(0, y.shape[-1], COLUMNS)
    blocks = [_product(lefts, parts(y[..., start : start + COLUMNS], bits, axis=-2)) for start in starts]
    return numpy.concatenate(blocks, axis=-1)


def _product(lefts: Sequence[numpy.ndarray], rights: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """The sum of the products of the parts, smallest first, leaving out those below the last bit."""
    result: Any = 0.0
    for order in reversed(range(PARTS)):
        for i in range(order + 1):
            result = result + lefts[i] @ rights[order - i]
    return result


def parts(x: numpy.ndarray, bits: int, axis: int) -> list[numpy.ndarray]:
    """Arrays that add up to x. Each consists of integers of `bits` bits, times a power of 2 for the whole axis."""
    _, exponent = numpy.frexp(abs(x).max(axis, keepdims=True, initial=0))
    unit = numpy.ldexp(1.0, numpy.maximum(exponent, LEAST))
    result = []
    for _ in range(PARTS):
        unit = unit / 2**bits
        result.append(numpy.rint(x / unit) * unit)
        x = x - result[-1]
    return result


# --- functions ------------------------------------------------------------------------------------------------------

LOG2_HIGH, LOG2_LOW = 2977044471 / 2**32, 1.9082149292705877e-10
"""log 2 in two parts; the first has so few bits that its products with integers are exact."""

EXPONENTIAL = tuple(1 / math.factorial(n) for n in range(14))
LOGARITHM = tuple(2 / (2 * n + 1) for n in range(12))
"""The coefficients of two series: of exp(x) in powers of x, and of log((1 + s) / (1 - s)) / s in powers of s²."""


def _series(x: Any, coefficients: tuple[float, ...]) -> Any:
    value: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value


def exp(x: Any) -> Any:
    """eˣ = 2ᵏ eʳ, with |r| at most log(2) / 2."""
    x = numpy.clip(x, -750.0, 750.0)  # outside this range the result is 0 or infinite
    k = numpy.rint(x / LOG2_HIGH)
    return numpy.ldexp(_series((x - k * LOG2_HIGH) - k * LOG2_LOW, EXPONENTIAL), k.astype(int))


def log(x: Any) -> Any:
    """log(2ᵏ m) = k log 2 + log m, with m from √½ to √2."""
    m, k = numpy.frexp(x)
    small = m < math.sqrt(0.5)
    m, k = numpy.where(small, 2 * m, m), k - small
    s = (m - 1) / (m + 1)
    return asarray(k * LOG2_HIGH + (k * LOG2_LOW + s * _series(s * s, LOGARITHM)))


def tanh(x: Any) -> Any:
    """1 - 2 / (e²ˣ + 1), accurate to one unit in the last place of 1."""
    return 1 - 2 / (exp(2 * x) + 1)


def logaddexp(x: Any, y: Any) -> Any:
    """log(eˣ + eʸ)."""
    return numpy.maximum(x, y) + log(1 + exp(-abs(x - y)))
