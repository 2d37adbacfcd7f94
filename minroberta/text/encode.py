"""`encode`: an embedding vector for each text."""

import functools
from collections.abc import Callable, Iterable
from typing import Literal

import numpy

from ..backend.arrays import Array, namespace, to_host, widen, widened
from ..errors import NameUnknownError, check_integer
from ..model import Network
from .running import Output, Row, ready, run, warn_of_cut
from .texts import as_texts

Pooling = Literal["mean", "cls", "max"]


def encode(
    model: Network,
    texts: str | Iterable[str],
    pooling: Pooling = "mean",
    normalize: bool = True,
    batch_size: int | None = None,
) -> numpy.ndarray:
    """An embedding vector for each text, as sentence-transformers computes it: (N, D), or (D,) for one str.

    pooling: "mean" or "max" of the last hidden states of all tokens, special tokens included, or "cls" for the last
    hidden state of the first token. normalize: if True, vectors are scaled to length 1. batch_size: number of texts in
    a batch; by default, as many as fit in 4096 tokens. The result is float32, or float64 for a float64 model.

    Raises InputError, NameUnknownError, TokenizerError.
    """
    tokenizer = ready(model, "encode", "encoder")
    if not isinstance(pooling, str) or pooling not in POOLINGS:
        raise NameUnknownError(f"unknown pooling {pooling!r}: give one of {', '.join(POOLINGS)}")
    if batch_size is not None:
        check_integer("batch_size", batch_size, 1)
    rows, cut_off = tokenizer.cut(as_texts(texts), tokenizer.longest)
    warn_of_cut(tokenizer, cut_off)
    read = functools.partial(read_vector, pooling=pooling, normalize=normalize)
    vectors = run(model, rows, read, [[0]] * len(rows) if pooling == "cls" else None, batch_size)
    result = numpy.asarray(vectors, widened(model.dtype)).reshape(-1, model.config.hidden_size)
    return result[0] if isinstance(texts, str) else result


def read_vector(output: Output, _: Row, pooling: Pooling, normalize: bool) -> numpy.ndarray:
    """The embedding of a text, (D,), on the host."""
    vector = POOLINGS[pooling](widen(output["last_hidden_state"]))  # (positions, D) -> (D,)
    return to_host(_unit(vector) if normalize else vector)


POOLINGS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda x: x.mean(0),
    "cls": lambda x: x[0],
    "max": lambda x: x.max(0),
}
"""Pooling functions. Each takes hidden states of shape (L, D) and returns a vector (D,); for "cls", L may be 1."""


def _unit(x: Array) -> Array:
    """x / |x|, or 0 if x is 0."""
    xp = namespace(x)
    return x / xp.maximum(xp.sqrt((x * x).sum(-1, keepdims=True)), 1e-12)
