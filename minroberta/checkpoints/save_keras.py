"""Write a model as a KerasHub preset: its configuration, weights, and tokenizer."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from ..backend.arrays import to_host
from ..config import Config
from ..errors import SaveError
from ..weights import flat, head_shapes
from .files import replacing, write_json
from .formats.keras import ASSETS, BACKBONE_FILE, POSITIONS, SIZES, TASK_FILE, TYPES, locations, snake, stored_shape

VERSIONS = {"keras_version": "3.15.1", "keras_hub_version": "0.32.0"}
"""Written presets have the layout of these versions of Keras and KerasHub."""

FIXED: dict[str, Any] = {
    "norm_first": False,
    "embedding_norm": True,
    "position_embedding_type": "absolute",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "is_decoder": False,
    "pruned_heads": {},
}
"""Fields with the same value in all of KerasHub's RoBERTa models. A preset's configuration does not contain them."""

KINDS = {"masked_lm": "MaskedLM", "sequence_classification": "TextClassifier"}
"""The heads that KerasHub supports, mapped to the endings of its class names."""

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<mask>")
"""The tokens that KerasHub needs to build a tokenizer."""


class BytePairs(NamedTuple):
    """A byte-level BPE tokenizer as KerasHub stores it. A merge is a string of two tokens, separated by a space."""

    vocabulary: Mapping[str, int]
    merges: list[str]
    add_prefix_space: bool


def write(directory: Path, params: Any, config: Config, head: str, bpe: BytePairs | None = None) -> None:
    """Write a preset that KerasHub 0.32.0 loads with `from_preset`. Outputs are equal if padding is on the right.

    The heads masked_lm and sequence_classification are written as a task preset, and the bare encoder as a backbone
    preset. KerasHub has no token types, so the embedding of type 0 is added to each position embedding, because
    (word + type) + position = word + (type + position) up to rounding. The pooler, the names of the labels, and the
    position rows that only padding uses are left out, because KerasHub does not have them.

    bpe: the tokenizer, as returned by `text.vocabularies.byte_pairs`.

    Raises SaveError for a model that KerasHub cannot represent, and if the directory cannot be written to.
    """
    _check_expressible(config, head)
    _h5py()  # before anything is written
    _warn_of_losses(params, config, bpe)
    arrays = _to_store(params, config, head)
    of_head = {name: arrays.pop(name) for name in _names_of_head(config, head)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_arrays(directory / BACKBONE_FILE, arrays)
        if of_head:
            _write_arrays(directory / TASK_FILE, of_head)
        for name, value in _objects(config, head, bpe).items():
            write_json(directory / name, value, indent=4)
        if bpe:
            _write_assets(directory / ASSETS, bpe)
    except OSError as error:
        raise SaveError(f"the preset cannot be written to {directory}: {error.strerror or error}") from error


def _check_expressible(config: Config, head: str) -> None:
    if head != "encoder" and head not in KINDS:
        raise SaveError(f"KerasHub's RoBERTa does not support head {head!r}: give one of encoder, {', '.join(KINDS)}")
    fixed = {**FIXED, "tie_word_embeddings": True} if head == "masked_lm" else FIXED
    for name, wanted in fixed.items():
        if getattr(config, name) != wanted:
            raise SaveError(
                f"KerasHub's RoBERTa always has {name} {wanted!r}, but this model has {getattr(config, name)!r}: "
                "save it in Hugging Face's format"
            )


def _warn_of_losses(params: Any, config: Config, bpe: BytePairs | None) -> None:
    losses = []
    if config.type_vocab_size > 1:
        losses.append(f"all but the first of {config.type_vocab_size} token types")
    if "pooler" in params:
        losses.append("the pooler")
    if bpe is None and config.pad_token_id != 1:
        losses.append(f"pad_token_id {config.pad_token_id}, which will be read as 1")
    if losses:
        warnings.warn(f"parts that a KerasHub preset cannot represent are left out: {'; '.join(losses)}", stacklevel=3)


def _names_of_head(config: Config, head: str) -> list[str]:
    of_head = head_shapes(config, head)
    return [stored for name, (stored, _) in locations(config, head).items() if name in of_head]


def _to_store(params: Any, config: Config, head: str) -> dict[str, numpy.ndarray]:
    """The arrays of a model, with KerasHub's names and layout."""
    arrays = {name: _as_float(to_host(array)) for name, array in flat(params).items()}
    arrays[POSITIONS] = arrays[POSITIONS][config.pad_token_id + 1 :] + arrays[TYPES][0]  # (P, D)
    result = {}
    for name, (stored, axes) in locations(config, head).items():
        array = arrays[name].T if " " in axes else arrays[name]
        result[stored] = array.reshape(stored_shape(axes, config))  # (H·E, D) -> (D, H·E) -> (D, H, E)
    return result


def _as_float(array: numpy.ndarray) -> numpy.ndarray:
    """The array, converted to float32 if it is bfloat16, which neither NumPy nor HDF5 supports."""
    return array if array.dtype.kind == "f" else array.astype(numpy.float32)


def _h5py() -> Any:
    try:
        import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise SaveError('writing a KerasHub preset needs h5py: pip install "minroberta[formats]"') from error
    return h5py


def _write_arrays(path: Path, arrays: Mapping[str, numpy.ndarray]) -> None:
    with replacing(path) as partial, _h5py().File(partial, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)


def _write_assets(directory: Path, bpe: BytePairs) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "vocabulary.json", bpe.vocabulary)
    with replacing(directory / "merges.txt") as partial:
        partial.write_text("".join(f"{merge}\n" for merge in bpe.merges), encoding="utf-8")


# --- Keras's descriptions of objects --------------------------------------------------------------------------------


def _objects(config: Config, head: str, bpe: BytePairs | None) -> dict[str, dict[str, Any]]:
    """The content of each JSON file of a preset."""
    family = "XLMRoberta" if config.model_type == "xlm-roberta" else "Roberta"
    sizes = {theirs: getattr(config, name) for name, theirs in SIZES.items()}
    sizes |= {"dropout": config.hidden_dropout_prob, "max_sequence_length": config.longest}
    backbone = _object(family, "Backbone", **sizes)
    result: dict[str, dict[str, Any]] = {"config.json": backbone, "metadata.json": dict(VERSIONS)}
    tokenizer = preprocessor = None
    if bpe:
        settings = {"add_prefix_space": bpe.add_prefix_space, "unsplittable_tokens": list(SPECIAL_TOKENS)}
        result["tokenizer.json"] = tokenizer = _object(family, "Tokenizer", **settings)
    if head in KINDS:
        kind = KINDS[head]
        if bpe:
            preprocessor = _object(family, f"{kind}Preprocessor", tokenizer=tokenizer, sequence_length=config.longest)
            result["preprocessor.json"] = preprocessor
        extra = {"num_classes": config.num_labels, "dropout": _dropout(config)} if kind == "TextClassifier" else {}
        result["task.json"] = _object(family, kind, backbone=backbone, preprocessor=preprocessor, **extra)
    return result


def _dropout(config: Config) -> float:
    """The classifier's dropout probability, by default the encoder's, as in Hugging Face's models."""
    return config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout


def _object(family: str, kind: str, **config: Any) -> dict[str, Any]:
    """Keras's description of an object: its class, and the arguments that recreate it."""
    name = family + kind
    return {
        "module": f"keras_hub.src.models.{snake(family)}.{snake(name)}",
        "class_name": name,
        "config": {"name": snake(name), **config},
        "registered_name": f"keras_hub>{name}",
    }
