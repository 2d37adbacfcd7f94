"""Runs of the reference: their values, imitated rounding, and the noise and bound computed from it."""

import math

import numpy as np
import pytest
from support import tiny

from minroberta import trace
from minroberta.testing import runs
from minroberta.testing.runs import EPS, MASKED, bound_of, by_size, exact, factors, noise, noises, run, watch, wiggled
from minroberta.weights import flat

IDS = np.array([[0, 7, 9, 11, 2], [0, 8, 2, 1, 1]])
INPUTS = {"input_ids": IDS, "attention_mask": (IDS != 1).astype(int)}


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_model_made_exact() -> None:
    """The weights' numbers are unchanged in float64, and so is the old model."""
    model = tiny("masked_lm", "float16")
    found = exact(model)
    assert found.dtype == np.float64 and model.dtype == np.float16
    assert (found.config, found.head, found.tokenizer) == (model.config, model.head, model.tokenizer)
    for name, weight in flat(model.params).items():
        np.testing.assert_array_equal(flat(found.params)[name], weight)


@pytest.mark.parametrize("family", ["roberta", "roberta-prelayernorm", "xlm-roberta-xl"])
def test_a_run_is_a_trace_and_the_outputs(family: str) -> None:
    model = tiny("sequence_classification", model_type=family)
    made, values = run(model, INPUTS), trace(model, **INPUTS)
    assert list(made) == list(values)  # the logits among them, once
    assert all(np.array_equal(made[name], values[name]) for name in values)
    encoder = run(tiny(model_type=family), INPUTS)
    assert {"last_hidden_state", "pooler_output"} <= set(encoder) - set(trace(tiny(model_type=family), **INPUTS))


def test_a_run_goes_on_with_other_values_and_gives_those_that_were_made() -> None:
    model, name = tiny("masked_lm"), "encoder.layer.0.output"
    plain = run(model, INPUTS)
    turned = run(model, INPUTS, lambda own, value: 2 * value if own == name else value)
    assert np.array_equal(turned[name], plain[name])
    edited = trace(model, **INPUTS, edit={name: lambda value: 2 * value})
    assert np.array_equal(turned["logits"], edited["logits"])
    assert not np.array_equal(turned["logits"], plain["logits"])


def test_watching_keeps_nothing_and_sees_each_value_once() -> None:
    model, seen = tiny("masked_lm"), []
    watch(model, INPUTS, lambda name, value: seen.append(name))
    assert seen == list(run(model, INPUTS)) and len(seen) == len(set(seen))


# --- rounding, imitated ---------------------------------------------------------------------------------------------


def test_factors_are_the_same_for_ever() -> None:
    """The noise in golden files depends on the factors: another stream would change every file."""
    first = (factors(0) - 1) / EPS["float32"]
    assert len(first) == 65_537 and abs(first).max() <= 1
    assert first[:3] == pytest.approx([-0.97186593, -0.48446551, -0.05686924], abs=1e-8)
    assert abs(first.mean()) < 0.02 and 0.3 < (first**2).mean() < 0.36  # evenly from -1 to 1
    assert not np.array_equal(factors(0), factors(1))


def test_a_wiggle_is_a_rounding_of_every_number() -> None:
    value = np.random.default_rng(0).standard_normal((3, 40))
    moved = wiggled(None, 0)("encoder", value)
    relative = abs(moved / value - 1)
    assert 0 < relative.max() <= EPS["float32"] and (relative > 0).mean() > 0.9
    assert not np.array_equal(moved[0] / value[0], moved[1] / value[1])  # each row in its own way
    assert wiggled(None, 0)("embeddings.position_ids", IDS) is IDS


def test_a_wiggle_starts_from_given_values() -> None:
    value = np.ones((2, 3))
    moved = wiggled(lambda name, value: 5 * value, 0)("encoder", value)
    np.testing.assert_allclose(moved, 5, rtol=EPS["float32"])


def test_a_wiggle_rounds_the_sum_in_gelu() -> None:
    """GELU of -5 is -5/2 · (1 + erf): nearly 0, but rounded as coarsely as a number near 5/2."""
    wiggle = wiggled(None, 0)
    wiggle("encoder.layer.0.intermediate.dense", np.full((1, 5000), -5.0))
    moved = wiggle("encoder.layer.0.intermediate", np.full((1, 5000), -1.4e-6))
    assert 0.99 < abs(moved + 1.4e-6).max() / (2.5 * EPS["float32"]) < 1.01
    alone = wiggle("encoder.layer.0.output.dense", np.full((1, 5000), -1.4e-6))
    assert abs(alone + 1.4e-6).max() < 1e-12


def test_masked_scores_are_not_multiplied() -> None:
    """The lowest number times more than 1 is infinite."""
    scores = np.full((1, 1, 1, 1000), np.finfo(np.float64).min)
    scores[..., :500] = 1.0
    moved = wiggled(None, 0)("encoder.layer.0.attention.self.scores", scores)
    assert np.isfinite(moved).all() and (moved[..., 500:] == scores[..., 500:]).all()
    assert (moved[..., :500] != 1).any()


