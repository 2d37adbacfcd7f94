"""The mathematics, as functions of arrays that do not depend on a model; the activations are in `activations`.

Every function gets the array library from its arguments and returns new arrays, so the same code runs on NumPy, CuPy
and JAX, also under `jax.jit`, `jax.vmap` and `jax.grad`. Constants are Python numbers, because a NumPy scalar would
promote float32 to float64.

`rowwise` marks a formula whose rows are independent. float16 and bfloat16 arrays are computed in float32, and NumPy
arrays in blocks of rows.

Letters: B batch, L queries, S keys, D hidden size, H heads, E head size (D = H·E), F feed-forward size, P position
rows, V vocabulary, N labels.
"""

import math
from typing import Any

from .activations import softplus
from .backend.arrays import Array, Namespace, cast, computable, constant, lowest, namespace, quietly, widen
from .backend.schedule import blockwise, product, product_of_heads, rowwise

# --- parts of layers ------------------------------------------------------------------------------------------------


def embedding(ids: Array, weight: Array) -> Array:
    """Look up the row of a table for each id. ids: (B, L) integers, weight: (V, D). Returns (B, L, D)."""
    return computable(weight[ids])


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """x Wᵀ + b. x: (..., I), weight: (O, I) as PyTorch stores it, bias: (O,). Returns (..., O)."""
    y = product(x, weight)  # (..., I) -> (..., O)
    y += bias  # in place where arrays can be changed: the logits of a batch may take hundreds of megabytes
    return y


@rowwise
def layer_norm(x: Array, *, weight: Array, bias: Array, eps: float) -> Array:
    """(x - mean) / √(variance + eps) · weight + bias over the last axis (Ba et al. 2016, equation 3).

    The variance is biased, and eps is inside the square root. x: (..., D); weight, bias: (D,).
    """
    x = x - x.mean(-1, keepdims=True)
    variance = (x * x).mean(-1, keepdims=True)  # (..., 1)
    return x / namespace(x).sqrt(variance + eps) * weight + bias


@rowwise
def exponentials(scores: Array) -> Array:
    """exp(s - max s) over the last axis: the numerators of softmax. The largest is 1, so that nothing overflows."""
    return namespace(scores).exp(scores - constant(scores).max(-1, keepdims=True))


@rowwise
def softmax(scores: Array) -> Array:
    """exp(s) / Σ exp(s) over the last axis."""
    e = exponentials(scores)
    return e / e.sum(-1, keepdims=True)


@rowwise
def log_softmax(scores: Array) -> Array:
    """log(softmax(s)) over the last axis, computed so that small probabilities do not underflow."""
    xp = namespace(scores)
    scores = scores - constant(scores).max(-1, keepdims=True)
    return scores - xp.log(xp.exp(scores).sum(-1, keepdims=True))


# --- attention ------------------------------------------------------------------------------------------------------


