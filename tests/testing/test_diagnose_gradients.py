"""Tests of `diagnose_gradients`, with mistakes that an independent backward pass makes: see `backward_port.py`."""

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backward_port import MISTAKES, BackwardPort, but
from support import slow_but, tiny

import minroberta
from minroberta import InputError, Model
from minroberta.testing import Mismatch, assert_matches, compare, diagnose_gradients, inputs, reference_gradients
from minroberta.testing.gradient_mistakes import MISTAKES as MISTAKES_OF_BACKWARD
from minroberta.testing.gradient_mistakes import catalogue
from minroberta.testing.gradients import Gradients
from minroberta.testing.mistakes import catalogue as forward_catalogue
from minroberta.weights import flat

Arrays = dict[str, np.ndarray]

KINDS: dict[str, dict[str, Any]] = {
    "masked_lm": {},
    "pre-LN": {"head": "masked_lm", "model_type": "roberta-prelayernorm", "hidden_act": "gelu_new"},
    "large eps": {"head": "masked_lm", "layer_norm_eps": 1e-3},
    "sequence_classification": {"num_labels": 3},
    "regression": {"head": "sequence_classification", "num_labels": 1, "model_type": "xlm-roberta-xl"},
    "flags": {"head": "sequence_classification", "num_labels": 3},
    "multiple_choice": {},
    "token_classification": {},
    "question_answering": {},
}
"""Models by what is special about them, with the fields of their configurations."""


@functools.cache
def model_of(kind: str) -> Model:
    return tiny(**{"head": kind, **KINDS[kind]})


@functools.cache
def call_of(kind: str) -> tuple[dict[str, Any], Any]:
    """The inputs and labels of a call."""
    given, random = inputs(model_of(kind), 8), np.random.default_rng(0)
    ids, kept = given["input_ids"], (given["attention_mask"] == 1) & (random.random(given["input_ids"].shape) < 0.7)
    labels = {
        "sequence_classification": np.array([2, 0, 1]),
        "regression": np.array([0.5, -1.5, 2.0]),
        "flags": np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
        "multiple_choice": np.array([1]),
        "token_classification": np.where(kept, ids % 2, -100),
        "question_answering": (np.array([1, 2, 3]), np.array([3, 8, 4])),
    }
    return given, labels.get(kind, np.where(kept, ids, -100))


def given_to_ours(kind: str) -> tuple[dict[str, Any], Any]:
    """The same for our models: places of answers are inputs."""
    given, labels = call_of(kind)
    if kind != "question_answering":
        return given, labels
    return {**given, "start_positions": labels[0], "end_positions": labels[1]}, None


def port_of(kind: str, made: type[BackwardPort] = BackwardPort, dtype: Any = np.float32) -> BackwardPort:
    """A port whose gradients have been computed."""
    model = model_of(kind)
    weights = {model.config.family.own_name(name): weight for name, weight in flat(model.params).items()}
    config = {**model.config.to_dict(), "num_labels": model.config.num_labels}
    port = made(config, model.head, lambda name, shape: weights[name].reshape(shape))
    port.dtype = dtype
    given, labels = call_of(kind)
    port.gradients(labels=labels, **given)
    return port


@functools.cache
def reference_of(kind: str) -> Gradients:
    return reference_gradients(model_of(kind), *given_to_ours(kind), intermediates=True)


def names_of(kind: str, gradients: Arrays, **options: Any) -> list[str]:
    given, labels = given_to_ours(kind)
    return [finding.name for finding in diagnose_gradients(model_of(kind), given, gradients, labels, **options)]