def test_noise_is_about_a_rounding_and_grows_with_the_depth() -> None:
    model = exact(tiny(num_hidden_layers=6))
    values = run(model, INPUTS)
    found = noise(model, INPUTS, values)
    assert found.keys() == values.keys()
    ids = values["embeddings.position_ids"]  # unchanged by rounding
    assert found["embeddings.position_ids"] == pytest.approx(EPS["float32"] / 2 * math.sqrt((ids**2).mean()))
    largest = abs(values["encoder"]).max()
    assert 0.3 * EPS["float32"] < found["encoder"] / largest < 100 * EPS["float32"]
    assert found["encoder.layer.0.attention.self.query"] < found["encoder"]
    assert noise(model, INPUTS, values) == found


def test_noise_is_float32s_for_any_model() -> None:
    """Noise is computed in float64, so that it does not depend on a matrix library: a real run is as far off."""
    model = tiny("masked_lm", "float32")
    values = run(exact(model), INPUTS)
    found = noises(exact(model), INPUTS, values)
    real = run(model, INPUTS)
    for name in ("embeddings", "encoder.layer.1", "logits"):
        assert found[name].shape == values[name].shape
        off = abs(real[name] - values[name])
        assert off.max() < bound_of(model.config) * found[name].max()
        assert off.max() > found[name].max() / 50


def test_inputs_are_rounded_too() -> None:
    model = exact(tiny())
    given = {"inputs_embeds": np.random.default_rng(0).standard_normal((1, 4, 30))}
    values, seen = run(model, given), []
    spied = runs.wiggled(lambda name, value: (seen.append(name), value)[1], 0)
    noises(model, given, values, spied)
    assert "inputs_embeds" in seen


# --- by size --------------------------------------------------------------------------------------------------------


def test_a_larger_number_has_no_less_noise() -> None:
    """Noise is the largest change among numbers of one size, and at least that for larger ones."""
    value = 2.0 ** np.repeat(np.arange(8), 100)
    moved = np.random.default_rng(0).uniform(0, 1e-6, value.shape)
    found = by_size("encoder", moved, {"encoder": value})
    octaves = found.reshape(8, 100)
    assert (octaves == octaves[:, :1]).all() and (np.diff(octaves[:, 0]) >= 0).all()
    assert (found >= np.maximum.accumulate(moved.reshape(8, 100).max(1)).repeat(100)).all()


def test_few_small_numbers_are_taken_together() -> None:
    """A single number may round exactly by luck: the noise is that of 64."""
    value = np.concatenate([np.full(3, 1e-3), np.full(100, 1.0)])
    moved = np.concatenate([np.zeros(3), np.full(100, 1e-6)])
    found = by_size("encoder", moved, {"encoder": value})
    assert found[:3] == pytest.approx(found[3:].min())


def test_half_a_rounding_of_a_usual_number_at_least() -> None:
    value = np.full((4, 50), 0.01)
    half = EPS["float32"] / 2
    unmoved = np.zeros_like(value)
    assert by_size("encoder", unmoved, {"encoder": value}) == pytest.approx(0.01 * half)
    layer = {"encoder.layer.0.intermediate.dense": -5 * np.ones((4, 50)), "encoder.layer.0.intermediate": value}
    lm_head = {"lm_head.dense": -5 * np.ones((4, 50)), "lm_head.gelu": value}
    for values in (layer, lm_head):  # GELU's 1 + erf rounds as 1 does
        before, after = values
        assert by_size(after, unmoved, values) == pytest.approx(5 * half)
        assert by_size(before, unmoved, values) == pytest.approx(5 * half)
        assert by_size(after, unmoved, {**values, before: unmoved}) == pytest.approx(0.01 * half)


def test_masked_numbers_do_not_count() -> None:
    value = np.ones((1, 100))
    moved = np.full_like(value, 1e-7)
    plain = by_size("x.scores", moved, {"x.scores": value})
    value[0, 50:], moved[0, 50:] = -10 * MASKED, 1e20
    masked = by_size("x.scores", moved, {"x.scores": value})
    assert masked[0, :50].max() <= plain.max()


def test_a_sample_of_many_numbers() -> None:
    value = np.ones((2, 2**18))
    moved = np.full_like(value, 1e-7)
    assert by_size("encoder", moved, {"encoder": value}).shape == value.shape
    assert by_size("encoder", moved, {"encoder": value}).max() < 1.3e-7 + EPS["float32"]


# --- the bound ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "keys", "bound"),
    [({}, 0, 16), ({"intermediate_size": 3072}, 0, 2 * math.sqrt(3072)), ({"hidden_size": 100}, 0, 20), ({}, 400, 40)],
)
def test_the_bound_is_that_of_the_longest_sum(fields: dict, keys: int, bound: float) -> None:
    assert bound_of(tiny().config.replace(**fields), keys) == pytest.approx(bound)
