"""bfloat16 on JAX, from the file to the answer: no product is widened, and results are near float32's."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import TINY, slow_but, weights_of
from test_golden_jax import SLOW, jax, jnp

from minroberta import Config, Model, compiled, init, load
from minroberta.config import HEADS
from minroberta.inputs import Inputs
from minroberta.model import run
from minroberta.weights import flat, move, tree

ROUNDING = 2.0**-8
"""The largest relative error of one rounding to bfloat16."""


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    compiled._jitted(run).clear_cache()
    yield
    compiled._jitted(run).clear_cache()


def model_of(head: str, dtype: str, **fields: Any) -> Model:
    """A model with golden weights, which are large enough that a wrong step shows."""
    config = Config.from_dict({"model_type": "roberta", **TINY, "max_position_embeddings": 60, **fields})
    return Model(config, tree(move(weights_of(config, head), dtype, jnp)), head)


def inputs_of(head: str) -> dict[str, np.ndarray]:
    random = np.random.RandomState(0)
    shape = (3, 2, 9) if HEADS[head].choices else (3, 9)
    mask = np.ones(shape, int)
    mask[0, ..., 6:] = 0
    return {"input_ids": random.randint(2, 50, shape), "attention_mask": mask}


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["bfloat16", "float32"])
def test_a_file(stored: str, tmp_path: Path) -> None:
    """The file's own bits if it is in bfloat16; otherwise, each weight is rounded to the nearest."""
    model = init(TINY, head="masked_lm", dtype=stored, xp=jnp)
    model.save(tmp_path)
    loaded = load(tmp_path, dtype="bfloat16", xp=jnp)
    for name, array in flat(model.params).items():
        nearest = np.asarray(array, np.float32).astype(jnp.bfloat16)
        found = flat(loaded.params)[name]
        assert found.dtype == "bfloat16"
        np.testing.assert_array_equal(np.asarray(found).view(np.uint16), nearest.view(np.uint16), err_msg=name)


# --- what is computed in which dtype --------------------------------------------------------------------------------


def products(jaxpr: Any) -> Iterator[tuple[str, ...]]:
    """The dtypes of the factors of every matrix product, and of its result, also of those in functions within."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield tuple(str(one.aval.dtype) for one in [*equation.invars, *equation.outvars])
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                if hasattr(inner := getattr(inner, "jaxpr", inner), "eqns"):
                    yield from products(inner)


FEATURES: dict[str, tuple[str, dict[str, Any]]] = {
    **{head: (head, {"is_decoder": head == "causal_lm"}) for head in HEADS},
    "pre-LN": ("masked_lm", {"model_type": "roberta-prelayernorm"}),
    "xl": ("encoder", {"model_type": "xlm-roberta-xl"}),
    "relative": ("encoder", {"position_embedding_type": "relative_key_query"}),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_every_product_is_of_bfloat16(feature: str) -> None:
    """A layer has at least six products with weights, and two of attention, whose results are float32."""
    head, fields = FEATURES[feature]
    model = model_of(head, "bfloat16", **fields)
    inputs = {name: jnp.asarray(x) for name, x in inputs_of(head).items()}
    traced = jax.make_jaxpr(lambda params: run(params, model.config, head, Inputs(**inputs)))(model.params)
    found = list(products(traced.jaxpr))
    assert {tuple(factors) for *factors, _ in found} == {("bfloat16", "bfloat16")}
    counts = Counter(result for *_, result in found)
    assert counts["bfloat16"] >= 6 * model.config.num_hidden_layers
    assert counts["float32"] >= 2 * model.config.num_hidden_layers


@pytest.mark.parametrize("feature", slow_but(FEATURES, "encoder", "causal_lm"))
def test_outputs(feature: str) -> None:
    """Every output is bfloat16, and as near to float32's as some ten roundings in each of two layers allow."""
    head, fields = FEATURES[feature]
    ours, exact = (model_of(head, dtype, **fields) for dtype in ("bfloat16", "float32"))
    found, wanted = ours(**inputs_of(head)), exact(**inputs_of(head))
    assert len(ours.compilations) == 1
    for name, x in found.items():
        for one, other in zip(jax.tree.leaves(x), jax.tree.leaves(wanted[name]), strict=True):
            if name == "past_key_values" and one.dtype.kind == "i":
                continue  # the numbers of tokens
            assert one.dtype == "bfloat16", name
            error = np.abs(np.asarray(one, np.float32) - np.asarray(other)).max()
            assert error < 20 * ROUNDING * np.abs(other).max(), name


