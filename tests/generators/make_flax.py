"""Write the golden checkpoints of Flax: `flax_model.msgpack`.

    python -m generators.make_flax golden/checkpoints

needs transformers 4.48.3, flax and jax; the tests need neither of the first two. Beside each model's configuration
stands `expected.safetensors`: inputs, and Flax's outputs for them in float32. `flax_names.json` holds Flax's names of
the weights of every head.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import transformers
from flax.serialization import msgpack_restore
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

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
}
IDS = np.array([[0, 5, 17, 60, 33, 8, 2], [0, 44, 9, 2, 1, 1, 1]])

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "flax_masked_lm": ("RobertaForMaskedLM", {}),
    "flax_sequence_classification": ("RobertaForSequenceClassification", {"num_labels": 3}),
    "flax_prelayernorm": ("RobertaPreLayerNormForQuestionAnswering", {}),
    "flax_encoder": ("XLMRobertaModel", {"num_hidden_layers": 1}),
    "flax_token_classification": ("RobertaForTokenClassification", {"num_hidden_layers": 1}),
}
"""The class of each checkpoint's model, and fields of its configuration."""

HEADS = (
    "Model",
    "ForMaskedLM",
    "ForCausalLM",
    "ForSequenceClassification",
    "ForMultipleChoice",
    "ForTokenClassification",
    "ForQuestionAnswering",
)
FAMILIES = ("Roberta", "RobertaPreLayerNorm")
"""The families of which the names are kept: XLM-Roberta's are Roberta's."""


def build(name: str, fields: dict[str, Any]) -> Any:
    """A model of Flax with random weights."""
    family = next(family for family in ("RobertaPreLayerNorm", "XLMRoberta", "Roberta") if name.startswith(family))
    model = getattr(transformers, f"Flax{name}")(getattr(transformers, f"{family}Config")(**(SIZES | fields)))
    names = flatten_dict(model.params)
    arrays = {key: parameter("/".join(key), x.shape).astype(np.float32) for key, x in names.items()}
    model.params = unflatten_dict(arrays)
    return model


def expected(model: Any) -> dict[str, np.ndarray]:
    """The inputs, and the model's outputs."""
    inputs = {"input_ids": IDS, "attention_mask": (IDS != 1).astype(np.int64)}
    return inputs | {key: np.asarray(value) for key, value in model(**inputs).items()}


def names_in(file: Path) -> list[str]:
    """The names in a file."""
    return ["/".join(key) for key in flatten_dict(msgpack_restore(file.read_bytes()))]


def main(directory: Path) -> None:
    """Write every checkpoint."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden files need transformers {VERSION}, this is {transformers.__version__}")
    jax.config.update("jax_default_matmul_precision", "highest")
    for name, (kind, fields) in MODELS.items():
        shutil.rmtree(directory / name, ignore_errors=True)
        model = build(kind, fields)
        if name == "flax_token_classification":  # its weights are bfloat16, and its outputs float32
            model.params = model.to_bf16(model.params)
            model.save_pretrained(directory / name)
            model.params = model.to_fp32(model.params)
        else:
            model.save_pretrained(directory / name)
        versions = {library.__name__: library.__version__ for library in (transformers, flax, jax, np)}
        save_file(expected(model), directory / name / "expected.safetensors", {"versions": json.dumps(versions)})
    names = {}
    for kind in [family + head for family in FAMILIES for head in HEADS]:
        fields = {"is_decoder": True, "add_cross_attention": True} if kind.endswith("CausalLM") else {}
        build(kind, {"num_hidden_layers": 1, **fields}).save_pretrained(directory / "names")
        names[kind] = names_in(directory / "names" / "flax_model.msgpack")
    shutil.rmtree(directory / "names")
    (directory / "flax_names.json").write_text(json.dumps(names, indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
