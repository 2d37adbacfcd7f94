"""Scores of sentence-transformers' cross-encoders for the same repositories, and pairs in every form."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import GOLDEN
from generators.embedding_cases import CASES, IDENTITY, MEAN, OLD, PAIRS, TANH, Case, write
from support import raises

import minroberta
from minroberta import ConfigError, InputError, Model, NameUnknownError

CASE = {case.name: case for case in CASES if case.labels is not None}
EXPECTED = json.loads((GOLDEN / "embeddings.json").read_text(encoding="utf-8"))


def opened(case: Case, directory: Path) -> Model:
    write(case, directory)
    return minroberta.load(directory)


def assert_near(found: Any, expected: Any) -> None:
    """Float32 rounding of two small layers: values are up to 4."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def scores_of(model: Model, **options: Any) -> list[float]:
    return [label["score"] for (label,) in model.classify(PAIRS, **options)]


@pytest.mark.parametrize("name", CASE)
def test_scores_are_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    assert_near(scores_of(opened(CASE[name], tmp_path)), EXPECTED[name])


@pytest.mark.parametrize("name", CASE)
def test_a_saved_reranker_gives_the_same(name: str, tmp_path: Path) -> None:
    opened(CASE[name], tmp_path / "a").save(tmp_path / "b")
    assert_near(scores_of(minroberta.load(tmp_path / "b")), EXPECTED[name])


def test_the_newest_activation_counts(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"sbert_ce_default_activation_function": TANH}
    identity = {"activation_fn": IDENTITY}
    raw = EXPECTED["reranker, field of old versions"]
    assert_near(scores_of(opened(Case("a", labels=1, config=fields), tmp_path / "a")), np.tanh(raw))
    fields["sentence_transformers"] = identity
    assert_near(scores_of(opened(Case("b", labels=1, config=fields), tmp_path / "b")), raw)
    fields["sentence_transformers"] = {"activation_fn": TANH}
    assert_near(scores_of(opened(Case("c", labels=1, config=fields, library=identity), tmp_path / "c")), raw)


SAVED = CASE["reranker, file of version 6"]
SETTINGS = SAVED.settings or {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": SETTINGS | {"max_seq_length": 8}}, "has max_seq_length 8, which is not supported"),
        ({"settings": SETTINGS | {"do_lower_case": True}}, "has do_lower_case True, which is not supported"),
        ({"settings": SETTINGS | {"transformer_task": "text-generation"}}, "only 'sequence-classification' is"),
        ({"modules": (("LogitScore", {}),)}, "unsupported module 'LogitScore' in modules.json: it belongs to"),
        ({"modules": (MEAN,)}, "unknown module 'Pooling' in modules.json: the supported modules"),
    ],
)  # fmt: skip
def test_cross_encoders_that_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with raises(ConfigError, ValueError, said):
        opened(dataclasses.replace(SAVED, version=OLD, **changes), tmp_path)
    assert minroberta.load(tmp_path, head="encoder")


def test_the_prompt_of_a_cross_encoder(tmp_path: Path) -> None:
    library = {**(SAVED.library or {}), "prompts": {"query": "find: "}, "default_prompt_name": "query"}
    with pytest.warns(UserWarning, match=r"trained with the prompt 'find: ' before the first text of a pair, which"):
        opened(dataclasses.replace(SAVED, library=library), tmp_path)


def test_function_to_apply(tmp_path: Path) -> None:
    model = opened(CASE["reranker, field of old versions"], tmp_path)
    raw = np.array(EXPECTED["reranker, field of old versions"])
    assert_near(scores_of(model, function_to_apply="none"), raw)
    assert_near(scores_of(model, function_to_apply="sigmoid"), 1 / (1 + np.exp(-raw)))
    assert_near(scores_of(model, function_to_apply="softmax"), np.ones(2))
    with raises(NameUnknownError, KeyError, "unknown function_to_apply 'tanh': give one of sigmoid, softmax, none"):
        scores_of(model, function_to_apply="tanh")


def test_an_activation_is_for_one_label(tmp_path: Path) -> None:
    """With more labels, scores stay those of transformers' pipeline."""
    case = Case("three", labels=3, config={"sbert_ce_default_activation_function": IDENTITY})
    (labels,) = opened(case, tmp_path).classify(PAIRS[:1], top_k=None)
    assert sum(label["score"] for label in labels) == pytest.approx(1)


@pytest.mark.parametrize("name", ["os.system", "torch.nn.Softmax2d", 3])
def test_an_activation_that_is_unknown(name: Any, tmp_path: Path) -> None:
    case = Case("odd", labels=1, config={"sbert_ce_default_activation_function": name})
    model = opened(case, tmp_path)
    with raises(ConfigError, ValueError, "unknown activation of a cross-encoder", "one of Identity, Tanh"):
        model.classify("a")
    assert model.classify("a", function_to_apply="sigmoid")


def test_pairs_in_any_form(tmp_path: Path) -> None:
    model = opened(CASE["reranker"], tmp_path)
    expected = model.classify(PAIRS)
    assert model.classify([list(pair) for pair in PAIRS]) == expected
    assert model.classify([{"text": a, "text_pair": b} for a, b in PAIRS]) == expected
    assert model.classify({"text": PAIRS[0][0], "text_pair": PAIRS[0][1]}) == model.classify(PAIRS[0])
    assert model.classify({"text": "a"}) == model.classify({"text": "a", "text_pair": None}) == model.classify("a")
    with raises(InputError, ValueError, "text 2 has the keys 'a': give 'text', and 'text_pair' for a pair"):
        model.classify([PAIRS[0], {"a": "b"}])
    with raises(InputError, ValueError, "pair 1 must have two texts, not 3: give two in a tuple"):
        model.classify([["a", "b", "c"], "d"])
