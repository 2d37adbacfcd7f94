"""The precision of matrix products: on JAX, from what is traced, since a CPU computes the same whatever is asked."""

from collections.abc import Iterator
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

THREE = "BF16_BF16_F32_X3"
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
        ("high", "bfloat16", "HIGH"),  # an algorithm for float32 is refused for other types
        ("default", "float32", "None"),
    ],
)
def test_less_if_asked(asked: str, dtype: str, named: str) -> None:
    assert set(of_case(CASE["position/relative_key_query/decoder/post"], dtype, precision=asked)) == {named}


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
