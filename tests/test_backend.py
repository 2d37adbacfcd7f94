"""Namespaces, dtypes and the schedule; the golden cases on a stand-in for CuPy, and on CuPy where there is a GPU."""

from typing import Any

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st
from support import CASES, TINY, Case, check, model_of
from test_kernels import DTYPES, FORMULAS, constants_of, inputs

from minroberta import BackendError, InputError, init, ops
from minroberta.backend import schedule as backend
from minroberta.backend.arrays import compute_dtype, dtype_of, namespace, to_host
from minroberta.backend.schedule import rowwise


def test_an_array_says_where_it_comes_from() -> None:
    assert namespace(np.zeros(3)) is np
    assert namespace(strict.asarray([1.0])) is strict


@pytest.mark.parametrize("stranger", [[1, 2], "text", None, 3])
def test_something_else_than_an_array_is_refused(stranger: Any) -> None:
    with pytest.raises(BackendError, match="no array library is known for"):
        namespace(stranger)


# --- dtypes ---------------------------------------------------------------------------------------------------------


def test_dtypes_by_name_and_by_type() -> None:
    assert dtype_of(np, "float16") == dtype_of(np, np.float16) == np.float16


@pytest.mark.parametrize(
    ("dtype", "sentence"),
    [("bfloat16", "numpy has no bfloat16: load as float32"), ("int8", "unknown dtype int8: give one of float64")],
)
def test_a_dtype_that_a_library_cannot_hold(dtype: str, sentence: str) -> None:
    with pytest.raises(BackendError, match=sentence):
        dtype_of(np, dtype)


def test_numpy_only_stores_half_types() -> None:
    assert compute_dtype(np, np.dtype("float16")) == np.float32
    assert compute_dtype(strict, np.dtype("float16")) == np.float16


# --- the schedule ---------------------------------------------------------------------------------------------------


@given(rows=st.integers(1, 40), columns=st.integers(1, 30), block=st.integers(1, 5000))
def test_rowwise_does_not_depend_on_the_block(rows: int, columns: int, block: int) -> None:
    """To the bit, for odd blocks, blocks of less than a row, and one block."""
    x = np.random.RandomState(0).standard_normal((2, rows, columns)).astype(np.float32)
    whole = scaled(x, by=3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "BLOCK", block)
        assert np.array_equal(scaled(x, by=3.0), whole)


@rowwise
def scaled(x: Any, *, by: float) -> Any:
    return x * by / np.sqrt((x * x).sum(-1, keepdims=True))


def test_rowwise_computes_half_types_in_float32() -> None:
    x = np.array([[60000.0, 60000.0]], np.float16)  # float16 cannot hold their squares
    result = scaled(x, by=1.0)
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, np.float16([[0.7071, 0.7071]]))


@pytest.mark.parametrize("dtype", ["int16", "int64", "bool", "complex64", "longdouble"])
def test_rowwise_is_for_floats(dtype: str) -> None:
    """Integers would give integers."""
    with pytest.raises(BackendError, match=r"scaled takes floating-point arrays, not \w+: give float32"):
        scaled(np.ones((2, 3), dtype), by=2.0)


@given(rows=st.integers(1, 40), columns=st.integers(1, 30), block=st.integers(1, 5000))
def test_rowwise_takes_several_arrays(rows: int, columns: int, block: int) -> None:
    x, y = np.random.RandomState(0).standard_normal((2, 3, rows, columns)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "BLOCK", block)
        assert np.array_equal(difference(x, y, by=2.0), x - 2 * y)


@rowwise
def difference(x: Any, y: Any, *, by: float) -> Any:
    return x - by * y


def test_rowwise_leaves_its_input_alone() -> None:
    x = np.ones((200, 300), np.float32)
    scaled(x, by=2.0)
    assert (x == 1).all()


