"""The mathematics, each formula against another way to the same number."""

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minroberta import activations, ops
from minroberta.config import ACTIVATIONS

DTYPES = ("float64", "float32", "float16")


def random(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.RandomState(zlib.crc32(str(shape).encode())).standard_normal(shape).astype(dtype)


def ulps(x: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The distance from the float64 truth, in units in the last place of x's dtype."""
    return np.abs(x.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(x.dtype)).astype(np.float64)


# --- erf ------------------------------------------------------------------------------------------------------------

math_erf = np.vectorize(math.erf, otypes=[np.float64])


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_erf_in_float32(values: list[float]) -> None:
    x = np.float32(values)
    assert ulps(activations.erf(x), math_erf(x)).max() <= 8


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_erf_in_float64(values: list[float]) -> None:
    x = np.float64(values)
    assert ulps(activations.erf(x), math_erf(x)).max() <= 4


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 8), ("float64", 4)])
def test_erf_where_it_bends(dtype: str, bound: int) -> None:
    """100,000 points that Hypothesis would not find, of all magnitudes and of the order of 1."""
    state = np.random.RandomState(0)
    tiniest = np.log2(float(np.finfo(dtype).smallest_subnormal))
    x = np.concatenate([state.uniform(-6.5, 6.5, 50_000), 2.0 ** state.uniform(tiniest, 3, 50_000)]).astype(dtype)
    assert ulps(activations.erf(x), math_erf(x)).max() <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_at_the_ends(dtype: str) -> None:
    largest = float(np.finfo(dtype).max)
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, largest, -largest, 6.5, -6.5], dtype)
    result = activations.erf(x)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.array([0, -0.0, 1, -1, np.nan, 1, -1, 1, -1], dtype))
    assert np.signbit(result[1])


def test_erf_is_odd() -> None:
    x = np.linspace(0, 7, 10_001, dtype=np.float32)
    np.testing.assert_array_equal(activations.erf(-x), -activations.erf(x))


def test_gelu_is_within_1e6_of_the_truth() -> None:
    x = np.linspace(-12, 12, 200_001, dtype=np.float32)
    exact = 0.5 * x.astype(np.float64) * (1 + math_erf(x.astype(np.float64) / math.sqrt(2)))
    near = np.abs(x) < 4
    assert np.abs(activations.gelu(x) - exact)[near].max() < 7e-7
    assert ulps(activations.gelu(x), exact)[x >= 4].max() <= 2


# --- activations ----------------------------------------------------------------------------------------------------


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def tanh_gelu(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORMULAS: dict[str, Callable[[float], float]] = {
    "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "gelu_new": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "gelu_fast": tanh_gelu,
    "quick_gelu": lambda x: x * logistic(1.702 * x),
    "gelu_10": lambda x: min(max(0.5 * x * math.erfc(-x / math.sqrt(2)), -10.0), 10.0),
    "gelu_python": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "gelu_accurate": tanh_gelu,
    "laplace": lambda x: 0.5 * math.erfc(-(x - 0.707107) / (0.282095 * math.sqrt(2))),
    "leaky_relu": lambda x: x if x >= 0 else 0.01 * x,
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "sigmoid": logistic,
    "silu": lambda x: x * logistic(x),
    "swish": lambda x: x * logistic(x),
    "tanh": math.tanh,
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(-abs(x))) + max(x, 0)),
    "linear": lambda x: x,
}


def test_every_activation_has_a_formula_here() -> None:
    assert set(FORMULAS) == set(ACTIVATIONS) == set(activations.ACTIVATIONS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str, dtype: str) -> None:
    """Activations agree with scalars of the math module, and do not warn where exponentials overflow."""
    x = np.array([-1000, -90, -20, -5, -1.5, -1e-3, 0, 1e-3, 0.7, 3, 20, 90, 1000], dtype)
    if name == "relu2" and dtype == "float16":
        x = x[:-1]  # its largest number is 65504
    result = activations.ACTIVATIONS[name](x)
    assert result.dtype == dtype
    exact = np.array([FORMULAS[name](float(value)) for value in x])
    np.testing.assert_allclose(result, exact, rtol=8 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps)


def test_tanh_gelu_differs_from_gelu_as_documented() -> None:
    x = np.linspace(-6, 6, 100_001)
    assert np.abs(activations.gelu(x) - activations.gelu_tanh(x)).max() == pytest.approx(4.7e-4, abs=0.1e-4)


