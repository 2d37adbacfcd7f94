"""Attention of queries to keys: either to all keys under a mask, or only within each sequence of a packed row.

A run chooses one `Attend`, and every layer calls it as `attend(q, k, v, p, config)`. p is the attention's node in the
parameter tree: values are named after it, and it holds the distance embeddings. `ops` explains the letters in shapes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from . import ops
from .backend.arrays import Array, cast, namespace
from .backend.schedule import each, matmul
from .config import Config
from .trace import Node, is_watched, tap


class Masked(NamedTuple):
    """Attention of every query to every key: softmax((q kᵀ + relative) / √E + mask) · head_mask · v.

    mask: the result of `ops.additive_mask`. head_mask: (H,), a factor per head, applied after the softmax.
    """

    mask: Array | None = None
    head_mask: Array | None = None

    def __call__(self, q: Array, k: Array, v: Array, p: Node, config: Config) -> Array:
        """Attend in blocks, unless the probabilities are kept, a head_mask is given, or positions are relative."""
        relative = relative_scores(q, k, p, config)
        if relative is None and self.head_mask is None and not is_watched(f"{p.path}.probs"):
            return ops.attend(q, k, v, self.mask)
        scores = tap(f"{p.path}.scores", ops.attention_scores(q, k, self.mask, relative))  # (B, H, L, S)
        probs = cast(ops.softmax(scores), q.dtype)
        if self.head_mask is not None:
            probs = probs * self.head_mask[:, None, None]
        return matmul(tap(f"{p.path}.probs", probs), v)  # (B, H, L, S) @ (B, H, S, E) -> (B, H, L, E)

    def of_sequences(self, some: slice) -> "Masked":
        """The same attention for a slice of the batch."""
        one_for_all = self.mask is None or len(self.mask) == 1
        return self if one_for_all else self._replace(mask=self.mask[some])  # type: ignore[index]


def relative_scores(q: Array, k: Array, p: Node, config: Config) -> Array | None:
    """Scores for relative positions, (B, H, L, S), or None if the attention has no distance embeddings."""
    if "distance_embedding" not in p:
        return None
    with_key = config.position_embedding_type == "relative_key_query"
    return ops.relative_scores(q, k, p.distance_embedding.weight, with_key)


class Segment(NamedTuple):
    """Some queries of a packed row, the keys that they attend to, and their mask, (1, 1, queries, keys)."""

    queries: slice
    keys: slice
    mask: Array | None


class Segmented(NamedTuple):
    """Attention in a packed row, where the queries of each segment attend only to the keys of the same segment."""

    segments: Sequence[Segment]

    def __call__(self, q: Array, k: Array, v: Array, p: Node, config: Config) -> Array:
        """q: (1, H, T, E); k, v: (1, H, S, E). Returns (1, H, T, E)."""

        def attend(s: Segment) -> Array:
            return ops.attend(q[:, :, s.queries], k[:, :, s.keys], v[:, :, s.keys], s.mask)

        scores = sum((s.queries.stop - s.queries.start) * (s.keys.stop - s.keys.start) for s in self.segments)
        none = q[:, :, :0]  # in case no segment of a share has a query
        return namespace(q).concatenate([none, *each(attend, self.segments, q, scores * q.shape[1])], axis=2)


Attend = Any  # Masked or Segmented
"""softmax((q kᵀ + relative) / √E + mask) v in each head, (B, H, L, E), from q: (B, H, L, E) and k, v: (B, H, S, E)."""
