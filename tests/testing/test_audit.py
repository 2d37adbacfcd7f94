"""Tests of the audit: what a call cannot show has no effect, and the rest has one."""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest
from candidates import CATALOGUE, Candidate
from support import raises, slow_but, tiny

from minroberta import Model, trace
from minroberta.errors import InputError
from minroberta.testing import audit, compare, inputs
from minroberta.testing.candidate import Candidate as Port
from minroberta.testing.changes import Setting
from minroberta.testing.compare import Kept, all_differences
from minroberta.testing.mistakes import PRECISIONS, catalogue
from minroberta.testing.runs import MASKED, exact
from minroberta.weights import flat, tree

ALONE = {"input_ids": [[0, 7, 9, 11, 2]]}
BY_NAME = {candidate.name: candidate for candidate in CATALOGUE}


def model_of(head: str = "masked_lm", **fields: Any) -> Model:
    """A tiny model without zero biases."""
    model = tiny(head, "float32", **fields)
    return Model(model.config, tree({n: x + np.float32(0.1) for n, x in flat(model.params).items()}), head)


def test_a_text_without_padding_shows_no_mask() -> None:
    found = audit(model_of(), ALONE)
    assert {"mask-ignored", "mask-inverted", "positions-by-place", "positions-from-mask"} <= set(found.inputs)
    assert "positions-from-0" not in found.inputs and found.weights == ()
    assert str(found).startswith("these inputs cannot tell: positions-by-place, ")


def test_biases_of_0_are_said() -> None:
    model = tiny("masked_lm", "float32")
    zero = Model(model.config, tree({**flat(model.params), "lm_head.bias": np.zeros(50, "float32")}), "masked_lm")
    assert "lm-bias-missing" in audit(zero, ALONE).weights
    assert "lm-bias-missing" not in audit(model_of(), ALONE).weights


def test_a_mask_of_ones_is_no_mask() -> None:
    """But inverted, it hides everything."""
    ones = audit(model_of(), {**ALONE, "attention_mask": np.ones((1, 5), int)}).inputs
    assert set(audit(model_of(), ALONE).inputs) - set(ones) == {"mask-inverted", "mask-as-token-types"}
    assert "mask-ignored" in ones


