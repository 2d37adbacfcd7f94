"""`encode`: an embedding vector for each text; `similarity`: how alike vectors are."""

import functools
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy

from ..backend.arrays import Array, is_float, namespace, to_host, widen, widened
from ..errors import InputError, NameUnknownError, check_flag, check_integer
from ..model import Network
from .embedding import POOLINGS, SIMILARITIES, Embedding, Normalize, Similarity, unit
from .running import Output, Row, ready, run, warn_of_cut
from .texts import as_texts
from .tokenizer import Tokenizer

Pooling = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", "pooler"]


def encode(
    model: Network,
    texts: str | Iterable[str],
    prompt: str | None = None,
    prompt_name: str | None = None,
    pooling: Pooling | None = None,
    normalize: bool | None = None,
    truncate_dim: int | None = None,
    batch_size: int | None = None,
    max_seq_length: int | None = None,
) -> numpy.ndarray:
    """An embedding vector for each text, as sentence-transformers 3.4.1 computes it: (N, W), or (W,) for one str.

    For an argument that is None, the repository's setting is used. Without the `modules.json` of sentence-transformers,
    vectors are the mean of the last hidden states, W = D, and are not normalised.

    prompt: a text to put before each text; prompt_name: the name of one of the repository's prompts.
    pooling: "mean", "max", "weightedmean" (token i has the weight i, counted from 1) or "mean_sqrt_len_tokens" (the sum
    divided by the square root of the number of tokens) of the last hidden states of all tokens, special tokens
    included; "cls" or "lasttoken" for the state of the first or last token; "pooler" for the pooler's output.
    normalize: if True, vectors are scaled to length 1; if False, they are not, even if the repository says so.
    truncate_dim: number of elements to keep of each vector. Truncated vectors have length 1 only if normalize is True.
    batch_size: number of texts in a batch; by default, as many as fit in 4096 tokens. max_seq_length: maximum number of
    tokens of a text, not more than the model's.

    Spaces around a text are removed. The result is float32, or float64 for a float64 model.

    Raises InputError, NameUnknownError, TokenizerError.
    """
    tokenizer = ready(model, "encode", "encoder")
    embedding = model.embedding or Embedding()
    poolings = embedding.poolings if pooling is None else (_check_pooling(pooling, model),)
    if normalize is not None:
        check_flag("normalize", normalize)
    size = embedding.width(poolings, model.config.hidden_size)
    if truncate_dim is None:
        truncate_dim = embedding.truncate_dim
    else:
        check_integer("truncate_dim", truncate_dim, 1, size)
    if batch_size is not None:
        check_integer("batch_size", batch_size, 1)
    before = embedding.prompt(prompt, prompt_name)
    limit = min(embedding.max_seq_length or tokenizer.longest, model.config.longest)
    if max_seq_length is not None:
        limit = check_integer("max_seq_length", max_seq_length, 1, model.config.longest)
    rows = tokenizer.rows([embedding.prepare(before + text) for text in as_texts(texts)], limit)
    warn_of_cut(rows, limit)
    start = 0 if embedding.include_prompt or not before else _prompt_length(tokenizer, embedding.prepare(before), limit)
    pool = functools.partial(read_vector, poolings=poolings, start=start, pooler=model.pooled)
    vectors = run(model, rows, pool, _wanted(rows, poolings), batch_size)
    x = numpy.asarray(vectors, widened(model.dtype)).reshape(-1, len(poolings) * model.config.hidden_size)
    result = finish(x, embedding, normalize, truncate_dim)
    return result[0] if isinstance(texts, str) else result


def _check_pooling(pooling: Any, model: Network) -> Pooling:
    allowed = (*POOLINGS, "pooler")
    if not isinstance(pooling, str) or pooling not in allowed:
        raise NameUnknownError(f"unknown pooling {reprlib.repr(pooling)}: give one of {', '.join(allowed)}")
    if pooling == "pooler" and "pooler" not in model.p:
        raise InputError(f"this model has no pooler: give another pooling, one of {', '.join(POOLINGS)}")
    return pooling  # type: ignore[return-value]


def _prompt_length(tokenizer: Tokenizer, prompt: str, limit: int) -> int:
    """Number of tokens that pooling leaves out: the prompt's, with the special token before them. Raises InputError."""
    (ids,) = tokenizer.rows([prompt])
    if len(ids) >= limit:
        raise InputError(
            f"the prompt has {len(ids)} tokens, which pooling leaves out, but this model reads only {limit}: shorten "
            "the prompt"
        )
    return len(ids) - 1


