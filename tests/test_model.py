"""`forward` and the network around it: intermediate values, the order of outputs, unchanged inputs."""

import copy
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import strict
from generators.cases import Case
from support import CASE, TINY, model_of, raises, tiny

from minroberta import (
    BackendError,
    Cache,
    InputError,
    Model,
    ModelOutput,
    NameUnknownError,
    forward,
    init,
    load,
    to_numpy,
    trace,
)
from minroberta.backend.arrays import to_host
from minroberta.config import HEADS
from minroberta.inputs import Inputs
from minroberta.layers import encoder_layer
from minroberta.model import body, names_of_outputs, self_attention_mask
from minroberta.weights import flat

IDS = np.array([[0, 7, 9, 11, 2], [0, 8, 2, 1, 1]])
MASK = (IDS != 1).astype(int)
BATCH = {"input_ids": IDS, "attention_mask": MASK}


def batch_of(head: str) -> dict[str, np.ndarray]:
    return {name: x[None] for name, x in BATCH.items()} if head == "multiple_choice" else BATCH


def one_a_head() -> list[Case]:
    return [CASE[f"family/roberta/{head}"] for head in HEADS]


# --- forward --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", one_a_head(), ids=lambda case: case.name)
def test_a_call_is_forward_on_checked_arrays(case: Case) -> None:
    model = model_of(case, "float64")
    called = model(**case.steps[0])
    plain = forward(model.params, model.config, model.head, **case.steps[0])
    assert list(called) == [name for name, value in plain.items() if value is not None]
    for name, value in called.items():
        for one, other in zip(value, plain[name], strict=True) if isinstance(value, tuple) else [(value, plain[name])]:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("head", HEADS)
def test_parameters_and_inputs_stay_as_they_were(head: str) -> None:
    model, inputs = tiny(head), batch_of(head)
    before = copy.deepcopy((flat(model.params), inputs))
    forward(model.params, model.config, head, **inputs)
    for one, other in zip(before, (flat(model.params), inputs), strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("head", "order"),
    [
        ("encoder", ["last_hidden_state", "pooler_output", "hidden_states", "past_key_values", "attentions"]),
        ("causal_lm", ["logits", "past_key_values", "hidden_states", "attentions"]),
    ],
)
def test_the_order_of_outputs(head: str, order: list[str]) -> None:
    """The order is Hugging Face's, where the cache has two places."""
    model = tiny(head, is_decoder=True)
    output = model(**BATCH, use_cache=True, output_hidden_states=True, output_attentions=True)
    assert list(output) == order
    assert isinstance(output.past_key_values, Cache)


def test_an_unknown_head_and_an_unknown_input() -> None:
    model = tiny()
    with raises(NameUnknownError, KeyError, "'nothing'", "encoder"):
        forward(model.params, model.config, "nothing", input_ids=IDS)
    with pytest.raises(TypeError, match="input_id"):
        forward(model.params, model.config, input_id=IDS)


# --- what is kept on the way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["roberta", "roberta-prelayernorm", "xlm-roberta-xl"])
def test_hidden_states_and_attentions_are_the_values_of_their_names(family: str) -> None:
    model = tiny("masked_lm", model_type=family)
    values = trace(model, **BATCH)
    output = model(**BATCH, output_hidden_states=True, output_attentions=True)
    names = names_of_outputs(model.config, Inputs(**BATCH), caches=False, attentions=True, hidden_states=True)
    own_name = model.config.family.own_name
    for kind in ("hidden_states", "attentions"):
        assert len(output[kind]) == len(names[kind]) == 2 + (kind == "hidden_states")
        for value, name in zip(output[kind], names[kind], strict=True):
            np.testing.assert_allclose(value, values[own_name(name)], rtol=0, atol=1e-12)
    assert len({value.tobytes() for value in output.hidden_states}) == 3


