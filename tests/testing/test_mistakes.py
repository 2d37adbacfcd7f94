"""Tests of the catalogue: each entry explains itself, and changes something in some model."""

import contextlib
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import slow_but, tiny

from minroberta import Error, trace
from minroberta.testing.changes import Setting
from minroberta.testing.diagnose import diagnose
from minroberta.testing.mistakes import catalogue
from minroberta.trace import recording

IDS = np.array([[0, 7, 1, 9, 13, 2], [0, 8, 12, 2, 1, 1]])
MASK = (IDS != 1).astype(int)
BLIND = np.ones((2, 6, 6), int)
BLIND[0, 3] = BLIND[:, :, 2] = 0
PADDED = {"input_ids": IDS, "attention_mask": MASK}
MEMORY = np.random.default_rng(0).normal(size=(2, 4, 30))


@functools.cache
def settings() -> dict[str, Setting]:
    """Models and inputs on which every mistake can be made."""
    decoder = tiny("causal_lm", is_decoder=True)
    past = decoder(IDS[:, 3:5], use_cache=True).past_key_values
    return {
        "post-LN": Setting(tiny("masked_lm", layer_norm_eps=1e-3, hidden_act="silu"), PADDED),
        "pre-LN": Setting(tiny("masked_lm", model_type="roberta-prelayernorm"), PADDED),
        "XL": Setting(tiny("token_classification", model_type="xlm-roberta-xl"), PADDED),
        "untied": Setting(tiny("masked_lm", tie_word_embeddings=False), PADDED),
        "classifier": Setting(tiny("sequence_classification"), PADDED),
        "answers": Setting(tiny("question_answering"), PADDED),
        "encoder": Setting(tiny(), {"input_ids": IDS, "attention_mask": BLIND}),
        "hidden": Setting(tiny(), {"input_ids": np.where(IDS == 1, 5, IDS), "attention_mask": MASK}),
        "relative": Setting(tiny(position_embedding_type="relative_key"), PADDED),
        "decoder": Setting(decoder, PADDED),
        "cached": Setting(decoder, {"input_ids": IDS[:, 3:5], "past_key_values": past}),
        "long": Setting(tiny(max_position_embeddings=304), {"input_ids": np.resize(np.arange(5, 25), (1, 300))}),
        "deep": Setting(tiny(num_hidden_layers=12), PADDED),
        "cross": Setting(
            tiny("causal_lm", is_decoder=True, add_cross_attention=True),
            {**PADDED, "encoder_hidden_states": MEMORY, "encoder_attention_mask": np.array([[1, 1, 1, 0]] * 2)},
        ),
        "pruned": Setting(tiny("masked_lm").prune_heads({1: [0, 2]}), PADDED),
        "choices": Setting(tiny("multiple_choice"), {name: x[None] for name, x in PADDED.items()}),
        "heads masked": Setting(tiny("masked_lm"), {**PADDED, "head_mask": np.array([1, 0, 1, 0.5, 1])}),
    }


NAMES = sorted({mistake.name for setting in settings().values() for mistake in catalogue(setting.model)})


PAGE = (Path(__file__).parents[2] / "docs" / "mistakes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "fields", [{"num_hidden_layers": 12}, {"model_type": "roberta-prelayernorm"}, {"hidden_act": "gelu_new"}]
)
def test_the_guide_lists_every_mistake(fields: dict[str, Any]) -> None:
    for mistake in catalogue(tiny(**fields)):
        kind = re.match(r"(bias-missing|weight-transposed|layer-missing|qkv-order(?!-by-head))-(.*)", mistake.name)
        if part := re.fullmatch(
            r"eps-1e-\d+-(in-layers|outside-layers|but-lm-head)|(\w+-from-(query|key|value))", mistake.name
        ):
            assert f"`eps-…-{part[1]}`" in PAGE if part[1] else f"`{part[2]}`" in PAGE
            continue
        expected = [f"`{kind[1]}-…`"] if kind else [f"`{mistake.name}`"]
        if kind and kind[1] != "layer-missing":
            expected.append(f"`-{kind[2]}`")
        if not kind and mistake.name != "norm-order":
            expected += [mistake.explanation, mistake.fix]
        for text in [*expected, mistake.seen_in]:
            assert text in PAGE, (mistake.name, text)