def split_heads(x: Array, head_size: int) -> Array:
    """Split the channels among the heads: head h gets channels h·E to (h + 1)·E - 1."""
    B, L, D = x.shape
    return x.reshape(B, L, D // head_size, head_size).swapaxes(1, 2)  # (B, L, D) -> (B, H, L, E)


def merge_heads(x: Array) -> Array:
    """The inverse of `split_heads`."""
    B, H, L, E = x.shape
    return x.swapaxes(1, 2).reshape(B, L, H * E)  # (B, H, L, E) -> (B, L, D)


def attention_scores(q: Array, k: Array, mask: Array | None = None, relative: Array | None = None) -> Array:
    """(q kᵀ + relative) / √E + mask (Vaswani et al. 2017, equation 1).

    q: (B, H, L, E), k: (B, H, S, E); mask and relative: the results of `additive_mask` and `relative_scores`.
    Returns (B, H, L, S), in float32 for half-precision arrays, because scores and a mask may exceed their range.
    """
    scores = product_of_heads(q, k.swapaxes(2, 3))  # (B, H, L, E) -> (B, H, L, S)
    if relative is not None:
        scores = scores + relative
    scores = scores / math.sqrt(q.shape[-1])
    return scores if mask is None else scores + mask


@blockwise
def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """softmax(q kᵀ / √E + mask) v without storing the probabilities: the sum of exponentials is divided out last.

    q: (B, H, L, E); k, v: (B, H, S, E). Returns (B, H, L, E).
    """
    e = exponentials(attention_scores(q, k, mask))  # (B, H, L, S)
    return cast(product_of_heads(e, v) / e.sum(-1, keepdims=True), q.dtype)  # (B, H, L, S) -> (B, H, L, E)


def relative_scores(q: Array, k: Array, distance_embedding: Array, with_key: bool) -> Array:
    """q·a(l - s), plus k·a(l - s) if with_key, where a(d) is the embedding of the distance d from key s to query l.

    `relative_key` is equation 5 of Shaw et al. 2018; `relative_key_query` adds the key's term, as in method 4 of Huang
    et al. 2020. The queries are at the last L of the S positions. distance_embedding: (2P - 1, E); its row d + P - 1 is
    a(d). q: (B, H, L, E), k: (B, H, S, E). Returns (B, H, L, S), in float32 for half-precision arrays.
    """
    xp, L, S, P = namespace(q), q.shape[2], k.shape[2], (distance_embedding.shape[0] + 1) // 2
    keys, queries = xp.arange(S), xp.arange(S - L, S)
    table = distance_embedding[P - S : P + S - 1]  # distances 1 - S to S - 1: (2S - 1, E)
    row = queries[:, None] - keys[None, :] + S - 1  # (L, S)
    # Multiply every query by every distance, then select each key's distance.
    scores = product_of_heads(q, table.T)[:, :, xp.arange(L)[:, None], row]  # (B, H, L, 2S - 1) -> (B, H, L, S)
    if with_key:
        scores = scores + product_of_heads(k, table.T)[:, :, keys[None, :], row]  # (B, H, S, 2S - 1) -> (B, H, L, S)
    return scores


# --- masks and positions --------------------------------------------------------------------------------------------


def causal_mask(xp: Namespace, L: int, S: int) -> Array:
    """A mask, (L, S), that is True where key s is not after query l. The queries are the last L of S positions."""
    return xp.arange(S)[None, :] <= xp.arange(S - L, S)[:, None]


def additive_mask(mask: Array, dtype: Any) -> Array:
    """(1 - mask) · the most negative finite number of dtype. mask: 1 for keys to attend to, 0 for keys to ignore.

    Because the number is finite, a query with no key to attend to gets uniform weights; -inf would give NaN.
    mask: (B, S), the same for every query; or (B, L, S). Returns (B, 1, 1, S) or (B, 1, L, S) in dtype.
    """
    mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None, :, :]
    return (1 - mask.astype(dtype)) * lowest(dtype)


def create_position_ids_from_input_ids(input_ids: Array, padding_idx: int, past: Array | int = 0) -> Array:
    """Position ids: padding_idx + past + 1, padding_idx + past + 2, ... for tokens, and padding_idx for padding.

    Padding is identified by its id, never by a mask, as in fairseq's `make_positions`. input_ids: (B, L); past: the
    number of earlier tokens, an integer or (B, 1). Returns (B, L).
    """
    tokens = (input_ids != padding_idx).astype(int)  # a sum of bytes would be a byte on JAX
    return (tokens.cumsum(1) + past) * tokens + padding_idx  # (B, L)


# --- losses ---------------------------------------------------------------------------------------------------------


@quietly
def cross_entropy(logits: Array, labels: Array, ignored: int = -100) -> Array:
    """Mean of -log softmax(logits)[label] over the labels that differ from `ignored`; NaN if none do.

    logits: (..., N), labels: (...) integers. Returns a scalar.
    """
    xp = namespace(logits)
    kept = labels != ignored
    chosen = xp.where(kept, labels, 0)[..., None]
    loss = -xp.take_along_axis(log_softmax(widen(logits)), chosen, axis=-1)[..., 0]  # (..., N) -> (...)
    kept = kept.astype(loss.dtype)
    return (loss * kept).sum() / kept.sum()


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
    """Mean of -y log σ(x) - (1 - y) log(1 - σ(x)) = softplus(x) - x·y, for logits x and labels y, both (..., N)."""
    logits = widen(logits)
    return (softplus(logits) - logits * labels).mean()


def mean_squared_error(predictions: Array, labels: Array) -> Array:
    """Mean of (prediction - label)² over all elements."""
    difference = widen(predictions) - labels
    return (difference * difference).mean()
