"""The embedded model: `load()`, its heads and labels, and its logits as transformers 4.48.3 gives them."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support
from safetensors.numpy import load_file
from support import raises

import minroberta
from minroberta import ConfigError, Model
from minroberta.config import Config, labels_of_task

HERE = Path(__file__).parent
TINY = Path(minroberta.__file__).parent / "tiny"
GOLDEN = load_file(HERE / "golden" / "tiny.safetensors")
HEADS = ["masked_lm", "sequence_classification", "token_classification", "question_answering"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_logits_are_the_reference_s(head: str, dtype: str) -> None:
    """float64 up to rounding; float32 within 8 times the reference's own rounding."""
    model = minroberta.load(head=head, dtype=dtype)
    output = model(GOLDEN[f"{head}.input_ids"], attention_mask=GOLDEN[f"{head}.attention_mask"])
    for name in ("start_logits", "end_logits") if head == "question_answering" else ("logits",):
        value, truth = output[name], GOLDEN[f"{head}.{name}.float64"]
        if head == "masked_lm":
            value = value[GOLDEN[f"{head}.input_ids"] == model.config.vocab_size - 1]
        own = np.abs(GOLDEN[f"{head}.{name}.float32"] - truth).max()
        assert value.dtype == dtype and value.shape == truth.shape
        assert np.abs(value - truth).max() <= (1e-11 if dtype == "float64" else 8 * own)


def test_the_tokenizer_is_the_reference_s() -> None:
    model = minroberta.load()
    texts = ["The capital of France is <mask>.", "She was born in <mask>, and moved to London in 1950."]
    inputs = model.tokenize(texts)
    assert np.array_equal(inputs["input_ids"], GOLDEN["masked_lm.input_ids"])
    assert np.array_equal(inputs["attention_mask"], GOLDEN["masked_lm.attention_mask"])


def test_load_without_a_name_gives_the_embedded_model() -> None:
    model = minroberta.load()
    assert model.head == "masked_lm"
    named = minroberta.load("minroberta/tiny")
    assert named.config == model.config and repr(named) == repr(model)


def test_its_size_and_special_tokens() -> None:
    model = minroberta.load()
    c, library = model.config, model.tokenizer.library
    assert (c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.longest) == (6, 256, 8, 512)
    tokens = [library.id_to_token(i) for i in (0, 1, 2, 3, c.vocab_size - 1)]
    assert tokens == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert library.get_vocab_size() == c.vocab_size
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 16_000_000


def test_weights_are_stored_once_in_float16() -> None:
    stored = load_file(TINY / "model.safetensors")
    assert {array.dtype for array in stored.values()} == {np.dtype("float16")}
    assert all(np.isfinite(array).all() for array in stored.values())


def test_each_head_has_its_labels() -> None:
    assert set(minroberta.load(head="sequence_classification").config.label2id) == {"negative", "positive"}
    tags = minroberta.load(head="token_classification").config
    assert tags.num_labels == 17 and tags.id2label[7] == "NOUN" and tags.label2id["VERB"] == 15
    assert minroberta.load(head="question_answering").config.num_labels == 2


def test_a_saved_head_is_a_checkpoint(tmp_path: Path) -> None:
    model = minroberta.load(head="token_classification")
    model.save(tmp_path)
    again = minroberta.load(tmp_path)
    assert again.head == model.head and again.config.id2label == model.config.id2label
    assert again.tag("It rains.") == model.tag("It rains.")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_answers_alike(copied: Callable[[Model], Model]) -> None:
    model = minroberta.load()
    assert copied(model).fill_mask("A <mask>.") == model.fill_mask("A <mask>.")


# --- the labels of a head's task, in any checkpoint -------------------------------------------------------------------


def settings(params: Any) -> Config:
    return Config.from_dict({"model_type": "roberta", "task_specific_params": params})


def for_head(config: Config, head: str) -> Config:
    """The configuration with the labels of a head's task, as `load` makes it."""
    return config.replace(**labels_of_task(config.other, head))


def test_a_task_s_fields_are_taken_for_its_head_alone() -> None:
    config = settings({"text-classification": {"id2label": {"0": "a", "1": "b", "2": "c"}, "max_length": 50}})
    assert for_head(config, "sequence_classification").id2label == {0: "a", 1: "b", 2: "c"}
    assert for_head(config, "sequence_classification").label2id == {"a": 0, "b": 1, "c": 2}
    assert for_head(config, "token_classification") == for_head(config, "encoder") == config


def test_only_names_of_labels_are_taken_from_a_task_s_fields() -> None:
    """transformers' pipeline takes none of them for a classifier; problem_type would change its scores."""
    fields = {"problem_type": "regression", "num_labels": 3, "vocab_size": 7, "model_type": "xlm-roberta"}
    config = settings({"text-classification": fields})
    assert for_head(config, "sequence_classification") == config


@pytest.mark.parametrize("labels", [("bad", "good"), ("bad", "fair", "good")])
def test_the_labels_that_are_saved_are_loaded(labels: tuple[str, ...], tmp_path: Path) -> None:
    """The labels are not those that the task had in the original checkpoint."""
    config = {"id2label": dict(enumerate(labels))}
    minroberta.load(head="sequence_classification", config=config, missing="init").save(tmp_path)
    assert minroberta.load(tmp_path).config.id2label == config["id2label"]
    tags = minroberta.load(tmp_path, head="token_classification", missing="init").config
    assert tags.num_labels == 17  # another head's task is unchanged


def test_a_random_model_has_the_labels_of_its_head(tmp_path: Path) -> None:
    model = minroberta.init("minroberta/tiny", head="token_classification")
    assert model.config.num_labels == 17
    model.save(tmp_path)
    assert minroberta.load(tmp_path).config.id2label == model.config.id2label


@pytest.mark.parametrize("params", [None, {}, {"text-classification": None}, {"summarization": {"num_beams": 4}}])
def test_task_fields_without_an_effect_on_the_head(params: Any) -> None:
    assert for_head(settings(params), "sequence_classification") == settings(params)


@pytest.mark.parametrize("params", [5, "x", [1], {"text-classification": 5}, {"text-classification": [["a", 1]]}])
def test_invalid_task_specific_params(params: Any) -> None:
    with raises(ConfigError, ValueError, "task_specific_params must be an object that maps tasks to objects"):
        for_head(settings(params), "sequence_classification")


def test_given_fields_override_a_task_s(tmp_path: Path) -> None:
    model = minroberta.init({**support.TINY, "architectures": ["RobertaForSequenceClassification"]})
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["task_specific_params"] = {"text-classification": {"id2label": {"0": "no", "1": "yes"}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert minroberta.load(tmp_path).config.id2label == {0: "no", 1: "yes"}
    assert minroberta.load(tmp_path, config={"id2label": {0: "a", 1: "b"}}).config.id2label == {0: "a", 1: "b"}
