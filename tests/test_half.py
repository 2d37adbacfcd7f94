"""float16 and bfloat16 where a library computes in them: large activations give what float32 gives."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import strict
from support import TINY

from minroberta import forward, init, ops, trace
from minroberta.backend.arrays import to_host

HALVES = [(strict, "float16"), (jnp, "float16"), (jnp, "bfloat16")]
NAMES = [f"{xp.__name__}-{dtype}" for xp, dtype in HALVES]


def large(seed: int, *shape: int) -> np.ndarray:
    """Multiples of 64 up to 512, which bfloat16 can represent. Their products are exact in float32."""
    return np.random.RandomState(seed).randint(-8, 9, shape) * 64.0


def half(xp: Any, dtype: str, *arrays: np.ndarray) -> list[Any]:
    """The arrays in a library and a dtype that can represent all of their numbers."""
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    assert all((x.astype(kind) == x).all() for x in arrays)
    return [xp.asarray(x.astype(kind)) for x in arrays]


@pytest.mark.parametrize(("xp", "dtype"), HALVES, ids=NAMES)
def test_scores_beyond_float16(xp: Any, dtype: str) -> None:
    q, k, v = large(0, 1, 2, 5, 8), large(1, 1, 2, 7, 8), large(2, 1, 2, 7, 8)
    scores = ops.attention_scores(q, k)
    assert np.abs(scores).max() > 2 * 65504
    halves = half(xp, dtype, q, k, v)
    made = ops.attention_scores(*halves[:2])
    assert made.dtype == "float32"
    np.testing.assert_allclose(to_host(made), scores, rtol=1e-6)
    result = ops.attend(*halves)
    assert result.dtype == halves[0].dtype
    eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    np.testing.assert_allclose(to_host(result).astype(float), ops.attend(q, k, v), rtol=eps)


@pytest.mark.parametrize(("xp", "dtype"), HALVES, ids=NAMES)
def test_sums_of_values_beyond_float16(xp: Any, dtype: str) -> None:
    """Values are summed before the division by the sum of exponentials, so the sum is up to S times a value."""
    q, v = np.zeros((1, 1, 3, 4)), np.full((1, 1, 9, 4), 49152.0)
    q, k, v = half(xp, dtype, q, np.zeros_like(v), v)
    np.testing.assert_allclose(to_host(ops.attend(q, k, v)).astype(float), 49152.0, rtol=1e-6)


@pytest.mark.parametrize("with_key", [False, True])
@pytest.mark.parametrize(("xp", "dtype"), HALVES, ids=NAMES)
def test_relative_scores_beyond_float16(xp: Any, dtype: str, with_key: bool) -> None:
    q, k, table = large(3, 1, 2, 5, 8), large(4, 1, 2, 7, 8), large(5, 19, 8)
    scores = ops.relative_scores(q, k, table, with_key)
    assert np.abs(scores).max() > 2 * 65504
    made = ops.relative_scores(*half(xp, dtype, q, k, table), with_key)
    assert made.dtype == "float32"
    np.testing.assert_array_equal(to_host(made), scores)


@pytest.mark.parametrize("positions", ["absolute", "relative_key_query"])
@pytest.mark.parametrize(("xp", "dtype"), HALVES[:2], ids=NAMES[:2])
def test_a_model_with_large_scores(xp: Any, dtype: str, positions: str) -> None:
    """Every named value stays finite. On NumPy, where the same model computes in float32, it always did."""
    model = init({**TINY, "position_embedding_type": positions}, dtype=dtype, xp=xp)
    for layer in model.params["encoder"]["layer"]:
        for name in ("query", "key"):
            part = layer["attention"]["self"][name]
            part["weight"] = part["weight"] * 5000
    values = trace(model, [[5, 6, 7, 8, 9]])
    assert np.abs(to_host(values["encoder.layer.0.attention.self.scores"])).max() > 65504
    for name, value in values.items():
        assert np.isfinite(to_host(value).astype(float)).all(), name
    plain = to_host(model([[5, 6, 7, 8, 9]]).last_hidden_state)
    assert np.isfinite(plain.astype(float)).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_keep_their_dtype(dtype: str) -> None:
    """Products of half types that return float32 can be differentiated, near the gradient in float32."""
    models = {each: init(TINY, head="masked_lm", dtype=each, xp=jnp) for each in (dtype, "float32")}
    ids = jnp.array([[5, 6, 7]])

    def gradient(each: str) -> Any:
        def loss(params: Any) -> Any:
            return forward(params, models[each].config, "masked_lm", input_ids=ids, labels=ids)["loss"]

        layer = jax.grad(loss)(models[each].params)["encoder"]["layer"][0]
        return layer["attention"]["self"]["value"]["weight"]

    half, whole = gradient(dtype), gradient("float32")
    assert half.dtype == dtype
    error = np.linalg.norm(np.asarray(half, float) - np.asarray(whole)) / np.linalg.norm(whole)
    assert error < 0.1
