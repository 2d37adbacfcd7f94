"""Tests of the backward pass: its gradients against JAX's, PyTorch's (in `testing/`), and finite differences."""

import functools
import json
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import strict
from generators.gradient_cases import WITH_LOSS, sums, with_labels
from hypothesis import given
from hypothesis import strategies as some
from support import CASE, GOLDEN, Case, model_of, one_a_feature, raises, slow_but, tiny

import minroberta
from minroberta import InputError, Model, backward, heads, ops, ops_backward, trace
from minroberta.activations import ACTIVATIONS
from minroberta.backend.arrays import scattered
from minroberta.backward import gradients, loss_and_gradients
from minroberta.inputs import Inputs
from minroberta.trace import recording
from minroberta.weights import flat, tree

IDS = np.array([[0, 7, 9, 11, 13, 2], [0, 8, 12, 2, 1, 1]])
MASK = (IDS != 1).astype(int)
LABELS = np.where(MASK == 1, IDS, -100)
INPUTS = {"input_ids": IDS, "attention_mask": MASK, "labels": LABELS}

# --- the whole, by PyTorch ------------------------------------------------------------------------------------------

STORED = json.loads((GOLDEN / "gradients.json").read_text(encoding="utf-8"))["sums"]


@pytest.mark.parametrize("case", WITH_LOSS, ids=lambda case: case.name)
def test_as_torch_has_them(case: Case) -> None:
    """Two sums of every parameter's gradient, for every case with a loss; where torch has none, it is 0.

    The reference computes a decoder's loss in float32. If all labels are ignored, the loss is NaN, and the gradients 0.
    """
    ours, theirs = gradients(model_of(case, "float64"), **with_labels(case)), STORED[case.name]
    most = max(abs(g).max(initial=0) for g in ours.values())
    digits = 2.0**-23 if case.head == "causal_lm" else 1e-10
    for name, two in theirs.items():
        np.testing.assert_allclose(sums(ours[name]), two, rtol=4 * digits, atol=digits * most, err_msg=name)
    assert all(not g.any() for name, g in ours.items() if name not in theirs)


@pytest.mark.parametrize("case", one_a_feature(WITH_LOSS), ids=lambda case: case.name)
def test_on_the_stand_in_for_cupy(case: Case) -> None:
    """No NumPy function is called on another library's array, and the gradients are those of NumPy."""
    found = gradients(model_of(case, "float64", strict), **with_labels(case), intermediates=True)
    expected = gradients(model_of(case, "float64"), **with_labels(case), intermediates=True)
    for one, other in ((found, expected), (found.intermediates, expected.intermediates)):
        assert one.keys() == other.keys()
        for name, g in one.items():
            assert isinstance(g, strict.StrictArray), name
            np.testing.assert_allclose(g.get(), other[name], rtol=1e-12, atol=1e-12, err_msg=name)


# --- the whole, by JAX ----------------------------------------------------------------------------------------------


