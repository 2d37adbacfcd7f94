"""The exercises of notebook 9: how much attention rests, an edit that gives the mean, and heads that become a bias."""

from typing import Any

import numpy

from .. import ops
from ..backend.arrays import Array
from .checks import Checks, NotYet, expect, numbers_of, result_of, same

MASK = numpy.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0]])
"""Texts of 7, 4 and 5 tokens."""


def random_shares() -> Array:
    """Attention shares of three heads for these texts, (B, H, L, L); padding is not read."""
    scores = 2 * numpy.random.default_rng(0).standard_normal((3, 3, 7, 7))
    return ops.softmax(scores + ops.additive_mask(MASK, scores.dtype))


# --- 1. how much rests ----------------------------------------------------------------------------------------------


def first(answer: Any) -> None:
    """A function of shares (B, H, L, L) and a mask (B, L): the share that rests, (H,)."""
    shares, real, last = random_shares(), MASK == 1, MASK.sum(1) - 1
    to_last = numpy.stack([text[..., at] for text, at in zip(shares, last, strict=True)])  # (B, H, L)
    from_last = numpy.stack([text[:, at] for text, at in zip(shares, last, strict=True)])  # (B, H, S)

    def over(to: Array, rows: Array = real) -> Array:
        return to.swapaxes(1, 2)[rows].mean(0)  # (B, H, L) -> (tokens, H) -> (H,)

    inner = real & (numpy.arange(7) > 0) & (numpy.arange(7) < last[:, None])
    both = shares[..., 0] + to_last
    known = {
        "rows of padding are counted": both.mean((0, 2)),
        "rows of padding are counted as 0, but still counted": (both * real[:, None]).mean((0, 2)),
        "the last column is padding for shorter texts: </s> is at mask.sum(1) - 1": over(
            shares[..., 0] + shares[..., -1]
        ),
        "that is the share of <s> alone": over(shares[..., 0]),
        "that is the share of </s> alone": over(to_last),
        "that is where <s> and </s> look, not who looks at them: queries are rows, keys are columns": over(
            shares[:, :, 0] + from_last
        ),
        "<s> and </s> look, too: count all rows that are not padding": over(both, inner),
        "each token counts the same, in a short text and in a long one: take the mean over all of them at once": (
            numpy.mean([text[:, row].mean(-1) for text, row in zip(both, real, strict=True)], 0)
        ),
        "the two shares are to be added, not averaged": over(both) / 2,
    }  # fmt: skip
    expect(result_of(answer, shares, MASK), over(both), known)


# --- 2. an edit that gives the mean ---------------------------------------------------------------------------------


def second(answer: Any) -> None:
    """A function of values (B, L, D) and a mask (B, L): a function from any (b, l, D) to the mean at each position."""
    random = numpy.random.default_rng(0)
    values = (2 + random.standard_normal((3, 7, 6))).astype("float32")
    given = random.standard_normal((2, 5, 6)).astype("float32")
    edit = result_of(answer, values, MASK)
    if not callable(edit):
        raise NotYet("return a function: edit= calls it with the value")
    made = result_of(edit, given)
    mean = values[MASK == 1].mean(0)
    of_texts = numpy.mean([text[row == 1].mean(0) for text, row in zip(values, MASK, strict=True)], 0)
    known = {
        "that is zeroing": 0 * given,
        "that is what the edit was given: it has to be replaced": given,
        "padding is counted in the mean": everywhere(values.mean((0, 1)), given),
        "padding is counted as 0, but still counted": everywhere((values * MASK[..., None]).mean((0, 1)), given),
        "that is the mean of what the edit is given, not of the values": everywhere(given.mean((0, 1)), given),
        "each token counts the same, in a short text and in a long one": everywhere(of_texts, given),
        "the mean is to replace the value, not to be added": given + mean,
        "each channel has a mean: do not average over channels": everywhere(numpy.full(6, mean.mean()), given),
    }
    if numbers_of(made, "the result of the edit").shape in (mean.shape, values.shape):
        raise NotYet("the edit returns an array of another shape than it was given: its argument has any B and L")
    expect(made, everywhere(mean, given), known, "the result of the edit")
    if (dtype := getattr(made, "dtype", None)) != given.dtype:
        raise NotYet(f"the edit was given float32 and returned {dtype or type(made).__name__}: keep the dtype")


def everywhere(vector: Array, given: Array) -> Array:
    """A vector at each position of a batch."""
    return numpy.broadcast_to(vector, given.shape)


# --- 3. heads that become a bias ------------------------------------------------------------------------------------


def third(answer: Any) -> str:
    """A function of weight (D, H·E), bias (D,), mean (H·E,), heads and E: the smaller weight and the new bias."""
    random = numpy.random.default_rng(0)
    E, gone = 3, [0, 2]
    weight, bias, mean = random.standard_normal((12, 12)), random.standard_normal(12), 1 + random.standard_normal(12)
    goes = numpy.isin(numpy.arange(12) // E, gone)
    made = result_of(answer, weight, bias, mean, gone, E)
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise NotYet("two arrays are asked for: return the weight, the bias")
    check_weight(made[0], weight, goes)
    known = {
        "that is the old bias: the constants of the heads are lost": bias,
        "the old bias is lost: add to it": weight[:, goes] @ mean[goes],
        "that is the constant of the heads that stay": bias + weight[:, ~goes] @ mean[~goes],
        "that is the constant of all heads, also of those that stay": bias + weight @ mean,
        "the constant is to be added, not subtracted": bias - weight[:, goes] @ mean[goes],
        "the weight lies the other way: x Wᵀ + b": bias + mean[goes] @ weight[goes],
        "the mean goes through the weight before it meets the bias": bias + mean * goes,
    }
    expect(made[1], bias + weight[:, goes] @ mean[goes], known, "the bias")
    return "on average, nothing changes"


def check_weight(found: Any, weight: Array, goes: Array) -> None:
    """Raise NotYet if this is not the weight without the columns of the heads that go."""
    interleaved = numpy.isin(numpy.arange(12) % 4, [0, 2])  # if head h had channels h, h + H, h + 2H, ...
    known = {
        "rows are removed: a row is an output, and heads are columns here": weight[~goes],
        "these are the columns of the heads that go": weight[:, goes],
        "head h has the columns h·E to (h + 1)·E - 1, beside one another": weight[:, ~interleaved],
        "columns are set to 0, but not removed": weight * ~goes,
        "one column is removed for each head: a head has E of them": numpy.delete(weight, [0, 2], axis=1),
        "all columns are still there": weight,
    }
    right, array = weight[:, ~goes], numbers_of(found, "the weight")
    known["the weight is transposed"] = right.T
    if array.shape == (12,):
        raise NotYet("return the weight first, and then the bias")
    for sentence, wrong in known.items():
        if array.shape == wrong.shape and same(array, wrong):
            raise NotYet(sentence)
    expect(array, right, what="the weight")


check = Checks(first, second, third)
"""Judge an answer to an exercise of notebook 9: `check(n, answer)`."""
