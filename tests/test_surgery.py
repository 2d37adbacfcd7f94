"""Resized and pruned models: equal to transformers after the same surgery, with the old model unchanged."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import CASE, FLOAT64, GOLDEN, Case, config_of, raises, tiny, weights_of

from minroberta import InputError, Model, load
from minroberta.backend.arrays import to_host
from minroberta.checkpoints.formats.safetensors import File
from minroberta.checkpoints.surgery import prune_heads, resize_token_embeddings
from minroberta.weights import flat, shapes, tree

EMBEDDING, DECODER, BIAS = "embeddings.word_embeddings.weight", "lm_head.decoder.weight", "lm_head.bias"

FOUND: dict[tuple[str, str], dict[str, np.ndarray]] = {}
for key, value in File(GOLDEN / "surgery.safetensors").items():
    case_name, what, output = key.split("|")
    FOUND.setdefault((case_name, what), {})[output] = value

RESIZED = [(case, int(what)) for case, what in FOUND if what.isdigit()]
PRUNED = [(case, what) for case, what in FOUND if not what.isdigit()]


def model_of(case: Case, dtype: str = "float64") -> Model:
    config = config_of(case)
    weights = {name: weight.astype(dtype) for name, weight in weights_of(config, case.head).items()}
    return Model(config, tree(weights), case.head)


def inputs_of(case: Case) -> dict[str, np.ndarray]:
    """The inputs that the golden file was made with."""
    step = {name: value for name, value in case.steps[0].items() if isinstance(value, np.ndarray)}
    return {name: value for name, value in step.items() if name != "labels" and not name.endswith("_positions")}


def widened(model: Model) -> Model:
    """The model in float64."""
    return with_weights(model, {name: x.astype("float64") for name, x in flat(model.params).items()})


def with_weights(model: Model, weights: dict[str, Any]) -> Model:
    return Model(model.config, tree({**flat(model.params), **weights}), model.head, model.tokenizer)


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """True if two trees hold the same arrays."""
    pairs = zip(flat(first).items(), flat(second).items(), strict=True)
    return all(a == b and np.array_equal(x, y) for (a, x), (b, y) in pairs)


def assert_golden(model: Model, expected: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> None:
    output = model(**inputs)
    names = [name for name in expected if name != "input_ids" and not name.startswith("new:")]
    assert names
    for name in names:
        assert output[name].shape == expected[name].shape
        assert np.abs(output[name] - expected[name]).max() <= FLOAT64, name


def assert_fits(model: Model) -> None:
    """Every weight has the shape that the configuration says."""
    assert {name: x.shape for name, x in flat(model.params).items()} == shapes(model.config, model.head)


# --- equal to transformers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "n"), RESIZED)
def test_resized(name: str, n: int) -> None:
    """Outputs agree for all tokens, new ones with transformers' random rows, which ours are close to."""
    case, expected = CASE[name], FOUND[name, str(n)]
    model = resize_token_embeddings(model_of(case), n)
    assert model.config.vocab_size == n
    assert_fits(model)
    added = {key[4:]: rows for key, rows in expected.items() if key.startswith("new:")}
    weights = flat(model.params)
    for own, rows in added.items():
        old, new = weights[own][: len(weights[own]) - len(rows)], weights[own][-len(rows) :]
        # transformers' covariance is 1e-9 times the old rows': six deviations, and the mean's rounding to float32
        assert (np.abs(new - rows) <= 6 * 3.2e-5 * old.std(0) + 1e-6).all(), own
        weights[own] = np.concatenate([old, rows])
    assert set(added) == {key for key in (EMBEDDING, DECODER, BIAS) if key in weights and n > 53}
    assert_golden(with_weights(model, weights), expected, {**inputs_of(case), "input_ids": expected["input_ids"]})


@pytest.mark.parametrize(("name", "what"), PRUNED)
def test_pruned(name: str, what: str) -> None:
    """transformers rounds the weights to float32 as it prunes them."""
    case, model = CASE[name], model_of(CASE[name], "float32")
    heads_at: dict[int, set[int]] = {layer: set(heads) for layer, heads in model.config.pruned_heads.items()}
    for step in json.loads(what):
        heads = {int(layer): heads for layer, heads in step.items()}
        for layer in heads:
            heads_at[layer] = heads_at.get(layer, set()).union(heads[layer])
        model = prune_heads(model, heads)
    assert model.config.pruned_heads == {layer: sorted(heads) for layer, heads in heads_at.items()}
    assert_fits(model)
    assert_golden(widened(model), FOUND[name, what], inputs_of(case))


# --- the vocabulary ---------------------------------------------------------------------------------------------------