def test_only_what_is_asked_for_is_kept() -> None:
    model = tiny("causal_lm", is_decoder=True, add_cross_attention=True)
    memory = np.ones((2, 4, 30))
    with_memory, alone = Inputs(**BATCH, encoder_hidden_states=memory), Inputs(**BATCH)
    assert names_of_outputs(model.config, alone, False, False, False) == {}
    assert names_of_outputs(model.config, alone, True, True, False).keys() == {"attentions", "tokens", "self_past"}
    across = names_of_outputs(model.config, with_memory, True, True, False)
    assert across.keys() == {"attentions", "cross_attentions", "tokens", "self_past", "cross_past"}
    assert all("crossattention" in name for name in [*across["cross_past"], *across["cross_attentions"]])


def test_a_cache_asked_of_an_encoder() -> None:
    with raises(InputError, ValueError, "use_cache=True", "head 'encoder' with is_decoder=False"):
        tiny()(**BATCH, use_cache=True)
    with raises(InputError, ValueError, "use_cache=True", "head 'sequence_classification'"):
        tiny("sequence_classification", is_decoder=True)(**BATCH, use_cache=True)


def test_a_cache_has_cross_attention_after_self_attention() -> None:
    model = tiny("causal_lm", is_decoder=True, add_cross_attention=True)
    memory = np.random.default_rng(0).standard_normal((2, 4, 30))
    cache = model(**BATCH, encoder_hidden_states=memory).past_key_values
    assert [[x.shape[2] for x in layer] for layer in cache] == [[5, 5, 4, 4]] * 2
    assert cache.tokens.tolist() == [[5], [3]]
    assert [len(layer) for layer in model(**BATCH).past_key_values] == [2, 2]


# --- the body -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["roberta", "roberta-prelayernorm", "xlm-roberta-xl"])
def test_the_body_is_the_bare_model(family: str) -> None:
    model = tiny(model_type=family)
    found = body(model.p, model.config, Inputs(**BATCH))
    np.testing.assert_array_equal(found, model(**BATCH).last_hidden_state)


@pytest.mark.parametrize("family", ["roberta", "roberta-prelayernorm"])
def test_a_layer_is_called_in_one_line(family: str) -> None:
    """A layer takes a model's own parameters, as in a notebook."""
    model = tiny(model_type=family)
    values = trace(model, IDS[:1])
    x = values["embeddings"]
    for index in range(2):
        x = encoder_layer(x, model.p.encoder.layer[index], model.config)
        np.testing.assert_allclose(x, values[f"encoder.layer.{index}"], rtol=0, atol=1e-12)


X = np.zeros((2, 5, 6), np.float32)
LOWEST = np.finfo(np.float32).min


def visible(mask: Any) -> list:
    assert mask.dtype == np.float32 and set(np.unique(mask)) <= {0, LOWEST}
    return (mask == 0).astype(int).tolist()


def test_masks_of_an_encoder_and_a_decoder() -> None:
    encoder, decoder = tiny().config, tiny("causal_lm", is_decoder=True).config
    assert self_attention_mask(X, None, 0, encoder) is None
    assert visible(self_attention_mask(X, MASK, 0, encoder)) == MASK[:, None, None].tolist()
    causal = np.tri(5, dtype=int)
    assert visible(self_attention_mask(X, None, 0, decoder)) == [[causal.tolist()]]
    assert visible(self_attention_mask(X, MASK, 0, decoder)) == (causal * MASK[:, None, None]).tolist()
    three = np.random.default_rng(0).integers(0, 2, (2, 5, 5))
    assert visible(self_attention_mask(X, three, 0, decoder)) == three[:, None].tolist()


