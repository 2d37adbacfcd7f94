"""Encoder-decoders and the search for tokens, compared with transformers 4.48.3.

`generators/make_generation.py` wrote the checkpoints in `golden/generation`, and the tokens that it gave.
"""

import dataclasses
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support import GOLDEN, raises

import minroberta
from minroberta import ConfigError, InputError, Model, NameUnknownError
from minroberta.checkpoints import read
from minroberta.checkpoints.formats import safetensors
from minroberta.cli.app import main
from minroberta.text.generation import Generation, read_generation
from minroberta.text.search import Task, apply_rules, sampled, search

DIRECTORY = GOLDEN / "generation"
MODELS = ("tied", "untied", "uneven", "prelayernorm")
TEXT = "Anna Berg lives in Paris."


def opened(name: str, directory: Path = DIRECTORY, **options: Any) -> Model:
    return minroberta.load(directory / name, **{"tokenizer": DIRECTORY, **options})


def expected(name: str) -> dict[str, Any]:
    return json.loads((DIRECTORY / name / "expected.json").read_text())


def changed(tmp_path: Path, name: str = "tied", **fields: Any) -> Path:
    """A copy of a checkpoint, with other fields in its config.json."""
    directory = tmp_path / name
    shutil.copytree(DIRECTORY / name, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **fields}))
    return directory


def written(model: Model, text: str = TEXT, **options: Any) -> str:
    return model.generate(text, **options)[0]["generated_text"]


# --- compared with transformers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_transformers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[int]] = []

    def recorded(*arguments: Any) -> list[int]:
        found.append(search(*arguments))
        return found[-1]

    monkeypatch.setattr("minroberta.text.generate.search", recorded)
    model, wanted = opened(name), expected(name)
    own = model.generation
    for run in wanted["runs"]:
        options = dict(run["options"])
        settings = {key: options.pop(key) for key in list(options) if key.endswith("_token_id")}
        model.generation = own.changed(settings, InputError)
        found.clear()
        texts = model.generate(wanted["texts"], **options)
        tokens = [ids[:-1] if ids[-1] in own.eos_token_id else ids for ids in run["tokens"]]
        assert found == tokens, run["options"]
        assert texts == [[{"generated_text": model.decode(ids, skip_special_tokens=True)}] for ids in tokens]


