"""Changing the size of a model: more or fewer tokens, fewer attention heads.

Each function is also a method of `Model` with the same name. It leaves the model unchanged and returns a new model of
the same class. The two models share all arrays that are the same in both.
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
    """Return a new model with a vocabulary of n tokens; the old model is unchanged, unlike in transformers.

    The word embeddings (V, D), the bias of the language model head (V,) and an untied decoder (V, D) keep their first n
    rows. New rows are the mean of the old ones, so that a new token is about as likely as an old one (Hewitt 2021,
    "Initializing new word embeddings for pretrained language models"). New elements of a tied decoder's bias are 0.
    transformers 4.48.3 does the same, but adds noise whose standard deviation is 3e-5 times that of the old rows.
    The tokenizer is not changed. The encoder of an encoder-decoder, which has the same tokenizer, gets the same size.

    Raises InputError if n is not an integer of at least 1, or if `pad_token_id` would be removed.
    """
    config = model.config
    n = check_integer("the number of tokens", n, 1, LARGEST_SIZE)
    if n <= config.pad_token_id:
        raise InputError(
            f"a vocabulary of {n} tokens leaves out the padding token, whose id is {config.pad_token_id}: "
            f"give at least {config.pad_token_id + 1}"
        )
    params = flat(model.params)
    names = ("embeddings.word_embeddings.weight", "lm_head.decoder.weight", "lm_head.bias")
    changed = {name: params[name] for name in names if name in params}
    tied = "lm_head.decoder.weight" not in params
    for name, rows in changed.items():
        changed[name] = _resized(rows, n, fill=0 if name == "lm_head.bias" and tied else None)
    new = _with(model, config.replace(vocab_size=n), changed)
    if model.encoder is not None:
        new.encoder = resize_token_embeddings(model.encoder, n)
    return new


def _resized(rows: Array, n: int, fill: int | None) -> Array:
    """The first n rows. New rows are `fill`, or if that is None, the mean of the old rows. (V, ...) -> (n, ...)."""
    if n <= len(rows):
        return rows[:n]
    xp, shape = namespace(rows), (n - len(rows), *rows.shape[1:])
    value = rows.mean(0) if fill is None else xp.asarray(fill, dtype=rows.dtype)
    return xp.concatenate([rows, xp.broadcast_to(value, shape)])


# --- attention heads ------------------------------------------------------------------------------------------------


def prune_heads(model: M, heads: Mapping[int, Iterable[int]]) -> M:
    """Return a new model without the given self-attention heads (Michel et al. 2019).

    heads: a dict from layers to heads, such as {0: [1, 2]}, both counted from 0. Heads keep the numbers that they had
    before any pruning, so a head that is already pruned may be given again. A head's rows are removed from the query,
    key and value weights, (H·E, D), and its columns from the output weight, (D, H·E). Cross-attention is not pruned, as
    in transformers.

    Raises InputError for a layer or a head that does not exist, and for a layer that would lose all its heads.
    """
    config = model.config
    pruned = _all_pruned(heads, config)
    params, changed = flat(model.params), {}
    for layer, numbers in pruned.items():
        positions = _kept_positions(config, layer, numbers)
        name = f"encoder.layer.{layer}.attention"
        for part in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias"):
            changed[f"{name}.self.{part}"] = _of_heads(params[f"{name}.self.{part}"], positions, config.head_size)
        output = f"{name}.output.dense.weight"
        changed[output] = _of_heads(params[output].T, positions, config.head_size).T  # (D, H·E)
    return _with(model, config.replace(pruned_heads={**config.pruned_heads, **pruned}), changed)


def _all_pruned(heads: Mapping[int, Iterable[int]], config: Config) -> dict[int, list[int]]:
    """All pruned heads, old and new, of each layer in `heads`, in ascending order. Raises InputError."""
    if not isinstance(heads, Mapping):
        raise InputError(f"heads must be a dict from layers to heads, such as {{0: [1, 2]}}, not {reprlib.repr(heads)}")
    result = {}
    for key, some in heads.items():
        layer = check_integer("a layer", key, 0, config.num_hidden_layers - 1)
        if not isinstance(some, Iterable) or isinstance(some, str | bytes):
            raise InputError(
                f"the heads of layer {layer} must be a list of integers, such as [1, 2], not {reprlib.repr(some)}"
            )
        new = {check_integer(f"a head of layer {layer}", head, 0, config.num_attention_heads - 1) for head in some}
        together = sorted(new.union(config.pruned_heads.get(layer, ())))
        if len(together) == config.num_attention_heads:
            raise InputError(
                f"layer {layer} would lose all of its {config.num_attention_heads} heads: keep at least one"
            )
        if together:
            result[layer] = together
    return result


def _kept_positions(config: Config, layer: int, pruned: list[int]) -> list[int]:
    """Positions of the remaining heads among the heads that the layer had before this pruning."""
    before = [head for head in range(config.num_attention_heads) if head not in config.pruned_heads.get(layer, ())]
    return [position for position, head in enumerate(before) if head not in pruned]


def _of_heads(rows: Array, positions: list[int], head_size: int) -> Array:
    """The rows of the heads at these positions. (H·E, ...) -> (len(positions)·E, ...)."""
    by_head = rows.reshape(-1, head_size, *rows.shape[1:])  # (H·E, ...) -> (H, E, ...)
    return by_head[namespace(rows).asarray(positions)].reshape(-1, *rows.shape[1:])


# --- for both -------------------------------------------------------------------------------------------------------


def _with(model: M, config: Config, changed: Mapping[str, Array]) -> M:
    """A copy of the model with a new configuration, in which the arrays in `changed` replace the old ones."""
    new = copy.copy(model)
    new.config, new.params, new.compilations = config, tree({**flat(model.params), **changed}), []
    return new