def outputs(setting: Setting) -> list[np.ndarray]:
    """The values of a run with its edits, by way of `trace`."""
    made: dict[str, np.ndarray] = {}

    def edited(name: str, value: np.ndarray) -> np.ndarray:
        made[name] = setting.edited(name, value, made)
        return made[name]

    with recording(edited), np.errstate(all="ignore"):
        setting.model(**setting.inputs)
    return list(made.values())


def changes(setting: Setting, name: str) -> bool:
    """True if one of the ways to make the mistake changes a value."""
    mistake = next((one for one in catalogue(setting.model) if one.name == name), None)
    settings = [way.applied(setting) for way in mistake.ways] if mistake else []
    before = outputs(setting)
    return any(other is not None and not _same(before, outputs(other)) for other in settings)


def _same(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return len(some) == len(others) and all(map(functools.partial(np.array_equal, equal_nan=True), some, others))


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_something_somewhere(name: str) -> None:
    assert any(changes(setting, name) for setting in settings().values())


@pytest.mark.parametrize("kind", ["post-LN", "pre-LN", "XL", "classifier", "answers", "encoder", "relative", "decoder"])
@pytest.mark.parametrize("name", ["tf32", "int8-weights", "float16", "bfloat16", "eps-1e-12", "variance-unbiased"])
def test_some_are_everywhere(kind: str, name: str) -> None:
    assert changes(settings()[kind], name)


@pytest.mark.parametrize("kind", settings())
def test_names_are_unique(kind: str) -> None:
    names = [mistake.name for mistake in catalogue(settings()[kind].model)]
    assert len(names) == len(set(names)) > 80
    assert all(name == name.lower() and " " not in name for name in names)


@pytest.mark.parametrize("kind", settings())
def test_each_explains_itself(kind: str) -> None:
    for mistake in catalogue(settings()[kind].model):
        assert mistake.explanation.endswith(".") and mistake.fix.endswith("."), mistake.name
        assert 10 < len(mistake.explanation) < 200, mistake.name
        assert mistake.ways, mistake.name
        assert mistake.seen_in == "" or mistake.seen_in.startswith("https://github.com/"), mistake.name


@pytest.mark.parametrize("model_type", ["roberta", "roberta-prelayernorm"])
@pytest.mark.parametrize("inputs", [{"position_ids": np.arange(2, 8)[None]}, {"inputs_embeds": True}])
def test_given_positions_are_not_a_mistake_of_counting(model_type: str, inputs: dict) -> None:
    """Given positions are not a mistake; embeddings have positions, but no padding."""
    model = tiny(model_type=model_type)
    given = {"input_ids": IDS[:1] * 0 + 5, **inputs}
    if given.pop("inputs_embeds", None):
        given = {"inputs_embeds": np.random.default_rng(0).normal(size=(1, 6, 30))}
    positions = [mistake for mistake in catalogue(model) if mistake.name.startswith("positions-from-0")]
    changed = [way.applied(Setting(model, given)) for mistake in positions for way in mistake.ways]
    assert all(setting is None for setting in changed) == ("position_ids" in given)
    assert diagnose(model, given, dict(trace(model, **given))) == []


@pytest.mark.parametrize("kind", slow_but(settings(), "post-LN", "cross"))
def test_each_can_be_made_or_is_passed_over(kind: str) -> None:
    """Every way runs on every model, unless the configuration is invalid, and leaves the model as it was."""
    setting = settings()[kind]
    before = outputs(setting)
    for mistake in catalogue(setting.model):
        for way in mistake.ways:
            with contextlib.suppress(Error):
                other = way.applied(setting)
                assert other is None or outputs(other), mistake.name
    assert _same(before, outputs(setting))


@pytest.mark.parametrize("kind", slow_but([x for x in settings() if x != "long"], "post-LN"))
def test_a_right_port_and_an_unknown_mistake_in_each(kind: str) -> None:
    model, inputs, *_ = settings()[kind]
    with np.errstate(over="ignore"):  # masked scores
        values = {name: value.astype("float32") for name, value in trace(model, **inputs).items()}
    assert diagnose(model, inputs, values) == []
    for name in ("encoder.layer.0.attention.self", "encoder.layer.0.output.dense"):
        assert diagnose(model, inputs, {**values, name: values[name] * np.float32(1.01)}) == [], name
