"""The precision of matrix products: on JAX, from what is traced, since a CPU computes the same whatever is asked."""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import CASE, TINY, Case, check, model_of, raises, slow_but
from test_golden_jax import TRACED, jax, jnp, pure

from minroberta import BackendError, forward, init, load, trace
from minroberta.backend import precision
from minroberta.inputs import Inputs
from minroberta.model import run
from minroberta.packed import Packing

THREE = "TF32_TF32_F32_X3"
SEQUENCES = (((3, 2), None), ((3, 2), ((0, 2), (1,))))


def products(jaxpr: Any) -> Iterator[str]:
    """The precision of every matrix product, also of those in functions within: a name for both factors."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            asked = equation.params["precision"]
            both = set(asked) if isinstance(asked, tuple) else {asked}
            yield "/".join(str(getattr(one, "name", one)) for one in both)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                if hasattr(inner := getattr(inner, "jaxpr", inner), "eqns"):
                    yield from products(inner)


def of_case(case: Case, dtype: str, **asked: str) -> list[str]:
    """The precision of every product of a case's last step, with the caches of the steps before."""
    past: dict[str, Any] = {}
    for inputs in case.steps:
        function, (params, arrays) = pure(case, dtype, {**inputs, **past})
        traced = jax.make_jaxpr(lambda params, arrays, call=function: call(params, arrays, **asked))(params, arrays)
        past = {"past_key_values": jax.eval_shape(function, params, arrays).get("past_key_values")}
    return list(products(traced.jaxpr))


@pytest.mark.parametrize("name", slow_but(CASE, *TRACED))
def test_every_product_is_of_the_highest_precision(name: str) -> None:
    """Every head, loss, kind of position, cache and cross-attention. A layer has at least 8 products."""
    found = of_case(CASE[name], "float32")
    assert set(found) == {"HIGHEST"}
    assert len(found) >= 8 * CASE[name].config["num_hidden_layers"]


