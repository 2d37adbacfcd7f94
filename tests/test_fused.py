"""Attention on JAX by cuDNN or head by head. On the CPU, JAX's own formula stands in for cuDNN."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from support import TINY, slow_but
from test_golden_jax import jax, jnp

from minroberta import Model, compiled, forward, init, ops, trace
from minroberta.backend import fused
from minroberta.config import Config
from minroberta.model import run, self_attention_mask

BF16, L = "bfloat16", 128


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The processor counts as a GPU, and the kernel is JAX's formula; nothing is known or compiled yet."""
    monkeypatch.setattr(fused, "PLATFORM", "cpu")
    monkeypatch.setattr(fused, "KERNEL", "xla")
    forget()
    yield
    forget()


def forget() -> None:
    for function in (compiled._jitted(run), jax.jit(fused.attend)):
        function.clear_cache()
    fused._agrees.cache_clear()


# --- the rule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queries", "keys", "head_size", "taken"),
    [
        (128, 128, 64, True),
        (510, 510, 80, True),
        (512, 512, 128, True),
        (96, 96, 64, False),  # short
        (129, 129, 64, False),  # odd
        (1, 129, 64, False),  # token by token
        (128, 256, 64, False),
        (128, 128, 36, False),  # not a multiple of 8
        (128, 128, 136, False),  # only newer GPUs have it
    ],
)
def test_sizes(queries: int, keys: int, head_size: int, taken: bool) -> None:
    assert fused.fits(jnp.dtype(BF16), queries, keys, head_size) is taken


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "float8_e4m3fn"])
def test_only_bfloat16(dtype: str) -> None:
    assert not fused.fits(jnp.dtype(dtype), 128, 128, 64)


def test_only_where_it_is_allowed() -> None:
    q = jnp.zeros((1, 1, L, 64), BF16)
    assert not fused.serves(q, q)
    with fused.allowing(True):
        assert fused.serves(q, q)
        with fused.allowing(False):
            assert not fused.serves(q, q)
    assert not fused.serves(q, q)


# --- the values -----------------------------------------------------------------------------------------------------


def additive(mask: np.ndarray, **fields: Any) -> np.ndarray:
    """The mask that the model's layers get, for the mask that a user gives."""
    config = Config.from_dict({**TINY, "model_type": "roberta", **fields})
    made = self_attention_mask(np.zeros((2, L, 30), np.float32), mask, 0, config)
    assert made is not None
    return made


def of_lengths(*lengths: int) -> np.ndarray:
    return (np.arange(L) < np.array(lengths)[:, None]).astype(np.float32)


HOLES = (np.random.RandomState(1).rand(2, L) < 0.6).astype(np.float32)
HOLES[:, 0] = 1
MASKS = {
    "none": None,
    "all": additive(of_lengths(L, L)),
    "right": additive(of_lengths(L, 50)),
    "left": additive(of_lengths(L, 50)[:, ::-1]),
    "holes": additive(HOLES),
    "halves": additive(np.where(HOLES == 0, 0.5, HOLES)),
    "causal": additive(np.ones((2, L), np.float32), is_decoder=True),
    "causal with holes": additive(HOLES, is_decoder=True),
    "one for all": additive(HOLES[:1])[:1],
    "3-D": additive(np.tril((np.random.RandomState(2).rand(2, L, L) < 0.5) | np.eye(L, dtype=bool)).astype(np.float32)),
}


@pytest.mark.parametrize("name", MASKS)
def test_every_kind_of_mask(name: str) -> None:
    """The result is rounded once, and each weight once. Queries, keys and values have axes of different sizes."""
    arrays = [jnp.asarray(np.random.RandomState(i).standard_normal((2, 3, L, 16)), BF16) for i in range(3)]
    mask = MASKS[name]
    exact = ops.attend(*(np.asarray(x, np.float32) for x in arrays), mask)
    found = fused.attend(*arrays, None if mask is None else jnp.asarray(mask))
    assert (found.shape, found.dtype) == (exact.shape, BF16)
    error = np.abs(np.asarray(found, np.float32) - exact).max()
    assert error < float(jnp.finfo(BF16).eps) * np.abs(exact).max()


MISTAKES: dict[str, Callable[..., Any]] = {
    "no mask": lambda q, k, v, mask: fused.attend(q, k, v),
    "the mask upside down": lambda q, k, v, mask: fused.attend(q, k, v, jnp.where(mask == 0, -1, 0)),
    "not scaled": lambda q, k, v, mask: fused.attend(q * 8, k, v, mask),
    "heads and positions swapped": lambda q, k, v, mask: fused.attend(
        *(x.swapaxes(1, 2).reshape(x.shape) for x in (q, k, v)), mask
    ),
    "keys for queries in the mask": lambda q, k, v, mask: fused.attend(q, k, v, mask.swapaxes(2, 3)),
    "another sequence's mask": lambda q, k, v, mask: fused.attend(q, k, v, mask[::-1]),
    "nan": lambda q, k, v, mask: fused.attend(q, k, v, mask) * jnp.nan,
}


