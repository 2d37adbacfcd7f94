"""Properties of every RoBERTa, independent of the reference: in float64, to the rounding of a few layers."""

import functools
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support import TINY, tiny

from minroberta import Cache, Config, InputError, Model, forward
from minroberta.trace import recording
from minroberta.weights import flat, tree

NORMS = ("roberta", "roberta-prelayernorm", "xlm-roberta-xl")
POSITIONS = ("absolute", "relative_key", "relative_key_query")
ROUNDING = 1e-11  # numbers of the order of 1 to 10, two layers, a few hundred roundings of 1e-16 each

tiny = functools.cache(tiny)
norms = st.sampled_from(NORMS)
positions = st.sampled_from(POSITIONS)
tokens = st.lists(st.integers(6, TINY["vocab_size"] - 1), min_size=1, max_size=8)


def assert_close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING)


def padded(rows: list[list[int]], left: int = 0, right: int = 0) -> dict[str, np.ndarray]:
    """A batch of rows, shorter ones padded on the left, then all with more padding on either side."""
    longest = max(map(len, rows))
    ids = [[1] * (left + longest - len(row)) + row + [1] * right for row in rows]
    return {"input_ids": np.array(ids), "attention_mask": (np.array(ids) != 1).astype(int)}


# --- padding and batches --------------------------------------------------------------------------------------------


@given(norms, positions, tokens, st.integers(0, 5), st.integers(0, 5))
def test_padding_changes_nothing_on_real_tokens(norm: str, kind: str, row: list[int], left: int, right: int) -> None:
    model = tiny(model_type=norm, position_embedding_type=kind)
    alone = model([row]).last_hidden_state
    among = model(**padded([row], left, right)).last_hidden_state
    assert_close(among[:, left : left + len(row)], alone)


@given(norms, positions, st.lists(tokens, min_size=2, max_size=4))
def test_a_batch_is_its_rows_one_at_a_time(norm: str, kind: str, rows: list[list[int]]) -> None:
    model = tiny(model_type=norm, position_embedding_type=kind)
    batch = model(**padded(rows)).last_hidden_state
    for made, row in zip(batch, rows, strict=True):
        assert_close(made[-len(row) :], model([row]).last_hidden_state[0])


@pytest.mark.parametrize("norm", NORMS)
def test_padding_has_position_padding_idx_and_is_computed_like_any_token(norm: str) -> None:
    """The position of padding is padding_idx, and its values are not zero."""
    model = tiny(model_type=norm)
    ids = [[1, 1, 7, 1, 8]]
    assert_close(model(ids).last_hidden_state, model(ids, position_ids=[[1, 1, 2, 1, 3]]).last_hidden_state)
    assert np.abs(model(ids).last_hidden_state[0, 0]).max() > 0.1


def test_embeddings_are_numbered_in_order_padding_included() -> None:
    model = tiny()
    ids = np.array([[1, 7, 1, 8]])
    embeds = model.params["embeddings"]["word_embeddings"]["weight"][ids]
    numbered = model(ids, position_ids=[[2, 3, 4, 5]]).last_hidden_state
    assert_close(model(inputs_embeds=embeds).last_hidden_state, numbered)


# --- the cache ------------------------------------------------------------------------------------------------------


@st.composite
def cuts(draw: Any, length: int) -> list[int]:
    """Indices at which a sequence is cut, 0 and its length among them."""
    inner = draw(st.sets(st.integers(1, length - 1), max_size=length - 1)) if length > 1 else set()
    return [0, *sorted(inner), length]


def flatten(cache: Cache) -> list[np.ndarray]:
    return [array for layer in cache for array in layer]


def decode(model: Model, places: list[int], **inputs: Any) -> tuple[np.ndarray, Cache]:
    """The logits or states of a sequence that is given piece by piece, each with the cache of those before."""
    mask, made, cache = inputs.pop("attention_mask"), [], None
    memory = {name: inputs.pop(name) for name in list(inputs) if name.startswith("encoder_")}
    for start, end in pairwise(places):
        pieces = {name: x[:, start:end] for name, x in inputs.items()}
        output = model(**pieces, **memory, attention_mask=mask[:, :end], past_key_values=cache)
        made.append(output[0])
        cache = output.past_key_values
    return np.concatenate(made, axis=1), cache