@pytest.mark.parametrize(
    ("asked", "dtype", "named"),
    [
        ("highest", "bfloat16", "HIGHEST"),
        ("high", "float32", THREE),
        ("high", "bfloat16", "HIGHEST"),  # an algorithm for float32 is refused for other types
        ("default", "float32", "None"),
    ],
)
def test_less_if_asked(asked: str, dtype: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASE["position/relative_key_query/decoder/post"]
    if asked == "high":
        assert set(of_case(case, dtype, precision=asked)) == {"HIGHEST"}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert set(of_case(case, dtype, precision=asked)) == {named}


def test_default_is_what_jax_is_set_to() -> None:
    case = CASE["family/roberta/masked_lm"]
    with jax.default_matmul_precision("tensorfloat32"):
        assert set(of_case(case, "float32", precision="default")) == {"HIGH"}
        assert set(of_case(case, "float32")) == {"HIGHEST"}


@pytest.mark.parametrize(("lengths", "wanted"), SEQUENCES)
def test_packed_rows(lengths: Any, wanted: Any) -> None:
    model = init({**TINY, "is_decoder": True}, head="causal_lm", xp=jnp)
    ids = jnp.full((1, sum(lengths)), 7)
    traced = jax.make_jaxpr(
        lambda params: run(params, model.config, model.head, Inputs(ids), Packing(lengths, wanted))["logits"]
    )(model.params)
    assert set(products(traced.jaxpr)) == {"HIGHEST"}


def test_a_compiled_function_and_a_gradient_keep_it() -> None:
    """Under the caller's own `jit` and `grad`: the products of the backward pass too."""
    model = init(TINY, head="masked_lm", xp=jnp)
    ids = jnp.array([[5, 6]])

    def loss(params: Any) -> Any:
        return forward(params, model.config, model.head, input_ids=ids, labels=ids)["loss"]

    found = list(products(jax.make_jaxpr(jax.jit(jax.grad(loss)))(model.params).jaxpr))
    assert set(found) == {"HIGHEST"}
    assert len(found) > 2 * len(list(products(jax.make_jaxpr(loss)(model.params).jaxpr)))


# --- how exact an algorithm is --------------------------------------------------------------------------------------

Product = Callable[[Any, Any, Any], Any]
"""Computes a `dot_general`, an equation of a jaxpr, for two factors."""


def computed(jaxpr: Any, arrays: Sequence[Any], product: Product) -> list[Any]:
    """Evaluate a closed jaxpr, computing its products by `product`."""
    values = dict(zip([*jaxpr.jaxpr.constvars, *jaxpr.jaxpr.invars], [*jaxpr.consts, *arrays], strict=True))

    def value(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else values[variable]

    for equation in jaxpr.jaxpr.eqns:
        given, own = [value(variable) for variable in equation.invars], equation.params
        inner = own.get("jaxpr") or own.get("call_jaxpr")
        if inner is not None:
            found = computed(inner, given, product)
        elif equation.primitive.name == "dot_general":
            found = [product(equation, *given)]
        else:
            found = equation.primitive.bind(*given, **own)
            found = found if equation.primitive.multiple_results else [found]
        values.update(zip(equation.outvars, found, strict=True))
    return [value(variable) for variable in jaxpr.jaxpr.outvars]


def exactly(equation: Any, a: Any, b: Any) -> Any:
    return equation.primitive.bind(a, b, **{**equation.params, "precision": jax.lax.Precision.HIGHEST})


def to_bfloat16(x: Any) -> Any:
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def to_tf32(x: Any) -> Any:
    """Round the 23 bits after a float32's first bit to 10."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + jnp.uint32(0x1000)
    return jax.lax.bitcast_convert_type(bits & jnp.uint32(0xFFFFE000), jnp.float32)


def by_one(rounded: Callable[[Any], Any]) -> Product:
    return lambda equation, a, b: exactly(equation, rounded(a), rounded(b))


def by_three(rounded: Callable[[Any], Any]) -> Product:
    """The product of the upper halves, and of each with the other's lower half, summed in float32."""

    def product(equation: Any, a: Any, b: Any) -> Any:
        upper_a, upper_b = rounded(a), rounded(b)
        lower_a, lower_b = rounded(a - upper_a), rounded(b - upper_b)
        small = exactly(equation, upper_a, lower_b) + exactly(equation, lower_a, upper_b)
        return exactly(equation, upper_a, upper_b) + small

    return product


@pytest.mark.slow
def test_high_is_as_exact_as_float32() -> None:
    """One product of TF32, and three of bfloat16, are not: so the bound can be missed."""
    size = {"hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 4, "intermediate_size": 1024}
    model = init({**TINY, **size}, xp=jnp)
    exact = init({**TINY, **size}, dtype="float64")
    ids = np.random.RandomState(0).randint(2, 50, (2, 20))
    jaxpr = jax.make_jaxpr(lambda params: forward(params, model.config, input_ids=jnp.asarray(ids)))(model.params)
    truth, arrays = exact(ids).last_hidden_state, jax.tree_util.tree_leaves(model.params)

    def error(product: Product) -> float:
        states = jax.jit(lambda arrays: computed(jaxpr, arrays, product)[0])(arrays)
        return float(np.sqrt(np.mean((np.asarray(states, float) - truth) ** 2)))

    float32 = error(exactly)
    assert float32 < 1e-6
    assert error(by_three(to_tf32)) < 1.25 * float32
    assert error(by_three(to_bfloat16)) > 5 * float32
    assert error(by_one(to_tf32)) > 100 * float32


# --- who asks -------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions that JAX is asked for."""
    names: list[str] = []
    original = precision._name_in_jax

    def watched(x: Any, name: str) -> str:
        names.append(name)
        return original(x, name)

    monkeypatch.setattr(precision, "_name_in_jax", watched)
    return names


def test_a_model_passes_it_on(asked: list[str]) -> None:
    """A call does as the model says, and so does the pooler alone; a trace is always of the highest."""
    model = init(TINY, xp=jnp, precision="high")
    assert model.precision == "high"
    states = model([[5, 6]]).last_hidden_state
    assert set(asked) == {"high"}
    asked.clear()
    model.pooled(states)
    assert asked == ["high"]
    asked.clear()
    trace(model, [[5, 6]])
    assert asked == ["highest"]


def test_load_and_surgery_keep_it(tmp_path: Any) -> None:
    init(TINY, head="masked_lm").save(tmp_path)
    model = load(tmp_path, precision="high")
    assert model.precision == model.resize_token_embeddings(60).precision == "high"


def test_numpy_accepts_all() -> None:
    case = CASE["family/roberta/masked_lm"]
    for name in precision.PRECISIONS:
        model = model_of(case, "float32")
        check(case, "float32", lambda model=model, name=name, **inputs: forward(
            model.params, model.config, model.head, precision=name, **inputs
        ))  # fmt: skip


@pytest.mark.parametrize("call", [load, lambda precision: init(TINY, precision=precision)])
def test_an_unknown_precision(call: Any) -> None:
    with raises(BackendError, TypeError, "unknown precision 'exact': give one of highest, high, default"):
        call(precision="exact")
    model = init(TINY)
    with raises(BackendError, TypeError, "unknown precision None: give one of highest, high, default"):
        forward(model.params, model.config, input_ids=np.array([[5]]), precision=None)  # type: ignore[arg-type]


def test_cupy_set_to_less(monkeypatch: pytest.MonkeyPatch) -> None:
    x = SimpleNamespace(__array_namespace__=lambda: SimpleNamespace(__name__="cupy"))
    with precision.precise(x, "highest"):
        pass
    monkeypatch.setenv("CUPY_TF32", "1")
    with precision.precise(x, "default"):
        pass
    with (
        raises(BackendError, TypeError, "CUPY_TF32=1", "precision='high'", "unset the variable", "'default'"),
        precision.precise(x, "high"),
    ):
        pass
