"""Everything that a model can be called with wrongly has its sentence; everything right is taken in any form."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from support import TINY, raises, tiny

from minroberta import (
    Cache,
    Config,
    ConfigError,
    InputError,
    Model,
    ModelOutput,
    NameUnknownError,
    WeightsError,
    forward,
    init,
    load,
)

V, D, H, LAYERS, ROWS = 53, 30, 5, 2, 24  # of the tiny model; its sequences have up to 22 tokens
LONGEST = ROWS - 2
IDS = np.array([[5, 9, 30, 7], [7, 8, 9, 10]])
CHOICES = np.stack([IDS, IDS + 1, IDS + 2], axis=1)  # (2, 3, 4)

ENCODER = tiny()
DECODER = tiny("causal_lm", is_decoder=True)
CROSS = tiny("causal_lm", is_decoder=True, add_cross_attention=True)
MEMORY = np.ones((2, 3, D))


def refused(*telling: str) -> Any:
    return raises(InputError, ValueError, *telling)


def ids_for(model: Model) -> np.ndarray:
    return CHOICES if model.head == "multiple_choice" else IDS


# --- ids and embeddings ---------------------------------------------------------------------------------------------


def test_neither_ids_nor_embeddings() -> None:
    with refused("give either input_ids or inputs_embeds"):
        ENCODER()
    with refused("give either input_ids or inputs_embeds"):
        ENCODER(attention_mask=np.ones((2, 4)))


def test_both_ids_and_embeddings() -> None:
    with refused("give either input_ids or inputs_embeds, not both"):
        ENCODER(IDS, inputs_embeds=np.ones((2, 4, D)))


@pytest.mark.parametrize("ids", [[5, 9, 30], 5, [[[5, 9, 30]]], np.zeros((1, 2, 3, 4), int), []])
def test_ids_of_a_wrong_shape(ids: Any) -> None:
    with refused(f"input_ids has shape {np.shape(ids)}, but head 'encoder' takes shape (B, L)"):
        ENCODER(ids)


def test_a_sequence_without_a_batch_axis() -> None:
    with refused("for a single sequence, give [sequence]"):
        ENCODER([5, 9, 30])


@pytest.mark.parametrize("ids", [IDS, IDS[0], CHOICES[None]])
def test_choices_of_a_wrong_shape(ids: np.ndarray) -> None:
    with refused(f"input_ids has shape {ids.shape}, but head 'multiple_choice' takes shape (B, C, L)"):
        tiny("multiple_choice")(ids)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, D + 1), (4, D), (1, 2, 4, D), (D,), ()])
def test_embeddings_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with refused(f"inputs_embeds has shape {shape}, but head 'encoder' takes shape (B, L, 30)"):
        ENCODER(inputs_embeds=np.ones(shape))


def test_embeddings_of_choices_of_a_wrong_shape() -> None:
    with refused("inputs_embeds has shape (2, 4, 30), but head 'multiple_choice' takes shape (B, C, L, 30)"):
        tiny("multiple_choice")(inputs_embeds=np.ones((2, 4, D)))


@pytest.mark.parametrize("ids", [[[]], np.zeros((2, 0), int)])
def test_an_input_of_zero_tokens(ids: Any) -> None:
    with refused("the input has 0 tokens: give at least one"):
        ENCODER(ids)


def test_embeddings_of_zero_tokens() -> None:
    with refused("the input has 0 tokens"):
        ENCODER(inputs_embeds=np.ones((2, 0, D)))


@pytest.mark.parametrize(("ids", "dtype"), [([[5.0, 9.0]], "float64"), ([[True, False]], "bool")])
def test_ids_that_are_not_integers(ids: Any, dtype: str) -> None:
    with refused(f"input_ids has dtype {dtype}: give ids in an integer dtype"):
        ENCODER(ids)


@pytest.mark.parametrize("ids", [[[5, None]], [[2**70]], object()])
def test_ids_of_python_objects(ids: Any) -> None:
    with refused("input_ids has dtype object: give ids in an integer dtype"):
        ENCODER(ids)


@pytest.mark.parametrize("name", ["input_ids", "attention_mask", "inputs_embeds"])
def test_a_masked_array(name: str) -> None:
    """NumPy's functions would ignore the mask, or not, as it comes."""
    model = tiny("encoder")
    given = {"input_ids": np.array([[0, 5, 2]]), "attention_mask": np.ones((1, 3), int)}
    if name == "inputs_embeds":
        given = {"inputs_embeds": np.zeros((1, 3, model.config.hidden_size))}
    masked = np.ma.array(given[name], mask=given[name] == given[name].max())
    with raises(InputError, ValueError, f"{name} is a masked array: give {name}.filled(...)"):
        model(**{**given, name: masked})
    assert model(**{**given, name: np.ma.array(given[name])})  # nothing is masked


def test_no_rows_of_any_dtype() -> None:
    assert tiny("encoder")(np.zeros((0, 4))).last_hidden_state.shape[:2] == (0, 4)


def test_ids_that_are_text_or_a_dict() -> None:
    with refused("input_ids is text: tokenize it first, as in model(**model.tokenize(text))"):
        ENCODER("hello")
    with refused("input_ids is a dict: pass its items instead, as in model(**inputs)"):
        ENCODER({"input_ids": [[5]]})