IDS = [[0, 6, 7, 2], [0, 8, 2, 1]]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_are_the_mean_of_the_old(dtype: str, tied: bool) -> None:
    old = tiny("masked_lm", dtype, tie_word_embeddings=tied)
    new = resize_token_embeddings(old, 60)
    before, after = flat(old.params), flat(new.params)
    for name in before:
        assert after[name].dtype == dtype
    for name in (EMBEDDING,) if tied else (EMBEDDING, DECODER, BIAS):
        assert np.array_equal(after[name][:53], before[name])
        mean = before[name].astype("float64").mean(0)
        assert np.allclose(after[name][53:], mean, rtol=0, atol=2 * np.finfo(dtype).eps)
    if tied:
        assert after[BIAS][53:].tolist() == [0] * 7


def test_a_new_tokens_logit_is_the_mean_of_the_old_ones() -> None:
    new = resize_token_embeddings(tiny("masked_lm", tie_word_embeddings=False), 60)
    logits = new(IDS).logits
    assert np.allclose(logits[..., 53:], logits[..., :53].mean(-1, keepdims=True))


def test_fewer_tokens_keep_the_first_rows() -> None:
    old = tiny("masked_lm", tie_word_embeddings=False)
    new = resize_token_embeddings(old, 9)
    # A matrix library may sum a narrower product in another order, on some processors.
    assert np.abs(new(IDS).logits - old(IDS).logits[..., :9]).max() <= FLOAT64
    for name in (EMBEDDING, DECODER, BIAS):
        assert np.array_equal(flat(new.params)[name], flat(old.params)[name][:9])


def test_the_same_number_of_tokens_changes_nothing() -> None:
    old = tiny("masked_lm")
    new = resize_token_embeddings(old, 53)
    assert new is not old
    assert new.config == old.config
    assert np.array_equal(new(IDS).logits, old(IDS).logits)


@given(st.integers(53, 90), st.integers(2, 53))
def test_grown_and_cut_again(more: int, fewer: int) -> None:
    """Growing leaves old tokens as they were."""
    old = tiny("masked_lm")
    once = resize_token_embeddings(old, fewer)
    twice = resize_token_embeddings(resize_token_embeddings(old, more), fewer)
    assert once.config == twice.config
    assert equal(once.params, twice.params)


@pytest.mark.parametrize("n", [0, -1, True, None, 2.0, "60", [60], 2**31, np.float64(3)])
def test_an_invalid_number_of_tokens(n: Any) -> None:
    with raises(InputError, ValueError, "the number of tokens must be an integer from 1 to 2147483647, not"):
        resize_token_embeddings(tiny(), n)


@pytest.mark.parametrize(("n", "pad"), [(1, 1), (5, 5), (3, 52)])
def test_the_padding_token_stays(n: int, pad: int) -> None:
    with raises(
        InputError, ValueError, f"{n} tokens leaves out the padding token, whose id is {pad}: give at least {pad + 1}"
    ):
        resize_token_embeddings(tiny(pad_token_id=pad, max_position_embeddings=80), n)


def test_a_number_of_tokens_as_a_numpy_integer() -> None:
    assert resize_token_embeddings(tiny(), np.int32(7)).config.vocab_size == 7


# --- the heads --------------------------------------------------------------------------------------------------------


def test_a_pruned_head_is_a_masked_one() -> None:
    """A head with mask 0 adds nothing, so without it the outputs are the same."""
    old, mask = tiny("encoder"), np.ones((2, 5))
    mask[0, 1] = mask[1, 0] = mask[1, 4] = 0
    new = prune_heads(old, {0: [1], 1: [4, 0]})
    assert np.abs(new(IDS).last_hidden_state - old(IDS, head_mask=mask).last_hidden_state).max() <= FLOAT64


@given(st.sets(st.integers(0, 4), max_size=2), st.sets(st.integers(0, 4), max_size=2))
def test_at_once_or_one_after_the_other(first: set[int], second: set[int]) -> None:
    """Heads keep their numbers, and a pruned one may be named again."""
    model = tiny("encoder")
    twice = prune_heads(prune_heads(model, {1: first}), {1: second})
    once = prune_heads(model, {1: first | second})
    assert once.config == twice.config
    assert once.config.pruned_heads == ({1: sorted(first | second)} if first | second else {})
    assert equal(once.params, twice.params)


def test_cross_attention_stays_whole() -> None:
    old = tiny("causal_lm", is_decoder=True, add_cross_attention=True)
    new = prune_heads(old, {0: [1, 2], 1: [0]})
    for layer in range(2):
        before, after = (flat(model.params["encoder"]["layer"][layer]["crossattention"]) for model in (old, new))
        assert all(after[name] is before[name] for name in before)


def test_a_pruned_decoder_goes_on_from_its_cache() -> None:
    model = prune_heads(tiny("causal_lm", is_decoder=True), {0: [0, 3], 1: [2]})
    whole = model([[0, 6, 7, 8]]).logits
    first = model([[0, 6]])
    rest = model([[7, 8]], past_key_values=first.past_key_values).logits
    assert np.abs(rest - whole[:, 2:]).max() <= FLOAT64


