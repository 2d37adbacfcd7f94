"""CuPy's kernels, made from the formulas: compiled as C++ and compared with NumPy, and within whole models."""

import ctypes
import functools
import inspect
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import strict
import warp
from support import CASE, CASES, TINY, Case, check, model_of, one_a_feature, slow_but

from minroberta import activations, init, ops
from minroberta.backend import kernels
from minroberta.backend.arrays import to_host
from minroberta.backend.schedule import product_of_heads, rowwise
from minroberta.config import FAMILIES

pytestmark = pytest.mark.skipif(not warp.AVAILABLE, reason="the kernels are compiled by g++, on Linux on x86-64")

DTYPES = ("float16", "float32", "float64")
SHAPES = ((1, 1), (2, 3, 5), (3, 31), (2, 2, 32), (3, 33), (2, 100))


def formulas() -> dict[str, Callable[..., Any]]:
    """Every formula that is scheduled by `rowwise`."""
    found = [f for module in (activations, ops) for _, f in inspect.getmembers(module, inspect.isfunction)]
    return {f.__name__: f for f in found if f.__code__ is rowwise(abs).__code__}


FORMULAS = formulas()


def constants_of(name: str, columns: int, dtype: str) -> dict[str, Any]:
    if name != "layer_norm":
        return {}
    state = np.random.RandomState(columns)
    return {"weight": state.standard_normal(columns).astype(dtype), "bias": np.ones(columns, dtype), "eps": 1e-5}


def inputs(dtype: str) -> list[np.ndarray]:
    return [(np.random.RandomState(shape[-1]).standard_normal(shape) * 3).astype(dtype) for shape in SHAPES]


def kernel_of(name: str, dtype: str) -> tuple[warp.Kernel, bool]:
    """A formula's kernel, and whether each of its threads computes an element."""
    constants = constants_of(name, 1, dtype)
    vectors = [key for key, x in constants.items() if isinstance(x, np.ndarray)]
    numbers = {key: x for key, x in constants.items() if key not in vectors}
    body, is_elementwise = kernels.source(FORMULAS[name].__wrapped__, np.dtype(dtype), vectors, numbers)
    inputs = ", ".join([*(f"raw T {key}" for key in ("x", *vectors)), "int64 columns"])
    return warp.Kernel(inputs, "raw T result", body, dtype), is_elementwise


@functools.cache
def compile_formulas(dtype: str) -> None:
    """Compile the kernels of all formulas at once, which takes seconds."""
    warp.compile_all([kernel_of(name, dtype)[0] for name in FORMULAS])