def by_jax(model: Model, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The gradients by `jax.grad` of the forward pass: of each parameter, and of a zero that is added to each value.

    A row of padding gets none of the gradient that its look-up would give it.
    """
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'minroberta[jax]'")
    own_name, pad = model.config.family.own_name, model.config.pad_token_id
    ids = {"embeddings.word_embeddings": inputs.get("input_ids")}

    def without_padding(name: str, value: Any) -> Any:
        if name == "embeddings.position_ids":
            ids["embeddings.position_embeddings"] = value
        if ids.get(name) is None:
            return value
        is_pad = (np.asarray(ids[name]) == pad).reshape(*value.shape[:2], 1)
        return jax.numpy.where(is_pad, jax.lax.stop_gradient(value), value)

    def loss(params: Any, added: Mapping[str, Any]) -> Any:
        def record(name: str, value: Any) -> Any:
            return without_padding(name, value) + added.get(own_name(name), 0)

        with recording(record):
            return Model(model.config, params, model.head)(**inputs).loss

    with jax.enable_x64(True):
        zeros = {name: jax.numpy.zeros(x.shape) for name, x in trace(model, **inputs).items() if x.dtype.kind == "f"}
        params = jax.tree.map(jax.numpy.asarray, model.params)
        of_params, of_values = jax.grad(loss, (0, 1))(params, zeros)
    return {own_name(name): g for name, g in flat(of_params).items()}, of_values


def assert_equal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Every gradient is equal to 1e-11 of its largest element, or to 1e-14 of the largest of all, if only rounding."""
    largest = {name: abs(np.asarray(g)).max(initial=0) for name, g in theirs.items()}
    for name, g in theirs.items():
        atol = 1e-11 * largest[name] + 1e-14 * max(largest.values())
        np.testing.assert_allclose(ours[name], g, rtol=0, atol=atol, err_msg=name)


def rough_features(case: Case) -> set[str]:
    return {case.head, case.model_type, case.name.partition("/")[0]}


FEW = [case.name for case in one_a_feature(WITH_LOSS, rough_features)]


@pytest.mark.parametrize("name", slow_but(FEW, FEW[0]))
def test_as_jax_has_them(name: str) -> None:
    """Of each parameter, and of each named value."""
    check_by_jax(CASE[name])


def check_by_jax(case: Case) -> None:
    model, inputs = model_of(case, "float64"), with_labels(case)
    ours = gradients(model, intermediates=True, **inputs)
    of_params, of_values = by_jax(model, inputs)
    assert_equal(ours, of_params)
    assert_equal(ours.intermediates, of_values)
    assert ours.intermediates.keys() - of_values.keys() <= {"encoder_hidden_states", "inputs_embeds"}


@pytest.mark.parametrize("name", slow_but(["family/roberta/masked_lm", "position/relative_key_query/cross/post"]))
def test_one_code_for_jax(name: str) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'minroberta[jax]'")
    inputs = with_labels(CASE[name])
    with jax.enable_x64(True):
        ours = gradients(model_of(CASE[name], "float64", jax.numpy), intermediates=True, **inputs)
        assert all(isinstance(g, jax.Array) for g in (*ours.values(), *ours.intermediates.values()))
    on_numpy = gradients(model_of(CASE[name], "float64"), intermediates=True, **inputs)
    assert_equal(ours, on_numpy)
    assert_equal(ours.intermediates, on_numpy.intermediates)


# --- what is returned -----------------------------------------------------------------------------------------------


def test_every_head_with_a_loss_is_reversed() -> None:
    assert backward.HEADS.keys() == heads.HEADS.keys() - {"encoder"}


def test_the_tree_is_that_of_the_parameters() -> None:
    model = tiny("masked_lm", model_type="roberta-prelayernorm")
    found = gradients(model, **INPUTS)
    assert {name: g.shape for name, g in flat(found.tree).items()} == {
        n: x.shape for n, x in flat(model.params).items()
    }
    assert (
        found["encoder.layer.0.attention.LayerNorm.weight"]
        is flat(found.tree)["encoder.layer.0.attention.output.LayerNorm.weight"]
    )
    assert found.loss == model(**INPUTS).loss
    assert found.intermediates == {}


def test_positions_without_a_label_can_be_left_out() -> None:
    """Unless intermediates are asked for, the head is only reversed where there is a label."""
    model, labels = tiny("masked_lm"), np.where(IDS == 9, 3, -100)
    assert_equal(gradients(model, **INPUTS), gradients(model, intermediates=True, **INPUTS))
    some_labels = {**INPUTS, "labels": labels}
    assert_equal(gradients(model, **some_labels), gradients(model, intermediates=True, **some_labels))
    whole = gradients(model, intermediates=True, **some_labels).intermediates["logits"]
    assert whole.shape == (2, 6, model.config.vocab_size) and np.count_nonzero(whole.any(-1)) == 1


PARTS = {
    "the head": ("lm_head", 2),
    "the norm after the encoder": ("LayerNorm", 2),
    "the last layer": ("encoder.layer.1", 1),
    "a part of the first layer and the head": ("encoder.layer.0.attention.self.key|lm_head.dense", 0),
    "the embeddings": ("embeddings", -1),
    "nothing": ("nothing", 2),
}
"""The parameters whose names begin with one of these, and the lowest of two layers that has any; 2 for none."""


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("family", ["roberta", "roberta-prelayernorm"])
def test_only_some_gradients(part: str, family: str) -> None:
    """They are those of the whole, and the pass ends where the lowest of them is."""
    model, (beginnings, lowest) = tiny("masked_lm", model_type=family, num_hidden_layers=2), PARTS[part]
    wanted, seen = {n for n in flat(model.params) if n.startswith(tuple(beginnings.split("|")))}, dict[str, Any]()

    def loss(**options: Any) -> tuple[Any, dict[str, Any]]:
        return loss_and_gradients(model.params, model.config, "masked_lm", Inputs(**INPUTS), **options)

    def record(name: str, g: Any) -> Any:
        seen[name] = g
        return g

    loss_of_all, all_of_them = loss()
    for everywhere in (True, False):
        found_loss, found = loss(wanted=wanted, everywhere=everywhere, on_gradient=record)
        assert found_loss == pytest.approx(loss_of_all, rel=1e-14)
        assert found.keys() == wanted
        assert seen["logits"].shape[:2] == ((2, 6) if everywhere else (1, 10))  # ten positions have a label
        for name, g in found.items():
            np.testing.assert_allclose(g, all_of_them[name], rtol=0, atol=1e-14, err_msg=name)
    assert ("encoder" in seen) == any(not name.startswith("lm_head") for name in wanted)
    assert ("embeddings" in seen) == (lowest < 0)
    assert ("encoder.layer.0" in seen) == (lowest < 1)
    assert ("encoder.layer.1" in seen) == (lowest < 2)


def test_values_are_freed_on_the_way_back() -> None:
    """When the first layer is reversed, nothing that was computed in a later one is left."""
    model, left, alive = tiny("masked_lm", num_hidden_layers=3), set[str](), dict[str, weakref.ref]()

    def value(name: str, x: Any) -> Any:
        if x.ndim:
            alive[name] = weakref.ref(x)
        return x

    def gradient(name: str, g: Any) -> Any:
        if name == "encoder.layer.0":
            left.update(own for own, x in alive.items() if x() is not None and x() is not alive["encoder"]())
        return g

    loss_and_gradients(model.params, model.config, "masked_lm", Inputs(**INPUTS), on_value=value, on_gradient=gradient)
    assert "encoder.layer.0.attention.self.probs" in left
    assert not any(name.startswith(("encoder.layer.1.", "encoder.layer.2.", "lm_head")) for name in left)


def test_the_memory_and_given_embeddings() -> None:
    """Their gradients, with which what made them can be trained, by a finite difference."""
    model = tiny("causal_lm", is_decoder=True, add_cross_attention=True)
    random = np.random.RandomState(0)
    given = {"inputs_embeds": random.randn(2, 6, 30), "encoder_hidden_states": random.randn(2, 4, 30)}
    found = gradients(model, labels=IDS, intermediates=True, **given).intermediates
    for name in given:
        direction = random.randn(*given[name].shape)

        def loss(step: float, name: str = name, direction: Any = direction) -> float:
            return float(model(labels=IDS, **{**given, name: given[name] + step * direction}).loss)

        assert (loss(1e-5) - loss(-1e-5)) / 2e-5 == pytest.approx((found[name] * direction).sum(), rel=1e-6)


EDITED = {
    "masked_lm": INPUTS,
    "sequence_classification": {"input_ids": IDS, "labels": np.array([1, 0])},
    "token_classification": {"input_ids": IDS, "labels": MASK},
    "multiple_choice": {"input_ids": IDS[None], "labels": np.array([1])},
}


@pytest.mark.parametrize("head", EDITED)
@pytest.mark.parametrize("family", ["roberta", "roberta-prelayernorm", "xlm-roberta-xl"])
def test_edits_of_values_and_of_their_gradients(head: str, family: str) -> None:
    """Dropout: every value is multiplied by a mask, and its gradient by the same one."""
    model, random, inputs = tiny(head, model_type=family), np.random.RandomState(0), Inputs(**EDITED[head])
    masks = {"loss": np.ones(())}

    def dropped(name: str, value: Any) -> Any:
        if value.dtype.kind != "f" or name.endswith(".scores"):  # whose mask's lowest number has no multiples
            return value
        return value * masks.setdefault(name, 1 + random.rand(*value.shape))

    def loss(params: Any) -> tuple[Any, dict[str, Any]]:
        return loss_and_gradients(params, model.config, head, inputs, on_value=dropped, on_gradient=dropped)

    weights, found = flat(model.params), loss(model.params)[1]
    direction = {name: random.randn(*x.shape) for name, x in weights.items()}
    for name in ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"):
        direction[name][1] = 0
    one, other = (loss(tree({n: x + step * direction[n] for n, x in weights.items()}))[0] for step in (1e-6, -1e-6))
    assert (one - other) / 2e-6 == pytest.approx(sum((found[n] * d).sum() for n, d in direction.items()), rel=1e-5)


def test_it_learns() -> None:
    """Steps against the gradient lower the loss of the embedded model."""
    model = minroberta.load()
    inputs = model.tokenizer(["A cat sat on the mat.", "Rain fell all day."])
    losses = []
    for _ in range(4):
        found = gradients(model, **inputs, labels=np.where(inputs["attention_mask"] == 1, inputs["input_ids"], -100))
        losses.append(float(found.loss))
        steps = flat(found.tree)
        model = Model(model.config, tree({n: x - 5e-4 * steps[n] for n, x in flat(model.params).items()}), model.head)
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.8 * losses[0]


def test_what_has_no_gradient() -> None:
    with raises(InputError, ValueError, "head 'encoder' computed no loss to differentiate: add labels"):
        gradients(tiny("encoder"), IDS)
    with raises(InputError, ValueError, "head 'masked_lm' computed no loss to differentiate: add labels"):
        gradients(tiny("masked_lm"), IDS)
    with raises(InputError, ValueError, "in float32 or float64, not float16: load the model as float32"):
        gradients(tiny("masked_lm", "float16"), **INPUTS)
    with raises(InputError, ValueError, "labels have 53 at"):
        gradients(tiny("masked_lm"), IDS, labels=IDS + 40)


# --- formulas, by finite differences --------------------------------------------------------------------------------

SIZES = some.integers(1, 4)
SEEDS = some.integers(0, 2**16)


def slope(f: Callable[..., Any], *arguments: Any, g: Any, along: Any) -> float:
    """The slope of Σ g·f(x) along a direction of the arguments, by differences of the fourth order."""

    def at(step: float) -> float:
        return float((g * f(*(x + step * d for x, d in zip(arguments, along, strict=True)))).sum())

    h = 1e-3
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


def check(f: Callable[..., Any], backward: Callable[..., Any], *arguments: Any, random: Any) -> None:
    """backward(g) gives the gradients of all arguments of Σ g·f(x)."""
    g = random.randn(*np.shape(f(*arguments)))
    along = [random.randn(*x.shape) for x in arguments]
    found = sum((own * d).sum() for own, d in zip(backward(g), along, strict=True))
    assert found == pytest.approx(slope(f, *arguments, g=g, along=along), rel=1e-7, abs=1e-8)


@given(SIZES, SIZES, SIZES, SEEDS)
def test_linear(B: int, N: int, M: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    x, weight, bias = random.randn(B, 2, N), random.randn(M, N), random.randn(M)

    def backward(g: Any) -> tuple[Any, ...]:
        gx, own = ops_backward.linear(g, x, weight)
        return gx, own["weight"], own["bias"]

    check(ops.linear, backward, x, weight, bias, random=random)


@given(SIZES, some.integers(2, 9), some.sampled_from([1e-12, 1e-5, 0.1]), SEEDS)
def test_layer_norm(B: int, D: int, eps: float, seed: int) -> None:
    random = np.random.RandomState(seed)
    x = 2.0 * np.arange(D) + 0.3 * random.rand(B, D)  # not nearly constant, where the slope changes fast
    weight, bias = random.randn(D), random.randn(D)

    def backward(g: Any) -> tuple[Any, ...]:
        gx, own = ops_backward.layer_norm(g, x, weight, eps)
        return gx, own["weight"], own["bias"]

    check(lambda x, w, b: ops.layer_norm(x, weight=w, bias=b, eps=eps), backward, x, weight, bias, random=random)


@given(SIZES, some.integers(1, 9), SEEDS)
def test_softmax(B: int, N: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    scores = random.randn(B, N)
    check(ops.softmax, lambda g: [ops_backward.softmax(g, ops.softmax(scores))], scores, random=random)


@given(SIZES, SIZES, some.integers(1, 5), some.integers(0, 3), some.booleans(), SEEDS)
def test_attention_with_relative_positions(B: int, H: int, L: int, past: int, with_key: bool, seed: int) -> None:
    """The scores and the weighted sum, of the last L of S positions."""
    random, S, E, P = np.random.RandomState(seed), L + past, 3, L + past + seed % 3
    q, k, v = random.randn(B, H, L, E), random.randn(B, H, S, E), random.randn(B, H, S, E)
    table = random.randn(2 * P - 1, E)

    def attend(q: Any, k: Any, v: Any, table: Any) -> Any:
        scores = ops.attention_scores(q, k, None, ops.relative_scores(q, k, table, with_key))
        return ops.softmax(scores) @ v

    def backward(g: Any) -> tuple[Any, ...]:
        scores = ops.attention_scores(q, k, None, ops.relative_scores(q, k, table, with_key))
        probs = ops.softmax(scores)
        g, gv = ops_backward.weighted_sum(g, probs, v)
        gq, gk, g = ops_backward.attention_scores(ops_backward.softmax(g, probs), q, k)
        more_q, more_k, own = ops_backward.relative_scores(g, q, k, table, with_key)
        return gq + more_q, gk + more_k, gv, own

    check(attend, backward, q, k, v, table, random=random)


@given(SIZES, some.integers(1, 6), SEEDS)
def test_losses(B: int, N: int, seed: int) -> None:
    random = np.random.RandomState(seed)
    x, labels, flags = random.randn(B, N), random.randint(0, N, B), random.rand(B, N)
    labels[1:2] = -100
    for f, reverse in (
        (lambda x: ops.cross_entropy(x, labels), lambda g: [g * ops_backward.cross_entropy(x, labels)]),
        (lambda x: ops.binary_cross_entropy(x, flags), lambda g: [g * ops_backward.binary_cross_entropy(x, flags)]),
        (lambda x: ops.mean_squared_error(x, flags), lambda g: [g * ops_backward.mean_squared_error(x, flags)]),
    ):
        check(f, reverse, x, random=random)


def test_ids_that_occur_twice() -> None:
    g = np.arange(12.0).reshape(1, 4, 3)
    found = ops_backward.embedding(g, np.array([[2, 0, 2, 2]]), np.zeros((4, 3)))
    assert found.tolist() == [[3, 4, 5], [0, 0, 0], [15, 18, 21], [0, 0, 0]]
    assert scattered(g[0, :0], np.array([], int), np.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_of_activations(name: str) -> None:
    """By differences of the fourth order, away from the corners of relu and its like."""
    x = np.concatenate([np.linspace(-30, 30, 241), np.linspace(-3, 3, 121)]) + 0.013
    f, step = functools.partial(ACTIVATIONS[name]), 1e-3
    found = (8 * (f(x + step) - f(x - step)) - (f(x + 2 * step) - f(x - 2 * step))) / (12 * step)
    np.testing.assert_allclose(ops_backward.SLOPES[name](x), found, rtol=0, atol=1e-9)
    assert ops_backward.SLOPES.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", ["relu", "relu2", "relu6", "leaky_relu"])
def test_a_corner_has_the_slope_of_pytorch(name: str) -> None:
    """0 at 0, or 0.01: the slope of the left side."""
    assert ops_backward.SLOPES[name](np.zeros(1)) == [0.01 if name == "leaky_relu" else 0]


def test_where_clipping_begins() -> None:
    """PyTorch's clamp passes the gradient at its bounds, and its hardtanh, which is relu6, does not."""
    assert ops_backward.SLOPES["gelu_10"](np.array([10.0, 10.1], "f4")).tolist() == [1, 0]
    assert ops_backward.SLOPES["relu6"](np.array([5.9, 6.0])).tolist() == [1, 0]
