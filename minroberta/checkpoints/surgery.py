"""Models cut to another size: more or fewer tokens, fewer attention heads.

Each function is pure, and a method of `Model` by the same name: it gives a new model, which shares with the old one
every array that stays as it was.
"""

import operator
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from ..backend.arrays import Array, namespace
from ..config import LARGEST_SIZE, Config
from ..errors import InputError
from ..model import Network
from ..weights import flat, tree

# --- the vocabulary -------------------------------------------------------------------------------------------------


def resize_token_embeddings(model: Network, n: int) -> Network:
    """A new model with a vocabulary of n tokens; the old one stays as it is, where transformers changes it in place.

    Of the word embeddings (V, D), and of what has a row a token beside them, the first n rows are kept. Every new row
    of the word embeddings, and of an untied decoder and its bias, is the mean of the old ones, so that a new token is
    about as likely as an old one (Hewitt 2021, "Initializing new word embeddings for pretrained language models"); a
    tied decoder's bias goes on with 0. So it is in transformers 4.48.3, which also scatters the new rows around the
    mean, at random, by 3e-5 of the old ones' standard deviation. The tokenizer is left as it is.

    Raises InputError where n is no whole number of at least 1, or leaves out `pad_token_id`.
    """
    config = model.config
    n = _whole("a number of tokens", n, 1, LARGEST_SIZE)
    if n <= config.pad_token_id:
        raise InputError(
            f"{n} tokens leave out the pad, whose id is {config.pad_token_id}: give at least {config.pad_token_id + 1}"
        )
    params = flat(model.params)
    names = ("embeddings.word_embeddings.weight", "lm_head.decoder.weight", "lm_head.bias")
    changed = {name: params[name] for name in names if name in params}
    tied = "lm_head.decoder.weight" not in params
    for name, rows in changed.items():
        changed[name] = _resized(rows, n, fill=0 if name == "lm_head.bias" and tied else None)
    return _with(model, config.replace(vocab_size=n), changed)


def _resized(rows: Array, n: int, fill: int | None) -> Array:
    """The first n rows, and where there are fewer, so many more of `fill`, or of their mean. (V, ...) -> (n, ...)."""
    if n <= len(rows):
        return rows[:n]
    xp, shape = namespace(rows), (n - len(rows), *rows.shape[1:])
    value = rows.mean(0) if fill is None else xp.asarray(fill, dtype=rows.dtype)
    return xp.concatenate([rows, xp.broadcast_to(value, shape)])


# --- the heads ------------------------------------------------------------------------------------------------------


def prune_heads(model: Network, heads: Mapping[int, Iterable[int]]) -> Network:
    """A model without some heads of its self-attentions, {layer: heads}, both counted from 0 (Michel et al. 2019).

    Heads keep the numbers that they had before any was pruned; one that is gone already may be named again. A head's
    rows leave the queries, keys and values, (H·E, D), and its columns the output, (D, H·E). Cross-attention stays
    whole, as in transformers.

    Raises InputError where there is no such layer or head, or a layer would keep none.
    """
    config = model.config
    union = _union(heads, config)
    params, changed = flat(model.params), {}
    for layer, gone in union.items():
        places = _kept_places(config, layer, gone)
        name = f"encoder.layer.{layer}.attention"
        for part in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias"):
            changed[f"{name}.self.{part}"] = _of_heads(params[f"{name}.self.{part}"], places, config.head_size)
        output = f"{name}.output.dense.weight"
        changed[output] = _of_heads(params[output].T, places, config.head_size).T  # (D, H·E)
    return _with(model, config.replace(pruned_heads={**config.pruned_heads, **union}), changed)


def _union(heads: Mapping[int, Iterable[int]], config: Config) -> dict[int, list[int]]:
    """For each layer that is named, its heads that are to go and those that are gone. Raises InputError."""
    if not isinstance(heads, Mapping):
        raise InputError(
            f"heads to prune are a dict from layers to heads, such as {{0: [1, 2]}}, not {reprlib.repr(heads)}"
        )
    result = {}
    for key, some in heads.items():
        layer = _whole("a layer", key, 0, config.num_hidden_layers - 1)
        if not isinstance(some, Iterable) or isinstance(some, str | bytes):
            raise InputError(f"heads of layer {layer} are several numbers, such as [1, 2], not {reprlib.repr(some)}")
        new = {_whole(f"a head of layer {layer}", head, 0, config.num_attention_heads - 1) for head in some}
        gone = sorted(new.union(config.pruned_heads.get(layer, ())))
        if len(gone) == config.num_attention_heads:
            raise InputError(f"layer {layer} would keep none of its {config.num_attention_heads} heads: keep one")
        if gone:
            result[layer] = gone
    return result


def _kept_places(config: Config, layer: int, pruned: list[int]) -> list[int]:
    """Where the heads that stay have their channels now, among those that the layer has left."""
    before = [head for head in range(config.num_attention_heads) if head not in config.pruned_heads.get(layer, ())]
    return [place for place, head in enumerate(before) if head not in pruned]


def _of_heads(rows: Array, places: list[int], head_size: int) -> Array:
    """The channels of some heads. (H·E, ...) -> (len(places)·E, ...)."""
    by_head = rows.reshape(-1, head_size, *rows.shape[1:])  # (H·E, ...) -> (H, E, ...)
    return by_head[namespace(rows).asarray(places)].reshape(-1, *rows.shape[1:])


# --- both -----------------------------------------------------------------------------------------------------------


def _with(model: Network, config: Config, changed: Mapping[str, Array]) -> Network:
    """The model with another configuration, and these arrays in place of its own."""
    return type(model)(config, tree({**flat(model.params), **changed}), model.head, model.tokenizer)


def _whole(what: str, value: Any, least: int, most: int) -> int:
    """A whole number, as an int. Raises InputError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        raise InputError(f"{what} is a whole number from {least} to {most}, not {reprlib.repr(value)}")
    return number
