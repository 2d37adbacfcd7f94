"""Presets of KerasHub and keras-nlp: directories with a backbone, and often with a task and a tokenizer.

    config.json        the backbone's class and sizes      task.json         the task's class and settings
    model.weights.h5   the backbone's arrays               task.weights.h5   the head's arrays
    tokenizer.json     the tokenizer's class, with its files in assets/tokenizer

An array's path in the file consists of the names of the layers that contain it. A layer is named after its class:
`transformer_encoder` is the first of its class, and `transformer_encoder_1` the second. KerasHub numbers all positions
0, 1, 2 …, including those of padding, so its outputs equal those of Hugging Face's models if the padding is on the
right. `save_keras` writes such presets.
"""

import functools
import os
import re
import reprlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from ...config import FAMILIES, HEADS, Config
from ...errors import ConfigError, Error, NotFoundError, TokenizerError, WeightsError, check_integer
from ...weights import shapes
from ..arrays import Arrays, Gathered, Renamed, View, as_stored
from ..files import check_is_inside, directory_of, inside, read_json
from .hdf5 import File

# --- names ----------------------------------------------------------------------------------------------------------

BACKBONES = {"RobertaBackbone": "roberta", "XLMRobertaBackbone": "xlm-roberta"}
"""KerasHub's backbone classes, mapped to Hugging Face's `model_type`."""

TASKS = {
    "MaskedLM": "masked_lm",
    "TextClassifier": "sequence_classification",
    "Classifier": "sequence_classification",
    "TextEmbedder": "encoder",
}
"""The endings of the names of KerasHub's task classes, mapped to heads."""

SIZES = {
    "vocab_size": "vocabulary_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "hidden_size": "hidden_dim",
    "intermediate_size": "intermediate_dim",
}
"""The names of sizes in Hugging Face's configuration, mapped to those in KerasHub's."""

TABLES = {
    "embeddings.word_embeddings.weight": ("layers/token_and_position_embedding/token_embedding/vars/0", "VD"),
    "embeddings.position_embeddings.weight": ("layers/token_and_position_embedding/position_embedding/vars/0", "PD"),
    "lm_head.bias": ("layers/masked_lm_head/vars/0", "V"),
}
"""Hugging Face's names for single arrays, mapped to KerasHub's name and axes. CONTRIBUTING.md explains the letters.

Here, `P` is the number of positions without the rows that Hugging Face reserves for padding.
"""

MODULES = {
    "embeddings.LayerNorm": ("layers/layer_normalization", "D"),
    "lm_head.dense": ("layers/masked_lm_head/_intermediate_dense", "D D"),
    "lm_head.layer_norm": ("layers/masked_lm_head/_intermediate_layer_norm", "D"),
    "classifier.dense": ("layers/dense", "D D"),
    "classifier.out_proj": ("layers/dense_1", "D N"),
}
"""Hugging Face's names for modules with a weight and a bias, mapped to KerasHub's path and the weight's axes.

A space separates the input axes from the output axes.
"""

LAYER = {
    "attention.self.query": ("_self_attention_layer/query_dense", "D HE"),
    "attention.self.key": ("_self_attention_layer/key_dense", "D HE"),
    "attention.self.value": ("_self_attention_layer/value_dense", "D HE"),
    "attention.output.dense": ("_self_attention_layer/output_dense", "HE D"),
    "attention.output.LayerNorm": ("_self_attention_layer_norm", "D"),
    "intermediate.dense": ("_feedforward_intermediate_dense", "D F"),
    "output.dense": ("_feedforward_output_dense", "F D"),
    "output.LayerNorm": ("_feedforward_layer_norm", "D"),
}
"""The same for the modules within an encoder layer."""

POSITIONS, TYPES = "embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight"


def locations(config: Config, head: str) -> dict[str, tuple[str, str]]:
    """KerasHub's name and axes for each weight of a model. Weights that KerasHub does not have are left out."""
    modules = dict(MODULES)
    for index in range(config.num_hidden_layers):
        layer = f"layers/transformer_encoder_{index}" if index else "layers/transformer_encoder"
        modules |= {f"encoder.layer.{index}.{name}": (f"{layer}/{path}", axes) for name, (path, axes) in LAYER.items()}
    result = dict(TABLES)
    for name, (path, axes) in modules.items():
        result[f"{name}.weight"] = f"{path}/vars/0", axes
        result[f"{name}.bias"] = f"{path}/vars/1", axes.split()[-1]
    return {name: result[name] for name in shapes(config, head) if name in result}


def stored_shape(axes: str, config: Config) -> tuple[int, ...]:
    """The shape, in KerasHub's file, of an array with the given axes."""
    c = config
    sizes = {"V": c.vocab_size, "P": c.longest, "D": c.hidden_size, "H": c.num_attention_heads, "E": c.head_size,
             "F": c.intermediate_size, "N": c.num_labels}  # fmt: skip
    return tuple(sizes[axis] for axis in axes.replace(" ", ""))


