"""The way from a checkpoint's arrays to a parameter tree, and back: rename, check, draw, save.

The tree is a plain nested dict, with a list for the layers, that follows the dots of Hugging Face's names for Roberta,
without the base model's prefix. A family's own names are exchanged by its table in `config`.
"""

import math
import re
import warnings
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy

from .backend.arrays import Namespace, dtype_of
from .config import HEADS, Config
from .errors import WeightsError

Arrays = Mapping[str, Any]
Shape = tuple[int, ...]

# --- what a model holds ---------------------------------------------------------------------------------------------


def shapes(config: Config, head: str) -> dict[str, Shape]:
    """Every weight of a model and its shape, under canonical names, in the order of the data's way.

    A pooler is listed for the heads `encoder` and `multiple_choice`; an untied decoder where `tie_word_embeddings` is
    false.
    """
    D, V = config.hidden_size, config.vocab_size
    result: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (V, D),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, D),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, D),
    }
    if config.embedding_norm:
        result |= _norm("embeddings.LayerNorm", D)
    for index in range(config.num_hidden_layers):
        result |= _layer_shapes(f"encoder.layer.{index}", config, index)
    if config.family.final_norm:
        result |= _norm(config.family.final_norm, D)
    return result | head_shapes(config, head)


def _layer_shapes(name: str, config: Config, index: int) -> dict[str, Shape]:
    D, F = config.hidden_size, config.intermediate_size
    kept = config.num_attention_heads - len(config.pruned_heads.get(index, ()))
    result = _attention_shapes(f"{name}.attention", D, kept * config.head_size)
    if config.position_embedding_type != "absolute":
        rows = 2 * config.max_position_embeddings - 1
        result[f"{name}.attention.self.distance_embedding.weight"] = (rows, config.head_size)
    if config.add_cross_attention:
        result |= _attention_shapes(f"{name}.crossattention", D, D)
    result |= _linear(f"{name}.intermediate.dense", D, F) | _linear(f"{name}.output.dense", F, D)
    return result | _norm(f"{name}.output.LayerNorm", D)


def _attention_shapes(name: str, D: int, inner: int) -> dict[str, Shape]:
    result: dict[str, Shape] = {}
    for part in ("query", "key", "value"):
        result |= _linear(f"{name}.self.{part}", D, inner)
    return result | _linear(f"{name}.output.dense", inner, D) | _norm(f"{name}.output.LayerNorm", D)


def head_shapes(config: Config, head: str) -> dict[str, Shape]:
    """The weights of a head alone and their shapes, the pooler included."""
    sizes = {"D": config.hidden_size, "V": config.vocab_size, "N": config.num_labels, "1": 1}
    result = {name: tuple(sizes[x] for x in letters) for name, letters in HEADS[head].weights.items()}
    if config.tie_word_embeddings:
        result.pop("lm_head.decoder.weight", None)
    return result


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, Shape]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


# --- from a file's names to arrays ----------------------------------------------------------------------------------

PREFIXES = ("roberta.", "roberta_prelayernorm.", "data2vec_text.")
OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}  # TensorFlow's names, in files of 2018 and 2019
BUFFERS = re.compile(r"embeddings\.(position_ids|token_type_ids)$")


def canonical_names(names: Iterable[str], config: Config) -> dict[str, str]:
    """The canonical name of each weight in a file, mapped to its own. Raises WeightsError where two would be one."""
    result: dict[str, str] = {}
    for own in names:
        name = next((own.removeprefix(p) for p in PREFIXES if own.startswith(p)), own)
        for old, new in OLD_ENDINGS.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        name = config.family.canonical_name(name)
        if name in result:
            raise WeightsError(f"the weights hold {result[name]} and {own}, which name one weight: remove one")
        result[name] = own
    return result


LARGEST_RATIO = 8
"""Bytes of weights in float32 to those of their file; of int8 it would be 4."""


