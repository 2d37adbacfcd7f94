"""Conversion between a checkpoint's arrays and a parameter tree: names, shapes, checks and random weights.

The tree is a nested dict, with a list for the layers. Its keys are the canonical names, split at the dots. Canonical
names are Hugging Face's names for Roberta, without the base model's prefix; a table in `config` translates the names of
other model families.
"""

import contextlib
import difflib
import math
import os
import re
import sys
import warnings
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy

from .backend.arrays import Namespace, dtype_of
from .config import FAMILIES, HEADS, RELATIVE, Config
from .errors import ConfigError, WeightsError

Arrays = Mapping[str, Any]
Shape = tuple[int, ...]

# --- the weights of a model -----------------------------------------------------------------------------------------


def shapes(config: Config, head: str) -> dict[str, Shape]:
    """The shape of every weight of a model, by canonical name, in the order of the forward pass.

    The pooler is included for the heads `encoder` and `multiple_choice`, and an untied decoder is included if
    `tie_word_embeddings` is false.
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
    if config.position_embedding_type in RELATIVE:
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
    """The shape of every weight of a head, including the pooler, by canonical name."""
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

PREFIXES = tuple({f"{family.prefix}.": None for family in FAMILIES.values()})
"""The prefixes of the base model's weight names in files that also hold a head."""

OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}  # TensorFlow's names, in files from 2018 and 2019
DECODER = "lm_head.decoder.weight"
BUFFERS = re.compile(r"embeddings\.(position_ids|token_type_ids)$")


def without_prefix(name: str) -> str:
    """A weight's name without the base model's prefix."""
    return next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), name)


def plain_name(name: str) -> str:
    """A weight's name without the base model's prefix, and with today's ending."""
    name = without_prefix(name)
    for old, new in OLD_ENDINGS.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def canonical_names(names: Iterable[str], config: Config) -> dict[str, str]:
    """A dict from each weight's canonical name to its name in the file.

    Raises WeightsError if two names are for the same weight.
    """
    result: dict[str, str] = {}
    for stored in names:
        name = config.family.canonical_name(plain_name(stored))
        if name in result:
            raise WeightsError(f"{result[name]} and {stored} are two names for the same weight: remove one of them")
        result[name] = stored
    return result


def untangle_lm_bias(names: dict[str, str], arrays: Arrays) -> None:
    """Keep only one of `lm_head.bias` and `lm_head.decoder.bias` in `names`, because they are the same parameter.

    If a file has both, `lm_head.decoder.bias` is used, as in the reference. If they differ, a warning is given.
    """
    second = names.pop("lm_head.decoder.bias", None)
    if second is None:
        return
    first = names.get("lm_head.bias")
    if first is not None and not numpy.array_equal(arrays[first], arrays[second]):
        warnings.warn(
            f"{first} and {second} are the same parameter, but differ in this file: {second} is used", stacklevel=5
        )
    names["lm_head.bias"] = second


def load_arrays(arrays: Arrays, config: Config, head: str, *, missing: str, seed: int, check: bool) -> dict[str, Any]:
    """Select a model's weights from a file's arrays, by canonical name, and check their shapes.

    Weights of other heads are left out, and unknown weights cause a warning. A weight that is missing or has the wrong
    shape is an error. However, if `missing` is "init" and the weight belongs to the head, it is initialised at
    random, with `seed`. The pooler of the bare encoder is optional. check: also look for NaN and infinite values, and
    for tied weights that differ.

    Raises WeightsError.
    """
    names = canonical_names(arrays, config)
    untangle_lm_bias(names, arrays)
    wanted = _wanted(config, head, names)
    of_head = head_shapes(config, head)
    result: dict[str, Any] = {}
    if missing == "init":
        fitting = {name for name, shape in wanted.items() if name in names and arrays[names[name]].shape == shape}
        absent = [name for name in wanted if name in of_head and name not in fitting]
        result = random_weights({name: wanted[name] for name in absent}, config, seed)
    _check_held({*names, *result}, wanted, config, head)
    _warn_of_unknown(names, wanted, config)
    for name, shape in wanted.items():
        if name not in result:
            result[name] = _checked(names[name], arrays[names[name]], shape, name in of_head)
    if check:
        _check_values(result)
        _check_tied(names, arrays, config)
    return {name: result[name] for name in wanted}