def _wanted(rows: Sequence[Row], poolings: Sequence[str]) -> list[list[int]] | None:
    """The positions to compute for each row, or None for all."""
    if not set(poolings) <= {"cls", "pooler", "lasttoken"}:
        return None
    return [[0, len(row) - 1] if "lasttoken" in poolings else [0] for row in rows]


def read_vector(
    output: Output, _: Row, poolings: Sequence[str], start: int = 0, pooler: Callable[[Array], Array] | None = None
) -> numpy.ndarray:
    """The poolings of a text's last hidden states, one after the other, on the host: (positions, D) -> (W,).

    start: the first position that is not left out. pooler: the function `Network.pooled`, for the pooling "pooler".
    """
    x, pooled = widen(output["last_hidden_state"]), []
    for name in poolings:
        if name == "pooler" and pooler is not None:
            pooled.append(widen(pooler(output["last_hidden_state"][None, :1])[0]))  # (1, 1, D) -> (D,)
        else:
            pooled.append(FORMULAS[name](x, start))  # (positions, D) -> (D,)
    return to_host(namespace(x).concatenate(pooled))


def _weighted_mean(x: Array, start: int) -> Array:
    """Mean with the weight i for the token at position i, counted from 1. (L, D) -> (D,)."""
    weights = namespace(x).arange(start + 1, len(x) + 1, dtype=x.dtype)[:, None]  # (L,) -> (L, 1)
    return (x[start:] * weights).sum(0) / weights.sum()


FORMULAS: dict[str, Callable[[Array, int], Array]] = {
    "cls": lambda x, start: x[0],
    "max": lambda x, start: x[start:].max(0),
    "mean": lambda x, start: x[start:].mean(0),
    "mean_sqrt_len_tokens": lambda x, start: x[start:].mean(0) * (len(x) - start) ** 0.5,
    "weightedmean": _weighted_mean,
    "lasttoken": lambda x, start: x[-1],
}
"""Pooling functions of hidden states (L, D) and the first position to include: -> (D,).

For cls and lasttoken alone, only the positions that they read are computed, so L is 1 or 2.
"""


def finish(x: numpy.ndarray, embedding: Embedding, normalize: bool | None, truncate_dim: int | None) -> numpy.ndarray:
    """Apply the modules after pooling, truncation and normalisation. (N, W) -> (N, truncate_dim)."""
    for step in embedding.steps:
        if not (normalize is False and isinstance(step, Normalize)):
            x = step(x)
    x = x[:, :truncate_dim]
    return unit(x) if normalize else x


# --- comparing vectors ----------------------------------------------------------------------------------------------


def similarity(a: Any, b: Any, similarity_fn_name: Similarity = "cosine") -> numpy.ndarray:
    """The similarity of each vector of a to each of b, as sentence-transformers computes it: (N, W), (M, W) -> (N, M).

    a, b: arrays of any library, or lists; a single vector (W,) counts as (1, W). similarity_fn_name: "cosine" is
    a·b / (|a| |b|), or 0 for a vector of zeros; "dot" is a·b; "euclidean" and "manhattan" are -√Σ(a - b)² and
    -Σ|a - b|. In every case, a larger number means more alike. Raises InputError, NameUnknownError.
    """
    if not isinstance(similarity_fn_name, str) or similarity_fn_name not in SIMILARITIES:
        given = reprlib.repr(similarity_fn_name)
        raise NameUnknownError(f"unknown similarity_fn_name {given}: give one of {', '.join(SIMILARITIES)}")
    a, b = _as_vectors(a), _as_vectors(b)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"vectors of {a.shape[1]} and {b.shape[1]} elements: give vectors of the same size")
    if similarity_fn_name == "cosine":
        return unit(a) @ unit(b).T  # (N, W), (W, M) -> (N, M)
    if similarity_fn_name == "dot":
        return a @ b.T
    order = 2 if similarity_fn_name == "euclidean" else 1
    rows = [-numpy.linalg.norm(row - b, order, axis=-1) for row in a]  # N of (M,)
    return numpy.asarray(rows, numpy.result_type(a, b)).reshape(len(a), len(b))


def _as_vectors(x: Any) -> numpy.ndarray:
    """A float array (N, W). Raises InputError."""
    try:
        array = to_host(x)
    except (ValueError, TypeError) as error:
        raise InputError("vectors must have the same size: give an array (N, W)") from error
    if array.dtype.kind in "iu":
        array = array.astype(float)
    if array.ndim not in (1, 2) or not is_float(array.dtype):
        raise InputError(f"vectors must be floats of shape (W,) or (N, W), not {array.dtype} of shape {array.shape}")
    return array[None] if array.ndim == 1 else array