@pytest.mark.parametrize("name", ["input_ids", "attention_mask", "token_type_ids", "inputs_embeds"])
def test_rows_of_several_lengths(name: str) -> None:
    with refused(f"{name} has rows of different lengths: pad them to the same length, and mask the padding"):
        ENCODER(**{"input_ids": IDS, name: [[5, 9, 30], [5]]})


@pytest.mark.parametrize("name", ["attention_mask", "head_mask", "inputs_embeds", "labels"])
@pytest.mark.parametrize("value", ["ones", [[1, None]], np.ones((2, 4), complex), np.zeros((2, 4), "M8[s]")])
def test_values_that_are_not_numbers(name: str, value: Any) -> None:
    with refused(f"{name} has dtype ", ": give numbers"):
        ENCODER(**{"input_ids": IDS, name: value})


# --- values out of range --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, V, -(2**63), 2**63 - 1])
def test_an_id_out_of_range(value: int) -> None:
    ids = IDS.copy()
    ids[1, 2] = value
    with refused(f"input_ids has {value} at (1, 2), but this model's vocab_size is 53: give ids from 0 to 52"):
        ENCODER(ids)


def test_an_id_out_of_range_among_choices() -> None:
    ids = CHOICES.copy()
    ids[1, 2, 3] = 99
    with refused("input_ids has 99 at (1, 2, 3)"):
        tiny("multiple_choice")(ids)


def test_a_token_type_out_of_range() -> None:
    with refused("token_type_ids has 2 at (0, 3), but this model's type_vocab_size is 2: give ids from 0 to 1"):
        ENCODER(IDS, token_type_ids=[[0, 1, 1, 2], [0, 0, 0, 0]])


def test_the_one_token_type_of_roberta() -> None:
    with refused("token_type_ids has 1 at (0, 0)", "type_vocab_size is 1: give ids from 0 to 0"):
        tiny(type_vocab_size=1)(IDS, token_type_ids=np.ones((2, 4), int))


@pytest.mark.parametrize("value", [-1, ROWS])
def test_a_position_out_of_range(value: int) -> None:
    with refused(f"position_ids has {value} at (0, 1), but this model's max_position_embeddings is 24: "):
        ENCODER(IDS, position_ids=[[2, value, 4, 5]])


@pytest.mark.parametrize("name", ["input_ids", "token_type_ids", "labels"])
def test_an_unsigned_number_past_all_others(name: str) -> None:
    """Such a number would wrap to a negative one."""
    given = {"input_ids": IDS, name: np.full((2, 4), 2**64 - 100, np.uint64)}
    with refused(f"{name} has the value {2**64 - 100}: give integers up to {2**63 - 1}"):
        tiny("masked_lm")(**given)


@pytest.mark.parametrize("name", ["token_type_ids", "position_ids"])
@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 1), (3, 4), (2, 4, 1)])
def test_ids_that_do_not_fit_the_tokens(name: str, shape: tuple[int, ...]) -> None:
    with refused(f"{name} has shape {shape}, not (2, 4) or (1, 4)"):
        ENCODER(IDS, **{name: np.zeros(shape, int)})


@pytest.mark.parametrize("name", ["token_type_ids", "position_ids", "attention_mask"])
@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 4), (2, 12), (6, 4)])
def test_ids_that_do_not_fit_the_choices(name: str, shape: tuple[int, ...]) -> None:
    """The choices become rows of one batch, so one row cannot be broadcast to all."""
    with refused(f"{name} has shape {shape}, not (2, 3, 4)"):
        tiny("multiple_choice")(CHOICES, **{name: np.zeros(shape, int)})


# --- length ---------------------------------------------------------------------------------------------------------

TOO_LONG = (
    f"input of {LONGEST + 1} tokens; this model has {LONGEST} positions ({ROWS} rows, less padding_idx + 1, which is 2)"
)
ADVICE = "truncate the input, or load a model with more positions"


def row_of(tokens: int, pads: int = 0) -> np.ndarray:
    return np.array([[7] * tokens + [1] * pads])


def test_the_longest_input() -> None:
    assert ENCODER(row_of(LONGEST)).last_hidden_state.shape == (1, LONGEST, D)


def test_too_long_an_input() -> None:
    with refused(TOO_LONG, ADVICE):
        ENCODER(row_of(LONGEST + 1))


def test_too_long_embeddings() -> None:
    assert ENCODER(inputs_embeds=np.ones((1, LONGEST, D)))
    with refused(TOO_LONG, ADVICE):
        ENCODER(inputs_embeds=np.ones((1, LONGEST + 1, D)))


def test_padding_does_not_count() -> None:
    assert ENCODER(row_of(LONGEST, pads=9)).last_hidden_state.shape == (1, LONGEST + 9, D)
    with refused(TOO_LONG):
        ENCODER(row_of(LONGEST + 1, pads=9))


def test_one_row_too_long() -> None:
    ids = np.concatenate([row_of(3, pads=LONGEST - 2), row_of(LONGEST + 1)])
    with refused(TOO_LONG):
        ENCODER(ids)


