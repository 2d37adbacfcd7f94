"""The exercises of notebook 4: attention with a mask, a head that reads the token before, and the value's bias."""

import functools
import math
from typing import Any

import numpy

from .. import ops
from ..loading import Model, init
from ..trace import Trace, trace
from ..weights import flat
from .checks import Checks, NotYet, array_of, expect, expect_values, numbers_of, result_of

SIZES = {"model_type": "roberta", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 4, "max_position_embeddings": 12, "layer_norm_eps": 1e-5,
         "initializer_range": 0.4}  # fmt: skip
"""A model in which the number of heads, their size and the hidden size all differ."""

IDS = [[0, 31, 12, 9, 17, 25, 2], [0, 8, 33, 2, 1, 1, 1]]
MASK = [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]]


@functools.cache
def model() -> Model:
    """A small random model in float64, whose biases are not 0."""
    made = init(SIZES, dtype="float64")
    random = numpy.random.default_rng(0)
    for name, x in flat(made.params).items():
        if name.endswith(".bias"):
            x[:] = 0.4 * random.standard_normal(x.shape)
    return made


@functools.cache
def run() -> Trace:
    """The values of a padded batch."""
    return trace(model(), numpy.array(IDS), attention_mask=numpy.array(MASK))


def heads(part: str) -> numpy.ndarray:
    """Query, key or value of the batch: (B, H, L, E)."""
    return ops.split_heads(run()[f"encoder.layer.0.attention.self.{part}"], model().config.head_size)


# --- 1. attention with a mask ---------------------------------------------------------------------------------------


NAMES = ("scores", "shares", "context")


def first(answer: Any) -> str:
    """A function of q, k, v, (B, H, L, E), and a mask (B, L): scores and shares (B, H, L, L), and context (B, L, D)."""
    q, k, v = map(heads, ("query", "key", "value"))
    B, H, L, E = q.shape
    found = three_of(result_of(answer, q, k, v, numpy.array(MASK)))
    scores, shares, context = (numbers_of(x, f"the array of {what}") for x, what in zip(found, NAMES, strict=True))
    check_shape(scores, (B, H, L, L), "the scores")
    check_shape(shares, (B, H, L, L), "the shares")
    check_shape(context, (B, L, H * E), "the context")
    check_masked(scores, shares, ops.attention_scores(q, k))
    array_of(shares, (B, H, L, L), "the array of shares")
    name = "encoder.layer.0.attention.self"
    given = {f"{name}.{part}": run()[f"{name}.{part}"] for part in ("query", "key", "value")}
    expect_values(model(), run().inputs, given | {f"{name}.scores": scores, f"{name}.probs": shares, name: context})
    check_hidden_row(answer, q, k, v)
    return "the oracle agrees, and a query without a key reads all alike"


def three_of(result: Any) -> tuple[Any, Any, Any]:
    """The three arrays that are asked for."""
    if not isinstance(result, tuple | list) or len(result) != 3:
        raise NotYet("three arrays are asked for: return scores, shares, context")
    return tuple(result)


def check_shape(array: numpy.ndarray, shape: tuple[int, ...], what: str) -> None:
    """Raise NotYet for another shape."""
    found = array.shape
    if found == shape:
        return
    merged = ": merge the heads, by swapping two axes and then reshaping" if len(found) == 4 and len(shape) == 3 else ""
    raise NotYet(f"{what} should have shape {shape}, not {found}{merged}")


def check_masked(scores: numpy.ndarray, shares: numpy.ndarray, plain: numpy.ndarray) -> None:
    """Raise NotYet for mistakes with the mask that the oracle does not explain. plain: scores without a mask."""
    hidden = numpy.array(MASK) == 0
    if numpy.array_equal(scores, shares):
        raise NotYet("scores and shares are one and the same array: the shares are the softmax of the scores")
    if numpy.isnan(shares).any():
        raise NotYet("the shares are not all numbers: 0 · -inf is NaN, so add the lowest finite number of the dtype")
    if (scores.swapaxes(1, 2)[hidden] < plain.min() - 1000).all():  # (B, H, L, S) -> (rows, H, S)
        raise NotYet("the mask hides queries: let it hide keys alone, the last axis, with mask[:, None, None]")
    if numpy.allclose(scores, plain) and not shares.transpose(0, 3, 1, 2)[hidden].any():  # -> (columns, H, L)
        raise NotYet("the mask is missing in the scores: add it to them, before the softmax, and return that sum")


