"""Kernels and products for CuPy: a row-wise formula as one kernel, and batched products of float16.

CuPy itself would launch a kernel for each operation of a formula, and compute these products in float32.

For a kernel, the formula is called once, with a `Value` in place of each array. The array library of a value is this
module, whose functions write down in C what is computed. A warp of 32 threads computes a row, the last axis. A
reduction is a loop over the row. Values that depend on the column are computed anew in each loop, so that no
intermediate array is stored.
"""

import functools
import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from .arrays import Array, namespace, widened

WARP = 32
"""Number of threads that run in step and can read each other's numbers. CuPy's blocks are of 128, four warps."""


def fuses(x: Array, constants: Mapping[str, Any]) -> bool:
    """Return whether `fused` can compute a formula: for CuPy arrays on an NVIDIA GPU that have an axis and an element.

    constants: those of the formula. Each must be a number, or a vector of the length of a row and of x's dtype.
    """
    if not (_is_for_cuda(namespace(x)) and x.shape and x.size):
        return False
    vectors = [c for c in constants.values() if hasattr(c, "shape")]
    return all(c.shape == x.shape[-1:] and c.dtype == x.dtype for c in vectors)


def fused(formula: Callable[..., Any], x: Array, constants: Mapping[str, Any]) -> Array:
    """formula(x, **constants), computed in float32 for half types, and returned in x's dtype."""
    xp, columns = namespace(x), x.shape[-1]
    vectors = {name: c for name, c in constants.items() if hasattr(c, "shape")}
    numbers = tuple((name, c) for name, c in constants.items() if name not in vectors)
    kernel, is_elementwise = _kernel(xp, formula, x.dtype, tuple(vectors), numbers)
    result = xp.empty(x.shape, x.dtype)
    kernel(x, *vectors.values(), columns, result, size=x.size if is_elementwise else x.size // columns * WARP)
    return result


@functools.cache
def _kernel(
    xp: Any, formula: Callable[..., Any], dtype: Any, vectors: Sequence[str], numbers: Sequence[tuple[str, float]]
) -> tuple[Any, bool]:
    """The kernel, and whether each of its threads computes one element. CuPy compiles it once, and keeps it on disk."""
    body, is_elementwise = source(formula, dtype, vectors, dict(numbers))
    inputs = ", ".join(f"raw T {name}" for name in ("x", *vectors))
    name = f"minroberta_{formula.__name__}"
    return xp.ElementwiseKernel(f"{inputs}, int64 columns", "raw T result", body, name), is_elementwise


# --- products -------------------------------------------------------------------------------------------------------


def multiplies(x: Array, y: Array) -> bool:
    """Return whether `product_of_halves` can multiply x by y: for float16 arrays of CuPy with the same leading axes."""
    if y.dtype != "float16" or x.shape[:-2] != y.shape[:-2] or not (x.size and y.size):
        return False
    return _is_for_cuda(namespace(y))


def product_of_halves(x: Array, y: Array) -> Array:
    """x y in float32, as one call of cuBLAS: (..., L, N), (..., N, M) -> (..., L, M).

    CuPy makes the same call, but converts float16 to float32 before it, and the result to float16 after it.
    """
    xp = namespace(x)
    cublas, types = importlib.import_module("cupy_backends.cuda.libs.cublas"), xp.cuda.runtime
    x, y = xp.ascontiguousarray(x), xp.ascontiguousarray(y)
    (L, N), M = x.shape[-2:], y.shape[-1]
    result = xp.empty((*x.shape[:-1], M), dtype="float32")
    one, zero = numpy.ones(1, numpy.float32), numpy.zeros(1, numpy.float32)
    # cuBLAS counts by columns, and so takes each matrix for its transpose: (x y)ᵀ = yᵀ xᵀ.
    cublas.gemmStridedBatchedEx(
        xp.cuda.device.get_cublas_handle(), cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_N, M, L, N,
        one.ctypes.data, y.data.ptr, types.CUDA_R_16F, M, N * M, x.data.ptr, types.CUDA_R_16F, N, L * N,
        zero.ctypes.data, result.data.ptr, types.CUDA_R_32F, M, L * M,
        result.size // (L * M), cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip
    return result


def _is_for_cuda(xp: Any) -> bool:
    """Return whether the library is CuPy, for NVIDIA GPUs."""
    return xp.__name__ == "cupy" and not xp.cuda.runtime.is_hip


# --- the code -------------------------------------------------------------------------------------------------------


def source(
    formula: Callable[..., Any], dtype: Any, vectors: Sequence[str] = (), numbers: Mapping[str, float] | None = None
) -> tuple[str, bool]:
    """The body of a kernel, which CuPy runs for i = 0, 1, ..., and whether i is the index of an element.

    Otherwise, i / 32 is the row. The body reads the arrays x and `vectors`, of the type T, and `columns`, the length of
    a row. It writes the array `result`.
    """
    code = Code(widened(dtype))
    x, *others = (
        code.value(f"static_cast<{code.type}>({at})") for at in ("x[first + k]", *(f"{v}[k]" for v in vectors))
    )
    value = formula(x, **dict(zip(vectors, others, strict=True)), **(numbers or {}))
    last = [*code.of_columns, f"result[first + k] = static_cast<T>({value.name});"]
    if not code.of_rows and not vectors:
        return "\n".join(["const ptrdiff_t first = 0, k = i;", *last]), True
    start = f"const ptrdiff_t lane = i % {WARP}, first = i / {WARP} * columns;"
    return "\n".join([start, *code.of_rows, *over_columns(last)]), False


def over_columns(lines: Sequence[str]) -> list[str]:
    """A loop over the columns of a row that this thread computes."""
    return [f"for (ptrdiff_t k = lane; k < columns; k += {WARP}) {{", *lines, "}"]


class Code:
    """The code of a kernel so far: the statements for each row, and those in each loop over columns."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.type = dtype, {4: "float", 8: "double"}[dtype.itemsize]
        self.of_rows: list[str] = []
        self.of_columns: list[str] = []
        self.count = 0

    def value(self, expression: str, is_of_row: bool = False) -> "Value":
        """A value that is given by an expression."""
        name = self._name()
        (self.of_rows if is_of_row else self.of_columns).append(f"const {self.type} {name} = {expression};")
        return Value(self, name, is_of_row)

    def reduced(self, value: "Value", start: str, combined: str) -> "Value":
        """The reduction of a value over the row: first by each thread for its columns, then by pairs of threads.

        start: the expression to begin with, with {} for 0. combined: the expression for two numbers, {0} and {1}.
        """
        name = self._name()
        step = f"{name} = {combined.format(name, value.name)};"
        self.of_rows += [
            f"{self.type} {name} = {start.format(self.literal(0))};",
            *over_columns([*self.of_columns, step]),
        ]
        self.of_rows += [
            f"for (int distance = {WARP // 2}; distance; distance /= 2) {{",
            f"const {self.type} other = __shfl_xor_sync(0xffffffffu, {name}, distance);",
            f"{name} = {combined.format(name, 'other')};",
            "}",
        ]
        return Value(self, name, True)

    def literal(self, number: float) -> str:
        """A number in C. (A bare 0.5 would be a double, and would make doubles of floats.)"""
        return f"{self.type}({float(number)!r})"

    def _name(self) -> str:
        self.count += 1
        return f"v{self.count}"


class Value:
    """A number for each element of a row, or one for the whole row. A formula gets it in place of an array."""

    def __init__(self, code: Code, name: str, is_of_row: bool) -> None:
        self.code, self.name, self.is_of_row = code, name, is_of_row
        self.dtype = code.dtype

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return sys.modules[__name__]

    def __neg__(self) -> "Value":
        return written("-{}", self)

    def max(self, axis: int, keepdims: bool) -> "Value":
        """The largest number of the row; NaN if there is one."""
        return self._over_row(axis, keepdims, "log({})", LARGER)  # log(0) is -inf

    def sum(self, axis: int, keepdims: bool) -> "Value":
        """The sum of the row."""
        return self._over_row(axis, keepdims, "{}", "{0} + {1}")

    def mean(self, axis: int, keepdims: bool) -> "Value":
        """The mean of the row."""
        return written("{} / columns", self.sum(axis, keepdims))

    def _over_row(self, axis: int, keepdims: bool, start: str, combined: str) -> "Value":
        if axis != -1 or not keepdims or self.is_of_row:
            raise NotImplementedError("a kernel reduces only rows: call x.sum(-1, keepdims=True)")
        return self.code.reduced(self, start, combined)


LARGER = "{0} > {1} || {0} != {0} ? {0} : {1}"
"""The larger of two numbers; NaN if one is."""


def written(expression: str, *operands: Value | float) -> Value:
    """The value of an expression in C, with {0}, {1}, ... for values and numbers."""
    values = [x for x in operands if isinstance(x, Value)]
    code = values[0].code
    names = [x.name if isinstance(x, Value) else code.literal(x) for x in operands]
    return code.value(expression.format(*names), all(x.is_of_row for x in values))


def _operator(sign: str, name: str) -> None:
    setattr(Value, f"__{name}__", lambda x, y: written(f"{{}} {sign} {{}}", x, y))
    setattr(Value, f"__r{name}__", lambda x, y: written(f"{{}} {sign} {{}}", y, x))


for _sign, _name in {"+": "add", "-": "sub", "*": "mul", "/": "truediv"}.items():
    _operator(_sign, _name)


# --- the library: functions under the names that CuPy gives them ----------------------------------------------------

exp = functools.partial(written, "exp({})")
log = functools.partial(written, "log({})")
sqrt = functools.partial(written, "sqrt({})")
tanh = functools.partial(written, "tanh({})")
erf = functools.partial(written, "erf({})")
maximum = functools.partial(written, LARGER)
minimum = functools.partial(written, "{0} < {1} || {0} != {0} ? {0} : {1}")
clip = functools.partial(written, "{0} < {1} ? {1} : {0} > {2} ? {2} : {0}")


def logaddexp(x: Value | float, y: Value | float) -> Value:
    """log(eˣ + eʸ), without overflow, and with equal infinities."""
    return written("{0} == {1} ? {0} + {2} : fmax({0}, {1}) + log1p(exp(-fabs({0} - {1})))", x, y, math.log(2))