@given(st.data(), norms, positions, st.lists(tokens, min_size=1, max_size=3))
def test_cached_is_uncached(data: Any, norm: str, kind: str, rows: list[list[int]]) -> None:
    """A sequence may be cut anywhere, also with relative positions and left padding.

    Only real tokens are compared: padding before the first one has nothing to attend to, and so attends uniformly to
    all keys, which are fewer in a piece than in the whole.
    """
    model = tiny("causal_lm", model_type=norm, position_embedding_type=kind, is_decoder=True)
    inputs = padded(rows)
    places = data.draw(cuts(inputs["input_ids"].shape[1]))
    logits, cache = decode(model, places, **inputs)
    whole, real = model(**inputs), inputs["attention_mask"] == 1
    assert_close(logits[real], whole.logits[real])
    assert cache.tokens.tolist() == [[len(row)] for row in rows]
    for ours, theirs in zip(flatten(cache), flatten(whole.past_key_values), strict=True):
        assert_close(ours.swapaxes(1, 2)[real], theirs.swapaxes(1, 2)[real])  # (B, H, S, E) -> (tokens, H, E)


@given(st.data(), norms, tokens)
def test_cached_is_uncached_for_embeddings(data: Any, norm: str, row: list[int]) -> None:
    """Positions go on from piece to piece, where the reference starts again at padding_idx + 1."""
    model = tiny("encoder", model_type=norm, is_decoder=True)
    embeds = model.params["embeddings"]["word_embeddings"]["weight"][[row]]
    mask = np.ones((1, len(row)), int)
    states, _ = decode(model, data.draw(cuts(len(row))), inputs_embeds=embeds, attention_mask=mask)
    assert_close(states, model(inputs_embeds=embeds).last_hidden_state)


@given(st.data(), norms, st.lists(tokens, min_size=1, max_size=3))
def test_cached_is_uncached_with_cross_attention(data: Any, norm: str, rows: list[list[int]]) -> None:
    """The memory's keys and values are computed once, and are the same for every piece."""
    model = tiny("causal_lm", model_type=norm, is_decoder=True, add_cross_attention=True)
    memory = np.random.RandomState(0).standard_normal((len(rows), 4, TINY["hidden_size"]))
    inputs = padded(rows)
    source = {"encoder_hidden_states": memory, "encoder_attention_mask": [[1, 1, 0, 1]] * len(rows)}
    logits, _ = decode(model, data.draw(cuts(inputs["input_ids"].shape[1])), **inputs, **source)
    real = inputs["attention_mask"] == 1
    assert_close(logits[real], model(**inputs, **source).logits[real])


def test_the_memory_is_read_once() -> None:
    """The memory's keys and values are those of the cache: another memory later changes nothing."""
    model = tiny("causal_lm", is_decoder=True, add_cross_attention=True)
    memory = np.random.RandomState(0).standard_normal((1, 4, TINY["hidden_size"]))
    cache = model([[7, 8]], encoder_hidden_states=memory).past_key_values
    same = model([[9]], encoder_hidden_states=memory, past_key_values=cache).logits
    assert_close(model([[9]], encoder_hidden_states=-memory, past_key_values=cache).logits, same)


def test_a_bare_tuple_gets_hugging_face_s_numbering() -> None:
    """Hugging Face's numbering counts padding in the past, so it differs after a left-padded prompt."""
    model = tiny("causal_lm", is_decoder=True)
    prompt, following = padded([[7, 8]], left=2), {"input_ids": [[9]], "attention_mask": [[0, 0, 1, 1, 1]]}
    cache = model(**prompt).past_key_values
    counted = model(**following, past_key_values=cache).logits
    bare = model(**following, past_key_values=tuple(cache)).logits
    assert_close(counted, model(**following, past_key_values=cache, position_ids=[[4]]).logits)
    assert_close(bare, model(**following, past_key_values=tuple(cache), position_ids=[[6]]).logits)
    assert np.abs(counted - bare).max() > 0.1


