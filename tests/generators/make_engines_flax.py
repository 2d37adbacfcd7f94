"""Write what transformers' Flax and TensorFlow models give for the settings of `engine_cases.py`.

    python -m generators.make_engines_flax

needs `pip install transformers==4.48.3 flax==0.10.6 jax==0.10.2 tensorflow-cpu==2.21.0 tf-keras==2.21.0 safetensors`.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import flax
import jax
import numpy as np
import tensorflow as tf
import transformers
from flax.traverse_util import flatten_dict, unflatten_dict

from generators import engine_cases
from generators.engine_cases import ENDINGS, FAMILIES, LAYERS, Candidates, setting

VERSION = transformers.__version__
STATES = ["embeddings", *(f"encoder.layer.{i}" for i in range(LAYERS))]


def outputs(output: Any, states: bool) -> dict[str, np.ndarray]:
    """Hugging Face's outputs, and the states between the layers if wanted."""
    names = ("last_hidden_state", "pooler_output", "logits")
    found = {name: np.asarray(output[name]) for name in names if output.get(name) is not None}
    if states:
        found.update(zip(STATES, (np.asarray(x) for x in output["hidden_states"]), strict=True))
    return found


# --- Flax -----------------------------------------------------------------------------------------------------------


def flax_model(name: str) -> Any:
    """Flax's model with the setting's weights."""
    family, head, _ = name.split("/")
    prefix = "XLMRoberta" if family == "xlm-roberta" else "Roberta"
    config = getattr(transformers, f"{prefix}Config")(**engine_cases.config(name))
    model = getattr(transformers, f"Flax{prefix}{ENDINGS[head]}")(config)
    held = engine_cases.with_prefix(name)
    names = flatten_dict(model.params)
    model.params = unflatten_dict({key: flax_array(held, key, x.shape) for key, x in names.items()})
    return model


def flax_array(held: dict[str, np.ndarray], key: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Flax's array of that name: kernels are transposed."""
    *module, kind = key
    if kind in ("kernel", "embedding", "scale"):
        array = held[".".join([*module, "weight"])]
        return np.ascontiguousarray(array.T if kind == "kernel" else array).reshape(shape)
    return held[".".join(key)].reshape(shape)


def with_intermediates(model: Any, name: str) -> dict[str, np.ndarray]:
    """The outputs of all modules of the first layer, by Flax's own recorder."""
    given = engine_cases.inputs(name)
    zeros = np.zeros_like(given["input_ids"])
    positions = np.cumsum(given["attention_mask"], axis=1) * given["attention_mask"] + 1
    mask = given["attention_mask"]
    heads = np.ones((LAYERS, model.config.num_attention_heads), np.float32)
    args = (given["input_ids"], mask, zeros, positions, heads)
    _, found = model.module.apply({"params": model.params}, *args, capture_intermediates=True)
    flat = flatten_dict(found["intermediates"])
    first = {".".join(key[:-1]): value[0] for key, value in flat.items()}
    whole = {key: x[0] if isinstance(x, tuple) else x for key, x in first.items()}
    late = tuple(f"encoder.layer.{i}." for i in range(1, LAYERS))
    kept = ("dense", "query", "key", "value", "LayerNorm", "intermediate", "embeddings")
    return {key: np.asarray(x) for key, x in whole.items() if key.endswith(kept) and not key.startswith(late)}


def by_flax() -> Candidates:
    found = Candidates("transformers-flax", f"{VERSION}-flax-{flax.__version__}-jax-{jax.__version__}")
    heads = ("encoder", "masked_lm", "sequence_classification", "token_classification")
    for family, head, padding in itertools.product(("roberta", "xlm-roberta"), heads, engine_cases.PADDING):
        name = setting(family, head, padding)
        model = flax_model(name)
        output = model(**engine_cases.inputs(name), output_hidden_states=True)
        values = outputs(output, padding == "left" and family == "roberta")
        if name == setting():
            values = {**with_intermediates(model, name), **values}
        found.add(f"transformers-flax/{name}", name, values)
    return found


# --- TensorFlow -----------------------------------------------------------------------------------------------------


def tf_model(name: str) -> Any:
    """TensorFlow's model with the setting's weights."""
    family, head, _ = name.split("/")
    prefix = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert"}[family]
    config = getattr(transformers, f"{prefix}Config")(**engine_cases.config(name))
    model = getattr(transformers, f"TF{prefix}{ENDINGS[head]}")(config)
    model({key: tf.constant(x) for key, x in engine_cases.inputs(name).items()})
    held = engine_cases.with_prefix(name)
    for weight in model.weights:
        assign(weight, held)
    return model


def assign(weight: Any, held: dict[str, np.ndarray]) -> None:
    """Give a variable its value: TensorFlow's names have the model's before them, and kernels are transposed."""
    parts = weight.name.split(":")[0].replace("layer_._", "layer.").replace("/", ".").split(".")
    kinds = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight", "weight": "weight"}
    *module, kind = parts
    candidates = [".".join([*module[start:], kinds.get(kind, kind)]) for start in range(len(module) + 1)]
    name = next(x for x in candidates if x in held)
    array = held[name]
    weight.assign((array.T if kind == "kernel" else array).reshape(weight.shape))


def by_tensorflow() -> list[Candidates]:
    """The models as they are called, and compiled by `tf.function`."""
    found = Candidates("transformers-tensorflow", f"{VERSION}-tensorflow-{tf.__version__}")
    compiled = Candidates("tensorflow-xla", tf.__version__)
    for family, head, padding in itertools.product(FAMILIES, ENDINGS, ("right", "left")):
        name = setting(family, head, padding)
        model = tf_model(name)
        output = model({key: tf.constant(x) for key, x in engine_cases.inputs(name).items()}, output_hidden_states=True)
        found.add(f"transformers-tensorflow/{name}", name, outputs(output, padding == "left" and family == "roberta"))
        if padding == "right":
            run = tf.function(lambda model=model, **given: model(given), jit_compile=True)
            output = run(**{key: tf.constant(x) for key, x in engine_cases.inputs(name).items()})
            compiled.add(f"tensorflow-xla/{name}", name, outputs(output, False))
    return [found, compiled]


def main() -> None:
    """Rewrite the files; a second run gives the same bytes on the same machine."""
    jax.config.update("jax_default_matmul_precision", "highest")
    for found in (by_flax(), *by_tensorflow()):
        found.save()


if __name__ == "__main__":
    main()