def test_heads_of_any_iterable() -> None:
    expected = prune_heads(tiny(), {1: [0, 2]}).config
    for heads in ((0, 2), {2, 0}, range(0, 3, 2), np.array([2, 0]), iter([0, 2, 0])):
        assert prune_heads(tiny(), {1: heads}).config == expected
    assert prune_heads(tiny(), {np.int64(1): [0, 2]}).config == expected
    assert prune_heads(tiny(), {}).config == prune_heads(tiny(), {0: []}).config == tiny().config


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        ([0, 1], "a dict from layers to heads, such as {0: [1, 2]}, not [0, 1]"),
        (None, "a dict from layers to heads, such as {0: [1, 2]}, not None"),
        ({2: [0]}, "a layer must be an integer from 0 to 1, not 2"),
        ({-1: [0]}, "a layer must be an integer from 0 to 1, not -1"),
        ({True: [0]}, "a layer must be an integer from 0 to 1, not True"),
        ({"0": [0]}, "a layer must be an integer from 0 to 1, not '0'"),
        ({0: [5]}, "a head of layer 0 must be an integer from 0 to 4, not 5"),
        ({0: [1], 1: [-1]}, "a head of layer 1 must be an integer from 0 to 4, not -1"),
        ({1: [False]}, "a head of layer 1 must be an integer from 0 to 4, not False"),
        ({1: [1.0]}, "a head of layer 1 must be an integer from 0 to 4, not 1.0"),
        ({1: 2}, "heads of layer 1 must be a list of integers, such as [1, 2], not 2"),
        ({1: "012"}, "heads of layer 1 must be a list of integers, such as [1, 2], not '012'"),
        ({1: range(5)}, "layer 1 would lose all of its 5 heads: keep at least one"),
    ],
)
def test_invalid_heads(heads: Any, words: str) -> None:
    with raises(InputError, ValueError, words):
        prune_heads(tiny(), heads)


def test_the_last_head_stays() -> None:
    model = prune_heads(tiny(), {0: [0, 1, 2], 1: [4]})
    with raises(InputError, ValueError, "layer 0 would lose all of its 5 heads"):
        prune_heads(model, {1: [0], 0: [3, 4]})
    assert prune_heads(model, {0: [3]})(IDS).last_hidden_state.shape == (2, 4, 30)


# --- both -------------------------------------------------------------------------------------------------------------

OPERATIONS = {
    "grown": lambda model: resize_token_embeddings(model, 60),
    "cut": lambda model: resize_token_embeddings(model, 20),
    "pruned": lambda model: prune_heads(model, {0: [1], 1: [3, 0]}),
    "both": lambda model: resize_token_embeddings(prune_heads(model, {1: [2]}), 60),
}
operations = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@operations
def test_the_old_model_is_unchanged(operation: Any) -> None:
    old = tiny("masked_lm", tie_word_embeddings=False)
    params, config = copy.deepcopy(old.params), copy.deepcopy(old.config)
    for array in flat(old.params).values():
        array.flags.writeable = False
    new = operation(old)
    assert old.config == config
    assert equal(old.params, params)
    new.params["embeddings"]["word_embeddings"]["weight"] = None
    new.params["encoder"]["layer"].clear()
    assert old(IDS).logits.shape == (2, 4, 53)


@operations
def test_head_and_tokenizer_go_along(operation: Any) -> None:
    old = tiny("masked_lm")
    old.tokenizer = object()  # type: ignore[assignment]
    new = operation(old)
    assert new.head == "masked_lm"
    assert new.tokenizer is old.tokenizer


@operations
@pytest.mark.parametrize("model_type", ["roberta", "roberta-prelayernorm", "xlm-roberta-xl"])
@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_loaded(operation: Any, model_type: str, tied: bool, tmp_path: Path) -> None:
    model = operation(tiny("masked_lm", "float32", model_type=model_type, tie_word_embeddings=tied))
    model.save(tmp_path)
    again = load(tmp_path)
    assert (again.config.vocab_size, again.config.pruned_heads) == (model.config.vocab_size, model.config.pruned_heads)
    assert np.array_equal(again(IDS).logits, model(IDS).logits)


@operations
def test_on_jax(operation: Any) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'minroberta[jax]'")
    old = tiny("masked_lm", "float32", tie_word_embeddings=False)
    there = with_weights(old, {name: jax.numpy.asarray(x) for name, x in flat(old.params).items()})
    expected, found = operation(old), operation(there)
    assert found.xp is jax.numpy
    assert found.config == expected.config
    ours = flat(found.params)
    for name, x in flat(expected.params).items():
        assert isinstance(ours[name], jax.Array)
        assert np.allclose(to_host(ours[name]), x, rtol=0, atol=1e-6)