HEADS = ("encoder", "masked_lm", "sequence_classification", "token_classification", "question_answering")
FAMILIES = ("roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "xlm-roberta-xl", "data2vec-text")


@pytest.mark.parametrize("model_type", FAMILIES)
def test_there_are_inputs_that_can_tell(model_type: str) -> None:
    for head in HEADS:
        model = model_of(head, model_type=model_type)
        assert audit(model, inputs(model)).inputs == ()
        assert model(**inputs(model))


@pytest.mark.parametrize("fields", [{}, {"is_decoder": True}, {"is_decoder": True, "add_cross_attention": True}])
def test_inputs_for_decoders(fields: dict[str, Any]) -> None:
    model = model_of("causal_lm", **fields)
    assert audit(model, inputs(model)).inputs == ()
    assert ("encoder_hidden_states" in inputs(model)) == ("add_cross_attention" in fields)


def test_inputs_for_choices() -> None:
    model = model_of("multiple_choice")
    assert inputs(model)["input_ids"].shape == (1, 3, 12)
    assert model(**inputs(model)).logits.shape == (1, 3)


def test_every_change_of_the_inputs_shows_on_them() -> None:
    """The changed inputs really change an output."""
    model = model_of(max_position_embeddings=304)
    best = inputs(model, 300)
    before = model(**best).logits
    kept = best["attention_mask"] > 0
    for mistake in catalogue(model):
        ways = [way.applied(Setting(model, best)) for way in mistake.ways if way.inputs]
        changed = [setting.model(**setting.inputs).logits for setting in ways if setting is not None]
        if changed and not mistake.name.startswith(("cache", "causal")):
            assert any(abs(other - before)[kept].max() > 1e-3 for other in changed), mistake.name


def of_inputs(candidate: Candidate) -> bool:
    mistakes = {one.name: one for one in catalogue(candidate.model)}
    return all(way.inputs for name in candidate.names[0] if name in mistakes for way in mistakes[name].ways)


@pytest.mark.parametrize("name", [one.name for one in CATALOGUE if of_inputs(one) and len(one.names[0]) == 1])
def test_what_is_planted_is_not_said_to_be_invisible(name: str) -> None:
    candidate = BY_NAME[name]
    assert candidate.names[0][0] not in audit(candidate.model, candidate.inputs).inputs


# --- every mistake, planted ------------------------------------------------------------------------------------------

PADDED = {"input_ids": [[0, 7, 9, 11, 2], [0, 8, 2, 1, 1]], "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]}
ONE = {"input_ids": [[7]]}
OUTPUTS = {"encoder": ("last_hidden_state", "pooler_output")}


def without_effect(model: Model, call: Mapping[str, Any], values: Collection[str] = ()) -> set[str]:
    """The mistakes that change none of the compared values (by default all) when the reference makes them."""
    call = {name: np.asarray(value) for name, value in call.items()}
    port = Port(exact(model), exact(model), call, {}, Kept(call), 64.0)
    right = port._run(port.setting([]), lambda name, value: value)
    result = set()
    for mistake in catalogue(model):
        planted = [setting for way in mistake.ways if mistake not in PRECISIONS and (setting := port.setting([way]))]
        runs = [port._run(setting, lambda name, value: value) for setting in planted]
        if not any(differs(name, run.get(name), right[name], port.kept) for run in runs for name in values or right):
            result.add(mistake.name)
    return result - {mistake.name for mistake in PRECISIONS}


def differs(name: str, array: np.ndarray | None, truth: np.ndarray, kept: Kept) -> bool:
    size = abs(truth).max(where=abs(truth) < MASKED, initial=1)
    return array is not None and (
        array.shape != truth.shape or all_differences(name, array, truth, kept).max() > 1e-9 * size
    )


@functools.cache
def never(head: str) -> set[str]:
    """Mistakes that a port of the model cannot make, or that take a call of their own."""
    model = model_of(head, is_decoder=head == "causal_lm")
    return without_effect(model, inputs(model))


CALLS = {"alone": ALONE, "padded": PADDED, "one": ONE, "telling": None}
PLANTED_IN = ("masked_lm", "causal_lm", "encoder", "sequence_classification")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("head", slow_but(PLANTED_IN, "masked_lm", "causal_lm"))
def test_what_is_listed_has_no_effect_and_the_rest_has(head: str, call: str) -> None:
    decodes = head == "causal_lm"
    model = model_of(head, is_decoder=decodes)
    given = CALLS[call] or inputs(model)
    apart = {"mask-1e4", "mask-inf"} | ({"cache-position-off-by-one"} if decodes else set())
    assert listed(model, given) == without_effect(model, given) - (never(head) - apart)
    if call in ("alone", "padded"):
        values = OUTPUTS.get(head, ("logits",))
        both = listed(model, given) | {*audit(model, given, values=values).values}
        assert both == without_effect(model, given, values) - (never(head) - apart)


def listed(model: Model, call: Mapping[str, Any]) -> set[str]:
    found = audit(model, call)
    return {*found.inputs, *found.apart}


def test_calls_of_their_own() -> None:
    model = model_of("causal_lm", is_decoder=True, max_position_embeddings=304)
    ids = np.array([[0, 7, 9, 11, 2]])
    hidden = np.ones((1, 5, 5), int)
    hidden[0, 2] = 0
    cache = model(ids).past_key_values
    longest = {"input_ids": np.arange(300)[None] % 40 + 2}
    everything = {"mask-1e4", "mask-inf", "cache-position-off-by-one", "positions-in-bfloat16"}
    assert everything <= listed(model, ALONE)
    for call, names in (
        ({"input_ids": ids, "attention_mask": hidden}, {"mask-1e4", "mask-inf"}),
        ({"input_ids": ids, "past_key_values": cache}, {"cache-position-off-by-one"}),
        (longest, {"positions-in-bfloat16"}),
    ):
        assert everything & listed(model, call) == everything - names
    assert "mask-1e4 (a query without keys), cache-position-off-by-one (a cache)," in str(audit(model, ALONE))
    assert audit(model_of(), ALONE).apart.keys() == {"mask-1e4", "mask-inf"}  # no decoder, and too short


def test_nan_of_padding_spreads_in_the_next_layer() -> None:
    """A decoder's padding on the left attends to nothing."""
    left = {"input_ids": [[1, 1, 0, 7, 9]], "attention_mask": [[0, 0, 1, 1, 1]]}
    for layers in (1, 2):
        model = model_of("causal_lm", is_decoder=True, num_hidden_layers=layers)
        assert ("mask-inf" in without_effect(model, left)) == (layers == 1)
        assert ("mask-inf" in listed(model, left)) == (layers == 1)


@pytest.mark.parametrize("head", ["encoder", "masked_lm"])
def test_a_hidden_row_is_compared_where_its_first_token_is_read(head: str) -> None:
    """Padding is left out, but the pooler's outputs are compared for every row."""
    model = model_of(head)
    hidden = {**PADDED, "attention_mask": [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]}
    for name in ("mask-1e4", "mask-inf"):
        assert (name in without_effect(model, hidden)) == (head == "masked_lm")
        assert (name in listed(model, hidden)) == (head == "masked_lm")


def test_values_that_cannot_tell() -> None:
    model = model_of()
    assert audit(model, PADDED).values == audit(model, PADDED, values=[KEY, "logits"]).values == ()
    assert audit(model, PADDED, values=["logits"]).values == ("bias-missing-key",)
    assert audit(model, ALONE, values=["logits"]).values == ("bias-missing-key", "mask-added-raw")
    assert audit(model, ALONE, values=[KEY]).values == ("mask-added-raw",)
    assert audit(model_of(position_embedding_type="relative_key_query"), PADDED, values=["logits"]).values == ()
    assert "these values cannot tell: bias-missing-key;" in str(audit(model, PADDED, values=["logits"]))


KEY = "encoder.layer.0.attention.self.key"


def test_weights_that_are_0() -> None:
    held = flat(model_of().params)
    zero = {
        name: 0 * array if name.endswith((".bias", "type_embeddings.weight")) else array for name, array in held.items()
    }
    model = Model(model_of().config, tree(zero), "masked_lm")
    best = inputs(model)
    found = audit(model, best)
    assert set(found.weights) == without_effect(model, best) - without_effect(model_of(), best)
    assert str(found).count("because they are 0") == 1


def test_the_text_says_what_is_not_examined() -> None:
    assert "not examined: effects as small as rounding" in str(audit(model_of(), inputs(model_of())))


def test_inputs_that_the_model_does_not_take() -> None:
    with raises(InputError, ValueError, "input_ids has shape (5,)"):
        audit(model_of(), {"input_ids": [0, 7, 9, 11, 2]})


def test_a_report_says_it() -> None:
    model = model_of()
    report = compare(trace(model, **ALONE), dict(trace(model, **ALONE)))
    assert report.ok and report.audit == audit(model, ALONE).of_inputs
    assert "\naudit: these inputs cannot tell: " in str(report)
    best = inputs(model)
    assert compare(trace(model, **best), dict(trace(model, **best))).audit == ""