def load_arrays(arrays: Arrays, config: Config, head: str, *, missing: str, seed: int, check: bool) -> dict[str, Any]:
    """A model's weights out of a file's, under canonical names, every shape checked.

    Weights of other heads are left where they are; unknown ones are named in a warning. Missing ones, and those of
    another shape, are an error, unless they are the head's and `missing` is "init": then they are drawn, with `seed`.
    The encoder goes without a pooler. `check` looks for NaN, infinities, and tied weights that differ.

    Raises WeightsError.
    """
    names = canonical_names(arrays, config)
    untangle_lm_bias(names, arrays)
    wanted = _wanted(config, head, names)
    drawn: dict[str, Any] = {}
    if missing == "init":
        fitting = {name for name, shape in wanted.items() if name in names and arrays[names[name]].shape == shape}
        of_head = [name for name in wanted if name in head_shapes(config, head) and name not in fitting]
        drawn = {name: draw(name, wanted[name], config, seed) for name in of_head}
    lacking = [name for name in wanted if name not in names and name not in drawn]
    if lacking:
        raise WeightsError(_lacking(lacking, wanted, config, head))
    _warn_of_unknown(names, wanted, config)
    _check_size(arrays, sum(math.prod(shape) for name, shape in wanted.items() if name in names))
    result = {}
    for name, shape in wanted.items():
        array = drawn[name] if name in drawn else arrays[names[name]]
        if array.shape != shape:
            text = f"{names[name]} has shape {array.shape}; the configuration says {shape}"
            if name in head_shapes(config, head):
                text += ': give missing="init" to draw a new one at random'
            raise WeightsError(text)
        if array.dtype.kind != "f":
            raise WeightsError(f"{names[name]} holds {array.dtype}; a weight is a floating-point array")
        result[name] = array
    if check:
        _check_values(result)
        _check_tied(names, arrays, config)
    return result


def heads_in(held: Mapping[str, Shape], config: Config) -> list[str]:
    """The heads, beside the bare encoder, whose weights stand among those that are held.

    `masked_lm` and `causal_lm` have the same: they go by `is_decoder`. A bare classifier of one row beside a pooler is
    that of `multiple_choice`, any other that of `token_classification`.
    """
    heads = [head for head in HEADS if head != "encoder" and held.keys() >= head_shapes(config, head).keys()]
    one_row = held.get("classifier.weight") == head_shapes(config, "multiple_choice")["classifier.weight"]
    others = {
        "masked_lm" if config.is_decoder else "causal_lm",
        "token_classification" if one_row and "multiple_choice" in heads else "multiple_choice",
    }
    return [head for head in heads if head not in others]


def check_names(params: Any, config: Config, head: str) -> None:
    """Raise WeightsError where a tree lacks what the head takes."""
    if not isinstance(params, dict):
        raise WeightsError(f"params is the tree of a model's weights, nested dicts, not {type(params).__name__}")
    held = flat(params)
    wanted = _wanted(config, head, held)
    lacking = [name for name in wanted if name not in held]
    if lacking:
        raise WeightsError(_lacking(lacking, wanted, config, head))


def _wanted(config: Config, head: str, held: Iterable[str]) -> dict[str, Shape]:
    """What a model takes of the weights that are held: an encoder without any pooler's goes without."""
    wanted = shapes(config, head)
    if head == "encoder" and not any(name.startswith("pooler.") for name in held):
        return {name: shape for name, shape in wanted.items() if not name.startswith("pooler.")}
    return wanted


def untangle_lm_bias(names: dict[str, str], arrays: Arrays) -> None:
    """`lm_head.bias` and `lm_head.decoder.bias` are one parameter; the reference takes the second where both stand."""
    other = names.pop("lm_head.decoder.bias", None)
    if other is None:
        return
    own = names.get("lm_head.bias")
    if own is not None and not numpy.array_equal(arrays[own], arrays[other]):
        warnings.warn(f"{own} and {other} are one parameter, but differ here: {other} is taken", stacklevel=4)
    names["lm_head.bias"] = other