def test_masks_with_a_cache() -> None:
    """The queries are the last of all positions, and see those before."""
    decoder = tiny("causal_lm", is_decoder=True).config
    mask = visible(self_attention_mask(X[:, :2], None, 3, decoder))
    assert mask == [[[[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]]]


# --- the network ----------------------------------------------------------------------------------------------------


def test_two_networks_share_parameters_and_nothing_else() -> None:
    """The same arrays under another configuration, as `prune_heads` and a diagnosis make them."""
    model = load(head="encoder")
    before = model(IDS).last_hidden_state
    other = Model(model.config.replace(layer_norm_eps=1e-3), model.params, model.head, model.tokenizer)
    assert other.params is model.params and other.config.layer_norm_eps == 1e-3 != model.config.layer_norm_eps
    assert not np.array_equal(other(IDS).last_hidden_state, before)
    assert np.array_equal(model(IDS).last_hidden_state, before)


def test_a_network_is_shown_in_one_line() -> None:
    shown = repr(tiny("masked_lm", "float32", model_type="xlm-roberta"))
    assert shown == "<minroberta.Model xlm-roberta, masked_lm, 2 layers of 30, 5 heads, float32, numpy>"


def test_parameters_are_nodes_with_names() -> None:
    model = tiny()
    place, params = model.p.encoder.layer[1].output.dense, model.params["encoder"]["layer"][1]["output"]["dense"]
    assert place.path == "encoder.layer.1.output.dense"
    assert place.weight is params["weight"]


@pytest.mark.parametrize("head", HEADS)
def test_rows_are_a_batch_without_its_padding(head: str) -> None:
    """This holds whether rows are packed in one, or padded because the call is recorded."""
    model = tiny(head)
    rows = [[0, 7, 9, 11, 2], [0, 8, 2]]
    packed = model.on_rows(rows)
    padded = model._on_padded_rows(rows, [[0]] * 2 if HEADS[head].reads_first else None)
    for one, other, row in zip(packed, padded, rows, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].shape == other[name].shape
            assert len(one[name]) == (1 if HEADS[head].reads_first else len(row))
            np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-12)