def _checked(name: str, array: Any, shape: Shape, is_of_head: bool) -> Any:
    """Return the array. Raises WeightsError if its shape is wrong, or its dtype is not a floating-point dtype."""
    if array.shape != shape:
        of_labels = " for its num_labels or id2label" if array.shape[1:] == shape[1:] else ""
        hint = f'{of_labels}: give missing="init" to initialise it at random' if is_of_head else ""
        raise WeightsError(f"{name} has shape {array.shape}, but the configuration requires {shape}{hint}")
    if array.dtype.kind != "f":
        raise WeightsError(f"{name} has dtype {array.dtype}, but a weight must have a floating-point dtype")
    return array


def heads_in(held: Mapping[str, Shape], config: Config) -> list[str]:
    """The heads whose weights are all in `held`, not counting the bare encoder.

    `masked_lm` and `causal_lm` have the same weights, so `is_decoder` decides between them. `classifier.weight` belongs
    to `multiple_choice` if it has one row and there is a pooler, and to `token_classification` otherwise.
    """
    heads = [head for head in HEADS if head != "encoder" and held.keys() >= head_shapes(config, head).keys()]
    one_row = held.get("classifier.weight") == head_shapes(config, "multiple_choice")["classifier.weight"]
    others = {
        "masked_lm" if config.is_decoder else "causal_lm",
        "token_classification" if one_row and "multiple_choice" in heads else "multiple_choice",
    }
    return [head for head in heads if head not in others]


def check_names(params: Any, config: Config, head: str) -> None:
    """Raise WeightsError if a parameter tree lacks a weight that the model needs."""
    if not isinstance(params, dict):
        raise WeightsError(f"params must be a parameter tree (a nested dict of arrays), not {type(params).__name__}")
    held = flat(params)
    _check_held(held, _wanted(config, head, held), config, head)


def _wanted(config: Config, head: str, held: Collection[str]) -> dict[str, Shape]:
    """The shapes of the weights that a model needs. The bare encoder needs a pooler only if `held` has one."""
    wanted = shapes(config, head)
    if head == "encoder" and not any(name.startswith("pooler.") for name in held):
        return {name: shape for name, shape in wanted.items() if not name.startswith("pooler.")}
    return wanted


def _check_held(held: Collection[str], wanted: Collection[str], config: Config, head: str) -> None:
    """Raise WeightsError if a wanted weight is missing."""
    lacking = [name for name in wanted if name not in held]
    if not lacking:
        return
    text = f"head {head!r} needs {len(wanted)} weights, but lacks {len(lacking)}: {first_ten(lacking)}"
    of_head = head_shapes(config, head)
    own = {name for name in of_head if head == "encoder" or not name.startswith("pooler.")}
    if own <= set(lacking) <= set(of_head):
        text += '. This head is not in the file: choose another head, or give missing="init" to initialise it at random'
    elif nearest := _nearest(lacking[0], sorted(set(held) - _known(wanted, config))):
        text += f". The nearest names in the file are {', '.join(nearest)}: rename them, or save the model's state_dict"
    elif set(lacking) <= set(of_head):
        text += '. They belong to the head: choose another head, or give missing="init" to initialise them at random'
    raise WeightsError(text)


def _known(wanted: Collection[str], config: Config) -> set[str]:
    """The names of wanted weights, and of those of every head."""
    return {*wanted, DECODER, *(name for head in HEADS for name in head_shapes(config, head))}


def _nearest(name: str, names: list[str]) -> list[str]:
    """The names in a file that are most like the name of a missing weight."""
    return difflib.get_close_matches(name, [name[:200] for name in names[:1000]], n=3, cutoff=0.6)


def _warn_of_unknown(names: Mapping[str, str], wanted: Collection[str], config: Config) -> None:
    known = _known(wanted, config)
    unknown = [stored for name, stored in names.items() if name not in known and not BUFFERS.search(name)]
    if unknown:
        text = f"ignored arrays that this model does not use ({len(unknown)}): {first_ten(unknown)}"
        warnings.warn(text, stacklevel=5)


