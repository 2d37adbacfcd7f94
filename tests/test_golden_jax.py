"""Every golden case by `forward` on JAX eagerly, and one for each feature under `jit`; gradients and `vmap` of it.

The calls of a model, which JAX compiles for padded shapes, are tested in `test_compiled.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from support import CASE, CASES, TINY, Case, check, features, flatten, golden, model_of, one_a_feature, slow_but

from minroberta import BackendError, Cache, InputError, Model, forward, init, ops, trace
from minroberta.ops import create_position_ids_from_input_ids
from minroberta.weights import flat, tree

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'minroberta[jax]'")
jnp = jax.numpy

DTYPES = ("float64", "float32")
SLOW = pytest.mark.slow


@pytest.fixture(autouse=True)
def _double_precision() -> Any:
    with jax.enable_x64(True):
        yield


def golden_cases(quick: tuple[Case, ...], dtype: str, cases: tuple[Case, ...] = CASES) -> list[Any]:
    """Each case in one dtype, marked slow except for the quick ones, and the quick ones in the other dtype, slow."""
    (other,) = {*DTYPES} - {dtype}
    every = dict.fromkeys((*quick, *cases))
    return [
        *(pytest.param(case, dtype, id=f"{case.name}-{dtype}", marks=() if case in quick else SLOW) for case in every),
        *(pytest.param(case, other, id=f"{case.name}-{other}", marks=SLOW) for case in quick),
    ]


def rough_features(case: Case) -> set[str]:
    return {case.head, case.model_type, case.name.partition("/")[0]}


FEW = one_a_feature(CASES, rough_features)
"""A case for each head, each family and each group of cases: half of them run eagerly by default, half compiled."""


@pytest.mark.parametrize(("case", "dtype"), golden_cases(FEW[::2], "float64"))
def test_eagerly(case: Case, dtype: str) -> None:
    def call(**inputs: Any) -> dict[str, Any]:
        function, arguments = pure(case, dtype, inputs)
        return function(*arguments)

    check(case, dtype, call)


FEATURES = one_a_feature(CASES)
"""A case for each feature of any case."""


@pytest.mark.parametrize(("case", "dtype"), golden_cases(FEW[1::2], "float32", FEATURES))
def test_under_jit(case: Case, dtype: str) -> None:
    """One case for each feature, as compiling is about features. Every case runs eagerly."""

    def call(**inputs: Any) -> dict[str, Any]:
        function, arguments = pure(case, dtype, inputs)
        return jax.jit(function)(*arguments)

    check(case, dtype, call)


def calls_of(case: Case) -> set[Any]:
    """The features of a case, without those of its configuration alone."""
    return {one for one in features(case) if not (isinstance(one, tuple) and one[0] in case.config)}


TRACED = {case.name for case in one_a_feature(CASES, calls_of)}


@pytest.mark.parametrize("name", slow_but(sorted({*TRACED, *(case.name for case in FEATURES)}), *TRACED))
def test_can_be_traced(name: str) -> None:
    """The forward pass can be traced from shapes alone, as `jit` does, without the cost of compiling.

    A NumPy call on a parameter, input or cache raises, and so does a shape or a branch that depends on data. In
    float32, where a constant of float64 would show in the output's dtype.
    """
    case, past = CASE[name], dict[str, Any]()
    for step, inputs in enumerate(case.steps):
        function, arguments = pure(case, "float32", {**inputs, **past})
        outputs = jax.eval_shape(function, *arguments)
        made = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), {**outputs})
        values = dict(pair for name, value in made.items() for pair in flatten(name, value))
        for output, exact in golden(case, "float64", step).items():
            if not output.startswith("module:"):
                assert (values[output].shape, values[output].dtype) == (exact.shape, "float32"), output
        cache = outputs.get("past_key_values")
        past = {} if cache is None else {"past_key_values": cache}


def pure(case: Case, dtype: str, inputs: Mapping[str, Any]) -> tuple[Callable[..., Any], tuple[Any, Any]]:
    """A call of the case's model as a function of parameters and arrays, and its arguments; flags are closed over."""
    model = model_of(case, dtype, jnp)
    flags = {name: value for name, value in inputs.items() if isinstance(value, bool)}
    arrays = {name: on_device(value, dtype) for name, value in inputs.items() if name not in flags}

    def call(params: Any, arrays: Any, **asked: Any) -> Any:
        return forward(params, model.config, model.head, **arrays, **flags, **asked)

    return call, (model.params, arrays)


def on_device(value: Any, dtype: str) -> Any:
    """An input as `Model.__call__` converts it: floats to the model's dtype, integers unchanged."""
    if isinstance(value, Cache):
        return value
    if isinstance(value, tuple):
        return tuple(on_device(item, dtype) for item in value)
    return jnp.asarray(value, dtype=dtype if value.dtype.kind == "f" else None)