# --- rows -----------------------------------------------------------------------------------------------------------

rows = arrays(np.float32, array_shapes(min_dims=1, max_dims=3, max_side=9), elements=st.floats(-1e4, 1e4, width=32))


@given(rows)
def test_softmax_sums_to_one(scores: np.ndarray) -> None:
    probs = ops.softmax(scores)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)


@given(rows, st.floats(-100, 100, width=32))
def test_softmax_does_not_see_a_shift(scores: np.ndarray, shift: float) -> None:
    scores = scores.astype(np.float64)
    np.testing.assert_allclose(ops.softmax(scores + shift), ops.softmax(scores), atol=1e-9)


@given(rows)
def test_log_softmax_is_the_log_of_softmax(scores: np.ndarray) -> None:
    logs = ops.log_softmax(scores.astype(np.float64))
    np.testing.assert_allclose(np.exp(logs), ops.softmax(scores.astype(np.float64)), atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm_by_its_definition(dtype: str) -> None:
    """Biased variance, eps inside the root: with a large eps and few channels other definitions would differ."""
    x, weight, bias, eps = random(4, 5, dtype=dtype), random(5), random(1, 5)[0], 0.3
    exact = np.array(x, np.float64)
    for row in exact.reshape(-1, 5):
        mean = math.fsum(row) / 5
        variance = math.fsum((value - mean) ** 2 for value in row) / 5
        row[:] = (row - mean) / math.sqrt(variance + eps)
    result = ops.layer_norm(x, weight=weight.astype(dtype), bias=bias.astype(dtype), eps=eps)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, exact * weight + bias, atol=10 * np.finfo(dtype).eps)


def test_layer_norm_of_float16_is_computed_in_float32() -> None:
    x = np.array([[300.0, -300.0, 300.0, -300.0]], np.float16)  # float16 cannot hold their squares
    one, zero = np.ones(4, np.float16), np.zeros(4, np.float16)
    np.testing.assert_array_equal(ops.layer_norm(x, weight=one, bias=zero, eps=1e-5), [[1, -1, 1, -1]])


def test_linear_keeps_the_file_s_layout() -> None:
    x, weight, bias = random(2, 3), random(4, 3), random(4)
    expected = [[sum(weight[o, i] * row[i] for i in range(3)) + bias[o] for o in range(4)] for row in x]
    np.testing.assert_allclose(ops.linear(x, weight, bias), expected, atol=1e-15)


# --- attention ------------------------------------------------------------------------------------------------------


def test_heads_are_split_in_order_and_merged_again() -> None:
    x = random(2, 3, 12)
    heads = ops.split_heads(x, 4)
    assert heads.shape == (2, 3, 3, 4)
    np.testing.assert_array_equal(heads[1, 2, 0], x[1, 0, 8:12])
    np.testing.assert_array_equal(ops.merge_heads(heads), x)


@pytest.mark.parametrize("with_key", [False, True])
@pytest.mark.parametrize("L", [1, 3, 5])
def test_relative_scores_by_their_definition(L: int, with_key: bool) -> None:
    """The queries are the last L of S positions; the table has 2P - 1 rows, and row P - 1 is distance 0."""
    S, P, E = 5, 7, 4
    q, k, table = random(2, 3, L, E), random(2, 3, S, E), random(2 * P - 1, E)
    result = ops.relative_scores(q, k, table, with_key)
    for b, h, i, s in np.ndindex(2, 3, L, S):
        row = table[(S - L + i) - s + P - 1]
        expected = q[b, h, i] @ row + (k[b, h, s] @ row if with_key else 0)
        assert result[b, h, i, s] == pytest.approx(expected)


def test_causal_mask() -> None:
    np.testing.assert_array_equal(ops.causal_mask(np, 2, 4), [[1, 1, 1, 0], [1, 1, 1, 1]])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_additive_mask_is_finite(dtype: str) -> None:
    mask = ops.additive_mask(np.array([[1, 0.5, 0]]), np.dtype(dtype))
    least = np.finfo(dtype).min
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, np.array([[[[0, least / 2, least]]]], dtype))
    assert ops.additive_mask(np.ones((2, 3, 4)), np.dtype(dtype)).shape == (2, 1, 3, 4)