def _lacking(lacking: list[str], wanted: Arrays, config: Config, head: str) -> str:
    text = f"the weights lack {len(lacking)} of the {len(wanted)} that head {head!r} takes: {', '.join(lacking[:10])}"
    if len(lacking) > 10:
        text += f" and {len(lacking) - 10} more"
    own = [name for name in head_shapes(config, head) if head == "encoder" or not name.startswith("pooler.")]
    if set(own) <= set(lacking) <= set(head_shapes(config, head)):
        text += '. The file holds no such head: name another head, or give missing="init" to draw this one at random'
    return text


def _warn_of_unknown(names: Mapping[str, str], wanted: Arrays, config: Config) -> None:
    known = {*wanted, "lm_head.decoder.weight", *(name for head in HEADS for name in head_shapes(config, head))}
    unknown = [own for name, own in names.items() if name not in known and not BUFFERS.search(name)]
    if unknown:
        text = ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        warnings.warn(f"the weights hold {len(unknown)} that this model does not use: {text}", stacklevel=4)


def _check_size(arrays: Arrays, count: int) -> None:
    """Raise WeightsError where so many numbers are seen in few bytes, as where many names mean one storage."""
    size = getattr(arrays, "size", math.inf)
    if 4 * count > LARGEST_RATIO * size + 2**20:
        path = getattr(arrays, "path", "the file")
        raise WeightsError(f"{path} has {size} bytes, and shows {count} numbers in them: they are used over again")


def _check_values(arrays: Arrays) -> None:
    for name, array in arrays.items():
        bad = int(array.size - numpy.isfinite(array).sum())
        if bad:
            raise WeightsError(f"{name} holds {bad} NaN or infinite numbers of {array.size}")


def _check_tied(names: Mapping[str, str], arrays: Arrays, config: Config) -> None:
    own = names.get("lm_head.decoder.weight")
    if own is None or not config.tie_word_embeddings:
        return
    if not numpy.array_equal(arrays[own], arrays[names["embeddings.word_embeddings.weight"]]):
        raise WeightsError(
            f"{own} differs from the word embeddings, though tie_word_embeddings says that they are one: "
            "set it to false in config.json, or remove one"
        )


# --- random weights -------------------------------------------------------------------------------------------------


def draw(name: str, shape: Shape, config: Config, seed: int) -> numpy.ndarray:
    """A weight as the reference initialises it: N(0, initializer_range²); norms are 1 and biases 0; so is a pad's row.

    Each weight has a random stream of its own, from the seed and its name. Returns float32.
    """
    if name.endswith(".bias"):
        return numpy.zeros(shape, numpy.float32)
    if re.search(r"(LayerNorm|layer_norm)\.weight$", name):
        return numpy.ones(shape, numpy.float32)
    random = numpy.random.default_rng([seed, zlib.crc32(name.encode())])
    weight = random.standard_normal(shape, numpy.float32) * numpy.float32(config.initializer_range)
    if name in ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"):
        weight[config.pad_token_id : config.pad_token_id + 1] = 0  # no row, where relative positions are few
    return weight


# --- trees ----------------------------------------------------------------------------------------------------------


def tree(arrays: Arrays) -> dict[str, Any]:
    """The nested dict of a flat one: `a.b.0.c` is `[a][b][0][c]`, with a list wherever names are numbers."""
    root: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split(".")
        node = root
        for part in path:
            node = node.setdefault(part, {})
        node[last] = array
    return _with_lists(root)


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    children = {name: _with_lists(child) for name, child in node.items()}
    return list(children.values()) if children and all(name.isdigit() for name in children) else children


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """The inverse of `tree`."""
    if not isinstance(node, dict | list):
        return {path: node}
    result: dict[str, Any] = {}
    for name, child in node.items() if isinstance(node, dict) else enumerate(node):
        result |= flat(child, f"{path}.{name}" if path else str(name))
    return result


def move(arrays: Arrays, dtype: Any, xp: Namespace) -> dict[str, Any]:
    """The arrays in a library and dtype; the very same ones where they are so already."""
    kind = dtype_of(xp, dtype)
    if xp is numpy:
        return {name: array.astype(kind, copy=False) for name, array in arrays.items()}
    return {name: xp.asarray(array, dtype=kind) for name, array in arrays.items()}


# --- files ----------------------------------------------------------------------------------------------------------
