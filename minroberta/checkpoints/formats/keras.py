"""KerasHub's and keras-nlp's presets: a directory that holds a backbone, and often a task and a vocabulary.

    config.json        the backbone's class and sizes      task.json         the task's class and its own
    model.weights.h5   the backbone's arrays               task.weights.h5   the head's arrays
    tokenizer.json     the tokenizer's class, with its files in assets/tokenizer

An array's path in the file names the layers that it is in, each by its class: `transformer_encoder` is the first,
`transformer_encoder_1` the second. KerasHub counts positions by place, 0, 1, 2 …, pads included, so that it agrees with
Hugging Face's models where pads stand on the right.
"""

import functools
import json
import os
import re
import reprlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from ...backend.arrays import to_host
from ...config import FAMILIES, HEADS, Config
from ...errors import ConfigError, Error, NotFoundError, SaveError, TokenizerError, WeightsError
from ...model import Network
from ...weights import flat, head_shapes, shapes
from ..arrays import Arrays, Renamed, Turn, as_stored
from ..files import inside, read_json
from .hdf5 import File

# --- names ----------------------------------------------------------------------------------------------------------

BACKBONES = {"RobertaBackbone": "roberta", "XLMRobertaBackbone": "xlm-roberta"}
"""KerasHub's classes, and Hugging Face's model_type."""

TASKS = {
    "MaskedLM": "masked_lm",
    "TextClassifier": "sequence_classification",
    "Classifier": "sequence_classification",
    "TextEmbedder": "encoder",
}
"""What the name of a task's class has behind the family's, and the head that it is."""

SIZES = {
    "vocab_size": "vocabulary_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "hidden_size": "hidden_dim",
    "intermediate_size": "intermediate_dim",
}
"""Fields of Hugging Face's configuration and of KerasHub's."""

TABLES = {
    "embeddings.word_embeddings.weight": ("layers/token_and_position_embedding/token_embedding/vars/0", "VD"),
    "embeddings.position_embeddings.weight": ("layers/token_and_position_embedding/position_embedding/vars/0", "PD"),
    "lm_head.bias": ("layers/masked_lm_head/vars/0", "V"),
}
"""Arrays alone, by Hugging Face's names: KerasHub's names, and the axes there, in the letters of CONTRIBUTING.md.

`P` is here the number of positions, without the rows that Hugging Face keeps below them.
"""

MODULES = {
    "embeddings.LayerNorm": ("layers/layer_normalization", "D"),
    "lm_head.dense": ("layers/masked_lm_head/_intermediate_dense", "D D"),
    "lm_head.layer_norm": ("layers/masked_lm_head/_intermediate_layer_norm", "D"),
    "classifier.dense": ("layers/dense", "D D"),
    "classifier.out_proj": ("layers/dense_1", "D N"),
}
"""Modules with a weight and a bias, and the weight's axes: a space parts what goes in from what comes out."""

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
"""Those of one encoder layer."""

POSITIONS, TYPES = "embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight"


def _places(config: Config, head: str) -> dict[str, tuple[str, str]]:
    """For each weight of a model that KerasHub has, its name there and its axes."""
    modules = dict(MODULES)
    for index in range(config.num_hidden_layers):
        layer = f"layers/transformer_encoder_{index}" if index else "layers/transformer_encoder"
        modules |= {f"encoder.layer.{index}.{name}": (f"{layer}/{own}", axes) for name, (own, axes) in LAYER.items()}
    places = dict(TABLES)
    for name, (own, axes) in modules.items():
        places[f"{name}.weight"] = f"{own}/vars/0", axes
        places[f"{name}.bias"] = f"{own}/vars/1", axes.split()[-1]
    return {name: places[name] for name in shapes(config, head) if name in places}


def _stored_shape(axes: str, config: Config) -> tuple[int, ...]:
    c = config
    sizes = {"V": c.vocab_size, "P": c.longest, "D": c.hidden_size, "H": c.num_attention_heads, "E": c.head_size,
             "F": c.intermediate_size, "N": c.num_labels}  # fmt: skip
    return tuple(sizes[axis] for axis in axes.replace(" ", ""))


# --- reading --------------------------------------------------------------------------------------------------------