def test_only_the_positions_asked_for() -> None:
    model = tiny("masked_lm")
    rows, wanted = [[0, 7, 9, 11, 2], [0, 8, 2], [0, 2]], [[4, 1], [], [0]]
    whole = [found["logits"] for found in model.on_rows(rows)]
    for found, logits, positions in zip(model.on_rows(rows, wanted), whole, wanted, strict=True):
        assert found["logits"].shape == (len(positions), 53)
        np.testing.assert_allclose(found["logits"], logits[positions], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_rows_of_relative_positions_are_padded(kind: str) -> None:
    """A packed row cannot hold a distance for each sequence."""
    model = tiny(position_embedding_type=kind)
    (found,) = model.on_rows([[0, 7, 9, 2]], [[1, 3]])
    np.testing.assert_allclose(
        found["last_hidden_state"], model([[0, 7, 9, 2]]).last_hidden_state[0, [1, 3]], rtol=0, atol=1e-12
    )


def test_an_empty_output() -> None:
    assert ModelOutput({"loss": None}).to_tuple() == ()


# --- what a caller may get wrong --------------------------------------------------------------------------------------


def test_an_unknown_input() -> None:
    model = tiny()
    with pytest.raises(TypeError, match="unknown input input_idz: give one of input_ids, attention_mask"):
        forward(model.params, model.config, input_idz=IDS)


def test_a_cache_of_lists() -> None:
    model = tiny("causal_lm", is_decoder=True, add_cross_attention=True)
    memory = np.random.RandomState(0).standard_normal((1, 4, model.config.hidden_size))
    cache = model([[7, 8]], encoder_hidden_states=memory).past_key_values
    inputs = {"input_ids": np.array([[9]]), "encoder_hidden_states": memory}
    found, expected = (
        forward(model.params, model.config, model.head, **inputs, past_key_values=past)
        for past in ([list(layer) for layer in cache], tuple(cache))
    )
    assert np.array_equal(found["logits"], expected["logits"])
    assert all(isinstance(layer, tuple) for layer in found["past_key_values"])


def test_nothing_to_compute() -> None:
    model = tiny()
    assert model.on_rows([]) == []
    with raises(InputError, ValueError, "a sequence of ids is empty: give at least one id in each sequence"):
        model.on_rows([[7], []])
    with raises(InputError, ValueError, "attention_mask is 0 everywhere, so skip_padding leaves no tokens"):
        model(IDS, 0 * MASK, skip_padding=True)


@pytest.mark.parametrize("xp", [np, jnp], ids=lambda xp: xp.__name__)
@pytest.mark.parametrize("positions", ["absolute", "relative_key"])
@pytest.mark.parametrize("head", ["encoder", "multiple_choice"])
def test_a_row_that_cannot_be_computed(xp: Any, positions: str, head: str) -> None:
    """By its number, whether rows are packed, padded or compiled."""
    model = init({**TINY, "position_embedding_type": positions}, head=head, xp=xp)
    with raises(InputError, ValueError, "input_ids has 53 at (1, 2), but this model's vocab_size is 53"):
        model.on_rows([[5], [5, 6, 53], [7]])
    longest = model.config.longest
    with raises(InputError, ValueError, f"input of {longest + 1} tokens; this model has {longest} positions"):
        model.on_rows([[5], [6] * (longest + 1)])


@pytest.mark.parametrize("positions", ["absolute", "relative_key"])
def test_rows_of_which_nothing_is_wanted(positions: str) -> None:
    found = tiny(position_embedding_type=positions).on_rows([[7, 8], [9]], [[1], []])
    assert [row["last_hidden_state"].shape for row in found] == [(1, 30), (0, 30)]


# --- to NumPy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("xp", [np, strict, jnp], ids=lambda xp: xp.__name__)
def test_outputs_to_numpy(xp: Any) -> None:
    """Every kind of output keeps its structure."""
    case = CASE["family/roberta/causal_lm"]
    output = model_of(case, "float32", xp)(
        [[0, 7, 9]], use_cache=True, output_attentions=True, output_hidden_states=True
    )
    made, plain = to_numpy(output), model_of(case, "float32")
    assert type(made) is ModelOutput
    assert type(made.past_key_values) is Cache
    assert type(made.attentions) is tuple
    assert list(made) == list(output)
    for part in (made.logits, made.attentions[0], made.past_key_values[0][1], made.past_key_values.tokens):
        assert type(part) is np.ndarray
    np.testing.assert_array_equal(made.logits, to_host(output.logits))
    continued = plain([[11]], past_key_values=made.past_key_values).logits
    np.testing.assert_allclose(continued, plain([[0, 7, 9, 11]]).logits[:, -1:], atol=1e-5)


def test_structures_to_numpy() -> None:
    x = strict.asarray([1.0, 2.0])
    made = to_numpy({"a": [x, None], "b": (x,), "c": {}})
    assert [type(made["a"]), type(made["b"]), made["a"][1], made["c"]] == [list, tuple, None, {}]
    assert made["a"][0].tolist() == made["b"][0].tolist() == [1.0, 2.0]
    assert to_numpy(host := np.ones(2, np.float16)) is host
    assert type(to_numpy(trace(tiny(), [[7, 8]]))) is dict
    with raises(BackendError, TypeError, "to_numpy takes arrays", "not str"):
        to_numpy(["text"])
    with raises(BackendError, TypeError, "not a model: call model.to_numpy()"):
        to_numpy(tiny())


def test_bfloat16_to_numpy() -> None:
    """Exactly, as float32. float16 stays."""
    x = jnp.asarray([1.0, 2.0**100, -(2.0**-126), np.inf, np.nan], dtype="bfloat16")
    made = to_numpy(x)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, np.float32([1.0, 2.0**100, -(2.0**-126), np.inf, np.nan]))
    assert to_numpy(jnp.ones(2, "float16")).dtype == np.float16


@pytest.mark.parametrize(("xp", "dtype"), [(np, "float32"), (strict, "float16"), (jnp, "float32"), (jnp, "bfloat16")])
def test_a_model_to_numpy(xp: Any, dtype: str) -> None:
    model = init(TINY, head="masked_lm", xp=xp, dtype=dtype, precision="high")
    model.tokenizer, model.encoder = load().tokenizer, init(TINY, xp=xp, dtype=dtype)
    made = model.to_numpy()
    assert (made.xp, made.encoder.xp, model.xp) == (np, np, xp)
    assert (type(made), made.head, made.config, made.precision) == (Model, model.head, model.config, "high")
    assert made.tokenizer is model.tokenizer
    for name, array in flat(made.params).items():
        assert array.dtype == ("float32" if dtype == "bfloat16" else dtype)
        np.testing.assert_array_equal(array, to_host(flat(model.params)[name]).astype(array.dtype))
    assert np.isfinite(made.encoder([[5, 6]]).last_hidden_state).all()