def test_which_calls_keep_a_cache() -> None:
    """A decoder keeps a cache, unless `use_cache` is False or labels are given; other models do not."""
    decoder = tiny("causal_lm", is_decoder=True)
    assert isinstance(decoder([[7]]).past_key_values, Cache)
    assert decoder([[7]], use_cache=False).past_key_values is None
    assert decoder([[7, 8]], labels=[[7, 8]]).past_key_values is None
    assert tiny("causal_lm", is_decoder=True, use_cache=False)([[7]]).past_key_values is None
    assert tiny("masked_lm", is_decoder=True)([[7]]).past_key_values is None
    for model in (tiny("masked_lm", is_decoder=True), tiny("encoder")):
        with pytest.raises(
            InputError, match="does not return a cache: only decoders with one of the heads encoder, causal_lm do"
        ):
            model([[7]], use_cache=True)


# --- attention ------------------------------------------------------------------------------------------------------


@given(norms, positions, st.permutations(range(TINY["num_attention_heads"])), tokens)
def test_permuting_the_heads_with_their_weights_changes_nothing(
    norm: str, kind: str, order: list[int], row: list[int]
) -> None:
    model = tiny(model_type=norm, position_embedding_type=kind)
    E = model.config.head_size
    channels = np.concatenate([np.arange(h * E, (h + 1) * E) for h in order])
    arrays = flat(model.params)
    for name, array in arrays.items():
        if any(part in name for part in (".query.", ".key.", ".value.")):
            arrays[name] = array[channels]
        elif name.endswith("attention.output.dense.weight"):
            arrays[name] = array[:, channels]
    permuted = Model(model.config, tree(arrays))
    assert_close(permuted([row]).last_hidden_state, model([row]).last_hidden_state)


@given(norms, st.sets(st.integers(0, TINY["num_attention_heads"] - 1)), tokens)
def test_a_masked_head_is_a_head_without_values(norm: str, masked: set[int], row: list[int]) -> None:
    """`head_mask` multiplies the probabilities after the softmax, so those of other heads do not grow."""
    model = tiny(model_type=norm)
    head_mask = np.array([0.0 if h in masked else 1.0 for h in range(TINY["num_attention_heads"])])
    E, arrays = model.config.head_size, flat(model.params)
    for name, array in arrays.items():
        if ".value." in name:
            arrays[name] = (array.T * np.repeat(head_mask, E)).T
    without = Model(model.config, tree(arrays))
    assert_close(model([row], head_mask=head_mask).last_hidden_state, without([row]).last_hidden_state)
    probs = model([row], head_mask=head_mask, output_attentions=True).attentions[0]
    assert_close(probs.sum(-1), np.broadcast_to(head_mask[None, :, None], probs.shape[:3]))


def test_a_causal_model_does_not_see_ahead() -> None:
    model = tiny("causal_lm", is_decoder=True)
    a, b = model([[7, 8, 9, 10]]).logits, model([[7, 8, 20, 21]]).logits
    assert_close(a[:, :2], b[:, :2])
    assert np.abs(a[:, 2] - b[:, 2]).max() > 0.1


def test_a_three_axis_mask_has_no_causal_part() -> None:
    decoder, encoder = tiny("encoder", is_decoder=True), tiny("encoder")
    states = decoder([[7, 8, 9]], attention_mask=np.ones((1, 3, 3))).last_hidden_state
    assert_close(states, encoder([[7, 8, 9]]).last_hidden_state)


def test_a_row_that_attends_to_nothing_is_uniform() -> None:
    probs = tiny()([[7, 8, 9]], attention_mask=[[0, 0, 0]], output_attentions=True).attentions[0]
    np.testing.assert_array_equal(probs, np.full_like(probs, 1 / 3))


# --- feed-forward and norms -----------------------------------------------------------------------------------------