def snake(name: str) -> str:
    """The name that Keras gives to a layer of this class: XLMRobertaMaskedLM -> xlm_roberta_masked_lm."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


# --- reading --------------------------------------------------------------------------------------------------------

BACKBONE_FILE, TASK_FILE = "model.weights.h5", "task.weights.h5"
LARGEST_JSON = 10_000_000
"""Limit on a file's size in bytes: ten times that of a vocabulary. Parsing 10 MB of brackets takes 200 MB."""


class Preset(Renamed):
    """The arrays of a preset, with Hugging Face's names, such as `embeddings.word_embeddings.weight`.

    path: the preset's directory, or a weights file in it. Arrays are views of the mapped file, with two exceptions. The
    position embeddings are copied, and preceded by rows of zeros for the rows that Hugging Face reserves for padding.
    The token type embeddings are a single row of zeros. Arrays that RoBERTa does not use keep their names.

    Raises ConfigError or NotFoundError for an invalid or incomplete preset, and WeightsError for a file that
    `hdf5.File` cannot read, or an array whose shape contradicts `config.json`. A link that points outside the
    directory raises ConfigError, WeightsError or TokenizerError, depending on the file.
    """

    def __init__(self, path: Path) -> None:
        directory = directory_of(path)
        backbone, self.config = _read_config(directory)
        config = Config.from_dict(self.config)
        files = [_read_file(directory, file) for file in _weights_files(directory, path)]
        source = _layers(files, above=f"layers/{snake(backbone)}/")
        entries: dict[str, tuple[str, View]] = {}
        wanted = shapes(config, config.head)
        for name, (stored, axes) in locations(config, config.head).items():
            if stored in source:
                _check_shape(source, stored, stored_shape(axes, config))
                entries[name] = stored, _view(axes, wanted[name])
        positions, _ = TABLES[POSITIONS]
        if positions in source:
            entries[POSITIONS] = positions, functools.partial(_after_padding, config.pad_token_id + 1)
            entries[TYPES] = positions, _no_types
        used = {stored for stored, _ in entries.values()}
        super().__init__(source, entries | {name: (name, as_stored) for name in source if name not in used})


# --- the configuration ----------------------------------------------------------------------------------------------


def _read_config(directory: Path) -> tuple[str, dict[str, Any]]:
    """The class of a preset's backbone, and the fields of Hugging Face's configuration."""
    backbone, settings = _read_object(directory, "config.json")
    if backbone not in BACKBONES:
        raise ConfigError(
            f"{directory} has the unsupported backbone {backbone[:100]!r}: "
            f"the supported ones are {', '.join(BACKBONES)}"
        )
    fields: dict[str, Any] = {name: _integer(settings, theirs, directory) for name, theirs in SIZES.items()}
    positions = _integer(settings, "max_sequence_length", directory)
    ids = _special_ids(directory, positions)
    task = _read_task(directory, FAMILIES[BACKBONES[backbone]].architecture, fields["hidden_size"])
    return backbone, {
        **fields,
        **ids,
        **task,
        "model_type": BACKBONES[backbone],
        "max_position_embeddings": positions + ids["pad_token_id"] + 1,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
        "hidden_dropout_prob": settings.get("dropout", 0.1),
        "attention_probs_dropout_prob": settings.get("dropout", 0.1),
    }


def _read_task(directory: Path, architecture: str, hidden_size: int) -> dict[str, Any]:
    """The fields that a preset's task implies, or those of the bare encoder if there is no task."""
    if not _has(directory, "task.json"):
        return {"architectures": [architecture + HEADS["encoder"].ending]}
    name, settings = _read_object(directory, "task.json")
    tasks = {architecture + ending: head for ending, head in TASKS.items()}
    if name not in tasks:
        raise ConfigError(
            f"{directory / 'task.json'} has the unsupported task {name[:100]!r}: the supported ones are "
            f"{', '.join(tasks)}. Move the file away to load the backbone alone"
        )
    fields: dict[str, Any] = {"architectures": [architecture + HEADS[tasks[name]].ending]}
    if tasks[name] == "sequence_classification":
        fields["num_labels"] = _integer(settings, "num_classes", directory)
        fields["classifier_dropout"] = settings.get("dropout")
        _check_classifier(directory, settings, hidden_size)
    return fields


def _check_classifier(directory: Path, settings: Mapping[str, Any], hidden_size: int) -> None:
    size, activation = settings.get("hidden_dim"), settings.get("activation")
    if size not in (None, hidden_size):
        raise ConfigError(
            f"{directory / 'task.json'} has a classifier with hidden_dim {reprlib.repr(size)}: only "
            f"{hidden_size}, the size of the backbone, is supported, as in Hugging Face's classifiers"
        )
    if activation not in (None, "linear"):
        warnings.warn(
            f"the classifier of {directory} ends with the activation {reprlib.repr(activation)}, "
            "which is not applied here: the logits are the values before the activation",
            stacklevel=5,
        )


