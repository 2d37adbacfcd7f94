"""Write what KerasHub's RoBERTas give for the settings of `engine_cases.py`, on one of Keras' backends.

    KERAS_BACKEND=jax PYTHONPATH=..:. python -m generators.make_engines_kerashub
    KERAS_BACKEND=tensorflow PYTHONPATH=..:. python -m generators.make_engines_kerashub

needs `pip install keras==3.15.1 keras-hub==0.32.0 jax==0.10.2 tensorflow-cpu==2.21.0 numpy safetensors` and minroberta,
which records the layers and gives them its names.

KerasHub counts padding in positions, so that padding on the left is left out. It has no token types: the one row is
added to the position embeddings, as in its converted models. It has no token
classifier.
"""

from __future__ import annotations

import itertools
import re
from importlib.metadata import version
from typing import Any

import keras
import keras_hub
import numpy as np

from generators import engine_cases
from generators.engine_cases import HIDDEN, INNER, LABELS, LAYERS, POSITIONS, VOCAB, Candidates, setting
from minroberta.testing import record
from minroberta.testing.values import under_our_names

LAYER = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
MODULES = {
    "embeddings_layer_norm": "embeddings.LayerNorm",
    "mlm_head/intermediate_dense": "lm_head.dense",
    "mlm_head/intermediate_layer_norm": "lm_head.layer_norm",
    "pooled_dense": "classifier.dense",
    "logits": "classifier.out_proj",
    **{
        f"transformer_layer_{i}/{theirs}": f"encoder.layer.{i}.{ours}"
        for i, (theirs, ours) in itertools.product(range(LAYERS), LAYER.items())
    },
}
"""KerasHub's paths of layers, mapped to our names."""

KINDS = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
HEADS = {"encoder": "Backbone", "masked_lm": "MaskedLM", "sequence_classification": "TextClassifier"}


def load(model: keras.Model, name: str) -> keras.Model:
    """Give the model the setting's weights, each exactly once."""
    held = engine_cases.parameters(name)
    tables = {
        "embeddings/token_embedding/embeddings": held["embeddings.word_embeddings.weight"],
        "embeddings/position_embedding/embeddings": held["embeddings.position_embeddings.weight"][2:]
        + held["embeddings.token_type_embeddings.weight"],
        "mlm_head/output_bias": held.get("lm_head.bias"),
    }
    for weight in model.weights:
        array = tables.get(weight.path)
        if array is None:
            module, _, kind = weight.path.rpartition("/")
            array = held[f"{MODULES[module]}.{KINDS[kind]}"]
            array = (array.T if kind == "kernel" else array).reshape(weight.shape)
        weight.assign(array)
    return model


def build(name: str) -> keras.Model:
    """The setting's model."""
    family, head, _ = name.split("/")
    told = engine_cases.config(name)
    kind = "Roberta" if family == "roberta" else "XLMRoberta"
    model = getattr(keras_hub.models, f"{kind}Backbone")(
        vocabulary_size=VOCAB,
        num_layers=LAYERS,
        num_heads=told["num_attention_heads"],
        hidden_dim=HIDDEN,
        intermediate_dim=INNER,
        dropout=0.0,
        max_sequence_length=POSITIONS - 2,
    )
    if head != "encoder":
        told = {"num_classes": LABELS} if head == "sequence_classification" else {}
        model = getattr(keras_hub.models, kind + HEADS[head])(model, **told)
    return load(model, name)


def values(name: str) -> dict[str, np.ndarray]:
    """The outputs of the layers and of the model, under our names."""
    _, head, _ = name.split("/")
    given = {key: x.astype(np.int32) for key, x in engine_cases.inputs(name).items()}
    inputs: dict[str, Any] = {"token_ids": given["input_ids"], "padding_mask": given["attention_mask"]}
    if head == "masked_lm":
        rows, length = given["input_ids"].shape
        inputs["mask_positions"] = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    recorded = record(build(name), inputs)
    output = recorded["output"]
    found = under_our_names(recorded, "keras_hub")
    return {**found, "last_hidden_state" if head == "encoder" else "logits": output}


OUTPUTS = re.compile(r"logits|last_hidden_state|encoder\.layer\.1")
FULL = re.compile(r"(?!.*layer\.[12]\.).*")
"""The values that are kept: of the later layers, only their outputs."""

WHOLE = ("roberta/masked_lm/right", "roberta/sequence_classification/right")
"""Settings of which all values of the first layer are kept."""


def main() -> None:
    """Rewrite the file; a second run gives the same bytes on the same machine."""
    found = Candidates(f"kerashub-{keras.backend.backend()}", f"{version('keras-hub')}-keras-{version('keras')}")
    for family, head, padding in itertools.product(("roberta", "xlm-roberta"), HEADS, ("right", "none")):
        name = setting(family, head, padding)
        wanted = FULL if name in WHOLE else OUTPUTS
        found.add(f"{found.engine}/{name}", name, values(name), keep=wanted.fullmatch)
    found.save()


if __name__ == "__main__":
    main()
