"""The keys and values of the tokens so far, and the positions that go on from them."""

from collections.abc import Sequence
from typing import Any

from . import ops
from .backend.arrays import Array, as_container, namespace
from .config import Config

KeysValues = tuple[Array, ...]
"""(k, v) of a layer, or (k, v, cross k, cross v); each (B, H, S, E)."""


class Cache(tuple[KeysValues, ...]):
    """The keys and values of the tokens so far, one tuple a layer: what `past_key_values` takes and gives.

    `tokens`, (B, 1), counts the tokens of each row, not counting padding, so that a left-padded prompt goes on at the
    right positions. A plain tuple in its place gets Hugging Face's numbering, which counts padding too.
    """

    tokens: Array

    def __new__(cls, layers: Sequence[KeysValues], tokens: Array) -> "Cache":
        """layers: each layer's keys and values; tokens: (B, 1) integers."""
        self = super().__new__(cls, layers)
        self.tokens = tokens
        as_container(cls, tokens, cls._flatten, cls._build)
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:  # for copies and pickles, which know only a tuple's items
        return tuple(self), self.tokens

    def _flatten(self) -> tuple[tuple[Any, Array], None]:
        return (tuple(self), self.tokens), None

    @classmethod
    def _build(cls, _: None, children: tuple[Any, Array]) -> "Cache":
        self = super().__new__(cls, children[0])
        self.tokens = children[1]
        return self


def cached_length(cache: Sequence[KeysValues] | None) -> int:
    """Number of positions that the cache holds, padding included."""
    return 0 if not cache else cache[0][0].shape[2]


def number_tokens(
    config: Config, input_ids: Array | None, inputs_embeds: Array | None, past: Sequence[KeysValues] | None
) -> tuple[Array, Array]:
    """Position id of each token, (B, L), and each row's count of tokens up to here, (B, 1), not counting padding.

    Embeddings do not show which are padding, so each counts. After a `Cache` the numbers go on from its count of
    tokens; after a plain tuple as in the reference: from its length for ids, and from the start for embeddings.
    """
    pad = config.pad_token_id
    if input_ids is not None:
        ids, before = input_ids, cached_length(past)
    else:
        B, L, _ = inputs_embeds.shape  # type: ignore[union-attr]
        ids, before = namespace(inputs_embeds).full((B, L), pad + 1), 0  # as of any token that is not padding
    if isinstance(past, Cache):
        before = past.tokens
    return ops.create_position_ids_from_input_ids(ids, pad, before), (ids != pad).sum(1, keepdims=True) + before