def _special_ids(directory: Path, positions: int) -> dict[str, int]:
    """The ids of special tokens, from a byte-level vocabulary if there is one; by default those of RoBERTa.

    That of padding decides how many rows are put before the position embeddings: never more than there are positions.
    """
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2}
    if "vocabulary.json" in tokenizer_files(directory):
        given = _read_json(directory, f"{ASSETS}/vocabulary.json")
        ids |= {token: given[token] for token in ids if token in given}
        for token, value in ids.items():
            most = positions - 1 if token == "<pad>" else None
            check_integer(f"the id of {token} in {directory / ASSETS / 'vocabulary.json'}", value, 0, most, ConfigError)
    return {"bos_token_id": ids["<s>"], "pad_token_id": ids["<pad>"], "eos_token_id": ids["</s>"]}


def _read_object(directory: Path, name: str) -> tuple[str, Mapping[str, Any]]:
    """The class and the arguments of the object that one of Keras's JSON files describes."""
    values = _read_json(directory, name)
    kind, settings = values.get("class_name"), values.get("config")
    if not isinstance(kind, str) or not isinstance(settings, dict):
        raise ConfigError(f"{directory / name} does not describe a Keras object: it lacks class_name or config")
    return kind, settings


def _read_json(directory: Path, name: str) -> dict[str, Any]:
    return read_json(_file(directory, name, ConfigError), ConfigError, LARGEST_JSON, directory)


def _integer(settings: Mapping[str, Any], name: str, directory: Path) -> int:
    return check_integer(f"{name} in the preset {directory}", settings.get(name), 1, error=ConfigError)


# --- files ----------------------------------------------------------------------------------------------------------

ASSETS = "assets/tokenizer"
TOKENIZERS = (("vocabulary.json", "merges.txt"), ("vocabulary.spm",))
"""The files of each kind of tokenizer: byte-level BPE, and a sentencepiece model."""


def tokenizer_files(directory: Path) -> dict[str, Path]:
    """The paths of a preset's `vocabulary.json` and `merges.txt`, or `vocabulary.spm`, by name; {} if there are none.

    Raises TokenizerError if a file is a link that points outside the directory.
    """
    for names in TOKENIZERS:
        if all((directory / ASSETS / name).is_file() for name in names):
            return {name: _file(directory, f"{ASSETS}/{name}", TokenizerError) for name in names}
    return {}


def _weights_files(directory: Path, path: Path) -> list[Path]:
    """The weights files to read: the one or two files of a preset, or the file at `path` if it has another name."""
    if path.is_file() and path.name not in (BACKBONE_FILE, TASK_FILE):
        return [_file(directory, path.name, WeightsError)]
    names = [BACKBONE_FILE, TASK_FILE] if _has(directory, TASK_FILE) else [BACKBONE_FILE]
    return [_file(directory, name, WeightsError) for name in names]


def _read_file(directory: Path, path: Path) -> File:
    """The arrays of a weights file. Raises WeightsError if a link to another directory was in its place."""
    file = File(path)
    for opened in file.maps:
        check_is_inside(opened.descriptor, directory, path.name, WeightsError)
    return file


def _has(directory: Path, name: str) -> bool:
    """Return whether the directory has a file or a link with this name."""
    return os.path.lexists(directory / name)


def _file(directory: Path, name: str, error: type[Error]) -> Path:
    """The path of a preset's file. Raises NotFoundError, and `error` for a link that points outside the directory."""
    try:
        return inside(directory, name, error)
    except NotFoundError as cause:
        raise NotFoundError(f"{directory} is not a KerasHub preset: it has no file {name}") from cause


# --- arrays ---------------------------------------------------------------------------------------------------------


def _layers(files: Sequence[File], above: str) -> Gathered:
    """The arrays of several files, by the paths of their layers. An array in several files is taken from the first.

    above: the path of the backbone in a file that holds a whole task model; this prefix is removed from the names.
    Optimizer states are left out.
    """
    entries: dict[str, tuple[Arrays, str]] = {}
    for file in files:
        for name in file:
            if not name.startswith("optimizer/"):
                entries.setdefault(name.removeprefix(above), (file, name))
    result = Gathered(files[0].path, files, entries)
    result.format = "KerasHub"
    return result


def _check_shape(source: Arrays, name: str, wanted: tuple[int, ...]) -> None:
    _, shape = source.stored(name)
    if shape != wanted:
        raise WeightsError(f"{source.path.parent}: {name} has shape {shape}, but config.json requires {wanted}")


def _view(axes: str, shape: tuple[int, ...]) -> View:
    """The view that converts KerasHub's array with these axes to Hugging Face's array with this shape."""
    if " " in axes:
        return lambda array: array.reshape(shape[::-1]).T  # (D, H, E) -> (D, H·E) -> (H·E, D)
    return lambda array: array.reshape(shape)


def _after_padding(rows: int, array: numpy.ndarray) -> numpy.ndarray:
    """The position embeddings, preceded by the given number of zero rows. (P, D) -> (rows + P, D)."""
    result = numpy.zeros((rows + array.shape[0], array.shape[1]), array.dtype)
    result[rows:] = array
    return result


def _no_types(array: numpy.ndarray) -> numpy.ndarray:
    """Zeros as the embedding of the single token type, in the dtype of the position embeddings. (P, D) -> (1, D)."""
    return numpy.zeros((1, array.shape[1]), array.dtype)