def test_too_long_a_choice() -> None:
    with refused(TOO_LONG):
        tiny("multiple_choice")(np.full((1, 2, LONGEST + 1), 7))


def test_positions_that_are_given_may_repeat() -> None:
    """With given positions any length is allowed: only the positions must be in the table."""
    positions = np.arange(LONGEST + 9)[None] % LONGEST
    assert ENCODER(row_of(LONGEST + 9), position_ids=positions).last_hidden_state.shape == (1, LONGEST + 9, D)


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_too_long_for_relative_positions(kind: str) -> None:
    model = tiny(position_embedding_type=kind)
    assert model(row_of(ROWS)).last_hidden_state.shape == (1, ROWS, D)
    with refused(f"input of {ROWS + 1} tokens; this model has {ROWS} positions: {ADVICE}"):
        model(row_of(ROWS + 1))
    with refused(f"input of {ROWS + 1} tokens"):
        model(row_of(3, pads=ROWS - 2))  # distances to padding count too


def test_too_long_together_with_the_past() -> None:
    past = DECODER(row_of(LONGEST - 1)).past_key_values
    assert DECODER(row_of(1), past_key_values=past)
    with refused(TOO_LONG):
        DECODER(row_of(2), past_key_values=past)
    with refused(TOO_LONG):
        DECODER(row_of(2), past_key_values=tuple(past))
    with refused(TOO_LONG):
        DECODER(inputs_embeds=np.ones((1, 2, D)), past_key_values=past)


def test_padding_in_the_past_does_not_count() -> None:
    past = DECODER(row_of(LONGEST - 1, pads=4)).past_key_values
    assert DECODER(row_of(1), past_key_values=past)
    with refused(TOO_LONG):
        DECODER(row_of(2), past_key_values=past)


@pytest.mark.parametrize(
    ("inputs", "telling"),
    [
        ({"input_ids": row_of(LONGEST + 1)}, TOO_LONG),
        ({"input_ids": [[5, V]]}, "input_ids has 53 at (0, 1)"),
        ({"input_ids": [[5, -1]]}, "input_ids has -1 at (0, 1)"),
        ({"input_ids": [[5]], "token_type_ids": [[2]]}, "token_type_ids has 2"),
        ({"input_ids": [[5]], "position_ids": [[ROWS]]}, "position_ids has 24"),
        ({"inputs_embeds": np.ones((1, LONGEST + 1, D))}, TOO_LONG),
    ],
)
def test_a_library_that_would_clamp(inputs: dict[str, Any], telling: str) -> None:
    """JAX clamps an index silently, so a wrong one would give an answer."""
    jax = pytest.importorskip("jax")
    model = init(TINY, xp=jax.numpy)
    with refused(telling):
        model(**inputs)
    with refused(telling):
        model(**{name: jax.numpy.asarray(x) for name, x in inputs.items()})


# --- masks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3), (4,), (1, 4), (2, 5), (2, 1, 1, 4), (2, 4, 3), (1, 4, 4), (4, 4, 2)])
def test_a_mask_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with refused(f"attention_mask has shape {shape}, not (2, 4) or (2, 4, 4)"):
        ENCODER(IDS, attention_mask=np.ones(shape))


def test_a_mask_that_forgets_the_past() -> None:
    past = DECODER(IDS).past_key_values
    with refused("attention_mask has shape (2, 1), not (2, 5) or (2, 1, 5)"):
        DECODER(IDS[:, :1], attention_mask=np.ones((2, 1)), past_key_values=past)


@pytest.mark.parametrize("name", ["attention_mask", "encoder_attention_mask"])
@pytest.mark.parametrize("value", [-1, 2, 1.5, -1e-3, np.nan, np.inf, -np.inf, -10000.0, np.finfo("f4").min])
def test_a_mask_of_wrong_values(name: str, value: float) -> None:
    mask = np.ones((2, 4 if name == "attention_mask" else 3))
    mask[1, 2] = value
    with refused(f"{name} has values from ", ": give numbers from 0 to 1, where 1 marks tokens to attend "):
        CROSS(IDS, encoder_hidden_states=MEMORY, **{name: mask})


def test_a_soft_mask_is_right() -> None:
    assert ENCODER(IDS, attention_mask=np.full((2, 4), 0.5))
    assert ENCODER(IDS, attention_mask=np.ones((2, 4, 4), bool))


@pytest.mark.parametrize("shape", [(4,), (2, 4), (3, 5), (1, 5), (2, 5, 1), (1, 1, 5, 1, 1), ()])
def test_a_head_mask_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with refused(f"head_mask has shape {shape}, not (5,) or (2, 5)"):
        ENCODER(IDS, head_mask=np.ones(shape))


def test_a_head_mask_for_pruned_heads() -> None:
    with refused("head_mask needs one number per head, but some of this model's heads are pruned"):
        tiny(pruned_heads={"0": [1]})(IDS, head_mask=np.ones(5))


# --- the sequence of cross-attention --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, D), (1, 3, D), (2, 3, D + 1), (2, 3), (2, 3, D, 1), (2, 0, D)])
def test_a_memory_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with refused(f"encoder_hidden_states has shape {shape}, not (2, S, 30) with S of at least 1"):
        CROSS(IDS, encoder_hidden_states=np.ones(shape))