BACKBONE_FILE, TASK_FILE = "model.weights.h5", "task.weights.h5"
LARGEST_JSON = 10_000_000
"""Bytes: ten times a vocabulary; as many brackets would become 200 MB of lists."""


class Preset(Renamed):
    """The arrays of a preset under Hugging Face's names, `embeddings.word_embeddings.weight`, and its `config`.

    path: the directory, or a weights file in one. Arrays are views of the file's own bytes; but the positions stand
    below the rows that Hugging Face keeps for pads, zeros here, and so are a copy; and the one token type is a zero
    row. What no RoBERTa uses keeps its own name.

    Raises ConfigError and NotFoundError; WeightsError as `hdf5.File` does, and where an array has not the shape that
    `config.json` says; and one of the two, or TokenizerError, for a file that is a link out of the directory.
    """

    def __init__(self, path: Path) -> None:
        directory = path.parent if path.is_file() else path
        backbone, self.config = _read_config(directory)
        config = Config.from_dict(self.config)
        files = [File(file) for file in _weights_files(directory, path)]
        source = _Layers(files, above=f"layers/{_snake(backbone)}/")
        entries: dict[str, tuple[str, Turn]] = {}
        wanted = shapes(config, config.head)
        for name, (own, axes) in _places(config, config.head).items():
            if own in source:
                _check_shape(source, own, _stored_shape(axes, config))
                entries[name] = own, _turn(axes, wanted[name])
        positions, _ = TABLES[POSITIONS]
        if positions in source:
            entries[POSITIONS] = positions, functools.partial(_below, config.pad_token_id + 1)
            entries[TYPES] = positions, _no_types
        used = {own for own, _ in entries.values()}
        super().__init__(source, entries | {own: (own, as_stored) for own in source if own not in used})


def _read_config(directory: Path) -> tuple[str, dict[str, Any]]:
    """The class of the backbone, and Hugging Face's configuration of the preset."""
    backbone, settings = _read_object(directory, "config.json")
    if backbone not in BACKBONES:
        raise ConfigError(f"{directory} is a preset of {backbone[:100]!r}; read are those of {', '.join(BACKBONES)}")
    fields: dict[str, Any] = {name: _integer(settings, own, directory) for name, own in SIZES.items()}
    ids = _special_ids(directory)
    task = _read_task(directory, FAMILIES[BACKBONES[backbone]].architecture, fields["hidden_size"])
    return backbone, {
        **fields,
        **ids,
        **task,
        "model_type": BACKBONES[backbone],
        "max_position_embeddings": _integer(settings, "max_sequence_length", directory) + ids["pad_token_id"] + 1,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
        "hidden_dropout_prob": settings.get("dropout", 0.1),
        "attention_probs_dropout_prob": settings.get("dropout", 0.1),
    }


def _read_task(directory: Path, architecture: str, hidden_size: int) -> dict[str, Any]:
    """What Hugging Face's configuration says of the task; where a preset has none, it is the bare encoder's."""
    if not _has(directory, "task.json"):
        return {"architectures": [architecture + HEADS["encoder"].ending]}
    name, settings = _read_object(directory, "task.json")
    tasks = {architecture + ending: head for ending, head in TASKS.items()}
    if name not in tasks:
        raise ConfigError(
            f"{directory / 'task.json'} is of a {name[:100]!r}; read are {', '.join(tasks)}: "
            "move it away to read the backbone alone"
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
            f"{directory / 'task.json'} has a classifier with hidden_dim {reprlib.repr(size)}: Hugging Face's, and so "
            f"this package's, is as wide as the backbone, which has {hidden_size}"
        )
    if activation not in (None, "linear"):
        warnings.warn(
            f"the classifier of {directory} ends with {reprlib.repr(activation)}, which is no weight: "
            "the logits here are what goes into it",
            stacklevel=5,
        )


def _special_ids(directory: Path) -> dict[str, int]:
    """The ids of special tokens: what a byte-level vocabulary says, or RoBERTa's own, which XLM-RoBERTa's are too."""
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2}
    if "vocabulary.json" in tokenizer_files(directory):
        given = _read_json(directory, f"{ASSETS}/vocabulary.json")
        ids |= {token: given[token] for token in ids if token in given}
        for token, value in ids.items():
            _check_whole(f"the id of {token} in {directory / ASSETS / 'vocabulary.json'}", value, least=0)
    return {"bos_token_id": ids["<s>"], "pad_token_id": ids["<pad>"], "eos_token_id": ids["</s>"]}