LOSSES = (
    "family/roberta/masked_lm",
    "family/roberta-prelayernorm/causal_lm",
    "family/xlm-roberta-xl/multiple_choice",
    "family/roberta/sequence_classification",
    "family/camembert/token_classification",
    "family/roberta-prelayernorm/question_answering",
    "position/relative_key_query/decoder/post",
)


@pytest.mark.parametrize("name", slow_but(LOSSES))
def test_gradient_of_the_loss(name: str) -> None:
    """`jax.grad` over the whole parameter tree agrees with a finite difference in a random direction."""
    model = model_of(CASE[name], "float64", jnp)
    inputs = {key: on_device(x, "float64") for key, x in CASE[name].steps[0].items() if not isinstance(x, bool)}

    if "decoder" in name:
        inputs["labels"] = inputs["input_ids"]

    @jax.jit
    def loss(params: Any) -> Any:
        return forward(params, model.config, model.head, **inputs)["loss"]

    gradient = jax.jit(jax.grad(loss))(model.params)
    random = np.random.RandomState(0)
    direction = jax.tree.map(lambda x: jnp.asarray(random.standard_normal(x.shape)), model.params)
    slope = float(sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), gradient, direction))))

    def along(step: float) -> float:
        return float(loss(jax.tree.map(lambda x, d: x + step * d, model.params, direction)))

    difference = (along(1e-5) - along(-1e-5)) / 2e-5
    assert abs(slope) > 1e-3
    assert difference == pytest.approx(slope, rel=1e-5)  # its own error is of the order of step²


@pytest.mark.parametrize("function", [ops.softmax, ops.log_softmax, lambda x: ops.attend(x, x, x)])
def test_no_gradient_passes_the_largest_score(function: Callable[[Any], Any]) -> None:
    """It would be divided by a count of equal numbers, which was 0 in a compiled function, and gave NaN."""
    traced = jax.make_jaxpr(jax.grad(lambda x: function(x).sum()))(jnp.ones((1, 2, 3, 4)))
    assert " = eq" not in str(traced)
    assert " = eq" in str(jax.make_jaxpr(jax.grad(lambda x: x.max(-1).sum()))(jnp.ones((3, 4))))


def test_the_tied_embedding_gets_both_gradients() -> None:
    """The embedding is input and decoder: a token that is not in the input still has a gradient."""
    model = model_of(CASE["family/roberta/masked_lm"], "float64", jnp)
    inputs, labels = jnp.array([[0, 7, 2]]), jnp.array([[-100, 9, -100]])
    loss = lambda params: forward(params, model.config, model.head, input_ids=inputs, labels=labels)["loss"]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(model.params)["embeddings"]["word_embeddings"]["weight"]
    assert jnp.abs(gradient[7]).max() > 0
    assert jnp.abs(gradient[9]).max() > 0


def test_vmap() -> None:
    """A map over sequences of one is the batch."""
    case = CASE["family/roberta/token_classification"]
    model, inputs = model_of(case, "float64", jnp), case.steps[0]
    ids, mask = jnp.asarray(inputs["input_ids"]), jnp.asarray(inputs["attention_mask"])

    def one(ids: Any, mask: Any) -> Any:
        outputs = forward(model.params, model.config, model.head, input_ids=ids[None], attention_mask=mask[None])
        return outputs["logits"][0]

    whole = model(input_ids=ids, attention_mask=mask).logits
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(ids, mask), whole, rtol=0, atol=1e-12)


def test_a_cache_crosses_jit_both_ways() -> None:
    """A cache comes out of one compiled step and goes into the next with its count of tokens."""
    case = CASE["cache/generation/post"]
    model = model_of(case, "float64", jnp)
    step = jax.jit(
        lambda ids, past: forward(model.params, model.config, model.head, input_ids=ids, past_key_values=past)
    )
    cache = step(jnp.array([[1, 1, 0, 8]]), None)["past_key_values"]
    assert isinstance(cache, Cache)
    assert cache.tokens.tolist() == [[2]]
    assert step(jnp.array([[9]]), cache)["past_key_values"].tokens.tolist() == [[3]]


@SLOW
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_stay_half(dtype: str) -> None:
    """Every floating output has the model's dtype, and is near what float64 gives."""
    case = CASE["mask/left/post"]
    exact = model_of(case, "float64")(**case.steps[0])
    model = model_of(case, dtype, jnp)
    outputs = model(**case.steps[0])
    digits = {"float16": 11, "bfloat16": 8}[dtype]
    for name in ("last_hidden_state", "pooler_output"):
        assert outputs[name].dtype == dtype
        error = np.abs(np.asarray(outputs[name], np.float64) - exact[name]).max()
        assert error < 50 * 2.0**-digits  # 3 layers of some ten roundings each, of numbers up to 3