@pytest.mark.parametrize("model", [ENCODER, DECODER], ids=["encoder", "decoder"])
def test_a_memory_for_a_model_without_cross_attention(model: Model) -> None:
    with refused("encoder_hidden_states is only for decoders with cross-attention", "add_cross_attention is False"):
        model(IDS, encoder_hidden_states=MEMORY)


def test_a_memory_for_choices() -> None:
    with refused("encoder_hidden_states is only for decoders with cross-attention"):
        tiny("multiple_choice", is_decoder=True, add_cross_attention=True)(CHOICES, encoder_hidden_states=MEMORY)


@pytest.mark.parametrize("head", ["sequence_classification", "token_classification", "question_answering"])
def test_a_memory_for_a_head_that_takes_none_in_the_reference(head: str) -> None:
    with refused("encoder_hidden_states is only for decoders", "and one of the heads encoder, masked_lm, causal_lm"):
        tiny(head, is_decoder=True, add_cross_attention=True)(IDS, encoder_hidden_states=MEMORY)


def test_a_memorys_mask_alone() -> None:
    for model in (CROSS, ENCODER):
        with refused("encoder_attention_mask was given without encoder_hidden_states: give both"):
            model(IDS, encoder_attention_mask=np.ones((2, 3)))


@pytest.mark.parametrize("shape", [(2, 4), (3,), (1, 3), (2, 3, 3), (2, 1, 3)])
def test_a_memorys_mask_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with refused(f"encoder_attention_mask has shape {shape}, not (2, 3) or (2, 4, 3)"):
        CROSS(IDS, encoder_hidden_states=MEMORY, encoder_attention_mask=np.ones(shape))


# --- the past -------------------------------------------------------------------------------------------------------

PAST = DECODER(IDS).past_key_values
CROSS_PAST = CROSS(IDS, encoder_hidden_states=MEMORY).past_key_values
NEXT = IDS[:, :1]


@pytest.mark.parametrize(
    "fields",
    [
        {"num_attention_heads": 3},
        {"num_attention_heads": 6},
        {"hidden_size": 40},
    ],
    ids=str,
)
def test_a_past_of_other_heads(fields: dict[str, Any]) -> None:
    other = tiny("causal_lm", is_decoder=True, **fields)
    shape = other(IDS).past_key_values[0][0].shape
    with refused(f"past_key_values has shape {shape} in layer 0, not (2, 5, 4, 6): give the value that an earlier"):
        DECODER(NEXT, past_key_values=other(IDS).past_key_values)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_past_of_other_layers(layers: int) -> None:
    other = tiny("causal_lm", is_decoder=True, num_hidden_layers=layers)
    with refused(f"past_key_values has {layers} layers of 2 arrays: give 2 layers of 2"):
        DECODER(NEXT, past_key_values=other(IDS).past_key_values)


def test_a_past_of_another_batch() -> None:
    with refused("past_key_values has shape (2, 5, 4, 6) in layer 0, not (1, 5, 4, 6)"):
        DECODER(NEXT[:1], past_key_values=PAST)
    with refused("past_key_values.tokens has shape (2, 1), not (1, 1)"):
        DECODER(NEXT[:1], past_key_values=Cache([[x[:1] for x in layer] for layer in PAST], PAST.tokens))


def test_a_past_whose_layers_differ() -> None:
    longer = DECODER(np.concatenate([IDS, IDS], axis=1)).past_key_values
    with refused("past_key_values has shape (2, 5, 8, 6) in layer 1, not (2, 5, 4, 6)"):
        DECODER(NEXT, past_key_values=(PAST[0], longer[1]))
    with refused("past_key_values has shape (2, 5, 8, 6) in layer 0, not (2, 5, 4, 6)"):
        DECODER(NEXT, past_key_values=((PAST[0][0], longer[0][1]), PAST[1]))


def test_a_past_with_and_without_a_memory() -> None:
    with refused("has 2 layers of 4 arrays: give 2 layers of 2 arrays each (4 with encoder_hidden_states, 2 without)"):
        CROSS(NEXT, past_key_values=CROSS_PAST)
    with refused("has 2 layers of 2 arrays: give 2 layers of 4 arrays each (4 with encoder_hidden_states, 2 without)"):
        CROSS(NEXT, encoder_hidden_states=MEMORY, past_key_values=CROSS(IDS).past_key_values)


def test_a_past_with_another_memory() -> None:
    with refused("past_key_values has shape (2, 5, 3, 6) in layer 0, not (2, 5, 7, 6)"):
        CROSS(NEXT, encoder_hidden_states=np.ones((2, 7, D)), past_key_values=CROSS_PAST)


def test_a_past_without_layers() -> None:
    with refused("past_key_values has 0 layers of no arrays: give 2 layers of 2"):
        DECODER(NEXT, past_key_values=())