@pytest.mark.parametrize("name", MODELS)
def test_both_halves_give_the_reference_s_outputs(name: str) -> None:
    model, wanted = opened(name, dtype="float64"), safetensors.File(DIRECTORY / name / "expected.safetensors")
    mask = wanted["attention_mask"]
    states = model.encoder(wanted["input_ids"], mask).last_hidden_state
    np.testing.assert_allclose(states, wanted["encoder_last_hidden_state"], atol=1e-10)
    logits = model(wanted["decoder_input_ids"], encoder_hidden_states=states, encoder_attention_mask=mask).logits
    np.testing.assert_allclose(logits, wanted["logits"], atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_sampled_from_the_reference_s_scores(name: str) -> None:
    model, wanted = opened(name), expected(name)
    ids = model.tokenize(wanted["texts"][0])["input_ids"]
    logits = model([[0]], encoder_hidden_states=model.encoder(ids).last_hidden_state).logits[:, -1]
    for case in wanted["sampled"]:
        settings = model.generation.changed({"do_sample": True, "num_beams": 1, **case["options"]}, InputError)
        scores = apply_rules(logits, [[0]], task(settings, [0], 2, model.generation.eos_token_id))[0]
        found = {str(i): scores[i] for i in np.flatnonzero(np.isfinite(scores))}
        assert found == pytest.approx(case["scores"], abs=2e-4), case["options"]


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_of_generation_config_come_before_those_of_config(tmp_path: Path) -> None:
    directory = changed(tmp_path)
    assert opened("tied", tmp_path).generation == opened("tied").generation
    (directory / "generation_config.json").write_text('{"max_length": 9, "decoder_start_token_id": 0}')
    model = opened("tied", tmp_path)
    assert (model.generation.max_length, model.generation.num_beams, model.generation.eos_token_id) == (9, 1, ())
    assert written(model) == written(opened("tied"), max_new_tokens=8, num_beams=1, no_repeat_ngram_size=0)


def test_a_default_of_the_whole_gives_way_to_the_decoder_s_setting(tmp_path: Path) -> None:
    decoder = json.loads((DIRECTORY / "tied" / "config.json").read_text())["decoder"]
    changed(tmp_path, num_beams=1, max_length=22, decoder={**decoder, "num_beams": 3, "max_length": 7})
    found = opened("tied", tmp_path).generation
    assert (found.num_beams, found.max_length) == (3, 22)


def test_settings_that_are_not_supported_are_named(tmp_path: Path) -> None:
    changed(tmp_path, num_beam_groups=2, bad_words_ids=[[5]], encoder_no_repeat_ngram_size=0, typical_p=1.0)
    with pytest.warns(UserWarning, match=r"^config.json: generate does not support num_beam_groups, bad_words_ids, so"):
        opened("tied", tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_beams", 0, "num_beams must be an integer from 1 to 100, not 0"),
        ("num_beams", 10**9, "num_beams must be an integer from 1 to 100, not 1000000000"),
        ("max_length", "9", "max_length must be an integer of at least 1, not '9'"),
        ("top_p", 1.5, "top_p must be a number from 0 to 1, not 1.5"),
        ("length_penalty", float("nan"), "length_penalty must be a number from -30 to 30, not nan"),
        ("early_stopping", 1, "early_stopping must be True or False or 'never', not 1"),
        ("early_stopping", "always", "early_stopping must be True or False or 'never', not 'always'"),
        ("do_sample", "yes", "do_sample must be True or False, not 'yes'"),
        ("repetition_penalty", 0, "repetition_penalty must be a finite number above 0, not 0"),
        ("eos_token_id", [2, "3"], "eos_token_id must be an integer of at least 0, not '3'"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, name: str, value: Any, message: str) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"do_sample": True, name: value}))
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_generation(tmp_path, {}, opened("tied").config)
    if name in ("num_beams", "top_p", "length_penalty", "early_stopping", "repetition_penalty"):
        options = {"temperature": 1.0} if name == "top_p" else {}
        with pytest.raises(InputError, match=re.escape(message)):
            opened("tied").generate("a", **options, **{name: value})


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({}, {"max_new_tokens": 64}, "64 new tokens are requested, but the decoder takes 64 with the first one: give"),
        (
            {"max_length": 9},
            {"min_new_tokens": 9},
            "min_new_tokens is 9, but the maximum is 8: give a larger max_new_tok",
        ),
        (
            {"max_length": 1},
            {},
            "the text has 1 tokens, but max_length in this model's settings is 1: give max_new_tok",
        ),
        ({"decoder_start_token_id": 479}, {}, "the decoder's first token is 479, but it must be one of its 479 tokens"),
        ({"forced_bos_token_id": (9, 479)}, {}, "forced_bos_token_id is (9, 479), but this model has 479 tokens"),
        ({}, {"top_p": 0.5}, "top_p is for sampling: give a temperature above 0 as well"),
    ],
)
def test_what_cannot_be_generated(settings: dict[str, Any], options: dict[str, Any], message: str) -> None:
    model = opened("tied")
    model.generation = dataclasses.replace(model.generation, **settings)
    with pytest.raises(InputError, match=re.escape(message)):
        model.generate("a", **options)


def test_settings_without_an_effect(tmp_path: Path) -> None:
    """Some repositories have values that sampling does not allow, and do not sample."""
    config = opened("tied").config
    for text, wanted in (
        ('{"temperature": 0.0, "top_k": -1, "eos_token_id": [-1, 7]}', Generation(eos_token_id=(7,))),
        ('{"do_sample": true, "top_k": null}', Generation(do_sample=True, eos_token_id=())),
        ('{"do_sample": true}', Generation(do_sample=True, top_k=50, eos_token_id=())),
    ):
        (tmp_path / "generation_config.json").write_text(text)
        assert read_generation(tmp_path, {}, config) == wanted


def test_settings_of_our_own_are_saved(tmp_path: Path) -> None:
    """With the tokens of the configuration, which transformers does not take from there."""
    model = opened("untied")
    model.generation = Generation(num_beams=2, decoder_start_token_id=0, do_sample=True)
    model.save(tmp_path)
    again = minroberta.load(tmp_path).generation
    assert (again.num_beams, again.top_k) == (2, 0)
    assert (again.bos_token_id, again.eos_token_id) == (model.config.bos_token_id, (model.config.eos_token_id,))


@pytest.mark.parametrize("name", ["temperature", "top_p", "length_penalty", "repetition_penalty"])
def test_settings_of_hundreds_of_digits(name: str, tmp_path: Path) -> None:
    """JSON may hold an integer that is larger than any float."""
    opened("untied").save(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"do_sample": True, name: 10**400}), encoding="utf-8")
    with raises(ConfigError, ValueError, f"{name} must be a", "not 1000"):
        minroberta.load(tmp_path)


