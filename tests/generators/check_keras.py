"""Open presets with KerasHub 0.32.0, or Hugging Face directories with transformers 4.48.3, and compare with minroberta.

    PYTHONPATH=.. python -m generators.check_keras write DIRECTORY    # with h5py
    python -m generators.check_keras keras DIRECTORY                  # with keras 3.15.1, keras-hub 0.32.0 and jax
    python -m generators.check_keras transformers DIRECTORY           # with torch and transformers 4.48.3

The first writes what the others open; each needs a separate environment. For each golden preset of KerasHub and
keras-nlp, and for other models, it writes a preset by `save_keras.write` and a Hugging Face directory by `Model.save`,
with inputs and minroberta's outputs beside them. The others print the largest difference of the outputs, not counting
padding, and end with an error if it is more than 2e-5 of the largest value.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from generators import GOLDEN

CHECKPOINTS = GOLDEN / "checkpoints"
TEXTS = ("Hello, world!", "A quick brown fox, and 3 lazy dogs  jumped.", "What is it?")
OUTPUTS = {"encoder": "last_hidden_state"}
"""What a head's output is called, if not logits."""

TOLERANCE = 2e-5
"""Of the largest value: a float32 has a rounding of 6e-8, which some hundreds of sums a layer add to."""


# --- by minroberta --------------------------------------------------------------------------------------------------


def models() -> dict[str, Any]:
    """The models to write, by name."""
    import minroberta
    from minroberta import Config, Model, weights
    from minroberta.checkpoints.formats.keras import Preset

    result: dict[str, Any] = {}
    for directory in sorted(CHECKPOINTS.glob("keras*")):
        preset = Preset(directory)
        config = Config.from_dict(preset.config)
        for head in ("encoder", config.head):
            arrays = weights.load_arrays(preset, config, head, missing="error", seed=0, check=True)
            result[f"{directory.name}-{head}"] = Model(config, weights.tree(dict(arrays)), head)
    result["tiny-masked_lm"] = minroberta.load()
    small = {"vocab_size": 60, "hidden_size": 12, "num_hidden_layers": 12, "num_attention_heads": 3, "num_labels": 3,
             "intermediate_size": 20, "max_position_embeddings": 40, "layer_norm_eps": 1e-5}  # fmt: skip
    for model_type, types in (("roberta", 2), ("xlm-roberta", 1), ("camembert", 1)):
        config = Config.from_dict({**small, "model_type": model_type, "type_vocab_size": types})
        for head in ("encoder", "masked_lm", "sequence_classification"):
            random = np.random.default_rng(7)
            shapes = weights.shapes(config, head).items()
            params = {name: random.normal(0, 0.3, shape).astype("f4") for name, shape in shapes}
            result[f"{model_type}-{head}"] = Model(config, weights.tree(params), head)
    return result


def write(root: Path) -> None:
    """Write every model as a preset and as a Hugging Face directory, with some inputs and minroberta's outputs."""
    from minroberta.checkpoints import save_keras
    from minroberta.config import HEADS

    for name, model in models().items():
        save_keras.write(root / name / "keras", model.params, model.config, model.head)
        model.save(root / name / "transformers")
        if model.tokenizer:
            inputs = model.tokenize(TEXTS)
        else:
            ids = np.random.default_rng(8).integers(4, model.config.vocab_size, (3, 15))
            mask = np.arange(15)[None, :] < np.array([[15], [9], [1]])
            inputs = {"input_ids": np.where(mask, ids, model.config.pad_token_id), "attention_mask": mask.astype(int)}
        given = model(**inputs)[OUTPUTS.get(model.head, "logits")]
        metadata = {"class": model.config.family.architecture + HEADS[model.head].ending}
        save_file({**inputs, "output": given}, root / name / "expected.safetensors", metadata=metadata)


# --- by the others --------------------------------------------------------------------------------------------------


def by_keras(directory: Path, expected: dict[str, np.ndarray]) -> np.ndarray:
    """KerasHub's outputs for the inputs; the ids of its tokenizer for the texts are checked too."""
    import keras_hub

    ids, mask = expected["input_ids"], expected["attention_mask"]
    inputs = {"token_ids": ids.astype(np.int32), "padding_mask": mask.astype(np.int32)}
    names = [name for name in ("task.json", "config.json") if (directory / name).is_file()]
    kind = json.loads((directory / names[0]).read_text())["class_name"]
    model = getattr(keras_hub.models, kind).from_preset(str(directory))
    if kind.endswith("MaskedLM"):
        inputs["mask_positions"] = np.tile(np.arange(ids.shape[1], dtype=np.int32), (len(ids), 1))
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is not None:
        for text, row, length in zip(TEXTS, ids, mask.sum(1), strict=True):
            own = np.array(preprocessor.tokenizer(text)).tolist()
            if own != row[1 : length - 1].tolist():
                raise SystemExit(f"{directory}: the ids of {text!r} are {own}, not {row[1 : length - 1].tolist()}")
    return np.array(model(inputs))


def by_transformers(directory: Path, expected: dict[str, np.ndarray], kind: str) -> np.ndarray:
    """The outputs of transformers for the inputs."""
    import torch
    import transformers

    model, keys = getattr(transformers, kind).from_pretrained(
        directory, attn_implementation="eager", output_loading_info=True
    )
    if keys["unexpected_keys"] or any("pooler" not in name for name in keys["missing_keys"]):
        raise SystemExit(f"{directory}: {keys}")
    with torch.no_grad():
        output = model.eval()(**{name: torch.tensor(expected[name]) for name in ("input_ids", "attention_mask")})
    return output[0].numpy()


def compare(root: Path, library: str) -> None:
    bad = False
    for directory in sorted(root.iterdir()):
        with safe_open(directory / "expected.safetensors", framework="numpy") as file:
            kind = file.metadata()["class"]
        expected = load_file(directory / "expected.safetensors")
        if library == "keras":
            given = by_keras(directory / library, expected)
        else:
            given = by_transformers(directory / library, expected, kind)
        places = expected["attention_mask"].astype(bool) if given.ndim == 3 else slice(None)
        distance, largest = np.abs(given - expected["output"])[places].max(), np.abs(expected["output"]).max()
        print(f"{directory.name:50} {distance:.1e} of {largest:.2f}")
        bad |= bool(distance > TOLERANCE * largest)
    sys.exit(bad)


def main() -> None:
    library, root = sys.argv[1], Path(sys.argv[2])
    if library == "write":
        write(root)
    else:
        compare(root, library)


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"
    main()