def _read_object(directory: Path, name: str) -> tuple[str, Mapping[str, Any]]:
    """The class that a file of Keras's names, and what it was made with."""
    values = _read_json(directory, name)
    kind, settings = values.get("class_name"), values.get("config")
    if not isinstance(kind, str) or not isinstance(settings, dict):
        raise ConfigError(f"{directory / name} is no preset's: it has no class_name with a config, as Keras writes it")
    return kind, settings


def _read_json(directory: Path, name: str) -> dict[str, Any]:
    return read_json(_file(directory, name, ConfigError), ConfigError, LARGEST_JSON)


def _integer(settings: Mapping[str, Any], name: str, directory: Path) -> int:
    return _check_whole(f"{name} in the preset {directory}", settings.get(name), least=1)


def _check_whole(what: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{what} is a whole number of at least {least}, not {reprlib.repr(value)}")
    return value


# --- files ----------------------------------------------------------------------------------------------------------

ASSETS = "assets/tokenizer"
TOKENIZERS = (("vocabulary.json", "merges.txt"), ("vocabulary.spm",))
"""The files of each kind of tokenizer: byte-level BPE, and a sentencepiece model."""


def tokenizer_files(directory: Path) -> dict[str, Path]:
    """The paths of a preset's `vocabulary.json` and `merges.txt`, or `vocabulary.spm`, by name; none where it has none.

    Raises TokenizerError where one is a link that leads out of the directory.
    """
    for names in TOKENIZERS:
        if all((directory / ASSETS / name).is_file() for name in names):
            return {name: _file(directory, f"{ASSETS}/{name}", TokenizerError) for name in names}
    return {}


def _weights_files(directory: Path, path: Path) -> list[Path]:
    """The weights that a path means: a preset's own one or two files, or one of another name."""
    if path.is_file() and path.name not in (BACKBONE_FILE, TASK_FILE):
        return [_file(directory, path.name, WeightsError)]
    names = [BACKBONE_FILE, TASK_FILE] if _has(directory, TASK_FILE) else [BACKBONE_FILE]
    return [_file(directory, name, WeightsError) for name in names]


def _has(directory: Path, name: str) -> bool:
    """Whether there is such a file, or a link that says so."""
    return os.path.lexists(directory / name)


def _file(directory: Path, name: str, error: type[Error]) -> Path:
    """A file of a preset. Raises NotFoundError, and `error` for a link that leads out of its directory."""
    try:
        return inside(directory, name, error)
    except NotFoundError as cause:
        raise NotFoundError(f"{directory} is no preset of KerasHub's: it has no file {name}") from cause


class _Layers(Arrays):
    """The arrays of several files by the paths of their layers; the first file that has one gives it.

    above: what stands before a backbone's layers in a file that holds a whole task. What a training has left of its
    optimizer is left out.
    """

    format = "KerasHub"

    def __init__(self, files: Sequence[File], above: str) -> None:
        self.path, self.size = files[0].path, sum(file.size for file in files)
        self._places: dict[str, tuple[File, str]] = {}
        for file in files:
            for own in file:
                if not own.startswith("optimizer/"):
                    self._places.setdefault(own.removeprefix(above), (file, own))

    def __getitem__(self, name: str) -> numpy.ndarray:
        file, own = self._places[name]
        return file[own]

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and the shape that an array has in its file."""
        file, own = self._places[name]
        return file.stored(own)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


# --- arrays ---------------------------------------------------------------------------------------------------------


def _check_shape(source: Arrays, own: str, wanted: tuple[int, ...]) -> None:
    _, shape = source.stored(own)
    if shape != wanted:
        raise WeightsError(f"{source.path.parent}: {own} has shape {shape}; config.json says {wanted}")


def _turn(axes: str, shape: tuple[int, ...]) -> Turn:
    """What makes Hugging Face's array, of this shape, of KerasHub's: a view."""
    if " " in axes:
        return lambda array: array.reshape(shape[::-1]).T  # (D, H, E) -> (D, H·E) -> (H·E, D)
    return lambda array: array.reshape(shape)


def _below(rows: int, array: numpy.ndarray) -> numpy.ndarray:
    """(P, D) -> (rows + P, D), the array below so many rows of zeros."""
    result = numpy.zeros((rows + array.shape[0], array.shape[1]), array.dtype)
    result[rows:] = array
    return result


def _no_types(array: numpy.ndarray) -> numpy.ndarray:
    """(P, D) -> (1, D), zeros."""
    return numpy.zeros((1, array.shape[1]), array.dtype)


# --- writing --------------------------------------------------------------------------------------------------------

VERSIONS = {"keras_version": "3.15.1", "keras_hub_version": "0.32.0"}
"""Whose layout is written."""

FIXED: dict[str, Any] = {
    "norm_first": False,
    "embedding_norm": True,
    "position_embedding_type": "absolute",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "is_decoder": False,
    "pruned_heads": {},
}
"""What every RoBERTa of KerasHub has, so that its configuration does not say it."""

KINDS = {"masked_lm": "MaskedLM", "sequence_classification": "TextClassifier"}
"""The heads that it has, and how it calls such a task."""


def write(directory: Path, model: Network) -> None:
    """Write a preset that KerasHub 0.32.0 opens by `from_preset`, with equal output where pads stand on the right.

    It is a task's for the heads masked_lm and sequence_classification, for the bare encoder a backbone's; a byte-level
    BPE goes with it. KerasHub has no token types; but every token is of type 0 there, so that this row is made part of
    each position: (word + type) + position = word + (type + position), but for the last digit. It has no pooler, no
    names of labels, and no rows below the first position, which only pads ever get.

    Raises SaveError for a model that KerasHub cannot express, and where the directory cannot be written to.
    """
    config, bpe = model.config, _bpe_of(model)
    _check_expressible(config, model.head)
    _h5py()  # before anything is written
    _warn_of_losses(model, bpe)
    arrays = _to_store(model)
    of_head = {own: arrays.pop(own) for own in _places_of_head(config, model.head)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_arrays(directory / BACKBONE_FILE, arrays)
        if of_head:
            _write_arrays(directory / TASK_FILE, of_head)
        for name, value in _objects(model, bpe).items():
            (directory / name).write_text(json.dumps(value, indent=4) + "\n", encoding="utf-8")
        if bpe:
            _write_assets(directory / ASSETS, bpe)
    except OSError as error:
        raise SaveError(f"the preset cannot be written to {directory}: {error.strerror or error}") from error


def _check_expressible(config: Config, head: str) -> None:
    if head != "encoder" and head not in KINDS:
        raise SaveError(f"KerasHub's RoBERTa has no head {head!r}: take one of encoder, {', '.join(KINDS)}")
    fixed = {**FIXED, "tie_word_embeddings": True} if head == "masked_lm" else FIXED
    for name, wanted in fixed.items():
        if getattr(config, name) != wanted:
            raise SaveError(
                f"KerasHub's RoBERTa always has {name} {wanted!r}; this model has {getattr(config, name)!r}: "
                "save it as Hugging Face has it"
            )


def _warn_of_losses(model: Network, bpe: "BytePairs | None") -> None:
    config, losses = model.config, []
    if config.type_vocab_size > 1:
        losses.append(f"all but the first of {config.type_vocab_size} token types")
    if "pooler" in model.params:
        losses.append("the pooler")
    if model.tokenizer is not None and bpe is None:
        losses.append("the tokenizer, which is no byte-level BPE with RoBERTa's special tokens")
    if bpe is None and config.pad_token_id != 1:
        losses.append(f"pad_token_id {config.pad_token_id}, which will be read as 1")
    if losses:
        warnings.warn(
            f"a preset of KerasHub's cannot hold all of this model; left out: {'; '.join(losses)}", stacklevel=3
        )


def _places_of_head(config: Config, head: str) -> list[str]:
    of_head = head_shapes(config, head)
    return [own for name, (own, _) in _places(config, head).items() if name in of_head]


def _to_store(model: Network) -> dict[str, numpy.ndarray]:
    """The arrays of a model under KerasHub's names, in its layout."""
    arrays = {name: _as_float(to_host(array)) for name, array in flat(model.params).items()}
    arrays[POSITIONS] = arrays[POSITIONS][model.config.pad_token_id + 1 :] + arrays[TYPES][0]  # (P, D)
    result = {}
    for name, (own, axes) in _places(model.config, model.head).items():
        array = arrays[name].T if " " in axes else arrays[name]
        result[own] = array.reshape(_stored_shape(axes, model.config))  # (H·E, D) -> (D, H·E) -> (D, H, E)
    return result


def _as_float(array: numpy.ndarray) -> numpy.ndarray:
    """The array; in float32 if it is of bfloat16, which neither NumPy nor HDF5 has."""
    return array if array.dtype.kind == "f" else array.astype(numpy.float32)


def _h5py() -> Any:
    try:
        import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise SaveError('a preset of KerasHub\'s is written with h5py: pip install "minroberta[formats]"') from error
    return h5py


def _write_arrays(path: Path, arrays: Mapping[str, numpy.ndarray]) -> None:
    """Write a file that appears only when it is complete: the arrays may be mapped from the one that it replaces."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _h5py().File(partial, "w") as file:
            for own, array in arrays.items():
                file.create_dataset(own, data=array)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# --- the tokenizer of a preset that is written ----------------------------------------------------------------------

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<mask>")
"""Without which KerasHub makes no tokenizer."""


class BytePairs(NamedTuple):
    """A byte-level BPE, as KerasHub keeps it."""

    vocabulary: dict[str, int]
    merges: list[str]
    add_prefix_space: bool


def _bpe_of(model: Network) -> BytePairs | None:
    """The tokenizer of a model, if it is such a one."""
    if model.tokenizer is None or model.config.model_type == "xlm-roberta":
        return None
    library = model.tokenizer.library
    state = json.loads(library.to_str())
    splits = state["pre_tokenizer"] or {}
    vocabulary = dict(sorted(library.get_vocab().items(), key=lambda item: item[1]))
    if state["model"].get("type") != "BPE" or splits.get("type") != "ByteLevel" or state["normalizer"]:
        return None
    if not vocabulary.keys() >= set(SPECIAL_TOKENS):
        return None
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]]
    return BytePairs(vocabulary, merges, splits["add_prefix_space"])


def _write_assets(directory: Path, bpe: BytePairs) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocabulary.json").write_text(json.dumps(bpe.vocabulary), encoding="utf-8")
    (directory / "merges.txt").write_text("".join(f"{merge}\n" for merge in bpe.merges), encoding="utf-8")


# --- Keras's descriptions of objects --------------------------------------------------------------------------------


def _objects(model: Network, bpe: BytePairs | None) -> dict[str, dict[str, Any]]:
    """What stands in each JSON file of a preset."""
    config = model.config
    family = "XLMRoberta" if config.model_type == "xlm-roberta" else "Roberta"
    sizes = {own: getattr(config, name) for name, own in SIZES.items()}
    sizes |= {"dropout": config.hidden_dropout_prob, "max_sequence_length": config.longest}
    backbone = _object(family, "Backbone", **sizes)
    result: dict[str, dict[str, Any]] = {"config.json": backbone, "metadata.json": dict(VERSIONS)}
    tokenizer = preprocessor = None
    if bpe:
        settings = {"add_prefix_space": bpe.add_prefix_space, "unsplittable_tokens": list(SPECIAL_TOKENS)}
        result["tokenizer.json"] = tokenizer = _object(family, "Tokenizer", **settings)
    if model.head in KINDS:
        kind = KINDS[model.head]
        if bpe:
            preprocessor = _object(family, f"{kind}Preprocessor", tokenizer=tokenizer, sequence_length=config.longest)
            result["preprocessor.json"] = preprocessor
        own = {"num_classes": config.num_labels, "dropout": _dropout(config)} if kind == "TextClassifier" else {}
        result["task.json"] = _object(family, kind, backbone=backbone, preprocessor=preprocessor, **own)
    return result


def _dropout(config: Config) -> float:
    """The classifier's: where it has none of its own, Hugging Face's takes that of the body."""
    return config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout


def _object(family: str, kind: str, **config: Any) -> dict[str, Any]:
    """How Keras describes an object: its class, and the arguments that make it anew."""
    name = family + kind
    return {
        "module": f"keras_hub.src.models.{_snake(family)}.{_snake(name)}",
        "class_name": name,
        "config": {"name": _snake(name), **config},
        "registered_name": f"keras_hub>{name}",
    }


def _snake(name: str) -> str:
    """XLMRobertaMaskedLM -> xlm_roberta_masked_lm."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