# --- texts ----------------------------------------------------------------------------------------------------------

TEXTS = ["A moving story.", "Too long and too boring.", "She quickly opened the red door."]
ANSWERS: dict[str, tuple[str, Any]] = {
    "fill_mask": ("masked_lm", lambda model: model.fill_mask("She was the first woman to win the <mask> Prize.", 1)),
    "predict_all": ("masked_lm", lambda model: model.predict_all("The war ended in 1945.")),
    "classify": ("sequence_classification", lambda model: [one for (one,) in model.classify(TEXTS[:2])]),
    "tag": ("token_classification", lambda model: model.tag(TEXTS[2])),
    "answer": (
        "question_answering",
        lambda model: model.answer("When did the war end?", "The war ended in 1945.", top_k=1),
    ),
}


FACTOR = 8
"""The bound for real weights, as a multiple of what rounding the weights alone changes in float32. The last layer of
the embedded model magnifies errors by ten. The largest multiple seen is 6."""


def embedded(head: str) -> tuple[Model, Model, Model]:
    """The embedded model in bfloat16, and in float32, with its weights rounded to bfloat16 and as they are."""
    ours, rounded, exact = load(head=head, dtype="bfloat16", xp=jnp), load(head=head), load(head=head)
    rounded.params = jax.tree.map(lambda x: np.asarray(x.astype(jnp.bfloat16), np.float32), exact.params)
    return ours, rounded, exact


@pytest.mark.parametrize("task", slow_but(ANSWERS, "tag"))
def test_answers(task: str) -> None:
    """The answers of README's examples, with Python's floats as scores."""
    head, call = ANSWERS[task]
    ours, rounded, exact = map(call, embedded(head))
    wrong = [], []
    for one, near, other in zip(ours, rounded, exact, strict=True):
        scores = [name for name, value in other.items() if isinstance(value, float)]
        assert {**one, **{name: other[name] for name in scores}} == other
        assert all(type(one[name]) is float for name in scores)
        for errors, answer in zip(wrong, (one, near), strict=True):
            errors.extend(abs(answer[name] - other[name]) for name in scores)
    assert 0 < max(wrong[0]) < FACTOR * max(wrong[1])


@SLOW
def test_the_other_tasks() -> None:
    """`choose` and `zero_shot` by their scores, since weights are random; `generate` gives the same text twice."""
    tokenizer = load(head="encoder").tokenizer
    fields = {"vocab_size": 8000, "num_labels": 3, "id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}
    for head, call in {
        "multiple_choice": lambda model: model.choose("He opened", ["the door.", "the sky."]),
        "sequence_classification": lambda model: [
            {"score": score} for score in model.zero_shot("It rained.", ["weather", "sport"])["scores"]
        ],
    }.items():
        found, wanted = [], []
        for dtype, scores in (("bfloat16", found), ("float32", wanted)):
            model = init({**TINY, **fields, "max_position_embeddings": 60}, head=head, dtype=dtype, xp=jnp)
            model.tokenizer = tokenizer
            scores += sorted(one["score"] for one in call(model))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=0.01, err_msg=head)
    model = model_of("causal_lm", "bfloat16", is_decoder=True, vocab_size=8000)
    model.tokenizer = tokenizer
    assert model.generate("The old house", 4, num_beams=2) == model.generate("The old house", 4, num_beams=2)
    assert len(model.compilations) == 2


def test_vectors() -> None:
    """They are float32."""
    ours, rounded, exact = (model.encode(TEXTS) for model in embedded("encoder"))
    assert ours.dtype == "float32"
    errors, bounds = (np.linalg.norm(x - exact, axis=1) for x in (ours, rounded))
    assert (errors > 0).all()
    assert (errors < FACTOR * bounds).all()
