"""Write the golden checkpoints of TensorFlow: `tf_model.h5`, and safetensors that hold TensorFlow's names.

    python -m generators.make_tensorflow golden/checkpoints

needs transformers 4.48.3, tensorflow-cpu and tf-keras; the tests need none of them. Beside each model's configuration
stands `expected.safetensors`: inputs, and TensorFlow's outputs for them in float32. `tensorflow_names.json` holds
TensorFlow's names of the weights of every head, and those of transformers in PyTorch.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import h5py
import numpy as np
import tensorflow as tf
import transformers
from safetensors.numpy import save_file
from transformers.modeling_tf_pytorch_utils import convert_tf_weight_name_to_pt_weight_name

from generators.cases import parameter

VERSION = "4.48.3"
SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 21,
    "max_position_embeddings": 22,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
    "hidden_dropout_prob": 0.0,
}
IDS = np.array([[0, 5, 17, 60, 33, 8, 2], [0, 44, 9, 2, 1, 1, 1]])
CHOICES = np.stack([IDS, IDS[:, ::-1]], axis=1)  # (B, C, L)

MODELS: dict[str, tuple[str, dict[str, Any], np.ndarray, bool]] = {
    "tensorflow_masked_lm": ("RobertaForMaskedLM", {}, IDS, False),
    "tensorflow_sequence_classification": ("RobertaForSequenceClassification", {"num_labels": 3}, IDS, False),
    "tensorflow_prelayernorm": ("RobertaPreLayerNormForQuestionAnswering", {}, IDS, False),
    "tensorflow_safetensors": ("XLMRobertaForMultipleChoice", {}, CHOICES, True),
}
"""The class of each checkpoint's model, fields of its configuration, inputs, and whether it is saved as safetensors."""

ALL = (
    "Model",
    "ForMaskedLM",
    "ForCausalLM",
    "ForSequenceClassification",
    "ForMultipleChoice",
    "ForTokenClassification",
    "ForQuestionAnswering",
)
HEADS = {"Roberta": ALL, "RobertaPreLayerNorm": ALL, "XLMRoberta": ALL[1:2], "Camembert": ALL[1:2]}
"""The families that TensorFlow has, and the heads of each whose names are kept."""


def build(name: str, fields: dict[str, Any]) -> Any:
    """A model of TensorFlow with random weights."""
    family = next(family for family in sorted(HEADS, key=len, reverse=True) if name.startswith(family))
    config = getattr(transformers, f"{family}Config")(**(SIZES | fields))
    model = getattr(transformers, f"TF{name}")(config)
    model.build_in_name_scope()
    for weight in model.weights:
        weight.assign(parameter(weight.name, tuple(weight.shape)).astype(np.float32))
    return model


def expected(model: Any, ids: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs, and the model's outputs."""
    inputs = {"input_ids": ids, "attention_mask": (ids != 1).astype(np.int64)}
    outputs = model({key: tf.constant(value) for key, value in inputs.items()})
    return inputs | {key: np.asarray(value) for key, value in outputs.items()}


def names_in(model: Any) -> Iterator[tuple[str, str]]:
    """For each weight in the model's `tf_model.h5`, its name there and PyTorch's."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        with h5py.File(Path(directory) / "tf_model.h5") as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    for name in names:
        yield name, convert_tf_weight_name_to_pt_weight_name(name.split("/", 1)[1], tf_weight_shape=(1, 1))[0]


def main(directory: Path) -> None:
    """Write every checkpoint."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden files need transformers {VERSION}, this is {transformers.__version__}")
    for name, (kind, fields, ids, safe) in MODELS.items():
        shutil.rmtree(directory / name, ignore_errors=True)
        model = build(kind, fields)
        model.save_pretrained(directory / name, safe_serialization=safe)
        versions = {library.__name__: library.__version__ for library in (transformers, tf, np)}
        outputs = expected(model, ids)
        save_file(outputs, directory / name / "expected.safetensors", {"versions": json.dumps(versions)})
    names = {}
    for family, heads in HEADS.items():
        for head in heads:
            fields = {"is_decoder": True, "add_cross_attention": True} if head == "ForCausalLM" else {}
            names[family + head] = dict(names_in(build(family + head, {"num_hidden_layers": 1, **fields})))
    (directory / "tensorflow_names.json").write_text(json.dumps(names, indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