def by_kernel(name: str, x: np.ndarray) -> np.ndarray:
    kernel, is_elementwise = kernel_of(name, x.dtype.name)
    vectors = [c for c in constants_of(name, x.shape[-1], x.dtype.name).values() if isinstance(c, np.ndarray)]
    result, columns = np.full(x.shape, 99, x.dtype), x.shape[-1]
    warp.call(kernel, x, *vectors, columns, result, size=x.size if is_elementwise else x.size // columns * 32)
    return result


def test_formulas_are_found() -> None:
    assert {"gelu", "gelu_tanh", "relu", "sigmoid", "layer_norm", "softmax", "log_softmax"} <= set(FORMULAS)


@pytest.mark.parametrize("dtype", slow_but(DTYPES, "float32"))
@pytest.mark.parametrize("name", FORMULAS)
def test_a_kernel_computes_its_formula(name: str, dtype: str) -> None:
    """Rows that are shorter and longer than a warp, and of its length."""
    compile_formulas(dtype)
    for x in inputs(dtype):
        exact = {key: np.float64(value) for key, value in constants_of(name, x.shape[-1], dtype).items()}
        expected = FORMULAS[name](x.astype(np.float64), **exact)
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(by_kernel(name, x), expected, rtol=16 * eps, atol=16 * eps, err_msg=str(x.shape))


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("dtype", slow_but(DTYPES, "float32"))
@pytest.mark.parametrize("name", FORMULAS)
def test_nan_and_infinity(name: str, dtype: str) -> None:
    """As on NumPy: NaN stays NaN, also the largest of a row, and nothing overflows on the way."""
    compile_formulas(dtype)
    for strange in (
        [np.nan, 1, 2],
        [1, 2, np.nan],
        [np.inf, 0, 1],
        [-np.inf, 0, 1],
        [-np.inf] * 3,
        [1e4, -1e4, 0],
        [-200, 90, 0],
    ):
        x = np.array([strange], dtype)
        expected = FORMULAS[name](x, **constants_of(name, 3, dtype))
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(by_kernel(name, x), expected, rtol=16 * eps, atol=16 * eps, err_msg=str(strange))


# --- a library with kernels -----------------------------------------------------------------------------------------


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in for CuPy, with its name, and with kernels. `calls` lists the kernels that were launched."""
    library: Any = ModuleType("cupy")
    vars(library).update({name: value for name, value in vars(strict).items() if not name.startswith("__")})
    library.calls = []

    class Kernel(warp.ElementwiseKernel):
        def __call__(self, *arguments: Any, size: int) -> None:
            library.calls.append(self.name)
            super().__call__(*arguments, size=size)

    library.ElementwiseKernel = Kernel
    library.empty = lambda shape, dtype: strict.asarray(np.full(shape, 99, dtype))
    library.cuda = SimpleNamespace(runtime=SimpleNamespace(is_hip=False))
    monkeypatch.setattr(strict.StrictArray, "__array_namespace__", lambda self: library)
    return library


def launched(case: Case) -> set[Any]:
    """What decides which kernels a case launches, and in which order."""
    order = FAMILIES[case.model_type]
    return {case.config["hidden_act"], case.config["layer_norm_eps"], (case.head, order.norm_first), case.model_type}


EVERY = [case.name for case in one_a_feature(CASES)]
"""A case for each feature: other cases differ from these in their numbers alone."""

IN_FLOAT64 = [case.name for case in one_a_feature(CASES, launched)]
"""A case for each kernel, and for each head with each order of norms: the rest of a model knows of no kernel."""


@pytest.mark.parametrize("name", slow_but(EVERY, "position/relative_key_query/encoder/post"))
def test_golden_with_kernels(name: str, cupy: Any) -> None:
    golden_with_kernels(name, "float32", cupy)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_FLOAT64)
def test_golden_with_kernels_in_float64(name: str, cupy: Any) -> None:
    golden_with_kernels(name, "float64", cupy)


def golden_with_kernels(name: str, dtype: str, cupy: Any) -> None:
    compile_formulas(dtype)
    check(CASE[name], dtype, model_of(CASE[name], dtype, cupy))
    assert "minroberta_layer_norm" in cupy.calls


def test_a_formula_is_one_launch(cupy: Any) -> None:
    x, weight = (cupy.asarray(np.random.RandomState(0).standard_normal(shape)) for shape in [(2, 3, 5), (5,)])
    for _ in range(2):
        result = ops.layer_norm(x, weight=weight, bias=weight, eps=1e-5)
    assert cupy.calls == ["minroberta_layer_norm"] * 2
    expected = ops.layer_norm(x.values, weight=weight.values, bias=weight.values, eps=1e-5)
    np.testing.assert_allclose(to_host(result), expected, rtol=1e-12)


@pytest.mark.parametrize("change", ["is_hip", "empty", "another dtype", "a matrix"])
def test_what_is_computed_without_a_kernel(change: str, cupy: Any) -> None:
    x, weight, bias = np.ones((0 if change == "empty" else 2, 5)), np.ones(5), np.ones(5)
    if change == "is_hip":
        cupy.cuda.runtime.is_hip = True
    if change == "another dtype":
        weight = weight.astype(np.float32)
    if change == "a matrix":
        weight = weight[None]
    result = ops.layer_norm(cupy.asarray(x), weight=cupy.asarray(weight), bias=cupy.asarray(bias), eps=1e-5)
    assert cupy.calls == []
    np.testing.assert_array_equal(to_host(result), ops.layer_norm(x, weight=weight, bias=bias, eps=1e-5))


def test_a_number_has_no_row(cupy: Any) -> None:
    assert to_host(activations.relu(cupy.asarray(-2.0))) == 0
    assert cupy.calls == []


def test_a_reduction_of_something_else_than_rows() -> None:
    for reduced in (lambda x: x.sum(0, keepdims=True), lambda x: x.max(-1, keepdims=False)):
        with pytest.raises(NotImplementedError, match="a kernel reduces only rows"):
            kernels.source(reduced, np.dtype("float32"))


def test_numbers_do_not_widen_floats() -> None:
    """A bare number in C is a double."""
    body, is_elementwise = kernels.source(activations.gelu.__wrapped__, np.dtype("float16"))
    assert is_elementwise
    assert "double" not in body
    assert "float(0.5) * v1" in body


# --- products of float16 --------------------------------------------------------------------------------------------


def gemm(
    handle: int, transa: int, transb: int, m: int, n: int, k: int,
    alpha: int, A: int, a_type: int, lda: int, a_stride: int, B: int, b_type: int, ldb: int, b_stride: int,
    beta: int, C: int, c_type: int, ldc: int, c_stride: int, count: int, compute: int, algorithm: int,
) -> None:  # fmt: skip
    """cuBLAS's gemmStridedBatchedEx as its manual defines it: C = alpha A B + beta C, by columns, at addresses."""
    assert (handle, transa, transb, compute, algorithm) == (77, 0, 0, 68, -1)

    def matrix(address: int, kind: int, rows: int, columns: int, leading: int) -> np.ndarray:
        dtype = {2: np.float16, 0: np.float32}[kind]
        count = leading * (columns - 1) + rows
        raw = (ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(address)
        return np.lib.stride_tricks.as_strided(
            np.frombuffer(raw, dtype), (rows, columns), (np.dtype(dtype).itemsize, leading * np.dtype(dtype).itemsize)
        )

    def number(address: int) -> float:
        return float(np.frombuffer((ctypes.c_char * 4).from_address(address), np.float32)[0])

    sizes = {2: 2, 0: 4}
    for index in range(count):
        a = matrix(A + index * a_stride * sizes[a_type], a_type, m, k, lda).astype(np.float32)
        b = matrix(B + index * b_stride * sizes[b_type], b_type, k, n, ldb).astype(np.float32)
        c = matrix(C + index * c_stride * sizes[c_type], c_type, m, n, ldc)
        c[:] = number(alpha) * (a @ b) + (number(beta) * c if number(beta) else 0)


@pytest.fixture
def cublas(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """CuPy's parts that product_of_halves uses. Lists the number of matrices in each call of cuBLAS."""
    calls: list[int] = []

    def watched(*arguments: int) -> None:
        calls.append(arguments[-3])
        gemm(*arguments)

    module = SimpleNamespace(gemmStridedBatchedEx=watched, CUBLAS_OP_N=0, CUBLAS_COMPUTE_32F=68, CUBLAS_GEMM_DEFAULT=-1)
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs.cublas", module)
    vars(cupy.cuda.runtime).update(CUDA_R_16F=2, CUDA_R_32F=0)
    cupy.cuda.device = SimpleNamespace(get_cublas_handle=lambda: 77)
    cupy.ascontiguousarray = lambda x: strict.StrictArray(np.ascontiguousarray(x.values))
    address = property(lambda self: SimpleNamespace(ptr=self.values.ctypes.data))
    monkeypatch.setattr(strict.StrictArray, "data", address, raising=False)
    return calls


@pytest.mark.parametrize(("L", "S", "E"), [(3, 5, 8), (1, 1, 1), (4, 2, 3)])
def test_products_of_float16(L: int, S: int, E: int, cupy: Any, cublas: list[int]) -> None:
    """Transposed views as attention has them; integers, so that nothing is rounded."""
    state = np.random.RandomState(L)
    q, k = (state.randint(-200, 200, (2, n, 3, E)).astype(np.float16).swapaxes(1, 2) for n in (L, S))
    made = product_of_heads(strict.StrictArray(q), strict.StrictArray(k).swapaxes(2, 3))
    assert (made.dtype, made.shape, cublas) == (np.float32, (2, 3, L, S), [6])
    np.testing.assert_array_equal(to_host(made), q.astype(np.float32) @ k.astype(np.float32).swapaxes(2, 3))
    e = np.abs(made.values) / 64  # float32, to be rounded to float16
    made = product_of_heads(strict.StrictArray(e), strict.StrictArray(k))
    np.testing.assert_array_equal(to_host(made), e.astype(np.float16).astype(np.float32) @ k.astype(np.float32))
    assert cublas == [6, 6]


@pytest.mark.parametrize("why", ["is_hip", "a table for all heads", "no keys", "float32"])
def test_products_without_cublas(why: str, cupy: Any, cublas: list[int]) -> None:
    cupy.cuda.runtime.is_hip = why == "is_hip"
    x, y = np.ones((1, 2, 3, 4), np.float16), np.ones((1, 2, 4, 5), np.float16)
    if why == "a table for all heads":
        y = y[0, 0]
    if why == "no keys":
        y = y[..., :0]
    if why == "float32":
        x, y = x.astype(np.float32), y.astype(np.float32)
    made = product_of_heads(cupy.asarray(x), cupy.asarray(y))
    assert cublas == []
    np.testing.assert_array_equal(to_host(made), x.astype(np.float32) @ y.astype(np.float32))


@pytest.mark.slow
def test_a_float16_model_with_kernels(cupy: Any, cublas: list[int]) -> None:
    """Products, kernels and what remains, against the same model on NumPy, which computes in float32."""
    plain, model = (init({**TINY, "initializer_range": 0.2}, dtype="float16", xp=xp) for xp in (np, cupy))
    ids = [[5, 6, 7], [8, 9, 2]]
    expected = plain(ids).last_hidden_state
    np.testing.assert_allclose(to_host(model(ids).last_hidden_state), expected, atol=0.02)
    assert len(cublas) == 2 * model.config.num_hidden_layers
