"""Tests of the audit: what a call cannot show has no effect, and the rest has one."""

from typing import Any

import numpy as np
import pytest
from candidates import CATALOGUE, Candidate
from support import tiny

from minroberta import Model, trace
from minroberta.testing import audit, compare, inputs
from minroberta.testing.changes import Setting
from minroberta.testing.mistakes import catalogue
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


def test_a_report_says_it() -> None:
    model = model_of()
    report = compare(trace(model, **ALONE), dict(trace(model, **ALONE)))
    assert report.ok and report.audit == str(audit(model, ALONE))  # which has no sentence about weights
    assert "\naudit: these inputs cannot tell: " in str(report)
    best = inputs(model)
    assert compare(trace(model, **best), dict(trace(model, **best))).audit == ""