def check_hidden_row(answer: Any, q: Any, k: Any, v: Any) -> None:
    """The first text, with a mask that hides all of it."""
    hidden = numpy.array([[0] * q.shape[2], [1] * q.shape[2]])
    with numpy.errstate(invalid="ignore"):
        shares = numbers_of(three_of(result_of(answer, q, k, v, hidden))[1], "the array of shares")[0]
    if numpy.isnan(shares).any():
        raise NotYet("a row that hides every key gives NaN: add the lowest finite number of the dtype, not -inf")
    plain = ops.softmax(ops.attention_scores(q, k))[0]
    if numpy.allclose(shares, plain, atol=1e-3):
        raise NotYet(
            "a row that hides every key is read as if nothing were hidden: your number is not low enough to swallow "
            "the scores, so take the lowest finite number of the dtype"
        )
    expect(shares, numpy.full_like(plain, 1 / q.shape[2]), what="the share in a row that hides every key")


# --- 2. a head that reads the token before --------------------------------------------------------------------------


def second(answer: Any) -> str:
    """A function of L and E that returns queries and keys, (L, E) each."""
    least = min(share_of_previous(answer, L, E) for L, E in ((6, 16), (16, 16), (24, 32)))
    return f"each token gives at least {least:.0%} to the one before it"


def share_of_previous(answer: Any, L: int, E: int) -> float:
    """The smallest share that a token after the first gives to the one before it. Raises NotYet if it is too small."""
    made = result_of(answer, L, E)
    if not (isinstance(made, tuple | list) or numpy.ndim(made) == 3) or len(made) != 2:
        raise NotYet("two arrays are asked for: return queries, keys")
    q, k = (
        array_of(x, (L, E), what) for x, what in zip(made, ("the array of queries", "the array of keys"), strict=True)
    )
    shares = ops.softmax(q.astype(float) @ k.astype(float).T / math.sqrt(E))  # (L, L)
    given = numpy.diagonal(shares, -1)
    if given.min() > 0.9:
        return float(given.min())
    if numpy.diagonal(ops.softmax(q.astype(float) @ k.astype(float).T), -1).min() > 0.9:
        raise NotYet("without √E that would do, but scores are divided by √E: make q or k longer by that")
    raise NotYet(why_not_previous(shares, L, E))


def why_not_previous(shares: numpy.ndarray, L: int, E: int) -> str:
    """A sentence about shares that do not go to the token before."""
    winners = shares[1:].argmax(-1) - numpy.arange(1, L)
    low = numpy.diagonal(shares, -1).min()
    if numpy.ptp(shares) < 1e-6:
        return "all shares are equal: no query fits any key better than another"
    if (winners == 0).mean() > 0.5:
        return "each token reads itself: query l has to be like key l - 1"
    if (winners == 1).mean() > 0.5:
        return "tokens read the next one: query l has to be like key l - 1, not key l + 1"
    if (winners == -1).all():
        return f"the direction is right, but a token gives only {low:.0%} to the one before: make q or k longer"
    row = 1 + int((winners != -1).argmax())
    return f"for L = {L} and E = {E}, token {row} reads token {shares[row].argmax()} most, not token {row - 1}"


# --- 3. the value's bias --------------------------------------------------------------------------------------------


def third(answer: Any) -> str:
    """A function of attention.output.dense's weight and bias and the value's bias that returns the new bias."""
    p = model().p.encoder.layer[0].attention
    weight, bias, of_value = p.output.dense.weight, p.output.dense.bias, p.self.value.bias
    known = {
        "that is the old bias: what becomes of the value's?": bias,
        "the old bias is lost: add to it": weight @ of_value,
        "the value's bias goes through the weight before it meets the other bias": bias + of_value,
        "the weight lies the other way: x Wᵀ + b, with a row of W for each output": bias + weight.T @ of_value,
        "the value's bias is to be added, not subtracted": bias - weight @ of_value,
        "both biases go through the weight: the old bias is added after it": weight @ (bias + of_value),
        "that is the value's bias alone: it goes through the weight, and the other bias is added": of_value,
        "each bias counts once: the shares of a query sum to 1": bias + len(IDS[0]) * weight @ of_value,
        "each head's bias goes through the weight once, not once for each head": bias
        + model().config.num_attention_heads * weight @ of_value,
    }
    expect(result_of(answer, weight, bias, of_value), bias + weight @ of_value, known, "the new bias")
    return "the answers stay the same"


check = Checks(first, second, third)
"""Judge an answer to an exercise of notebook 4: `check(n, answer)`."""