# --- the port -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_port_in_float64_has_our_gradients(kind: str) -> None:
    """Two derivations agree to the rounding of float64, in parameters and named values."""
    given, labels = given_to_ours(kind)
    port = port_of(kind, dtype=np.float64)
    ours = minroberta.gradients(
        model_of(kind), **given, **({} if labels is None else {"labels": labels}), intermediates=True
    )
    unused = {name for name in ours if not ours[name].any() and name not in port.found}
    assert port.found.keys() == ours.keys() - unused and len(port.flow) > 30
    both = {**ours, **ours.intermediates}
    for name, g in {**port.found, **port.flow}.items():
        np.testing.assert_allclose(g, both[name], rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_port(kind: str) -> None:
    port = port_of(kind)
    report = compare(reference_of(kind), {**port.found, **port.flow})
    assert report.ok and not report.unknown and not report.unavailable
    assert max(row.multiple for row in report.rows) < 8
    assert names_of(kind, port.found) == names_of(kind, {**port.found, **port.flow}) == []


# --- mistakes -------------------------------------------------------------------------------------------------------

PLANTED = [(kind, name) for kind, of_kind in MISTAKES.items() for name in of_kind]


FACTORS = {"loss-summed", "loss-mean-of-ignored", "loss-mean-of-batch", "loss-two-missing", "loss-half-missing"}
"""Mistakes that are a constant factor, which is named beside them: a forgotten `zero_grad` may give the same."""


def named(name: str) -> list[str]:
    """What to expect for a mistake of `backward_port`, some of which are made in several ways."""
    own = re.split("[, ]", name)[0]
    return [own, "gradients-scaled"] if own in FACTORS else [own]


@pytest.mark.parametrize(("kind", "name"), PLANTED)
def test_a_mistake_is_named_by_the_parameters_gradients(kind: str, name: str) -> None:
    port = port_of(kind, MISTAKES[kind][name])
    assert not compare(reference_of(kind), port.found).ok
    assert names_of(kind, port.found) == named(name)


@pytest.mark.parametrize("planted", slow_but(PLANTED, *PLANTED[::6]), ids="-".join)
def test_a_mistake_is_named_by_all_gradients(planted: tuple[str, str]) -> None:
    kind, name = planted
    port = port_of(kind, MISTAKES[kind][name])
    assert names_of(kind, {**port.found, **port.flow}) == named(name)


@pytest.mark.parametrize("kind", ["pre-LN", "token_classification"])
@pytest.mark.parametrize("name", ["norm-mean-term-missing", "softmax-row-term-missing", "residual-gradient-missing"])
def test_in_other_models(kind: str, name: str) -> None:
    assert names_of(kind, port_of(kind, MISTAKES["masked_lm"][name]).found) == [name]


def test_some_layers_named_values_are_enough() -> None:
    """The gradients of two values: what is computed from the wrong one, and the last."""
    flow = port_of("masked_lm", MISTAKES["masked_lm"]["softmax-row-term-missing"]).flow
    some = {name: flow[name] for name in ("encoder.layer.1.attention.self.query", "embeddings")}
    assert names_of("masked_lm", some) == ["softmax-row-term-missing"]


def test_a_small_mistake_in_float64() -> None:
    """In float32 three are within rounding of each other, and all are listed; in float64 one is."""
    made = but(back_eps=0)
    alike = [f"norm-eps-{eps}-in-backward" for eps in ("0", "1e-12", "1e-6")]
    assert names_of("masked_lm", port_of("masked_lm", made).found) == alike
    assert names_of("masked_lm", port_of("masked_lm", made, np.float64).found, precision="float64") == alike[:1]


def test_an_alternative_that_is_far_worse_is_left_out() -> None:
    """With eps 1e-6 in place of 1e-5 every gradient would be within the bound too, but 20 times further off."""
    found = port_of("large eps", but(back_eps=1e-5)).found
    assert names_of("large eps", found) == ["norm-eps-1e-5-in-backward"]


def test_mistakes_that_the_inputs_do_not_distinguish() -> None:
    """With two sequences, a sum in place of the mean is twice as large, and so is a mean without its half."""
    kind, given = "question_answering", {name: x[:2] for name, x in call_of("question_answering")[0].items()}
    places = {"start_positions": [1, 2], "end_positions": [3, 4]}
    ours = minroberta.gradients(model_of(kind), **given, **places)
    found = diagnose_gradients(model_of(kind), {**given, **places}, {name: 2 * g for name, g in ours.items()})
    assert [one.name for one in found if one.on_top_of is None] == [
        "loss-summed",
        "loss-half-missing",
        "gradients-scaled",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [("softmax-row-term-missing", "embedding-gradients-overwritten"), ("loss-summed", "norm-mean-term-missing")],
)
def test_two_mistakes(one: str, other: str) -> None:
    """They are named in the order of the backward pass."""
    of_both = type("Wrong", (MISTAKES["masked_lm"][one], MISTAKES["masked_lm"][other]), {})
    given, labels = given_to_ours("masked_lm")
    found = diagnose_gradients(model_of("masked_lm"), given, port_of("masked_lm", of_both).found, labels)
    assert [(finding.name, finding.on_top_of) for finding in found] == [(one, None), (other, one)]
    assert max(one.remaining for one in found) <= reference_of("masked_lm").bound


def test_a_forward_mistake() -> None:
    """The gradients of a port whose positions count padding."""
    given, labels = given_to_ours("masked_lm")
    ids = given["input_ids"]
    wrong = minroberta.gradients(model_of("masked_lm"), **given, labels=labels, position_ids=np.arange(2, 10) + 0 * ids)
    assert "positions-by-place" in names_of("masked_lm", wrong)


def test_an_unknown_mistake() -> None:
    """Nothing is named, and `compare` says where it begins."""
    port = port_of("masked_lm", but(weighted=lambda self, g, w: g * w * w))
    assert names_of("masked_lm", port.found) == []
    assert compare(reference_of("masked_lm"), {**port.found, **port.flow}).first_bad == "lm_head.gelu"


@pytest.mark.parametrize(("kind", "eps"), [("masked_lm", 2e-5), ("pre-LN", 3e-5)])
def test_an_unknown_mistake_just_beyond_the_bound(kind: str, eps: float) -> None:
    """A factor that brings the largest error back within the bound, but hardly reduces it, explains nothing."""
    found = port_of(kind, but(back_eps=eps)).found
    assert not compare(reference_of(kind), found).ok and names_of(kind, found) == []


# --- constant factors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "factor", "name", "said"),
    [
        (".*", 1 / 8, "gradients-scaled", "Every gradient is 1/8 times"),
        (".*", -1, "gradients-scaled", "Every gradient is -1 times"),
        (".*", 1.7, "gradients-scaled", "Every gradient is 1.7 times"),
        (r"encoder\.layer\.1\.output\.dense\.bias", 3, "gradient-scaled", "layer.1.output.dense.bias is 3 times"),
        (r"encoder\.layer\.\d\.output\.dense\.bias", 2, "gradient-scaled", "dense.bias, in every layer, is 2 times"),
        (r"encoder\.layer\.0\..*|embeddings.*", 5, "gradients-scaled-from", "from encoder.layer.0.output.LayerNorm on"),
    ],
)  # fmt: skip
def test_a_constant_factor(pattern: str, factor: float, name: str, said: str) -> None:
    kind = "sequence_classification"
    found = {one: g * factor if re.fullmatch(pattern, one) else g for one, g in port_of(kind).found.items()}
    given, labels = given_to_ours(kind)
    findings = diagnose_gradients(model_of(kind), given, found, labels)
    assert [one.name for one in findings] == [name] and said in findings[0].explanation


