"""Tests of training: against torch's AdamW and the reference's dropout, and of what it learns."""

import json
from typing import Any

import numpy as np
import pytest
import strict
from generators.gradient_cases import GRADIENT_CASES
from hypothesis import given
from hypothesis import strategies as some
from support import CASE, GOLDEN, Case, config_of, model_of, raises, tiny

import minroberta
from minroberta import Config, ConfigError, InputError, Model, WeightsError, trace
from minroberta.train import (
    Moments,
    Part,
    adamw,
    clipped,
    decays,
    dropout,
    dropout_at,
    masked,
    train,
    warm_up_and_decay,
)
from minroberta.weights import flat, move, tree

STORED = json.loads((GOLDEN / "training.json").read_text(encoding="utf-8"))
IDS = np.array([[0, 7, 9, 11, 13, 2], [0, 8, 12, 2, 1, 1]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS != 1).astype(int), "labels": np.where(IDS != 1, IDS, -100)}

# --- ten steps of the reference -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in GRADIENT_CASES if case.name in STORED["cases"]], ids=str)
def test_ten_steps_are_those_of_torch(case: Case) -> None:
    """Losses to 1e-12; weights too, but for the keys' bias, whose gradient is rounding, which Adam makes large."""
    expected, model = STORED["cases"][case.name], model_of(case, "float64")
    own_name, batches = model.config.family.own_name, [case.steps[0]] * STORED["settings"]["steps"]
    steps = list(train(model, batches, **STORED["settings"]))
    np.testing.assert_allclose([step.loss for step, _ in steps], expected["losses"], rtol=1e-12)
    _, after = steps[-1]
    ends = {own_name(name): weight.reshape(-1) for name, weight in flat(after.params).items()}
    for name, two in expected["ends"].items():
        found = [ends[name].sum(), ends[name] @ np.cos(np.arange(len(ends[name])))]
        np.testing.assert_allclose(found, two, rtol=0, atol=1e-9 if name.endswith("key.bias") else 1e-12, err_msg=name)


def test_gradients_are_clipped_as_torch_clips_them() -> None:
    """The stored norms are those of the first steps, before clipping."""
    for name, expected in STORED["cases"].items():
        case = next(case for case in GRADIENT_CASES if case.name == name)
        found = minroberta.gradients(model_of(case, "float64"), **case.steps[0])
        norm = np.sqrt(sum((g * g).sum() for g in found.values()))
        assert norm == pytest.approx(expected["norms"][0], rel=1e-12)
        most = norm / 3
        shorter = clipped(found, most)
        assert np.sqrt(sum((g * g).sum() for g in shorter.values())) == pytest.approx(most, rel=1e-5)
        assert all(np.array_equal(g, found[name]) for name, g in clipped(found, 2 * norm).items())


# --- parts ----------------------------------------------------------------------------------------------------------


def test_the_first_step_has_the_length_of_the_rate() -> None:
    """With bias correction, m̂ / √v̂ is the sign of the gradient."""
    weights = {"a.weight": np.array([1.0, -2.0, 3.0])}
    new, moments = adamw(weights, {"a.weight": np.array([0.1, -5.0, 1e-3])}, Moments.of(weights), 0.1, weight_decay=0)
    np.testing.assert_allclose(new["a.weight"], [0.9, -1.9, 2.9], rtol=1e-5)
    assert moments.steps == 1 and weights["a.weight"].tolist() == [1, -2, 3]


def test_what_decays() -> None:
    names = flat(tiny("masked_lm").params)
    kept = {name for name in names if not decays(name)}
    assert kept == {name for name in names if name.endswith("bias") or "norm" in name.lower()}
    assert decays("encoder.layer.0.attention.self.query.lora_A.weight")
    weights = {"a.weight": np.ones(2), "a.bias": np.ones(2), "LayerNorm.weight": np.ones(2)}
    zeros = {name: np.zeros(2) for name in weights}
    new, _ = adamw(weights, zeros, Moments.of(weights), 0.1, weight_decay=0.5)
    assert {name: x[0] for name, x in new.items()} == {"a.weight": 0.95, "a.bias": 1.0, "LayerNorm.weight": 1.0}