def test_a_kernel_that_agrees_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "minroberta"):
        assert fused.is_right(ops.attend, jnp.zeros(3, BF16), L, 64)
        assert fused.is_right(ops.attend, jnp.zeros(3, BF16), L, 64)
    (record,) = caplog.records  # compared only once
    assert record.getMessage().startswith("attention of 128 positions by xla is ")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_kernel_that_is_wrong_is_not_taken(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attend = fused.attend
    wrong = MISTAKES[mistake]

    def call(*arguments: Any) -> Any:
        with monkeypatch.context() as within:
            within.setattr(fused, "attend", attend)
            return wrong(*arguments)

    monkeypatch.setattr(fused, "attend", call)
    for length in (L, 512):
        assert not fused.is_right(ops.attend, jnp.zeros(3, BF16), length, 64)


def test_a_kernel_that_is_not_available_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without cuDNN, as here; on other platforms; and with older versions of JAX."""
    x = jnp.zeros(3, BF16)
    monkeypatch.setattr(fused, "KERNEL", "cudnn")
    with caplog.at_level(logging.DEBUG, "minroberta"):
        assert not fused.is_right(ops.attend, x, L, 64)
    assert "attention of 128 positions is not fused: " in caplog.text
    monkeypatch.setattr(fused, "KERNEL", "xla")
    for name, value in (("SINCE", (99, 0)), ("PLATFORM", "gpu")):
        forget()
        with monkeypatch.context() as within:
            within.setattr(fused, name, value)
            assert not fused.is_right(ops.attend, x, L, 64)


# --- in a model -----------------------------------------------------------------------------------------------------

FIELDS = {**TINY, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 300, "initializer_range": 0.3}


def batch(length: int) -> dict[str, np.ndarray]:
    random = np.random.RandomState(length)
    mask = (random.rand(3, length) < 0.7).astype(int)
    mask[:, 0] = 1
    return {"input_ids": random.randint(2, 50, (3, length)), "attention_mask": mask}


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the attentions that were given to the kernel; those of `is_right` too."""
    lengths, attend = [], fused.attend

    def watched(q: Any, *rest: Any) -> Any:
        lengths.append(q.shape[2])
        return attend(q, *rest)

    monkeypatch.setattr(fused, "attend", watched)
    return lengths


@pytest.mark.parametrize("fields", slow_but([{}, {"is_decoder": True}, {"model_type": "roberta-prelayernorm"}], {}))
def test_compiled_calls(fields: dict[str, Any], kernels: list[int]) -> None:
    """As near to float32 as without the kernel, which `is_right` calls first, and then each of two layers."""
    model = init({**FIELDS, **fields}, xp=jnp, dtype=BF16)
    exact = init({**FIELDS, **fields})
    exact.params = jax.tree.map(lambda x: np.asarray(x, np.float32), model.params)
    inputs = batch(120)
    wanted = exact(**inputs).last_hidden_state
    found = np.asarray(model(**inputs).last_hidden_state, np.float32)
    assert kernels == [128] * 3
    forget()
    fused.PLATFORM = "gpu"  # set back by the fixture
    plain = np.asarray(model(**inputs).last_hidden_state, np.float32)
    assert len(kernels) == 3
    assert np.abs(found - wanted).max() < 1.5 * np.abs(plain - wanted).max()


@pytest.mark.slow
def test_where_the_kernel_is_not_taken(kernels: list[int]) -> None:
    """Short sequences, float32, probabilities, traces, gradients, the plain path, and `forward`."""
    half, single = (init(FIELDS, xp=jnp, dtype=dtype) for dtype in (BF16, "float32"))
    half(**batch(20))
    single(**batch(120))
    trace(half, **batch(120))
    assert kernels == []
    half(**batch(120), output_attentions=True)
    assert kernels == [128]  # of `is_right` alone
    arrays = {name: jnp.asarray(x) for name, x in batch(128).items()}

    def loss(params: Any) -> Any:
        return forward(params, half.config, **arrays)["last_hidden_state"].astype(jnp.float32).sum()

    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(jax.jit(jax.grad(loss))(half.params)))
    with jax.disable_jit():
        half(**batch(128))
    assert kernels == [128]


def test_within_a_function_that_jax_compiles(kernels: list[int]) -> None:
    """The kernel is compared on real numbers, although everything around the comparison is traced."""
    model = init(FIELDS, xp=jnp, dtype=BF16)
    found = jax.jit(lambda: model(**batch(120)).last_hidden_state)()
    assert kernels == [128] * 3
    alone = model(**batch(120)).last_hidden_state
    np.testing.assert_allclose(  # the compiler rounds elsewhere
        np.asarray(found, float), np.asarray(alone, float), rtol=0, atol=4 * float(jnp.finfo(BF16).eps)
    )


