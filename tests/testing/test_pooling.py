"""Tests of sentence embeddings as a value: compared, and other poolings named."""

from collections.abc import Callable

import numpy as np
import pytest
from support import tiny

from minroberta import Model, trace
from minroberta.testing import compare, diagnose, inputs
from minroberta.text.embedding import Embedding, Normalize

Array = np.ndarray


def model_of(poolings: tuple[str, ...] = ("mean",), unit: bool = True) -> Model:
    model = tiny("encoder", "float32")
    model.embedding = Embedding(poolings=poolings, steps=(Normalize(),) if unit else ())
    return model


def of_length_1(x: Array) -> Array:
    return x / np.sqrt((x * x).sum(-1, keepdims=True))


def mean(x: Array, mask: Array) -> Array:
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)


def made(model: Model, pool: Callable[[Array, Array], Array]) -> dict[str, Array]:
    given = inputs(model)
    states = model(**given).last_hidden_state
    return {"sentence_embedding": pool(states, given["attention_mask"].astype("float32")).astype("float32")}


@pytest.mark.parametrize(
    ("model", "pool"),
    [
        (model_of(), lambda x, mask: of_length_1(mean(x, mask))),
        (model_of(unit=False), mean),
        (model_of(("cls",), unit=False), lambda x, mask: x[np.arange(3), mask.argmax(1)]),
        (tiny("encoder", "float32"), mean),
    ],
    ids=["mean, normalised", "mean", "cls", "no settings"],
)
def test_a_right_embedding_is_right(model: Model, pool: Callable[[Array, Array], Array]) -> None:
    values = made(model, pool)
    report = compare(trace(model, **inputs(model)), values)
    assert report.ok and [row.verdict for row in report.rows] == ["good"]
    assert "sentence_embedding" not in report.missing
    assert diagnose(model, inputs(model), values) == []


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("pooling-of-padding", lambda x, mask: of_length_1(x.mean(1))),
        ("pooling-cls", lambda x, mask: of_length_1(x[np.arange(3), mask.argmax(1)])),
        ("pooling-max", lambda x, mask: of_length_1(np.where(mask[..., None] > 0, x, -np.inf).max(1))),
        ("embedding-not-normalised", mean),
    ],
)
def test_another_embedding_is_named(name: str, pool: Callable[[Array, Array], Array]) -> None:
    model = model_of()
    values = made(model, pool)
    assert compare(trace(model, **inputs(model)), values).first_bad == "sentence_embedding"
    assert [finding.name for finding in diagnose(model, inputs(model), values)] == [name]


def test_a_mistake_of_the_model_shows_in_the_embedding() -> None:
    model = model_of()
    port = Model(model.config.replace(hidden_act="gelu_new"), model.params, "encoder")
    values = made(port, lambda x, mask: of_length_1(mean(x, mask)))
    assert diagnose(model, inputs(model), values)[0].name == "gelu-tanh"


def test_a_normalised_vector_without_settings() -> None:
    model = tiny("encoder", "float32")
    values = made(model, lambda x, mask: of_length_1(mean(x, mask)))
    assert [finding.name for finding in diagnose(model, inputs(model), values)] == ["embedding-normalised"]