def test_settings_of_the_base_of_an_adapter(tmp_path: Path) -> None:
    """As in peft, whose model has the base's settings."""
    fields = {"model_type": "roberta", "vocab_size": 479, "hidden_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 1, "intermediate_size": 8, "is_decoder": True}  # fmt: skip
    base = minroberta.init(fields, head="causal_lm")
    base.generation = Generation(num_beams=4)
    base.save(tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    query = "base_model.model.roberta.encoder.layer.0.attention.self.query"
    arrays = {f"{query}.lora_{x}.weight": np.ones(shape, np.float32) for x, shape in (("A", (2, 8)), ("B", (8, 2)))}
    safetensors.write(tmp_path / "adapter" / "adapter_model.safetensors", arrays, {"format": "pt"})
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "base_model_name_or_path": str(tmp_path / "base")}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    model = minroberta.load(tmp_path / "adapter")
    assert model.generation.num_beams == 4
    assert minroberta.load(tmp_path / "base", adapter=tmp_path / "adapter").generation == model.generation


def test_a_decoder_needs_its_encoder() -> None:
    with pytest.raises(InputError, match="the decoder of an encoder-decoder needs encoder_hidden_states"):
        opened("tied")([[0, 5]])


def test_a_repository_that_samples() -> None:
    """As in transformers, `do_sample` without `top_k` samples from the 50 likeliest; an argument changes that."""
    model = opened("untied")
    sampling = read_generation(Path("nowhere"), {"do_sample": True}, model.config)
    assert sampling.top_k == 50
    model.generation = dataclasses.replace(sampling, decoder_start_token_id=0)
    assert written(model, seed=1) == written(model, seed=1, temperature=1.0, top_k=50)
    assert len({written(model, seed=seed) for seed in range(5)}) == 5
    assert written(model, temperature=0) == written(opened("untied"), max_new_tokens=20)


def test_beams_are_sampled_with_a_temperature() -> None:
    model = opened("prelayernorm")
    options = {"num_beams": 3, "max_new_tokens": 8, "temperature": 3.0}
    found = [written(model, seed=seed, **options) for seed in range(4)]
    assert len(set(found)) == 4
    assert written(model, seed=2, **options) == found[2]


@given(st.integers(0, 10**6))
def test_tokens_without_replacement_have_their_probabilities(seed: int) -> None:
    """The first of the noisy scores is a sample from the softmax; and the second, of the rest."""
    scores = np.random.default_rng(seed).standard_normal(4)
    p = np.exp(scores) / np.exp(scores).sum()
    noisy = sampled(np.tile(scores, (4000, 1)), task(Generation(), [0], 2))
    first, second = np.argsort(-noisy, axis=1).T[:2]
    for i in range(4):
        for j in {*range(4)} - {i}:
            wanted = p[i] * p[j] / (1 - p[i])
            deviation = np.sqrt(wanted * (1 - wanted) / 4000)
            assert abs(np.mean((first == i) & (second == j)) - wanted) < 6 * deviation


# --- the rest of a repository ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_generates_the_same(tmp_path: Path, name: str) -> None:
    model = opened(name)
    model.save(tmp_path / name)
    again = minroberta.load(tmp_path / name)
    assert again.generation == model.generation
    texts = expected(name)["texts"]
    assert again.generate(texts) == model.generate(texts)


def test_a_decoder_s_settings_are_saved(tmp_path: Path) -> None:
    config = {"model_type": "roberta", "vocab_size": 479, "hidden_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 1, "intermediate_size": 8, "is_decoder": True, "num_beams": 2,
              "max_length": 12}  # fmt: skip
    minroberta.init(config, head="causal_lm").save(tmp_path / "first")
    model = minroberta.load(tmp_path / "first", tokenizer=DIRECTORY)
    assert (model.generation.num_beams, model.generation.max_length) == (2, 12)
    model.save(tmp_path / "second")
    assert json.loads((tmp_path / "second" / "generation_config.json").read_text())["num_beams"] == 2
    again = minroberta.load(tmp_path / "second")
    assert again.generation == model.generation
    assert written(again, "Anna") == written(model, "Anna")
    with pytest.raises(InputError, match=r"the text has .* tokens, but max_length in this model's settings is 12"):
        again.generate(TEXT)


def test_settings_of_an_earlier_model_are_removed(tmp_path: Path) -> None:
    opened("tied").save(tmp_path)
    assert (tmp_path / "generation_config.json").is_file()
    opened("tied", head="encoder").save(tmp_path)
    assert not (tmp_path / "generation_config.json").exists()


def test_both_halves_get_new_tokens() -> None:
    model = opened("tied")
    assert model.tokenizer.add_tokens(["fox"]) == 1
    larger = model.resize_token_embeddings(len(model.tokenizer))
    assert larger.encoder.config.vocab_size == larger.config.vocab_size == len(model.tokenizer)
    assert larger.generation is model.generation
    assert written(larger, "Anna is a fox.", max_new_tokens=5)


def test_the_encoder_alone() -> None:
    model = opened("tied", head="encoder")
    assert model.head == "encoder" and model.encoder is None
    whole = opened("tied")
    np.testing.assert_array_equal(model.encode([TEXT]), whole.encoder.encode([TEXT]))
    with pytest.raises(NameUnknownError, match="does not have the head 'masked_lm': give 'causal_lm' for the whole"):
        opened("tied", head="masked_lm")


def test_a_long_text_is_cut() -> None:
    with pytest.warns(UserWarning, match="the text is longer than the 64 tokens that this model reads"):
        assert written(opened("tied"), "Anna " * 99, max_new_tokens=3)


def test_tied_halves_that_differ_in_the_file(tmp_path: Path) -> None:
    """As in transformers, the decoder's weights are then those of both."""
    directory = changed(tmp_path)
    file = safetensors.File(directory / "model.safetensors")
    arrays = {name: file[name].copy() for name in file}
    both = {name.replace("decoder.roberta.", "encoder."): x + 1 for name, x in arrays.items() if ".roberta." in name}
    both = {name: x for name, x in both.items() if "crossattention" not in name}
    safetensors.write(directory / "model.safetensors", {**both, **arrays}, {"format": "pt"})
    assert written(opened("tied", tmp_path)) == written(opened("tied"))


def test_wrapped_names(tmp_path: Path) -> None:
    """A trainer's prefix before both halves, in a tied checkpoint whose encoder has only its pooler."""
    directory = changed(tmp_path)
    file = safetensors.File(directory / "model.safetensors")
    arrays = {f"module.model.{name}": file[name].copy() for name in file}
    safetensors.write(directory / "model.safetensors", arrays, {"format": "pt"})
    assert written(opened("tied", tmp_path)) == written(opened("tied"))


def test_halves_that_are_refused(tmp_path: Path) -> None:
    config = json.loads((DIRECTORY / "tied" / "config.json").read_text())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"encoder": {**config["encoder"], "model_type": "bert"}}, "the encoder of this encoder-decoder is a 'bert'"),
        ({"encoder": None}, "config.json of an encoder-decoder must have an object encoder"),
        ({"decoder": {**config["decoder"], "add_cross_attention": False}}, "must attend to the encoder"),
        ({"encoder": {**config["encoder"], "hidden_size": 8}}, "hidden_size is 8, and the decoder's 16"),
    ]
    for index, (fields, message) in enumerate(cases):
        directory = tmp_path / str(index)
        changed(directory, **fields)
        with pytest.raises(ConfigError, match=message):
            opened("tied", directory)
    with pytest.raises(ConfigError, match="config= and adapter= are not supported for encoder-decoders"):
        opened("tied", config={"num_labels": 3})
    with pytest.raises(ConfigError, match="an encoder-decoder has two configurations"):
        read.config_of(DIRECTORY / "tied", read.read(DIRECTORY / "tied"))