@pytest.mark.parametrize(
    "past",
    [
        5,
        "ab",
        PAST[0][0],
        [None, None],
        ["ab", "cd"],
        [(1, 2), (3, 4)],
        {0: PAST[0], 1: PAST[1]},
        np.ones((2, 2, 2, 5, 4, 6)),
        [([[[[0.0]]]],) * 2] * 2,
        [(np.ones((2, 5, 4)),) * 2] * 2,
        [(np.ones((2, 5, 4, 6, 1)),) * 2] * 2,
    ],
    ids=lambda past: type(past).__name__,
)
def test_an_invalid_past(past: Any) -> None:
    with refused(
        "past_key_values must be the value returned by an earlier call: for each layer, a tuple of arrays with four "
    ):
        DECODER(NEXT, past_key_values=past)


@pytest.mark.parametrize(
    "head",
    ["masked_lm", "sequence_classification", "multiple_choice", "token_classification", "question_answering"],
)
def test_a_past_for_a_head_that_takes_none(head: str) -> None:
    model = tiny(head)
    with refused(f"past_key_values is only for the heads encoder, causal_lm, not for '{head}'"):
        model(ids_for(model), past_key_values=PAST)


def test_the_past_of_pruned_heads() -> None:
    model = tiny("causal_lm", is_decoder=True, pruned_heads={"0": [1, 2]})
    past = model(IDS).past_key_values
    assert [layer[0].shape for layer in past] == [(2, 3, 4, 6), (2, 5, 4, 6)]
    assert model(NEXT, past_key_values=past)
    with refused("past_key_values has shape (2, 5, 4, 6) in layer 0, not (2, 3, 4, 6)"):
        model(NEXT, past_key_values=PAST)


# --- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["masked_lm", "causal_lm", "token_classification"])
@pytest.mark.parametrize("shape", [(2, 3), (2,), (4,), (2, 4, 1), ()])
def test_token_labels_of_a_wrong_shape(head: str, shape: tuple[int, ...]) -> None:
    with refused(f"labels has shape {shape}, not (2, 4)"):
        tiny(head)(IDS, labels=np.zeros(shape, int))


@pytest.mark.parametrize(
    ("head", "size"), [("masked_lm", V), ("causal_lm", V), ("token_classification", 2), ("token_classification", 9)]
)
@pytest.mark.parametrize("wrong", [-1, -99, -101, None])
def test_token_labels_out_of_range(head: str, size: int, wrong: int | None) -> None:
    labels = np.zeros((2, 4), int)
    labels[1, 3] = size if wrong is None else wrong
    with refused(f"labels have {labels[1, 3]} at (1, 3): give 0 to {size - 1}, or -100 to ignore a label"):
        tiny(head, num_labels=size if size < V else 2)(IDS, labels=labels)


@pytest.mark.parametrize("head", ["masked_lm", "causal_lm", "token_classification", "multiple_choice"])
def test_labels_that_are_not_integers(head: str) -> None:
    model = tiny(head)
    shape = (2,) if head == "multiple_choice" else (2, 4)
    with refused("labels have dtype float64: give label ids in an integer dtype"):
        model(ids_for(model), labels=np.zeros(shape))


@pytest.mark.parametrize("head", ["masked_lm", "sequence_classification", "token_classification"])
def test_labels_that_are_booleans(head: str) -> None:
    with refused("labels have dtype bool: give integers for one class, or floats for several classes at once"):
        tiny(head)(IDS, labels=np.ones((2, 4), bool))


@pytest.mark.parametrize("labels", [[0], [0, 1, 0], [[0, 1]], 0, [[0, 1], [1, 0]]])
def test_classes_of_a_wrong_shape(labels: Any) -> None:
    with refused(f"labels has shape {np.shape(labels)}, not (2,) or (2, 1)"):
        tiny("sequence_classification", num_labels=3)(IDS, labels=labels)


@pytest.mark.parametrize("value", [3, -1])
def test_classes_out_of_range(value: int) -> None:
    with refused(f"labels have {value} at (1,): give 0 to 2, or -100 to ignore a label"):
        tiny("sequence_classification", num_labels=3)(IDS, labels=[0, value])


def test_fractions_for_classes() -> None:
    model = tiny("sequence_classification", num_labels=3, problem_type="single_label_classification")
    with refused("labels has shape (2,), not (2, 3)"):  # floats mean several classes at once
        tiny("sequence_classification", num_labels=3)(IDS, labels=[0.0, 1.0])
    with refused("labels have dtype float64: give label ids in an integer dtype"):
        model(IDS, labels=[0.0, 1.0])


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
@pytest.mark.parametrize("shape", [(2,), (3,), (3, 2), (2, 4), (1, 3)])
def test_several_labels_of_a_wrong_shape(problem: str, shape: tuple[int, ...]) -> None:
    with refused(f"labels has shape {shape}, not (2, 3)"):
        tiny("sequence_classification", num_labels=3, problem_type=problem)(IDS, labels=np.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 2), (1,), (4,)])
def test_regression_labels_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with refused(f"labels has shape {shape}, not (2, 1) or (2,)"):
        tiny("sequence_classification", num_labels=1)(IDS, labels=np.zeros(shape))


@pytest.mark.parametrize("labels", [[0], [0, 1, 2], [[0], [1]]])
def test_choices_labels_of_a_wrong_shape(labels: Any) -> None:
    with refused(f"labels has shape {np.shape(labels)}, not (2,)"):
        tiny("multiple_choice")(CHOICES, labels=labels)


