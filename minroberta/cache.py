"""The cache of earlier tokens' keys and values, and the position ids of the tokens that follow."""

from collections.abc import Sequence
from typing import Any

from . import ops
from .backend.arrays import Array, as_container, namespace
from .config import Config

KeysValues = tuple[Array, ...]
"""A layer's (k, v), or (k, v, cross k, cross v) with cross-attention; each array is (B, H, S, E)."""


class Cache(tuple[KeysValues, ...]):
    """The keys and values of earlier tokens, one tuple per layer; passed and returned as `past_key_values`.

    `tokens`, (B, 1), is the number of tokens in each row, not counting padding, so that a left-padded prompt continues
    at the correct positions. If a plain tuple is passed instead, positions are numbered as in Hugging Face's models,
    which count padding.
    """

    tokens: Array

    def __new__(cls, layers: Sequence[KeysValues], tokens: Array) -> "Cache":
        """Make a cache from each layer's keys and values, and each row's number of tokens, (B, 1) integers."""
        self = super().__new__(cls, layers)
        self.tokens = tokens
        as_container(cls, tokens, cls._flatten, cls._build)
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:  # otherwise copies and pickles keep only a tuple's items
        return tuple(self), self.tokens

    def _flatten(self) -> tuple[tuple[Any, Array], None]:
        return (tuple(self), self.tokens), None

    @classmethod
    def _build(cls, _: None, children: tuple[Any, Array]) -> "Cache":
        self = super().__new__(cls, children[0])
        self.tokens = children[1]
        return self


def cached_length(cache: Sequence[KeysValues] | None) -> int:
    """Number of cached positions, including padding."""
    return 0 if not cache else cache[0][0].shape[2]


def number_tokens(
    config: Config, input_ids: Array | None, inputs_embeds: Array | None, past: Sequence[KeysValues] | None
) -> tuple[Array, Array]:
    """Position id of each token, (B, L), and the number of tokens in each row so far, (B, 1), not counting padding.

    `inputs_embeds` does not show which positions are padding, so every position counts as a token. After a `Cache`,
    numbering continues from the cache's token count. After a plain tuple, positions are numbered as in the reference:
    `input_ids` continue from the number of cached positions, and `inputs_embeds` start over.
    """
    pad = config.pad_token_id
    if input_ids is not None:
        ids, before = input_ids, cached_length(past)
    else:
        B, L, _ = inputs_embeds.shape  # type: ignore[union-attr]
        ids, before = namespace(inputs_embeds).full((B, L), pad + 1), 0  # any id but the pad token's
    if isinstance(past, Cache):
        before = past.tokens
    return ops.create_position_ids_from_input_ids(ids, pad, before), (ids != pad).sum(1, keepdims=True) + before