def test_weights_that_are_missing_are_named_in_the_shell(tmp_path: Path) -> None:
    directory = changed(tmp_path)
    file = safetensors.File(directory / "model.safetensors")
    arrays = {name: file[name].copy() for name in file if "lm_head.dense" not in name}
    safetensors.write(directory / "model.safetensors", arrays, {"format": "pt"})
    result = CliRunner().invoke(main, ["generate", "a", "--model", str(directory)])
    assert result.exit_code and "lacks 2: lm_head.dense.weight, lm_head.dense.bias" in result.output


# --- the search -----------------------------------------------------------------------------------------------------


def task(settings: Generation, prompt: list[int], most: int, ends: Any = (2,)) -> Task:
    return Task(settings, prompt, most, list(ends), np.random.default_rng(0))


def total(table: np.ndarray, ids: list[int]) -> float:
    """The log-probability of the tokens after the first, where each depends on the one before it."""
    logits = table - np.log(np.exp(table).sum(-1, keepdims=True))
    return float(sum(logits[a, b] for a, b in itertools.pairwise(ids)))


@given(st.integers(0, 10**6), st.integers(3, 5))
def test_beams_enough_for_all_sequences_find_the_best_one(seed: int, V: int) -> None:
    """Compared with all sequences of two tokens after the prompt, without ends."""
    table = np.random.default_rng(seed).standard_normal((V, V)).astype(np.float32) * 3
    best = max(((a, b) for a in range(V) for b in range(V)), key=lambda pair: total(table, [0, *pair]))
    settings = Generation(num_beams=V, length_penalty=1.0)
    found = search(lambda rows, _: table[[row[-1] for row in rows]], task(settings, [0], 3, ()))
    assert total(table, found) == pytest.approx(total(table, [0, *best]), abs=1e-4)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3))
def test_no_sequence_of_tokens_occurs_twice(seed: int, beams: int, n: int) -> None:
    table = np.random.default_rng(seed).standard_normal((30, 30)).astype(np.float32)
    settings = Generation(num_beams=beams, no_repeat_ngram_size=n, min_new_tokens=12)
    found = search(lambda rows, _: table[[row[-1] for row in rows]], task(settings, [0], 14))
    parts = [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
    assert len(parts) == len(set(parts)) and 13 <= len(found) <= 14
