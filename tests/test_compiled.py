"""Calls of models that JAX compiles: equal to the reference, for few shapes, and kept for the next process."""

import itertools
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from generators import GOLDEN
from hypothesis import given
from hypothesis import strategies as st
from support import CASE, CASES, TINY, Case, check, config_of, model_of, one_a_feature, raises, slow_but, weights_of
from test_golden_jax import SLOW, golden_cases, jax, jnp, rough_features

from minroberta import BackendError, Config, InputError, Model, compiled, init, load, trace
from minroberta.config import HEADS
from minroberta.model import run
from minroberta.packed import Typed
from minroberta.weights import move, tree

HEAD_NAMES = tuple(HEADS)


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def _afresh() -> None:
    """Nothing is compiled yet: models of the same configuration share compilations."""
    for made in (compiled._jitted, compiled._jitted_step):
        made(run).clear_cache()


FIELDS = {**TINY, "max_position_embeddings": 60}


def pair(head: str = "encoder", dtype: str = "float64", **fields: Any) -> tuple[Model, Model]:
    """The same model on JAX and on NumPy."""
    config = Config.from_dict({**FIELDS, **fields})
    weights = weights_of(config, head)
    on_jax, on_numpy = (Model(config, tree(move(weights, dtype, xp)), head) for xp in (jnp, np))
    return on_jax, on_numpy


def assert_equal(ours: Mapping[str, Any], exact: Mapping[str, Any]) -> None:
    assert list(ours) == list(exact)
    for name in exact:
        np.testing.assert_allclose(ours[name], exact[name], rtol=0, atol=1e-12, err_msg=name)


# --- shapes ---------------------------------------------------------------------------------------------------------


def test_the_sizes_that_are_documented() -> None:
    sizes = sorted({compiled.bucket(size) for size in range(1, 513)})
    assert sizes == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    config = Config.from_dict({"model_type": "roberta"})
    lengths = sorted({compiled.padded_length(length, config) for length in range(1, config.longest + 1)})
    assert lengths == [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 510]
    assert [compiled.power_of_four(size) for size in (1, 2, 4, 5, 16, 17)] == [1, 4, 4, 16, 16, 64]


@given(st.integers(1, 5000))
def test_a_size_is_the_next_one(size: int) -> None:
    found = compiled.bucket(size)
    assert size <= found
    assert found < 1.5 * size or size < 3
    assert compiled.bucket(found) == found


@given(st.lists(st.integers(1, 510), min_size=1, max_size=300), st.sampled_from([1, 1, 2, 3, 8]))
def test_batches_have_every_sequence_once(lengths: list[int], count: int) -> None:
    """The share of each of several devices has one of the sizes that one device has."""
    config = Config.from_dict({"model_type": "roberta"})
    batches = list(compiled.batches_of(lengths, config, count))
    assert sorted(index for rows, _ in batches for row in rows for index in row) == list(range(len(lengths)))
    for rows, length in batches:
        share = len(rows) // count
        assert len(rows) == share * count
        assert share & (share - 1) == 0
        assert share * length <= compiled.TOKENS
        assert sum(map(bool, rows)) > len(rows) - count
        for row in filter(None, rows):
            assert length == compiled.padded_length(sum(lengths[index] for index in row), config)
            assert length <= compiled.padded_length(max(*lengths, compiled.ROW), config)


@given(st.lists(st.integers(1, 128), min_size=1, max_size=300))
def test_short_sequences_share_rows(lengths: list[int]) -> None:
    """Two rows that are at most half full would have been one."""
    config = Config.from_dict({"model_type": "roberta"})
    used = sorted(sum(lengths[index] for index in row) for row in compiled.rows_of(lengths, config))
    assert all(a + b > compiled.ROW for a, b in itertools.pairwise(used))