def test_a_row_with_nothing_to_attend_to_is_uniform() -> None:
    q, k = random(1, 1, 2, 4, dtype="float32"), random(1, 1, 3, 4, dtype="float32")
    mask = ops.additive_mask(np.zeros((1, 3)), np.dtype("float32"))
    np.testing.assert_array_equal(
        ops.softmax(ops.attention_scores(q, k, mask)), np.full((1, 1, 2, 3), np.float32(1 / 3))
    )


# --- positions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding_idx", [0, 1, 5])
def test_position_ids_as_published(padding_idx: int) -> None:
    """transformers' own test_create_position_ids_respects_padding_index."""
    p = padding_idx
    ids = np.array([[12, 31, 13, p]])
    np.testing.assert_array_equal(ops.create_position_ids_from_input_ids(ids, p), [[p + 1, p + 2, p + 3, p]])


def test_interior_and_left_padding_does_not_advance_the_count() -> None:
    ids = np.array([[1, 1, 7, 8], [7, 1, 8, 1]])
    np.testing.assert_array_equal(ops.create_position_ids_from_input_ids(ids, 1), [[1, 1, 2, 3], [2, 1, 3, 1]])


@given(
    arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4)), st.integers(0, 12)
)
def test_position_ids_may_be_made_in_two_parts(ids: np.ndarray, cut: int) -> None:
    """Two parts, the second counted on from the first, are the whole."""
    first, second = ids[:, :cut], ids[:, cut:]
    past = (first != 1).sum(1, keepdims=True)
    parts = [ops.create_position_ids_from_input_ids(first, 1), ops.create_position_ids_from_input_ids(second, 1, past)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), ops.create_position_ids_from_input_ids(ids, 1))


# --- losses ---------------------------------------------------------------------------------------------------------


def test_cross_entropy_by_its_definition() -> None:
    logits, labels = random(3, 2, 4), np.array([[0, -100], [3, 2], [-100, 1]])
    kept = [(logits[i, j], labels[i, j]) for i, j in np.ndindex(3, 2) if labels[i, j] != -100]
    expected = np.mean([-row[label] + math.log(sum(math.exp(value) for value in row)) for row, label in kept])
    assert ops.cross_entropy(logits, labels) == pytest.approx(expected)


def test_cross_entropy_of_nothing_is_nan_without_a_warning() -> None:
    assert math.isnan(ops.cross_entropy(random(2, 3), np.array([-100, -100])))


def test_binary_cross_entropy_by_its_definition_and_far_out() -> None:
    logits, labels = random(2, 3), np.array([[1.0, 0, 0.25], [0, 1, 1]])
    expected = np.mean(
        [
            -y * math.log(logistic(x)) - (1 - y) * math.log(1 - logistic(x))
            for x, y in zip(logits.flat, labels.flat, strict=True)
        ]
    )
    assert ops.binary_cross_entropy(logits, labels) == pytest.approx(expected)
    assert ops.binary_cross_entropy(np.array([[1000.0, -1000.0]]), np.array([[0.0, 0.0]])) == 500


def test_losses_of_half_types_are_computed_in_float32() -> None:
    logits = np.full((1, 3), 60000.0, np.float16)
    assert float(ops.cross_entropy(logits, np.array([0]))) == pytest.approx(math.log(3), rel=1e-6)
    assert float(ops.mean_squared_error(np.array([[300.0]], np.float16), np.array([[0.0]]))) == 90000


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_in_is_dtype_out(dtype: str) -> None:
    """No Python or NumPy constant widens an array."""
    x, q = random(2, 6, dtype=dtype), random(1, 2, 3, 4, dtype=dtype)
    row: Any = random(6, dtype=dtype)
    made = {
        "softmax": ops.softmax(x),
        "log_softmax": ops.log_softmax(x),
        "layer_norm": ops.layer_norm(x, weight=row, bias=row, eps=1e-5),
        "linear": ops.linear(x, random(3, 6, dtype=dtype), random(3, dtype=dtype)),
        "split_heads": ops.split_heads(random(1, 2, 4, dtype=dtype), 2),
        "attend": ops.attend(q, q, q),
        "erf": activations.erf(x),
    }
    assert {name: array.dtype for name, array in made.items()} == dict.fromkeys(made, np.dtype(dtype))
    for scores in (ops.attention_scores(q, q), ops.relative_scores(q, q, random(9, 4, dtype=dtype), True)):
        assert scores.dtype == ("float32" if dtype == "float16" else dtype)