def test_a_factor_of_the_parameters_or_of_all() -> None:
    port, (given, labels) = port_of("masked_lm"), given_to_ours("masked_lm")
    for flow, said in ((8, "Every gradient is 8 times"), (1, "Every parameter's gradient is 8 times")):
        both = {name: 8 * g for name, g in port.found.items()} | {name: flow * g for name, g in port.flow.items()}
        (finding,) = diagnose_gradients(model_of("masked_lm"), given, both, labels)
        assert finding.name == "gradients-scaled" and said in finding.explanation


def test_a_factor_at_one_place_in_every_layer() -> None:
    port = port_of("masked_lm", but(roots=lambda self: (self.dtype(7), self.dtype(self.E**0.5))))
    (finding,) = diagnose_gradients(model_of("masked_lm"), call_of("masked_lm")[0], port.found, call_of("masked_lm")[1])
    assert finding.name == "gradients-scaled-in"
    assert "through encoder.layer.1.attention.self.query, in every layer, is 0.3499 times" in finding.explanation


# --- where, by `compare` --------------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_backward_pass() -> None:
    """A value's gradient comes before those of the parameters of the module that computes the value."""
    names = list(reference_of("masked_lm"))
    layer, own = "encoder.layer.1", "encoder.layer.1.attention.self"
    wanted = [
        *("loss", "logits", "lm_head", "lm_head.bias", layer, f"{layer}.output.dense", f"{layer}.output.dense.weight"),
        *(f"{layer}.intermediate", own, f"{own}.probs", f"{own}.scores", f"{own}.query", f"{own}.query.bias"),
        *("encoder.layer.0", "embeddings", "embeddings.word_embeddings", "embeddings.word_embeddings.weight"),
    ]
    assert [name for name in names if name in wanted] == wanted
    model, (given, labels) = model_of("masked_lm"), given_to_ours("masked_lm")
    known = {name for name in minroberta.trace(model, **given) if not name.endswith("position_ids")}
    assert known | {"loss"} == {name for name in names if not name.endswith((".weight", ".bias"))}
    assert reference_of("masked_lm").noise.keys() == {*names}
    assert list(reference_gradients(model, given, labels)) == [
        name for name in names if name.endswith((".weight", ".bias"))
    ]


def test_each_step_is_judged_alone() -> None:
    port = port_of("masked_lm", MISTAKES["masked_lm"]["softmax-row-term-missing"])
    report = compare(reference_of("masked_lm"), {**port.found, **port.flow})
    scores = [f"encoder.layer.{layer}.attention.self.scores" for layer in (1, 0)]
    assert [row.name for row in report.rows if row.verdict == "wrong"] == scores
    assert report.first_bad == scores[0] and report.last_good == "encoder.layer.1.attention.self.probs"
    assert {row.verdict for row in report.rows if row.name.startswith("encoder.layer.0.output")} == {"follows"}
    only = compare(reference_of("masked_lm"), port.found)
    assert only.first_bad == "encoder.layer.1.attention.self.key.weight"