@given(st.integers(1, 5000), st.integers(1, 9))
def test_a_batch_for_several_devices(size: int, count: int) -> None:
    found = compiled.padded_batch(size, count)
    assert size <= found < 1.5 * size + 2 * count
    assert found % count == 0
    assert compiled.bucket(found // count) == found // count
    assert compiled.padded_batch(size, 1) == compiled.bucket(size)


# --- equal to the reference -----------------------------------------------------------------------------------------


def fitting(case: Case) -> bool:
    """Return whether the first call of a case, without targets, is compiled."""
    inputs, _ = without_targets(case.steps[0])
    arrays = {name: value for name, value in inputs.items() if not isinstance(value, bool)}
    return compiled.fits(config_of(case), arrays)


def without_targets(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The inputs without what only the loss needs, and whether there was any."""
    rest = {name: x for name, x in inputs.items() if name not in ("labels", "start_positions", "end_positions")}
    return rest, len(rest) < len(inputs)


FITTING = [case for case in CASES if fitting(case)]
FEW = one_a_feature(tuple(FITTING), rough_features)


@pytest.mark.parametrize(("case", "dtype"), golden_cases(FEW, "float64", one_a_feature(tuple(FITTING))))
def test_golden(case: Case, dtype: str) -> None:
    """Both norm orders, every head, masks, token types, left padding, decoders; the loss, if any, is NumPy's."""
    model = model_of(case, dtype, jnp)
    steps = []

    def call(**inputs: Any) -> dict[str, Any]:
        rest, had_targets = without_targets(inputs)
        before = len(model.compilations)
        outputs = model(**rest, **({"use_cache": False} if had_targets else {}))
        steps.append(len(model.compilations) - before)
        if had_targets:
            outputs["loss"] = model_of(case, dtype)(**inputs).loss
        return outputs

    check(case, dtype, call)
    assert steps[0] == 1


def test_most_cases_are_compiled() -> None:
    """The test above has one for each feature of these."""
    assert len(FITTING) > len(CASES) / 2
    assert {case.head for case in FITTING} == set(HEADS)
    assert {case.model_type for case in FITTING} == {case.model_type for case in CASES}
    assert {"mask/left/post", "mask/left/pre", "input/token_type_ids/pre"} <= {case.name for case in FITTING}


ODD = {case.name for case in one_a_feature(tuple(case for case in CASES if case not in FITTING))}


@pytest.mark.parametrize("name", slow_but(sorted({*ODD, "mask/hidden_row/post"}), "mask/hidden_row/post"))
def test_golden_where_padding_would_change_it(name: str) -> None:
    """3-D masks, rows that see nothing, head masks, embeddings, memories: as without compilation."""
    case = CASE[name]
    model = model_of(case, "float64", jnp)
    check(case, "float64", model)


@pytest.mark.parametrize("model_type", ["roberta", pytest.param("roberta-prelayernorm", marks=SLOW)])
def test_any_length_and_mask(model_type: str) -> None:
    """Random masks with zeros anywhere, token types, and positions; a few shapes serve all lengths."""
    ours, exact = pair(model_type=model_type, type_vocab_size=2)
    for seed in range(20):
        random = np.random.RandomState(seed)
        shape = random.randint(1, 3), random.randint(1, 25)
        mask = (random.rand(*shape) < 0.7).astype(int)
        mask[:, random.randint(shape[1])] = 1
        inputs = {
            "input_ids": random.randint(2, 50, shape),
            "attention_mask": mask if seed % 4 else mask.astype(float),
            "token_type_ids": random.randint(0, 2, (1, shape[1])),
        }
        assert_equal(ours(**inputs), exact(**inputs))
    assert len(ours.compilations) <= 4


@pytest.mark.parametrize("length", [56, 57, 58])
def test_the_longest_sequence(length: int) -> None:
    """Padding never needs a position that the model does not have."""
    ours, exact = pair()
    ids = np.full((1, length), 7)
    assert exact.config.longest == 58
    assert_equal(ours(ids), exact(ids))
    with pytest.raises(InputError, match="input of 59 tokens"):
        ours(np.full((1, 59), 7))


def test_more_padding_than_positions() -> None:
    """Padding needs no positions, so a row of 5 tokens may be longer than the table."""
    ours, exact = pair()
    ids = np.full((1, 70), exact.config.pad_token_id)
    ids[:, :5] = 7
    inputs = {"input_ids": ids, "attention_mask": (ids == 7).astype(int)}
    assert_equal(ours(**inputs), exact(**inputs))


# --- what is compiled, and how often --------------------------------------------------------------------------------


def test_one_compilation_for_each_shape() -> None:
    """By JAX's own count too; the number does not depend on how many lengths there are."""
    model, function = init(FIELDS, xp=jnp), compiled._jitted(run)
    before = function._cache_size()
    for length in range(1, 25):
        model(np.full((1 + length % 2, length), 7), attention_mask=np.ones((1 + length % 2, length), bool))
        model([[7] * length], token_type_ids=[[0] * length])
    assert sorted(model.compilations) == [f"encoder of {B} × {L}" for B in (1, 2) for L in (16, 24)]
    assert function._cache_size() - before == 4


@pytest.mark.parametrize("head", slow_but(["encoder", "causal_lm"], "encoder"))
def test_another_length_compiles_nothing(head: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not even a small function that moves the inputs, cuts the outputs or clears padding, by JAX's own log."""
    model = init({**FIELDS, "is_decoder": head == "causal_lm"}, head=head, xp=jnp)

    def call(length: int) -> None:
        model([[7] * length] * 2, output_hidden_states=True)
        model([[7] * length] * 2, [[1] * (length - 1) + [0], [1] * length], skip_padding=True, use_cache=False)
        model.on_rows([[7] * length, [8]])

    def compiled_by_jax() -> list[str]:
        return [text for text in map(logging.LogRecord.getMessage, caplog.records) if text.startswith("Compiling ")]

    with jax.log_compiles(True):
        call(4)
        assert compiled_by_jax()
        caplog.clear()
        for length in (5, 9):
            call(length)
        assert compiled_by_jax() == []


def test_a_compiled_call_is_one_compilation(caplog: pytest.LogCaptureFixture) -> None:
    """The inputs, which become 32-bit integers, are moved without another."""
    model = init(FIELDS, xp=jnp)
    with jax.enable_x64(False), jax.log_compiles(True):
        model([[7] * 16])
    (only,) = [text for text in map(logging.LogRecord.getMessage, caplog.records) if text.startswith("Compiling ")]
    assert "traced" in only


def test_what_is_compiled_is_told(caplog: pytest.LogCaptureFixture) -> None:
    model = init(FIELDS, xp=jnp)
    with caplog.at_level(logging.DEBUG, "minroberta"):
        model([[5, 6]], output_hidden_states=True)
        model([[5, 6, 7]], output_hidden_states=True)
    assert [record.getMessage() for record in caplog.records] == ["compiling encoder of 1 × 16, output_hidden_states"]
    assert model.compilations == ["encoder of 1 × 16, output_hidden_states"]


def test_compile_warms_up() -> None:
    model = init(FIELDS, xp=jnp)
    model.compile(lengths=[9, 3], batches=iter([1, 2]))
    assert sorted(model.compilations) == ["encoder of 1 × 16", "encoder of 2 × 16"]
    model([[5, 6]])
    model.on_rows([[5], [6, 7, 8]])
    assert len(model.compilations) == 3  # two sequences share a row, whose positions are given


def test_compile_refuses() -> None:
    with raises(BackendError, TypeError, "only JAX compiles models, not numpy: load with xp=jax.numpy"):
        init(TINY).compile([8])
    with jax.disable_jit(), raises(BackendError, TypeError, "nothing is compiled within jax.disable_jit"):
        init(TINY, xp=jnp).compile([8])
    model = init({**TINY, "max_position_embeddings": 10}, xp=jnp)
    with raises(InputError, ValueError, "input of 20 tokens; this model has 8 positions"):
        model.compile([20])
    with raises(InputError, ValueError, "a batch size must be an integer of at least 1, not 0"):
        model.compile([4], batches=[0])
    with raises(InputError, ValueError, "lengths must be a list of integers, such as [16, 32], not 4"):
        model.compile(4)
    with raises(InputError, ValueError, "batches must be a list of integers, such as [16, 32], not 2"):
        model.compile([4], batches=2)


@SLOW
def test_the_same_configuration_shares_compilations() -> None:
    first, second = (init(FIELDS, xp=jnp, seed=seed) for seed in range(2))
    assert not np.allclose(first([[5, 6]]).last_hidden_state, second([[5, 6]]).last_hidden_state)
    assert (len(first.compilations), second.compilations) == (1, [])


PLAIN = {
    "labels": {"labels": [[5, -100]]},
    "a head mask": {"head_mask": [1.0, 0.5, 0.0, 1.0, 1.0]},
    "a 3-D mask": {"attention_mask": [[[1, 0], [1, 1]]]},
    "a row that sees nothing": {"attention_mask": [[0, 0]]},
    "half a key": {"attention_mask": [[0.5, 0.5]]},
}


@pytest.mark.parametrize("why", slow_but(PLAIN, "a 3-D mask", "half a key"))
def test_the_plain_path(why: str) -> None:
    ours, exact = pair("masked_lm")
    assert_equal(ours([[5, 6]], **PLAIN[why]), exact([[5, 6]], **PLAIN[why]))
    assert ours.compilations == []


@pytest.mark.parametrize("head", slow_but(HEAD_NAMES, "encoder", "question_answering"))
def test_outputs_are_in_order(head: str) -> None:
    """Hugging Face's, and not the alphabet's, which JAX gives to a dict."""
    ours, exact = pair(head, is_decoder=head == "causal_lm")
    ids = np.full((1, 2, 5) if HEADS[head].choices else (1, 5), 7)
    found, wanted = (model(ids, output_hidden_states=True, output_attentions=True) for model in (ours, exact))
    assert list(found) == list(wanted)
    for one, other in zip(found.to_tuple(), wanted.to_tuple(), strict=True):
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-12)
    assert len(ours.compilations) == 1


@pytest.mark.parametrize("head", slow_but(HEAD_NAMES, "encoder", "question_answering"))
def test_skip_padding(head: str) -> None:
    """A compiled call, with zeros at padding, also where the pooler reads."""
    ours, exact = pair(head)
    ids = np.random.RandomState(0).randint(2, 50, (3, 2, 9) if HEADS[head].choices else (3, 9))
    mask = np.ones(ids.shape, int)
    mask[0, ..., 6:] = mask[1, ..., 2] = 0
    if not HEADS[head].reads_first:
        mask[2, ..., :4] = 0
    found, wanted = (model(ids, mask, skip_padding=True) for model in (ours, exact))
    assert_equal(found, wanted)
    assert len(ours.compilations) == 1
    if not HEADS[head].reads_first:
        assert (np.asarray(found[0])[2, :4] == 0).all()
        mask[2] = 0  # a query that no key is visible to: see `fits`
        assert_equal(*(model(ids, mask, skip_padding=True) for model in (ours, exact)))
        assert len(ours.compilations) == 1


@SLOW
def test_gradients_take_the_plain_path() -> None:
    ours, _ = pair()
    inner = []

    def loss(params: Any) -> Any:
        inner.append(Model(ours.config, params))
        return inner[0]([[5, 6]]).last_hidden_state.sum()

    gradient = jax.grad(loss)(ours.params)
    assert jnp.abs(gradient["embeddings"]["word_embeddings"]["weight"][5]).max() > 0
    assert inner[0].compilations == []


@SLOW
def test_traces_and_edits_take_the_plain_path() -> None:
    ours, exact = pair()
    edit = {"encoder.layer.0": lambda x: 0 * x}
    np.testing.assert_allclose(
        trace(ours, [[5, 6]], edit=edit)["encoder"], trace(exact, [[5, 6]], edit=edit)["encoder"], rtol=0, atol=1e-12
    )
    with jax.disable_jit():
        assert_equal(ours([[5, 6]]), exact([[5, 6]]))
    assert ours.compilations == []


@SLOW
def test_a_left_padded_decoder_takes_the_plain_path() -> None:
    """Its first query sees no key, so that padding would share its weights. Right padding is compiled."""
    ours, exact = pair("causal_lm", is_decoder=True)
    for mask, count in (([[0, 1, 1]], 0), ([[1, 1, 0]], 1)):
        outputs, wanted = ours([[1, 6, 7]], mask), exact([[1, 6, 7]], mask)
        np.testing.assert_allclose(outputs.logits, wanted.logits, rtol=0, atol=1e-12)
        assert len(ours.compilations) == count


@SLOW
def test_a_cache_from_a_compiled_call_continues() -> None:
    """Its keys, values and counts are of the tokens alone."""
    ours, exact = pair("causal_lm", is_decoder=True)
    first, wanted = ours([[5, 6, 1], [7, 8, 9]]), exact([[5, 6, 1], [7, 8, 9]])
    assert first.past_key_values.tokens.tolist() == [[2], [3]]
    assert len(ours.compilations) == 1
    for outputs, other in zip(first.past_key_values, wanted.past_key_values, strict=True):
        for array, theirs in zip(outputs, other, strict=True):
            np.testing.assert_allclose(array, theirs, rtol=0, atol=1e-12)
    again, theirs = (
        model([[4], [3]], past_key_values=cache)
        for model, cache in ((ours, first.past_key_values), (exact, wanted.past_key_values))
    )
    np.testing.assert_allclose(again.logits, theirs.logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", slow_but(HEAD_NAMES, "causal_lm", "multiple_choice"))
def test_parts_of_a_batch(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor computes large batches in parts: every output is that of the whole batch."""
    ours, exact = pair(head, is_decoder=head == "causal_lm", type_vocab_size=2)
    random, shape = np.random.RandomState(0), (5, 2, 12) if HEADS[head].choices else (5, 12)
    inputs = {
        "input_ids": random.randint(2, 50, shape),
        "attention_mask": np.arange(12) < random.randint(1, 13, shape[:-1])[..., None],
        "token_type_ids": random.randint(0, 2, shape if HEADS[head].choices else (1, 12)),
        "output_hidden_states": True,
        "output_attentions": True,
    }
    monkeypatch.setattr(compiled, "TOKENS_ON_CPU", 2 * 16 * len(shape[1:]))
    found, wanted = ours(**inputs), exact(**inputs)
    assert list(found) == list(wanted)
    for one, other in zip(jax.tree.leaves(dict(found)), jax.tree.leaves(dict(wanted)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    made = [made.split(",")[0] for made in ours.compilations]
    assert made == [f"{head} of {' × '.join(map(str, (size, *shape[1:-1], 16)))}" for size in (2, 1)]


def test_a_call_within_a_compiled_function() -> None:
    ours, exact = pair()
    found = jax.jit(lambda x: x + ours([[5, 6]]).last_hidden_state)(1.0)
    np.testing.assert_allclose(found, 1 + exact([[5, 6]]).last_hidden_state, rtol=0, atol=1e-12)


class OnGpu:
    """An array that JAX has put on another device than the processor; NumPy may not have it."""

    def __init__(self, values: Any) -> None:
        self.values, self.shape = values, values.shape

    def devices(self) -> Any:
        return [SimpleNamespace(platform="gpu")]

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("it stays on the device")


def test_outputs_are_cut_where_they_are() -> None:
    x, index = jnp.arange(24.0).reshape(2, 3, 4), (slice(1), slice(2), slice(None))
    for array in (x, OnGpu(x)):
        assert compiled._part(array, (slice(2), slice(None), slice(4))) is array
        assert np.array_equal(compiled._part(array, index), x[:1, :2])


# --- rows -----------------------------------------------------------------------------------------------------------


def typed(ids: list[int], types: list[int]) -> Typed:
    """A sequence of ids with token types."""
    row = Typed(ids)
    row.types = types
    return row


ROWS = [[0, 5, 2], typed([0, 7, 8, 9, 2], [0, 0, 1, 1, 1]), [0, *range(10, 30), 2], [3]]
WANTED = [[1], [0, 4], [], [0]]


@pytest.mark.parametrize("head", slow_but(HEAD_NAMES, "masked_lm", "sequence_classification"))
def test_rows(head: str) -> None:
    """Every head: all positions, and a few, of sequences that share a row."""
    ours, exact = pair(head, type_vocab_size=2)
    for wanted in (None, [[0]] * 4 if HEADS[head].reads_first else WANTED):
        for found, other in zip(ours.on_rows(ROWS, wanted), exact.on_rows(ROWS, wanted), strict=True):
            assert_equal(found, other)
    assert len(ours.compilations) == (1 if HEADS[head].reads_first else 2)


def test_a_row_of_one_sequence_shares_the_compilation_of_calls() -> None:
    for head in ("encoder", "sequence_classification", "multiple_choice"):
        ours, exact = pair(head)
        ours.compile([20])
        for found, other in zip(ours.on_rows(ROWS[2:3]), exact.on_rows(ROWS[2:3]), strict=True):
            assert_equal(found, other)
        assert len(ours.compilations) == 1


def test_rows_of_many_sequences() -> None:
    """Short sequences fill the rows of long ones, and there are more rows than a batch has, at most 4 of 256."""
    ours, exact = pair("token_classification", max_position_embeddings=302)
    random = np.random.RandomState(0)
    rows = [random.randint(2, 50, length).tolist() for length in [250, 140, *random.randint(1, 60, 160)]]
    for found, other in zip(ours.on_rows(rows), exact.on_rows(rows), strict=True):
        assert_equal(found, other)
    shapes = [made.removeprefix("token_classification of ") for made in ours.compilations]
    assert "4 × 256" in shapes
    assert len(shapes) < 5


@SLOW
@pytest.mark.parametrize("fields", [{"is_decoder": True}, {"position_embedding_type": "relative_key"}])
def test_rows_of_decoders_and_relative_positions(fields: dict[str, Any]) -> None:
    ours, exact = pair("masked_lm", **fields)
    for wanted in (None, WANTED):
        for found, other in zip(ours.on_rows(ROWS, wanted), exact.on_rows(ROWS, wanted), strict=True):
            assert_equal(found, other)


@pytest.mark.parametrize("positions", ["absolute", "relative_key"])
def test_rows_that_are_too_long(positions: str) -> None:
    model, _ = pair("masked_lm", position_embedding_type=positions)
    with pytest.raises(InputError, match=rf"input of {model.config.longest + 1} tokens; this model has"):
        model.on_rows([[5], [7] * (model.config.longest + 1)])


@SLOW
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype: str) -> None:
    _, exact = pair("token_classification")
    config = exact.config
    ours = Model(config, tree(move(weights_of(config, exact.head), dtype, jnp)), exact.head)
    outputs = ours([[5, 6, 7]]).logits
    assert outputs.dtype == dtype
    error = np.abs(np.asarray(outputs, np.float64) - exact([[5, 6, 7]]).logits).max()
    assert error < 50 * 2.0 ** -{"float16": 11, "bfloat16": 8}[dtype]
    (found,) = ours.on_rows([[5, 6, 7]])
    np.testing.assert_array_equal(np.asarray(found["logits"], float), np.asarray(outputs[0], float))


@SLOW
def test_tasks_of_the_embedded_model() -> None:
    """The same answers as on NumPy, and few compilations for texts of many lengths."""
    texts = [f"The {'very ' * (index % 13)}old house was sold." for index in range(40)]
    calls = {
        "encoder": lambda model: model.encode(texts).tolist(),
        "masked_lm": lambda model: [one["score"] for one in model.fill_mask("Paris is the capital of <mask>.")],
        "sequence_classification": lambda model: [one["score"] for (one,) in model.classify(texts)],
        "token_classification": lambda model: [one["score"] for of_text in model.tag(texts) for one in of_text],
        "question_answering": lambda model: [model.answer("Who came?", "Then the old man came.")[0]["score"]],
    }
    for head, task in calls.items():
        ours, exact = (load(head=head, xp=xp, dtype="float64") for xp in (jnp, np))
        np.testing.assert_allclose(task(ours), task(exact), rtol=0, atol=1e-10, err_msg=head)
        assert 1 <= len(ours.compilations) <= 4, head


@pytest.mark.parametrize("pooling", slow_but(["pooler", "cls", "lasttoken"], "pooler"))
def test_poolings_of_few_positions(pooling: Any) -> None:
    ours, exact = pair(max_position_embeddings=90, vocab_size=8000)
    ours.tokenizer = exact.tokenizer = load(head="encoder").tokenizer
    found, other = (model.encode(["A cat.", "Dogs bark at it."], pooling=pooling) for model in (ours, exact))
    np.testing.assert_allclose(found, other, rtol=0, atol=1e-12)


# --- token by token -------------------------------------------------------------------------------------------------

OPTIONS = {"greedy": {}, "beams": {"num_beams": 3}, "sampled": {"temperature": 1.0, "seed": 3}}


@pytest.mark.parametrize("name", slow_but(OPTIONS, "beams"))
@pytest.mark.parametrize("model_type", slow_but(["roberta", "roberta-prelayernorm"], "roberta"))
def test_generate(name: str, model_type: str) -> None:
    """The same tokens as on NumPy, while the cache grows twice; and a compilation for each size, not for each token."""
    fields = {"is_decoder": True, "vocab_size": 8000, "eos_token_id": None, "model_type": model_type}
    ours, exact = pair("causal_lm", **fields)
    ours.tokenizer = exact.tokenizer = load(head="encoder").tokenizer
    found, other = (model.generate("The old house", 26, **OPTIONS[name]) for model in (ours, exact))
    assert found == other
    rows = OPTIONS[name].get("num_beams", 1)
    assert ours.compilations == [
        f"causal_lm of {rows} × 16, positions, use_cache",
        *[f"causal_lm of {rows} × 1, cache of {size}" for size in (16, 24, 32)],
    ]


@SLOW
def test_logits_token_by_token() -> None:
    """Up to the last position, with rows that change places."""
    ours, exact = pair("causal_lm", is_decoder=True, max_position_embeddings=23)
    random, past = np.random.RandomState(0), None
    rows, parents = [[5, 6, 7], [8, 9, 4]], [0, 1]
    while len(rows[0]) < exact.config.longest:
        logits, past = ours.continued(rows, parents, past)
        np.testing.assert_allclose(logits, exact(rows).logits[:, -1], rtol=0, atol=1e-12)
        parents = random.randint(0, 2, 2).tolist()
        rows = [[*rows[parent], random.randint(3, 50)] for parent in parents]
    logits, past = ours.continued(rows, parents, past)
    np.testing.assert_allclose(logits, exact(rows).logits[:, -1], rtol=0, atol=1e-12)
    assert len(ours.compilations) == 3  # the prompt, and caches of 16 and 21 positions
    with pytest.raises(InputError, match="input of 22 tokens"):
        ours.continued([[*row, 5] for row in rows], [0, 1], past)


@SLOW
def test_an_encoder_decoder_takes_the_plain_path() -> None:
    """But for its encoder."""
    ours, exact = (
        load(GOLDEN / "generation" / "tied", tokenizer=GOLDEN / "generation", dtype="float64", xp=xp)
        for xp in (jnp, np)
    )
    text = "Anna Berg lives in Paris."
    assert ours.generate(text, 5, num_beams=2) == exact.generate(text, 5, num_beams=2)
    assert (ours.compilations, len(ours.encoder.compilations)) == ([], 1)


def test_what_cannot_continue() -> None:
    relative, _ = pair("causal_lm", is_decoder=True, position_embedding_type="relative_key")
    on_jax, on_numpy = pair("causal_lm", is_decoder=True)
    assert [model.can_continue for model in (relative, on_numpy, on_jax)] == [False, False, True]
    on_jax.encoder = on_numpy
    assert not on_jax.can_continue


# --- kept for the next process --------------------------------------------------------------------------------------

PROGRAM = """
import jax, minroberta
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.split("/")[-1]))
jax.numpy.ones(3) + 1  # JAX decides at its first compilation where it keeps them
model = minroberta.load(head="encoder", xp=jax.numpy)
del events[:]
model([[0, 5, 2]])
print(len(model.compilations), events.count("cache_hits"), events.count("cache_misses"))
"""


def in_a_process(home: Path, **variables: str) -> list[int]:
    """The number of compiled calls of a new process, and of compilations that JAX has found and has not found."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(home), **variables}
    command = [sys.executable, "-c", PROGRAM]
    made = subprocess.run(command, env=environment, capture_output=True, check=True, text=True, timeout=120)
    return list(map(int, made.stdout.split()))


@SLOW
def test_a_second_process_does_not_compile_again(tmp_path: Path) -> None:
    """In a folder of this machine below XDG_CACHE_HOME, which only its owner can read."""
    least = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.02"}  # a fast machine compiles this model in 0.1 s
    assert in_a_process(tmp_path, **least) == [1, 0, 1]
    assert in_a_process(tmp_path, **least) == [1, 1, 0]
    (folder,) = (tmp_path / "minroberta").iterdir()
    assert re.fullmatch(r"jaxlib-[\d.]+-.+", folder.name)
    assert any(folder.iterdir())


@SLOW
def test_the_users_folder_is_respected(tmp_path: Path) -> None:
    own = tmp_path / "own"
    least = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    in_a_process(tmp_path, JAX_COMPILATION_CACHE_DIR=str(own), **least)
    assert any(own.iterdir())
    in_a_process(tmp_path, JAX_ENABLE_COMPILATION_CACHE="0")
    assert not (tmp_path / "minroberta").exists()


@SLOW
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "minroberta").write_text("a file where the folder would be")
    assert in_a_process(tmp_path)[0] == 1