def test_no_value_of_half_types_is_lost_to_the_mask() -> None:
    """float16's smallest number plus a score of -16 is -inf there, and a row of -inf is NaN: scores are float32."""
    case = CASE["mask/hidden_row/post"]
    outputs = model_of(case, "float16", jnp)(**case.steps[0])
    assert jnp.isfinite(outputs.last_hidden_state).all()


@SLOW
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("with_ids", [True, False])
def test_half_types_in_a_decoder_with_everything(dtype: str, with_ids: bool) -> None:
    """With a fully masked source, a head mask, embeddings and labels, all is finite, and only scores are wider."""
    case = CASE["cross/head_mask/post"]
    model = model_of(case, dtype, jnp)
    inputs = {name: x for name, x in case.steps[0].items() if name.startswith("encoder_hidden") or name == "head_mask"}
    inputs["encoder_attention_mask"] = np.zeros(inputs["encoder_hidden_states"].shape[:2])
    ids = np.array([[7, 8, 9], [10, 11, 12]])
    embeds = flat(model.params)["embeddings.word_embeddings.weight"][ids]
    inputs |= {"input_ids": ids} if with_ids else {"inputs_embeds": embeds}
    values = trace(model, **inputs, labels=ids)
    assert all(jnp.isfinite(x).all() for x in values.values() if x.dtype.kind != "i")
    wide = {name.rpartition(".")[2] for name, x in values.items() if x.dtype.kind != "i" and x.dtype != dtype}
    assert wide == {"scores"}
    exact = model_of(case, "float64")(**{**inputs, "labels": ids}).logits if with_ids else values["logits"]
    assert np.abs(np.asarray(values["logits"], np.float64) - np.asarray(exact, np.float64)).max() < 0.5


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_positions_do_not_wrap_in_ids_of_few_bits(dtype: str) -> None:
    """JAX sums bytes to a byte, so the count of 300 tokens would wrap."""
    ids = jnp.full((1, 300), 7, dtype=dtype)
    for make in (create_position_ids_from_input_ids, jax.jit(create_position_ids_from_input_ids, static_argnums=1)):
        np.testing.assert_array_equal(make(ids, 1), np.arange(2, 302)[None])


def test_a_config_may_be_static() -> None:
    case = CASE["family/roberta/masked_lm"]
    model = model_of(case, "float64", jnp)
    ids = jnp.asarray(case.steps[0]["input_ids"])
    run = jax.jit(forward, static_argnames=("config", "head"))
    outputs = run(model.params, config=model.config, head=model.head, input_ids=ids)
    np.testing.assert_allclose(outputs["logits"], model(ids).logits, rtol=0, atol=1e-12)


def test_float64_needs_x64() -> None:
    with jax.enable_x64(False), pytest.raises(BackendError, match="jax_enable_x64"):
        init(TINY, dtype="float64", xp=jnp)


def test_too_long_an_input_is_refused_where_jax_would_clamp() -> None:
    model = init({**TINY, "max_position_embeddings": 6}, xp=jnp)
    with pytest.raises(InputError, match=r"input of 5 tokens; this model has 4 positions \(6 rows, less"):
        model([[5, 6, 7, 8, 9]])


def test_a_model_called_under_jit_says_what_to_call() -> None:
    model = init(TINY, xp=jnp)
    with pytest.raises(InputError, match=r"minroberta\.forward"):
        jax.jit(lambda ids: model(ids).last_hidden_state)(jnp.array([[5, 6]]))


def test_outputs_stay_on_jax() -> None:
    """In a shape that other tests have compiled."""
    model = init(TINY, dtype="float64", xp=jnp)
    assert isinstance(model(np.full((2, 6), 7, np.int8)).last_hidden_state, jax.Array)


def test_saving_a_jax_model(tmp_path: Any) -> None:
    """bfloat16 is saved too, though NumPy does not have it."""
    from minroberta import load

    for dtype in ("float32", "bfloat16"):
        model = init(TINY, head="masked_lm", dtype=dtype, xp=jnp)
        model.save(tmp_path / dtype)
        again = load(tmp_path / dtype, dtype=dtype, xp=jnp)
        for name, array in flat(model.params).items():
            assert np.array_equal(np.asarray(array), np.asarray(flat(again.params)[name])), name


def test_params_of_numpy_may_be_moved_by_hand() -> None:
    """`forward` takes its library from the arrays alone."""
    model = init(TINY, dtype="float64")
    params = tree({name: jnp.asarray(array) for name, array in flat(model.params).items()})
    ids = np.arange(12).reshape(2, 6)
    ours = Model(model.config, params)(ids).last_hidden_state
    np.testing.assert_allclose(ours, model(ids).last_hidden_state, rtol=0, atol=1e-12)