@given(norms, st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_a_chunked_feed_forward_is_a_whole_one(norm: str, size: int) -> None:
    ids = [list(range(6, 18))]
    chunked = tiny(model_type=norm, chunk_size_feed_forward=size)
    assert_close(chunked(ids).last_hidden_state, tiny(model_type=norm)(ids).last_hidden_state)


@given(st.integers(1, 12), st.integers(1, 12))
def test_a_chunk_must_divide_the_length(length: int, size: int) -> None:
    assume(length % size)
    with pytest.raises(
        InputError, match=f"the input has {length} tokens, but chunk_size_feed_forward requires a multiple of {size}"
    ):
        tiny(chunk_size_feed_forward=size)([[7] * length])


def test_the_norm_order_is_one_field() -> None:
    """A pre-LN model without its last norm and with post-LN's field is a post-LN model, and conversely."""
    post, pre, ids = tiny("token_classification"), tiny("token_classification", model_type=NORMS[1]), np.array([[7, 8]])

    def states(params: Any, config: Config) -> np.ndarray:
        return forward(params, config, "token_classification", input_ids=ids, output_hidden_states=True)[
            "hidden_states"
        ]

    as_post = {name: node for name, node in pre.params.items() if name != "LayerNorm"}
    assert_close(states(as_post, pre.config.replace(norm_first=False)), states(as_post, post.config))
    assert_close(states(post.params, post.config.replace(norm_first=True)), states(post.params, pre.config))
    assert np.abs(states(post.params, pre.config)[-1] - states(post.params, post.config)[-1]).max() > 0.1


def test_the_last_norm_and_the_hidden_states() -> None:
    """RobertaPreLayerNorm's last hidden state comes before the last norm, XLM-Roberta-XL's after it."""
    for model_type, same in (("roberta", True), ("roberta-prelayernorm", False), ("xlm-roberta-xl", True)):
        output = tiny(model_type=model_type)([[7, 8]], output_hidden_states=True)
        assert len(output.hidden_states) == TINY["num_hidden_layers"] + 1
        assert np.array_equal(output.hidden_states[-1], output.last_hidden_state) == same


# --- dtypes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("stored", "made"), [("float64", "float64"), ("float32", "float32"), ("float16", "float32")])
def test_dtype_in_is_dtype_out(norm: str, stored: str, made: str) -> None:
    """On NumPy float16 is only stored; no intermediate is wider than the output."""
    from minroberta import trace

    for head in ("masked_lm", "sequence_classification"):
        model = tiny(head, stored, model_type=norm, position_embedding_type="relative_key_query")
        values = trace(model, input_ids=[[7, 8, 9]], attention_mask=[[1, 1, 0]], head_mask=np.ones(5))
        assert {str(array.dtype) for array in values.values() if array.dtype.kind == "f"} == {made}


def test_forward_computes_in_one_type() -> None:
    """On NumPy half types are widened before any product, and an integer head mask does not widen floats."""
    model = tiny("causal_lm", "float16", is_decoder=True, add_cross_attention=True)
    random = np.random.RandomState(0)
    states, memory = (random.standard_normal((1, 3, TINY["hidden_size"])).astype(np.float16) for _ in range(2))

    def run(dtype: str, head_mask: np.ndarray) -> np.ndarray:
        inputs = {"inputs_embeds": states.astype(dtype), "encoder_hidden_states": memory.astype(dtype)}
        return forward(model.params, model.config, model.head, **inputs, head_mask=head_mask)["logits"]

    narrow, wide = run("float16", np.ones(5, int)), run("float32", np.ones(5, np.float32))
    assert narrow.dtype == wide.dtype == np.float32
    np.testing.assert_array_equal(narrow, wide)
    traced: dict[str, np.dtype] = {}
    with recording(lambda name, value: traced.setdefault(name, value.dtype) and value):
        run("float16", np.ones(5, int))
    assert set(traced.values()) == {np.dtype("float32"), np.dtype("int64")}


def test_float16_is_near_float32() -> None:
    whole, half = tiny()([[7, 8, 9]]).last_hidden_state, tiny(dtype="float16")([[7, 8, 9]]).last_hidden_state
    assert np.abs(whole - half).max() < 0.02  # weights of the order of 1, rounded to 11 bits, two layers


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_outputs_that_were_not_asked_for_are_none() -> None:
    output = tiny()([[7, 8]])
    assert list(output) == ["last_hidden_state", "pooler_output"]
    for name in ("loss", "logits", "hidden_states", "attentions", "cross_attentions", "past_key_values"):
        assert getattr(output, name) is None