def test_a_choice_out_of_range() -> None:
    for inputs in ({"input_ids": CHOICES}, {"inputs_embeds": np.ones((2, 3, 4, D))}):
        with refused("labels have 3 at (0,): give 0 to 2, or -100 to ignore a label"):
            tiny("multiple_choice")(**inputs, labels=[3, 0])


def test_labels_for_an_encoder() -> None:
    with refused("head 'encoder' does not take labels: leave it out, or load the model with another head"):
        ENCODER(IDS, labels=IDS)


def test_labels_for_a_span() -> None:
    with refused("head 'question_answering' does not take labels: give start_positions and end_positions"):
        tiny("question_answering")(IDS, labels=[0, 1])


@pytest.mark.parametrize("name", ["start_positions", "end_positions"])
def test_one_end_of_a_span(name: str) -> None:
    with refused(f"only {name} was given: the loss needs start_positions and end_positions"):
        tiny("question_answering")(IDS, **{name: [0, 1]})


@pytest.mark.parametrize("name", ["start_positions", "end_positions"])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2), ()])
def test_a_span_of_a_wrong_shape(name: str, shape: tuple[int, ...]) -> None:
    given = {"start_positions": [0, 1], "end_positions": [1, 1], name: np.zeros(shape, int)}
    with refused(f"{name} has shape {shape}, not (2,) or (2, 1)"):
        tiny("question_answering")(IDS, **given)


def test_a_span_of_fractions() -> None:
    with refused("end_positions has dtype float64: give ids in an integer dtype"):
        tiny("question_answering")(IDS, start_positions=[0, 1], end_positions=[1.0, 2.0])


@pytest.mark.parametrize(
    "head", ["encoder", "masked_lm", "causal_lm", "sequence_classification", "multiple_choice", "token_classification"]
)
@pytest.mark.parametrize("name", ["start_positions", "end_positions"])
def test_a_span_for_another_head(head: str, name: str) -> None:
    model = tiny(head)
    with refused(f"head '{head}' does not take {name}: "):
        model(ids_for(model), **{name: [0, 1]})


@pytest.mark.parametrize(("size", "length"), [(3, 4), (5, 4), (2, 3)])
def test_chunks_that_do_not_divide(size: int, length: int) -> None:
    told = f"the input has {length} tokens, but chunk_size_feed_forward requires a multiple of {size}: pad the input"
    with refused(told):
        tiny(chunk_size_feed_forward=size)(IDS[:, :length])


# --- what is right, in every form -----------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    return np.array_equal(a.last_hidden_state, b.last_hidden_state)


EXPECTED = ENCODER(IDS)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4"])
def test_integer_dtypes(dtype: str) -> None:
    assert same(ENCODER(IDS.astype(dtype), token_type_ids=np.zeros((2, 4), dtype)), EXPECTED)


@pytest.mark.parametrize(
    "ids",
    [IDS.tolist(), tuple(map(tuple, IDS.tolist())), list(IDS), np.asfortranarray(IDS), IDS[::-1][::-1]],
    ids=["lists", "tuples", "rows", "columns", "view"],
)
def test_containers(ids: Any) -> None:
    assert same(ENCODER(ids), EXPECTED)


def test_arrays_of_another_library() -> None:
    jax = pytest.importorskip("jax")
    output = ENCODER(jax.numpy.asarray(IDS), attention_mask=jax.numpy.ones((2, 4)))
    assert isinstance(output.last_hidden_state, np.ndarray)
    assert same(output, EXPECTED)


@pytest.mark.parametrize("name", ["token_type_ids", "position_ids"])
def test_one_row_for_all(name: str) -> None:
    row = np.array([[0, 1, 1, 0]])
    assert same(ENCODER(IDS, **{name: row}), ENCODER(IDS, **{name: np.repeat(row, 2, axis=0)}))


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "f4", "f8"])
def test_dtypes_of_masks(dtype: str) -> None:
    mask = np.array([[1, 1, 0, 1], [1, 0, 0, 1]])
    assert same(ENCODER(IDS, attention_mask=mask.astype(dtype)), ENCODER(IDS, attention_mask=mask.tolist()))


def test_inputs_are_left_as_they_were() -> None:
    given = {"input_ids": IDS.copy(), "attention_mask": np.ones((2, 4)), "head_mask": np.ones(5)}
    before = {name: x.copy() for name, x in given.items()}
    for x in given.values():
        x.flags.writeable = False
    ENCODER(**given)
    assert all(np.array_equal(given[name], before[name]) for name in given)


def test_positional_inputs() -> None:
    mask = np.array([[1, 1, 0, 1], [1, 0, 0, 1]])
    types = np.array([[0, 1, 1, 0]])
    assert same(ENCODER(IDS, mask, types), ENCODER(input_ids=IDS, attention_mask=mask, token_type_ids=types))


def test_an_empty_batch() -> None:
    assert ENCODER(np.zeros((0, 4), int)).last_hidden_state.shape == (0, 4, D)


