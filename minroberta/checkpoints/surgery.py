"""Models of another size: more or fewer tokens, fewer attention heads.

Each function is pure, and a method of `Model` by the same name: it returns a new model of the same class, which shares
every unchanged array with the old one.
"""

import copy
import reprlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from ..backend.arrays import Array, namespace
from ..config import LARGEST_SIZE, Config
from ..errors import InputError, check_integer
from ..model import Network
from ..weights import flat, tree

M = TypeVar("M", bound=Network)

# --- the vocabulary -------------------------------------------------------------------------------------------------


def resize_token_embeddings(model: M, n: int) -> M:
    """A new model with a vocabulary of n tokens; the old model is unchanged, unlike in transformers.

    The first n rows are kept of the word embeddings (V, D), of an untied decoder (V, D) and of its bias (V,). New rows
    are the mean of the old ones, so that a new token is about as likely as an old one (Hewitt 2021, "Initializing new
    word embeddings for pretrained language models"); those of a tied decoder's bias are 0. transformers 4.48.3 does
    the same, but adds noise to the mean, of 3e-5 of the old rows' standard deviation. The tokenizer is not changed.

    Raises InputError for an n that is not an integer of at least 1, or that leaves out `pad_token_id`.
    """
    config = model.config
    n = check_integer("the number of tokens", n, 1, LARGEST_SIZE)
    if n <= config.pad_token_id:
        raise InputError(
            f"{n} tokens leave out the padding token, whose id is {config.pad_token_id}: "
            f"give at least {config.pad_token_id + 1}"
        )
    params = flat(model.params)
    names = ("embeddings.word_embeddings.weight", "lm_head.decoder.weight", "lm_head.bias")
    changed = {name: params[name] for name in names if name in params}
    tied = "lm_head.decoder.weight" not in params
    for name, rows in changed.items():
        changed[name] = _resized(rows, n, fill=0 if name == "lm_head.bias" and tied else None)
    return _with(model, config.replace(vocab_size=n), changed)


def _resized(rows: Array, n: int, fill: int | None) -> Array:
    """The first n rows, filled up where there are fewer with `fill`, or with their mean. (V, ...) -> (n, ...)."""
    if n <= len(rows):
        return rows[:n]
    xp, shape = namespace(rows), (n - len(rows), *rows.shape[1:])
    value = rows.mean(0) if fill is None else xp.asarray(fill, dtype=rows.dtype)
    return xp.concatenate([rows, xp.broadcast_to(value, shape)])


# --- attention heads ------------------------------------------------------------------------------------------------


def prune_heads(model: M, heads: Mapping[int, Iterable[int]]) -> M:
    """A new model without some self-attention heads, {layer: heads}, both counted from 0 (Michel et al. 2019).

    Heads keep the numbers that they had before any was pruned, so a pruned one may be named again. A head's rows are
    removed from the queries, keys and values, (H·E, D), and its columns from the output, (D, H·E). Cross-attention is
    not pruned, as in transformers.

    Raises InputError for a layer or a head that does not exist, and for a layer that would lose all its heads.
    """
    config = model.config
    pruned = _all_pruned(heads, config)
    params, changed = flat(model.params), {}
    for layer, gone in pruned.items():
        places = _kept_places(config, layer, gone)
        name = f"encoder.layer.{layer}.attention"
        for part in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias"):
            changed[f"{name}.self.{part}"] = _of_heads(params[f"{name}.self.{part}"], places, config.head_size)
        output = f"{name}.output.dense.weight"
        changed[output] = _of_heads(params[output].T, places, config.head_size).T  # (D, H·E)
    return _with(model, config.replace(pruned_heads={**config.pruned_heads, **pruned}), changed)


def _all_pruned(heads: Mapping[int, Iterable[int]], config: Config) -> dict[int, list[int]]:
    """New and earlier pruned heads of each layer that `heads` names, sorted. Raises InputError."""
    if not isinstance(heads, Mapping):
        raise InputError(f"heads must be a dict from layers to heads, such as {{0: [1, 2]}}, not {reprlib.repr(heads)}")
    result = {}
    for key, some in heads.items():
        layer = check_integer("a layer", key, 0, config.num_hidden_layers - 1)
        if not isinstance(some, Iterable) or isinstance(some, str | bytes):
            raise InputError(
                f"heads of layer {layer} must be a list of numbers, such as [1, 2], not {reprlib.repr(some)}"
            )
        new = {check_integer(f"a head of layer {layer}", head, 0, config.num_attention_heads - 1) for head in some}
        gone = sorted(new.union(config.pruned_heads.get(layer, ())))
        if len(gone) == config.num_attention_heads:
            raise InputError(f"layer {layer} would lose all of its {config.num_attention_heads} heads: keep one")
        if gone:
            result[layer] = gone
    return result


def _kept_places(config: Config, layer: int, pruned: list[int]) -> list[int]:
    """Positions of the remaining heads among those that the layer has before this pruning."""
    before = [head for head in range(config.num_attention_heads) if head not in config.pruned_heads.get(layer, ())]
    return [place for place, head in enumerate(before) if head not in pruned]


def _of_heads(rows: Array, places: list[int], head_size: int) -> Array:
    """The rows of the heads at these positions. (H·E, ...) -> (len(places)·E, ...)."""
    by_head = rows.reshape(-1, head_size, *rows.shape[1:])  # (H·E, ...) -> (H, E, ...)
    return by_head[namespace(rows).asarray(places)].reshape(-1, *rows.shape[1:])


# --- both -----------------------------------------------------------------------------------------------------------


def _with(model: M, config: Config, changed: Mapping[str, Array]) -> M:
    """A copy of the model with another configuration and these arrays, by their names, in place of the old ones."""
    new = copy.copy(model)
    new.config, new.params = config, tree({**flat(model.params), **changed})
    return new