def first_ten(names: list[str]) -> str:
    """The names for a message; if there are more than ten, only the first ten and the number of others."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _check_values(arrays: Arrays) -> None:
    for name, array in arrays.items():
        bad = int(array.size - numpy.isfinite(array).sum())
        if bad:
            raise WeightsError(f"{name} has NaN or infinite values: {bad} of {array.size}")


def _check_tied(names: Mapping[str, str], arrays: Arrays, config: Config) -> None:
    stored = names.get("lm_head.decoder.weight")
    if stored is None or not config.tie_word_embeddings:
        return
    if not numpy.array_equal(arrays[stored], arrays[names["embeddings.word_embeddings.weight"]]):
        raise WeightsError(
            f"{stored} differs from the word embeddings, but tie_word_embeddings is true: "
            f"set it to false in config.json, or remove {stored}"
        )


# --- random weights -------------------------------------------------------------------------------------------------


def random_weights(shapes: Mapping[str, Shape], config: Config, seed: int) -> dict[str, numpy.ndarray]:
    """Weights of these shapes, each from `random_weight`. Raises ConfigError if memory is too small for them."""
    needed, memory = 4 * sum(map(math.prod, shapes.values())), _memory()
    if needed > memory:
        raise ConfigError(
            f"weights of these sizes take {needed / 1e9:,.1f} GB, and {memory / 1e9:,.1f} GB of memory are left: "
            "reduce the sizes in the configuration"
        )
    try:
        return {name: random_weight(name, shape, config, seed) for name, shape in shapes.items()}
    except MemoryError as error:
        raise ConfigError(
            f"weights of these sizes take {needed / 1e9:,.1f} GB, which are not left: reduce the sizes in the "
            "configuration"
        ) from error


def _memory() -> float:
    """The memory in bytes that is left for this process, as far as the system says; infinite if it does not."""
    return min(_of_machine(), _of_process())


def _of_machine() -> float:
    """The memory that Linux can give without swapping; elsewhere all that the machine has, or infinity."""
    with contextlib.suppress(OSError, TypeError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return int(re.search(r"MemAvailable: *(\d+) kB", text)[1]) * 1024  # type: ignore[index]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return math.inf


def _of_process() -> float:
    """The memory that the limit of this process (`ulimit -v`) leaves, on Linux; infinite without a limit."""
    with contextlib.suppress(ImportError, AttributeError, OSError):  # JupyterLite's module is empty
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
            return max(0, limit - int(pages) * resource.getpagesize())
    return math.inf


def random_weight(name: str, shape: Shape, config: Config, seed: int) -> numpy.ndarray:
    """A weight initialised as in the reference: from N(0, initializer_range²), or 1 for norms and 0 for biases.

    The padding token's word embedding and position embedding are 0 too. Each weight has its own random stream, seeded
    by `seed` and the weight's name. Returns float32.
    """
    if name.endswith(".bias"):
        return numpy.zeros(shape, numpy.float32)
    if re.search(r"(LayerNorm|layer_norm)\.weight$", name):
        return numpy.ones(shape, numpy.float32)
    random = numpy.random.default_rng([seed, zlib.crc32(name.encode())])
    weight = random.standard_normal(shape, numpy.float32)
    weight *= numpy.float32(config.initializer_range)
    if name in ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"):
        weight[config.pad_token_id : config.pad_token_id + 1] = 0  # an empty slice if there are fewer rows
    return weight


# --- trees ----------------------------------------------------------------------------------------------------------


def tree(arrays: Arrays) -> dict[str, Any]:
    """Build a tree from a flat dict: `a.b.0.c` becomes `[a][b][0][c]`. Numbered children form a list."""
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
    if not children or not all(name.isdigit() for name in children):
        return children
    return [children[name] for name in sorted(children, key=int)]


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Flatten a tree to a dict with dotted names: the inverse of `tree`."""
    if not isinstance(node, dict | list):
        return {path: node}
    result: dict[str, Any] = {}
    for name, child in node.items() if isinstance(node, dict) else enumerate(node):
        result |= flat(child, f"{path}.{name}" if path else str(name))
    return result


def move(arrays: Arrays, dtype: Any, xp: Namespace) -> dict[str, Any]:
    """Convert arrays to the given library and dtype. An array that already has both is not copied.

    JAX may use the memory of an array, so nothing may be written to it later.
    """
    kind = dtype_of(xp, dtype)
    if xp.__name__ == "jax.numpy":  # its asarray takes four times as long
        put = sys.modules["jax"].device_put
        return {name: put(array.astype(kind, copy=False)) for name, array in arrays.items()}
    if xp is numpy:
        return {name: array.astype(kind, copy=False) for name, array in arrays.items()}
    return {name: xp.asarray(array, dtype=kind) for name, array in arrays.items()}