@pytest.mark.parametrize("labels", [[0, 2], [[0], [2]]])
def test_classes_in_a_row_or_column(labels: Any) -> None:
    model = tiny("sequence_classification", num_labels=3)
    assert model(IDS, labels=labels).loss == model(IDS, labels=[0, 2]).loss


def test_spans_in_a_row_or_column() -> None:
    model = tiny("question_answering")
    row = model(IDS, start_positions=[0, 1], end_positions=[1, 2]).loss
    assert model(IDS, start_positions=[[0], [1]], end_positions=[[1], [2]]).loss == row


# --- outputs --------------------------------------------------------------------------------------------------------


def test_outputs_by_name_and_by_index() -> None:
    output = ENCODER(IDS, output_hidden_states=True)
    assert isinstance(output, ModelOutput)
    assert list(output) == ["last_hidden_state", "pooler_output", "hidden_states"]
    assert output.last_hidden_state is output["last_hidden_state"] is output[0]
    assert output.hidden_states is output[2] is output[-1]
    assert output[:2] == (output[0], output[1])
    assert output[1:][-1] is output.hidden_states
    assert len(output) == 3
    assert output.to_tuple() == tuple(output.values())


def test_outputs_that_were_not_asked_for_are_none_and_have_no_index() -> None:
    output = tiny("masked_lm")(IDS)
    assert output.loss is None
    assert output.attentions is None
    assert output.past_key_values is None
    assert output[0] is output.logits
    assert "loss" not in output
    with pytest.raises(KeyError):
        output["loss"]
    with pytest.raises(IndexError):
        output[1]


def test_a_loss_comes_first() -> None:
    output = tiny("masked_lm")(IDS, labels=IDS)
    assert output[0] is output.loss
    assert output[1] is output.logits


def test_an_unknown_output() -> None:
    with pytest.raises(AttributeError, match=r"a model's output has no logit; it has loss, last_hidden_state, .*"):
        ENCODER(IDS).logit  # noqa: B018


def test_a_tuple_for_a_dict() -> None:
    given = tiny("masked_lm")(IDS, labels=IDS, output_attentions=True, return_dict=False)
    wanted = tiny("masked_lm")(IDS, labels=IDS, output_attentions=True)
    assert type(given) is tuple
    assert len(given) == len(wanted) == 3
    assert given[0] == wanted.loss
    assert np.array_equal(given[1], wanted.logits)
    assert len(given[2]) == LAYERS