# --- a library that is not NumPy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden_without_numpy(case: Case, dtype: str) -> None:
    """There is no NumPy call on the model's arrays, and no branch that depends on a value."""
    check(case, dtype, model_of(case, dtype, strict))


def test_the_stand_in_refuses() -> None:
    """The test above can fail."""
    x = strict.asarray([1.0, 2.0])
    for misuse in (np.exp, np.asarray, np.concatenate, bool, lambda x: x + np.ones(2), lambda x: np.ones(2) @ x):
        with pytest.raises(TypeError):
            misuse(x)
    assert to_host(x).tolist() == [1.0, 2.0]
    assert strict.asarray([10.0, 20.0])[strict.asarray([5])].get().tolist() == [20.0]


def test_an_index_that_would_wrap_is_refused_first() -> None:
    model = init({**TINY, "max_position_embeddings": 6}, xp=strict)
    with pytest.raises(InputError, match="input of 5 tokens"):
        model([[5, 6, 7, 8, 9]])
    with pytest.raises(InputError, match="has 53 at"):
        model([[53]])


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 5), (0, 3)])
def test_a_product_with_a_weight_is_one_of_matrices(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy copies the weight for a batched product, and computes float16 in float32."""
    x, weight = np.random.RandomState(0).standard_normal((*shape, 4)), np.eye(6, 4)[::-1]
    seen: list[tuple[int, int]] = []
    matmul = strict.StrictArray.__matmul__
    monkeypatch.setattr(strict.StrictArray, "__matmul__", lambda a, b: seen.append((a.ndim, b.ndim)) or matmul(a, b))
    result = backend.product(strict.asarray(x), strict.asarray(weight))
    np.testing.assert_array_equal(to_host(result), x @ weight.T)
    assert seen == [(2, 2)]


def cupy() -> Any:
    """CuPy, where it is installed and has a GPU."""
    library = pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        count = library.cuda.runtime.getDeviceCount()
    except library.cuda.runtime.CUDARuntimeError:
        count = 0
    if not count:
        pytest.skip("CuPy finds no GPU")
    return library


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_golden_on_cupy(dtype: str) -> None:
    library = cupy()
    for case in CASES:
        check(case, dtype, model_of(case, dtype, library))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_on_cupy(name: str, dtype: str) -> None:
    """Kernels of rows that are shorter and longer than a warp, also of arrays that are not contiguous."""
    library, eps = cupy(), float(np.finfo(dtype).eps)
    for x in inputs(dtype):
        constants = constants_of(name, x.shape[-1], dtype)
        wide = {key: c.astype(float) if hasattr(c, "shape") else c for key, c in constants.items()}
        expected = FORMULAS[name](x.astype(float), **wide)
        moved = {key: library.asarray(c) if hasattr(c, "shape") else c for key, c in constants.items()}
        for moved_x in (library.asarray(x), library.asarray(x.swapaxes(0, -1).copy()).swapaxes(0, -1)):
            made = FORMULAS[name](moved_x, **moved)
            assert made.dtype == dtype
            np.testing.assert_allclose(to_host(made), expected, rtol=16 * eps, atol=16 * eps, err_msg=str(x.shape))


def test_float16_on_cupy() -> None:
    """Products, kernels, and scores and sums that float16 cannot hold."""
    library = cupy()
    plain, model = (init({**TINY, "initializer_range": 0.2}, dtype="float16", xp=xp) for xp in (np, library))
    ids = [[5, 6, 7], [8, 9, 2]]
    np.testing.assert_allclose(to_host(model(ids).last_hidden_state), plain(ids).last_hidden_state, atol=0.02)
    state = np.random.RandomState(0)
    q, k, v = (state.randint(-8, 9, (2, 3, length, 8)) * 64.0 for length in (5, 70, 70))
    made = ops.attend(*(library.asarray(x.astype(np.float16)) for x in (q, k, v)))
    np.testing.assert_allclose(to_host(made), ops.attend(q, k, v), rtol=2.0**-10)