def lowered(model: Model, allowed: bool) -> str:
    """The program that JAX would give to a GPU's compiler for a call of 4 × 128."""
    padded = compiled.padded(model.config, {"input_ids": np.full((4, L), 7)}, 4)
    inputs = {name: jnp.asarray(x) for name, x in padded.items()}
    with compiled._told_to([]):
        traced = compiled._jitted(run).trace(model.params, model.config, model.head, inputs, fused=allowed)
        return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("fields", [{}, {"is_decoder": True, "use_cache": False}])
def test_cudnn_is_called_on_a_gpu(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in each layer, and no scores are left. Without permission, and in float32, it is not called."""
    library = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo", reason="JAX has moved it")
    monkeypatch.setattr(library, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused, "KERNEL", "cudnn")
    half, single = (init({**FIELDS, **fields}, xp=jnp, dtype=dtype) for dtype in (BF16, "float32"))
    scores = "tensor<4x4x128x128xbf16>"
    text = lowered(half, True)
    assert text.count("__cudnn$fmhaScaleBiasSoftmax") == half.config.num_hidden_layers
    assert scores not in text
    for other in (lowered(half, False), lowered(single, True)):
        assert "cudnn" not in other
    assert scores in lowered(half, False)


# --- head by head, on a processor -----------------------------------------------------------------------------------


@pytest.fixture
def small_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of 8 × 8 float32 numbers are large."""
    monkeypatch.setattr(fused, "LARGE", 8 * 8 * 4)


def heads_of(shape: tuple[int, ...], dtype: str = "float32") -> tuple[Any, ...]:
    return tuple(jnp.asarray(x, dtype) for x in np.random.RandomState(0).standard_normal((3, *shape)))


@pytest.mark.usefixtures("small_heads")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mask_shape", [None, (3, 1, 1, 8), (1, 1, 8, 8), (3, 1, 8, 8)])
def test_head_by_head(mask_shape: tuple[int, ...] | None, dtype: str) -> None:
    """Results and gradients are those of the formula for all heads, up to rounding."""
    q, k, v = heads_of((3, 4, 8, 6), dtype)
    mask = None if mask_shape is None else jnp.asarray(np.random.RandomState(1).rand(*mask_shape) - 0.5, "float32")
    formula = ops.attend.__wrapped__  # type: ignore[attr-defined]
    assert "while" not in str(jax.make_jaxpr(formula)(q, k, v, mask))
    assert "scan" in str(jax.make_jaxpr(ops.attend)(q, k, v, mask))
    rtol = 4 * float(jnp.finfo(dtype).eps)
    for attend in (ops.attend, jax.jit(ops.attend)):
        found, exact = (np.asarray(f(q, k, v, mask), float) for f in (attend, formula))
        np.testing.assert_allclose(found, exact, rtol=0, atol=rtol)
    found, exact = (jax.grad(lambda q, f=f: f(q, k, v, mask).sum())(q) for f in (ops.attend, formula))
    np.testing.assert_allclose(np.asarray(found, float), np.asarray(exact, float), rtol=0, atol=4 * rtol)


@pytest.mark.usefixtures("small_heads")
def test_head_by_head_is_for_processors_and_long_sequences() -> None:
    """A GPU computes all heads at once, and so does a processor for short sequences."""
    for length, platform, loops in ((8, "cpu", True), (8, "cuda", False), (7, "cpu", False)):
        q, k, v = heads_of((2, 4, length, 6))
        text = jax.jit(ops.attend).trace(q, k, v).lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.while" in text) is loops, (length, platform)


@pytest.mark.slow
@pytest.mark.usefixtures("small_heads")
@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_model_head_by_head(is_decoder: bool) -> None:
    """Compiled, operation by operation, and where JAX compiles nothing."""
    fields = {**TINY, "is_decoder": is_decoder, "use_cache": False}
    on_jax, on_numpy = (init(fields, xp=xp) for xp in (jnp, np))
    inputs = {"input_ids": np.random.RandomState(0).randint(2, 50, (3, 9)), "attention_mask": np.tri(3, 9, 6, int)}
    exact = on_numpy(**inputs).last_hidden_state
    plain = forward(on_jax.params, on_jax.config, **{name: jnp.asarray(x) for name, x in inputs.items()})
    with jax.disable_jit():
        one_by_one = on_jax(**inputs)
    for found in (on_jax(**inputs), plain, one_by_one):
        np.testing.assert_allclose(found["last_hidden_state"], exact, rtol=0, atol=1e-5)
    assert len(on_jax.compilations) == 1
