"""Sequences without padding: the values of a padded batch at its tokens, from a packed row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import FLOAT64, raises, tiny

from minroberta import InputError, Model, trace

FAMILIES: list[dict[str, Any]] = [
    {},
    {"is_decoder": True},
    {"model_type": "roberta-prelayernorm"},
    {"model_type": "xlm-roberta-xl"},
    {"position_embedding_type": "relative_key"},
    {"chunk_size_feed_forward": 4},
]
HEADS = ["encoder", "masked_lm", "sequence_classification", "token_classification", "question_answering"]
MASK = np.array([[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0, 0, 0]])
IDS = np.where(MASK, np.arange(24).reshape(3, 8) + 5, 1)


def plain(model: Model, **inputs: Any) -> Any:
    return model(**{"input_ids": IDS, "attention_mask": MASK, **inputs})


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("fields", [x for x in FAMILIES if "position_embedding_type" not in x], ids=str)
def test_skip_padding(head: str, fields: dict[str, Any]) -> None:
    """Outputs are the same at tokens and 0 at padding, wherever the padding is."""
    model = tiny(head, **fields)
    whole, packed = plain(model), plain(model, skip_padding=True)
    assert set(packed) == set(whole) - {"past_key_values"}
    for name, value in packed.items():
        assert value.shape == whole[name].shape and value.dtype == whole[name].dtype
        if value.shape[:2] == MASK.shape:
            assert not value[MASK == 0].any()
            assert np.abs(value - whole[name])[MASK == 1].max() < FLOAT64
        else:
            assert np.abs(value - whole[name]).max() < FLOAT64


def test_skip_padding_of_choices() -> None:
    model = tiny("multiple_choice")
    ids, mask = np.stack([IDS, IDS[::-1]]), np.stack([MASK, MASK[::-1]])
    assert np.abs(model(ids, mask).logits - model(ids, mask, skip_padding=True).logits).max() < FLOAT64


def test_skip_padding_with_all_that_a_row_may_have() -> None:
    model = tiny()
    kinds, places = IDS % 2, np.tile(np.arange(8)[::-1] + 2, (3, 1))
    for inputs in (
        {"token_type_ids": kinds, "position_ids": places},
        {"token_type_ids": kinds[:1], "position_ids": places[:1]},
        {"input_ids": None, "inputs_embeds": np.random.default_rng(0).normal(size=(3, 8, 30))},
    ):
        whole, packed = (plain(model, **inputs, skip_padding=skip).last_hidden_state for skip in (False, True))
        assert np.abs(packed - whole)[MASK == 1].max() < FLOAT64


def test_a_row_of_padding_alone() -> None:
    mask = MASK * [[1], [0], [1]]
    packed = tiny()(IDS, mask, skip_padding=True).last_hidden_state
    assert not packed[1].any()
    assert np.abs(packed - tiny()(IDS, mask).last_hidden_state)[mask == 1].max() < FLOAT64


@pytest.mark.parametrize(
    ("head", "given", "said"),
    [
        (
            "encoder",
            {"attention_mask": None},
            "skip_padding needs a 2-D attention_mask of zeros and ones: give one, or set",
        ),
        ("encoder", {"attention_mask": MASK * 0.5}, "a 2-D attention_mask of zeros and ones"),
        ("encoder", {"attention_mask": np.ones((3, 8, 8))}, "a 2-D attention_mask of zeros and ones"),
        ("encoder", {"head_mask": np.ones(5)}, "skip_padding does not take head_mask"),
        ("masked_lm", {"labels": IDS}, "skip_padding does not take labels: leave it out, or set"),
        (
            "sequence_classification",
            {"attention_mask": MASK[:, ::-1]},
            "reads position 0, which is padding in some rows",
        ),
    ],
)
def test_skip_padding_is_refused(head: str, given: dict[str, Any], said: str) -> None:
    with raises(InputError, ValueError, said):
        plain(tiny(head), **given, skip_padding=True)
    if head == "encoder":
        with raises(InputError, ValueError, "this model's are relative"):
            plain(tiny(position_embedding_type="relative_key"), skip_padding=True)


def test_a_recorded_call_takes_the_plain_path() -> None:
    model = tiny()
    seen = trace(model, IDS, attention_mask=MASK, skip_padding=True)
    assert seen["encoder.layer.0.attention.self.probs"].shape == (3, 5, 8, 8)
    for wanted in ("output_attentions", "output_hidden_states"):
        whole, asked = (plain(model, **{wanted: True}, skip_padding=skip) for skip in (False, True))
        assert np.array_equal(whole.last_hidden_state, asked.last_hidden_state)


def test_a_recorded_call_is_near_an_unrecorded_one() -> None:
    for fields in FAMILIES:
        model = tiny("masked_lm", **fields)
        looked = trace(model, IDS, attention_mask=MASK).output.logits
        assert np.abs(looked - plain(model).logits).max() < FLOAT64


# --- rows of ids ------------------------------------------------------------------------------------------------------

rows_of_ids = st.lists(st.lists(st.integers(0, 52), min_size=1, max_size=9), min_size=1, max_size=5)


@given(rows_of_ids, st.sampled_from(FAMILIES), st.sampled_from([*HEADS, "multiple_choice"]), st.randoms())
def test_rows(rows: list[list[int]], fields: dict[str, Any], head: str, random: Any) -> None:
    """Each row has the values that it has alone, at the positions asked for."""
    if fields.get("chunk_size_feed_forward") or "position_embedding_type" in fields:
        fields = {}
    model = tiny(head, **fields)
    first = head in ("sequence_classification", "multiple_choice")
    asked = [[0] if first else random.sample(range(len(row)), random.randint(1, len(row))) for row in rows]
    for row, places, found in zip(rows, asked, model.on_rows(rows, asked), strict=True):
        alone = model([[row]] if head == "multiple_choice" else [row])
        for name, value in found.items():
            expected = alone[name] if first else alone[name][0][places]
            assert np.abs(value - expected.reshape(value.shape)).max() < FLOAT64
    for row, found in zip(rows, model.on_rows(rows), strict=True):
        for name, value in found.items():
            whole = model([[row]] if head == "multiple_choice" else [row])[name][0]
            assert np.abs(value - whole.reshape(value.shape)).max() < FLOAT64