def test_a_cache_is_a_tuple_of_tuples() -> None:
    past = DECODER(IDS).past_key_values
    assert isinstance(past, Cache)
    assert isinstance(past, tuple)
    assert [[x.shape for x in layer] for layer in past] == [[(2, H, 4, D // H)] * 2] * LAYERS
    assert past.tokens.tolist() == [[4], [4]]
    assert [len(layer) for layer in CROSS_PAST] == [4] * LAYERS


# --- forward takes arrays -------------------------------------------------------------------------------------------


def test_forward_takes_arrays() -> None:
    with refused("input_ids is a list, but forward takes arrays: convert it to an array"):
        forward(ENCODER.params, ENCODER.config, input_ids=[[5, 9]])


def test_forward_of_an_unknown_head() -> None:
    with raises(NameUnknownError, KeyError, "unknown head 'foo': give one of encoder"):
        forward(ENCODER.params, ENCODER.config, "foo", input_ids=IDS)


def test_an_input_of_zero_choices() -> None:
    with refused("the input has 0 choices: give at least one"):
        tiny("multiple_choice")(np.zeros((2, 0, 4), int))


def test_xl_s_token_loss_reads_a_mask_of_two_axes() -> None:
    model = tiny("token_classification", model_type="xlm-roberta-xl")
    mask, labels = np.ones((2, 4, 4)), np.zeros((2, 4), int)
    assert model(IDS, attention_mask=mask).logits.shape == (2, 4, 2)
    with refused("attention_mask has shape (2, 4, 4), not (2, 4): the loss needs one value per label"):
        model(IDS, attention_mask=mask, labels=labels)


def test_a_cache_of_another_library_s_arrays() -> None:
    """The cache's dtypes may be any objects, such as torch's, as long as its values convert to arrays."""

    class Tensor:
        dtype = "torch.float64"

        def __init__(self, values: np.ndarray) -> None:
            self.values, self.shape, self.ndim = values, values.shape, values.ndim

        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            return self.values

    past = [tuple(Tensor(x) for x in layer) for layer in PAST]
    np.testing.assert_array_equal(DECODER(NEXT, past_key_values=past)[0], DECODER(NEXT, past_key_values=tuple(PAST))[0])


def test_one_label_of_several_classes_has_one_loss() -> None:
    model = tiny("sequence_classification", num_labels=1, problem_type="multi_label_classification")
    assert model(IDS, labels=[0.0, 1.0]).loss == model(IDS, labels=[[0.0], [1.0]]).loss


@pytest.mark.parametrize("tokens", [[[1.5], [2.0]], [[-1], [2]]])
def test_a_cache_that_counts_strangely(tokens: Any) -> None:
    with refused("past_key_values has token counts", ": give integers of at least 0"):
        DECODER(NEXT, past_key_values=Cache(PAST, np.array(tokens)))


def test_several_classes_are_from_0_to_1() -> None:
    model = tiny("sequence_classification", num_labels=3, problem_type="multi_label_classification")
    for value in (2, -100):
        with refused("labels have values from", "for multi-label classification, give numbers from 0 to 1"):
            model(IDS, labels=np.full((2, 3), value))


def test_a_tensor_that_cannot_be_converted() -> None:
    class Tensor:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("call detach() first")

    with refused("input_ids cannot be converted to an array of numbers: call detach() first"):
        ENCODER(Tensor())


# --- models ---------------------------------------------------------------------------------------------------------


def test_a_model_takes_a_config() -> None:
    with raises(ConfigError, ValueError, "a model takes a Config, not dict: make one with Config.from_dict"):
        Model({"model_type": "roberta"}, ENCODER.params)  # type: ignore[arg-type]


def test_a_model_takes_a_tree_with_its_head() -> None:
    with raises(WeightsError, ValueError, "weights, but lacks 5: ", "lm_head.dense.weight"):
        Model(ENCODER.config, ENCODER.params, "masked_lm")
    with raises(WeightsError, ValueError, "params must be a parameter tree (a nested dict of arrays)"):
        Model(ENCODER.config, [1])  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [["a"], 3, None])
def test_a_configuration_of_another_type(config: Any) -> None:
    with raises(ConfigError, ValueError, "a configuration must be a Config, a dict, a path or a name, not"):
        init(config)


def test_a_misspelt_field_is_refused_where_it_is_typed() -> None:
    """In Python an unknown field is an error; a config.json may hold any field."""
    with raises(ConfigError, ValueError, "field 'num_hiden_layers': did you mean num_hidden_layers?"):
        init({"model_type": "roberta", "num_hiden_layers": 3})
    assert Config.from_dict({"model_type": "roberta", "num_hiden_layers": 3}).num_hidden_layers == 12
    init({**TINY, "sep_token_id": 2, "_num_labels": 2, "mask_token_id": 4, "output_past": True, "eos_token_ids": [2]})


def test_fields_to_replace_are_a_dict() -> None:
    for config in (["num_labels"], {1: 2}):
        with raises(ConfigError, ValueError, "config must be a dict from field names to values, not"):
            load("anything", config=config)  # type: ignore[arg-type]


def test_a_causal_head_without_a_decoder_warns() -> None:
    with pytest.warns(UserWarning, match="head 'causal_lm' attends in both directions, because this model is not a"):
        init(TINY, head="causal_lm")


def test_a_masked_head_on_a_decoder_warns() -> None:
    with pytest.warns(UserWarning, match="head 'masked_lm' attends to earlier tokens only, because this model is a"):
        init({**TINY, "is_decoder": True}, head="masked_lm")


def test_writing_to_an_output_keeps_attribute_and_item_in_step() -> None:
    output = ENCODER(IDS)
    output.last_hidden_state = 3
    assert output["last_hidden_state"] == output[0] == 3
    assert repr(output).splitlines()[0].split() == ["last_hidden_state", "3"]
    output.last_hidden_state, output.attentions = None, ()
    assert list(output) == ["pooler_output", "attentions"]
    assert repr(output).endswith("0 of nothing")
    with pytest.raises(AttributeError, match="a model's output has no foo; it has loss"):
        output.foo = 1


def test_a_key_that_an_output_lacks() -> None:
    with raises(NameUnknownError, KeyError, "this output has no logits; it has last_hidden_state, pooler_output"):
        ENCODER(IDS)["logits"]


def test_an_output_shows_shapes() -> None:
    lines = repr(ENCODER(IDS, output_hidden_states=True)).splitlines()
    assert lines[0].split() == ["last_hidden_state", "float64", "(2,", "4,", "30)"]
    assert lines[2].split() == ["hidden_states", "3", "of", "float64", "(2,", "4,", "30)"]
    assert "past_key_values    2 of 2 of float64" in repr(DECODER(IDS))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_outputs_and_caches_can_be_copied(copied: Any) -> None:
    output = DECODER(IDS)
    again = copied(output)
    np.testing.assert_array_equal(again.logits, output.logits)
    np.testing.assert_array_equal(copied(PAST).tokens, PAST.tokens)
    np.testing.assert_array_equal(again.past_key_values.tokens, output.past_key_values.tokens)
    logits = DECODER(NEXT, past_key_values=PAST).logits
    np.testing.assert_array_equal(DECODER(NEXT, past_key_values=copied(PAST)).logits, logits)


def test_outputs_are_in_hugging_face_s_order() -> None:
    asked = {"output_attentions": True, "output_hidden_states": True}
    output = CROSS(IDS, encoder_hidden_states=MEMORY, **asked)
    rest = ["hidden_states", "attentions", "cross_attentions"]
    assert list(output) == ["logits", "past_key_values", *rest]
    bare = tiny("encoder", is_decoder=True, add_cross_attention=True)(IDS, encoder_hidden_states=MEMORY, **asked)
    assert list(bare) == ["last_hidden_state", "pooler_output", "hidden_states", "past_key_values", *rest[1:]]