@given(some.integers(0, 20), some.integers(1, 50))
def test_the_schedule(warm_up: int, steps: int) -> None:
    factors = [warm_up_and_decay(step, warm_up, steps) for step in range(steps + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    if warm_up < steps:
        assert factors[warm_up] == 1 and factors[-1] == 0
        assert factors[:warm_up] == sorted(factors[:warm_up]) and factors[warm_up:] == sorted(factors[warm_up:])[::-1]


# --- dropout --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORED["dropout"])
def test_dropout_is_where_the_reference_has_it(name: str) -> None:
    """Each place, with its probability, in order; a classifier's reads the first token of the last hidden state."""
    case = CASE[name]
    config = config_of(Case(**{**case.__dict__, "config": {**case.config, **STORED["rates"]}}))
    values = trace(model_of(case, "float64"), **{n: x for n, x in case.steps[0].items() if not isinstance(x, bool)})
    found = []
    for own, value in values.items():
        canonical = config.family.canonical_name(own)
        if p := dropout_at(canonical, config, case.head):
            is_read = case.head == "sequence_classification" and canonical in ("encoder", "LayerNorm")
            found.append([p, [value.shape[0], value.shape[2]] if is_read else list(value.shape)])
    assert found == STORED["dropout"][name]


def test_the_part_that_is_dropped() -> None:
    config = Config.from_dict(
        {"model_type": "roberta", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.4}
    )
    edit, ones = dropout(config, "masked_lm", (3, 1)), np.ones((200, 300))
    for name, p in (("embeddings", 0.1), ("encoder.layer.0.attention.self.probs", 0.4)):
        found = edit(name, ones)
        assert (found == 0).mean() == pytest.approx(p, abs=0.005)
        assert set(np.unique(found)) == {0, 1 / (1 - int(p * 2**16) / 2**16)}
        assert np.array_equal(edit(name, ones), found)  # the gradient gets the mask of its value
        assert not np.array_equal(dropout(config, "masked_lm", (3, 2))(name, ones), found)
    assert edit("encoder.layer.0.attention.self.query", ones) is ones
    one, other = (edit(f"encoder.layer.{i}.output.dense", ones) for i in (0, 1))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("rate", ["x", 1, -0.1, 10**400, float("nan"), [0.1]])
def test_a_rate_that_is_none(rate: Any) -> None:
    config = Config.from_dict({"model_type": "roberta", "classifier_dropout": rate})
    with raises(ConfigError, ValueError, "classifier_dropout must be a number from 0 to less than 1, not"):
        dropout(config, "masked_lm", 0)


def test_training_with_dropout_is_seeded() -> None:
    model = tiny("masked_lm")

    def losses(seed: int | None) -> list[float]:
        return [step.loss for step, _ in train(model, [BATCH] * 3, steps=3, learning_rate=1e-3, seed=seed)]

    assert losses(1) == losses(1) != losses(2)
    assert losses(None) != losses(1)


# --- masking --------------------------------------------------------------------------------------------------------


def test_masking_is_that_of_the_paper() -> None:
    config = Config.from_dict({"model_type": "roberta", "vocab_size": 1000})
    ids = np.random.RandomState(0).randint(5, 999, (400, 300))
    ids[:, 0], ids[:, 200:] = 0, 1
    new, labels = masked(ids, config, 999, {0, 1, 2}, seed=4)
    chosen = labels != -100
    assert not chosen[:, 0].any() and not chosen[:, 200:].any()
    assert chosen[:, 1:200].mean() == pytest.approx(0.15, abs=0.005)
    assert np.array_equal(labels[chosen], ids[chosen]) and np.array_equal(new[~chosen], ids[~chosen])
    assert (new[chosen] == 999).mean() == pytest.approx(0.8, abs=0.01)
    assert (new[chosen] == ids[chosen]).mean() == pytest.approx(0.1, abs=0.01)
    assert not np.array_equal(masked(ids, config, 999, {0, 1, 2}, seed=5)[1], labels)


# --- the loop -------------------------------------------------------------------------------------------------------


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    """Of a loss that is a mean over rows with as many labels each."""
    model = tiny("sequence_classification")
    rows = [{"input_ids": IDS[i : i + 1], "labels": np.array([i])} for i in range(2)]
    whole = {"input_ids": IDS, "labels": np.array([0, 1])}
    options: dict[str, Any] = {"steps": 1, "learning_rate": 0.1}
    ((one, by_parts),) = train(model, rows, accumulate=2, **options)
    ((other, at_once),) = train(model, [whole], **options)
    assert one.loss == pytest.approx(other.loss, rel=1e-12)
    for name, weight in flat(at_once.params).items():
        np.testing.assert_allclose(flat(by_parts.params)[name], weight, rtol=0, atol=1e-9, err_msg=name)


def test_only_some_weights() -> None:
    model = tiny("sequence_classification")
    batch = {"input_ids": IDS, "labels": np.array([0, 1])}
    ((_, after),) = train(
        model, [batch], steps=1, learning_rate=0.1, part=Part(model, lambda name: "classifier" in name)
    )
    changed = {name for name, x in flat(after.params).items() if not np.array_equal(x, flat(model.params)[name])}
    assert changed == {name for name in flat(model.params) if "classifier" in name}


def test_it_ends_with_its_batches() -> None:
    model = tiny("masked_lm")
    assert [step.number for step, _ in train(model, [BATCH] * 3, steps=9, learning_rate=0.1, accumulate=2)] == [1, 2]
    assert [step.number for step, _ in train(model, iter([BATCH] * 9), steps=2, learning_rate=0.1)] == [1, 2]


def test_a_trained_model_answers_and_is_saved(tmp_path: Any) -> None:
    """The tokenizer stays, and the old weights too."""
    model = minroberta.load()
    before = model.fill_mask("A cat sat on the <mask>.")[0]
    batch, house = model.tokenizer("A cat sat on the <mask>."), model.tokenizer.id_of("Ġhouse")
    labels = np.where(batch["input_ids"] == model.tokenizer.mask_token_id, house, -100)
    *_, (step, after) = train(model, [{**batch, "labels": labels}] * 10, steps=10, learning_rate=3e-4)
    assert step.rate == pytest.approx(3e-5) and step.loss < 1
    after.save(tmp_path)
    assert minroberta.load(tmp_path).fill_mask("A cat sat on the <mask>.")[0]["token_str"].strip() == "house"
    assert model.fill_mask("A cat sat on the <mask>.")[0] == before


def test_a_model_in_half_precision_is_not_trained() -> None:
    with raises(InputError, ValueError, "gradients are computed in float32 or float64, not float16"):
        next(train(minroberta.load(dtype="float16"), [BATCH], steps=1, learning_rate=0.1))


def test_a_step_on_the_stand_in_for_cupy() -> None:
    """With dropout and clipping: the losses are those of NumPy."""
    model = tiny("sequence_classification", hidden_dropout_prob=0.1)
    moved = Model(model.config, tree(move(flat(model.params), "float64", strict)), model.head)
    batch = {"input_ids": IDS, "labels": np.array([0, 1])}
    one, two = (
        [step.loss for step, _ in train(each, [batch] * 3, steps=3, learning_rate=0.1, most=0.1, seed=0)]
        for each in (model, moved)
    )
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_a_model_of_which_a_part_is_trained_still_watches_its_file(tmp_path: Any) -> None:
    """The weights that stay are mapped from it; if all are trained, none is."""
    tiny("sequence_classification", "float32").save(tmp_path)
    model, batch = minroberta.load(tmp_path), {"input_ids": IDS, "labels": np.array([0, 1])}
    head = Part(model, lambda name: "classifier" in name)
    ((_, part),) = train(model, [batch], steps=1, learning_rate=0.1, part=head)
    ((_, whole),) = train(model, [batch], steps=1, learning_rate=0.1)
    assert part(IDS).logits.shape == whole(IDS).logits.shape
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-8] + bytes(8))
    with raises(WeightsError, ValueError, "was changed after it was loaded"):
        part(IDS)
    assert whole(IDS).logits.shape == (2, 2)