def test_transposed_gradients_are_a_layout_if_all_are() -> None:
    found = port_of("masked_lm").found
    turned = {name: g.T if name.endswith("weight") and "embeddings" not in name else g for name, g in found.items()}
    report = compare(reference_of("masked_lm"), turned)
    assert report.ok and {row.verdict for row in report.rows} == {"good", "layout"}
    assert names_of("masked_lm", turned) == []
    key = "encoder.layer.1.attention.self.key.weight"
    assert compare(reference_of("masked_lm"), {**found, key: found[key].T}).first_bad == key
    assert compare(reference_of("masked_lm"), {**turned, key: found[key]}).first_bad == key


# --- around it ------------------------------------------------------------------------------------------------------


def test_a_failed_assertion_names_the_mistake() -> None:
    port = port_of("masked_lm", MISTAKES["masked_lm"]["softmax-row-term-missing"])
    theirs = {f"roberta.{name}": g for name, g in port.found.items()}
    with pytest.raises(
        Mismatch, match=r"next: minroberta\.testing\.diagnose_gradients\(model, inputs, candidate, lab"
    ) as told:
        assert_matches(theirs, reference_of("masked_lm"))
    assert [one.name for one in told.value.explained().findings or ()] == ["softmax-row-term-missing"]


def test_the_backward_pass_itself_stays_as_it_is() -> None:
    """Mistakes are made in a copy."""
    given, labels = given_to_ours("masked_lm")
    before = minroberta.gradients(model_of("masked_lm"), **given, labels=labels)
    names_of("masked_lm", port_of("masked_lm", MISTAKES["masked_lm"]["norm-terms-missing"]).found)
    after = minroberta.gradients(model_of("masked_lm"), **given, labels=labels)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_when_the_time_is_up() -> None:
    port = port_of("masked_lm", MISTAKES["masked_lm"]["softmax-row-term-missing"])
    given, labels = given_to_ours("masked_lm")
    found = diagnose_gradients(model_of("masked_lm"), given, port.found, labels, limit=0)
    assert not found and found.left_out == ("mistakes of the backward pass", "constant factors")


def test_gradients_that_are_no_numbers() -> None:
    found = {name: np.full_like(g, np.nan) for name, g in port_of("masked_lm").found.items()}
    assert names_of("masked_lm", found) == []


@pytest.mark.parametrize(
    ("change", "telling"),
    [
        ({"model": None}, "diagnose_gradients was given a NoneType and a dict: give a Model.*a port's gradients"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"precision": "bfloat16"}, "in bfloat16: compute gradients in float32, float64"),
        ({"limit": -1}, "limit must be a number of seconds, not -1"),
        ({"gradients": {"other": np.zeros(3)}}, "have no name in common"),
        ({"gradients": [1]}, "invalid values of type list"),
        ({"labels": None}, "computed no loss to differentiate"),
    ],
)
def test_bad_input(change: dict[str, Any], telling: str) -> None:
    given, labels = given_to_ours("masked_lm")
    how = {"model": model_of("masked_lm"), "inputs": given, "gradients": port_of("masked_lm").found, "labels": labels}
    with pytest.raises(InputError, match=telling):
        diagnose_gradients(**{**how, **change})


# --- the catalogue --------------------------------------------------------------------------------------------------


def test_names_differ_from_those_of_the_forward_pass() -> None:
    for model in (model_of("masked_lm"), model_of("pre-LN")):
        names = [mistake.name for mistake in catalogue(model)]
        assert len(names) == len({*names})
        assert not {mistake.name for mistake in MISTAKES_OF_BACKWARD} & {one.name for one in forward_catalogue(model)}


def test_every_mistake_is_planted() -> None:
    assert {mistake.name for mistake in MISTAKES_OF_BACKWARD} <= {named(name)[0] for _, name in PLANTED}


PAGE = (Path(__file__).parents[2] / "docs" / "mistakes.md").read_text(encoding="utf-8")


def test_the_page_lists_every_mistake() -> None:
    mistakes = [one for kind in ("masked_lm", "pre-LN") for one in catalogue(model_of(kind))]
    for mistake in mistakes:
        name = re.sub(r"(transposed|norm-eps|slope-of)-[\w-]+?(-in-backward)?$", r"\1-…\2", mistake.name)
        assert f"`{name}`" in PAGE or f"`{mistake.name}`" in PAGE or mistake.name.startswith("eps-"), mistake.name
