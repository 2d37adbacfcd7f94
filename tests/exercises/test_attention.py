"""The exercises of notebook 4: right answers are right, and each likely mistake gets its sentence."""

import math
from typing import Any

import numpy as np
import pytest

from minroberta.exercises.attention import check

Array = np.ndarray
LOWEST = np.finfo(np.float64).min


def softmax(scores: Array, axis: int = -1) -> Array:
    e = np.exp(scores - scores.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def attention(
    q: Array, k: Array, v: Array, mask: Array, *, number: float = LOWEST, scale: float | None = None, axis: int = -1
) -> tuple[Array, Array, Array]:
    B, H, L, E = q.shape
    scores = q @ k.swapaxes(-1, -2) / (scale or math.sqrt(E)) + np.where(mask == 0, number, 0)[:, None, None]
    shares = softmax(scores, axis)
    return scores, shares, (shares @ v).swapaxes(1, 2).reshape(B, L, H * E)


def unmerged(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array, Array]:
    scores, shares, _ = attention(q, k, v, mask)
    return scores, shares, shares @ v


def reshaped(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array, Array]:
    scores, shares, context = attention(q, k, v, mask)
    return scores, shares, (shares @ v).reshape(context.shape)


def multiplied(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array, Array]:
    B, H, L, E = q.shape
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(E) * mask[:, None, None]
    shares = softmax(scores)
    return scores, shares, (shares @ v).swapaxes(1, 2).reshape(B, L, H * E)


def after_softmax(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array, Array]:
    scores, shares, _ = attention(q, k, v, np.ones_like(mask))
    shares = shares * mask[:, None, None]
    B, H, L, E = q.shape
    return scores, shares, (shares @ v).swapaxes(1, 2).reshape(B, L, H * E)


def unadded(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array, Array]:
    """All is right, but the scores are returned without the mask."""
    return attention(q, k, v, np.ones_like(mask))[0], *attention(q, k, v, mask)[1:]


def times_infinity(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array, Array]:
    scores = attention(q, k, v, np.ones_like(mask))[0] + ((1 - mask) * -np.inf)[:, None, None]
    shares = softmax(scores)
    return scores, shares, (shares @ v).swapaxes(1, 2).reshape(len(q), q.shape[2], -1)


def raw(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array, Array]:
    B, H, L, E = q.shape
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(E) + mask[:, None, None]
    shares = softmax(scores)
    return scores, shares, (shares @ v).swapaxes(1, 2).reshape(B, L, H * E)


def of_queries(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array, Array]:
    """The mask is applied to queries instead of keys."""
    B, H, L, E = q.shape
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(E) + np.where(mask == 0, LOWEST, 0)[:, None, :, None]
    shares = softmax(scores)
    return scores, shares, (shares @ v).swapaxes(1, 2).reshape(B, L, H * E)


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


WRONG = "not yet: the first wrong value is encoder.layer.0.attention.self"
MISTAKE = ". It looks like the known mistake "


def by_loops(q: Array, k: Array, v: Array, mask: Array) -> tuple[list[Any], list[Any], list[Any]]:
    """Another right answer: lists, head by head."""
    (B, H, _, E), hidden = q.shape, np.where(mask == 0, LOWEST, 0)
    scores = [[q[b, h] @ k[b, h].T / E**0.5 + hidden[b] for h in range(H)] for b in range(B)]
    shares = [[softmax(one) for one in of_text] for of_text in scores]
    context = [np.concatenate([shares[b][h] @ v[b, h] for h in range(H)], -1) for b in range(B)]
    return scores, shares, context


def by_einsum(q: Array, k: Array, v: Array, mask: Array) -> list[Array]:
    hidden = (1.0 - mask)[:, None, None] * LOWEST
    scores = np.einsum("bhle,bhse->bhls", q, k) / math.sqrt(q.shape[-1]) + hidden
    shares = softmax(scores)
    return [scores, shares, np.einsum("bhls,bhse->blhe", shares, v).reshape(len(q), q.shape[2], -1)]


def ragged(q: Array, k: Array, v: Array, mask: Array) -> tuple[Any, ...]:
    scores, _, context = attention(q, k, v, mask)
    return scores, [[1.0], [0.5, 0.5]], context


FIRST: list[tuple[Any, str]] = [
    (by_loops, "right: the oracle agrees"),
    (by_einsum, "right: the oracle agrees"),
    (ragged, "not yet: the array of shares is not an array of numbers: do all its rows have one length?"),
    (lambda q, k, v, mask: q @ k, "not yet: your function raises ValueError in line "),
    (lambda *a: (attention(*a)[0], attention(*a)[0], attention(*a)[2]), "not yet: scores and shares are one and the"),
    (None, "exercise 1 is not answered yet"),
    (lambda q, k, v, mask: None, "not yet: your function returns None"),
    (attention, "right: the oracle agrees"),
    (lambda q, k, v, mask: attention(q, k, v, mask)[1], "not yet: three arrays are asked for"),
    (lambda q, k, v, mask: [x[:1] for x in attention(q, k, v, mask)], "not yet: the scores should have shape"),
    (unmerged, "not yet: the context should have shape (2, 7, 24), not (2, 4, 7, 6): merge the heads"),
    (reshaped, f"{WRONG}{MISTAKE}heads-unswapped"),
    (lambda *a: attention(*a, scale=1), f"{WRONG}.scores{MISTAKE}scores-unscaled"),
    (lambda *a: attention(*a, scale=24**0.5), f"{WRONG}.scores{MISTAKE}scores-scaled-by-hidden"),
    (lambda q, k, v, mask: attention(k, q, v, mask), f"{WRONG}.scores{MISTAKE}query-key-swapped"),
    (lambda q, k, v, mask: attention(q, k, v, 1 + 0 * mask), f"{WRONG}.scores{MISTAKE}mask-ignored"),
    (lambda q, k, v, mask: attention(q, k, v, 1 - mask), f"{WRONG}.scores{MISTAKE}mask-inverted"),
    (multiplied, f"{WRONG}.scores{MISTAKE}mask-multiplied"),
    (raw, f"{WRONG}.scores{MISTAKE}mask-added-raw"),
    (after_softmax, "not yet: the mask is missing in the scores: add it to them"),
    (unadded, "not yet: the mask is missing in the scores: add it to them"),
    (of_queries, "not yet: the mask hides queries"),
    (times_infinity, "not yet: the shares are not all numbers: 0 · -inf is NaN"),
    (lambda *a: attention(*a, axis=-2), f"{WRONG}.probs{MISTAKE}softmax-over-queries"),
    (lambda *a: attention(*a, axis=1), f"{WRONG}.probs{MISTAKE}softmax-over-heads"),
    (lambda *a: attention(*a, number=-np.inf), "not yet: a row that hides every key gives NaN"),
    (lambda *a: attention(*a, number=-10000), "not yet: a row that hides every key is read as if nothing were hidden"),
    (lambda *a: attention(*a, number=-1e9), "not yet: a row that hides every key is read as if nothing were hidden"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), FIRST)
@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")
def test_attention_with_a_mask(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(sentence)


def shifted(by: int, length: float) -> Any:
    return lambda L, E: (length * np.roll(np.eye(L, E), by, axis=0), np.eye(L, E))


def by_waves(L: int, E: int) -> tuple[Array, Array]:
    """Keys as sinusoids, and queries as those of the position before: another right answer."""
    speeds = np.geomspace(0.3, 3, E // 2)

    def waves(position: Array) -> Array:
        return 30 * np.concatenate([np.sin(position[:, None] * speeds), np.cos(position[:, None] * speeds)], -1)

    return waves(np.arange(L) - 1), waves(np.arange(L))


SECOND: list[tuple[Any, str]] = [
    (lambda L, E: np.stack(shifted(1, 100)(L, E)), "right: each token gives at least"),
    (lambda L, E: tuple(x.tolist() for x in shifted(1, 100)(L, E)), "right: each token gives at least"),
    (shifted(1, 8), "not yet: without √E that would do, but scores are divided by √E"),
    (lambda L, E: (np.eye(L, E), [[1.0], [0.0, 1.0]]), "not yet: the array of keys is not an array of numbers"),
    (lambda L, E: (np.eye(L) @ np.eye(E), 0), "not yet: your function raises ValueError in line "),
    (None, "exercise 2 is not answered yet"),
    (lambda L, E: None, "not yet: your function returns None"),
    (shifted(1, 100), "right: each token gives at least"),
    (by_waves, "right: each token gives at least"),
    (lambda L, E: np.eye(L, E), "not yet: two arrays are asked for"),
    (lambda L, E: (np.eye(L), np.eye(L)), "not yet: the array of queries has shape (6, 6), not (6, 16)"),
    (shifted(0, 100), "not yet: each token reads itself"),
    (shifted(-1, 100), "not yet: tokens read the next one"),
    (lambda L, E: shifted(1, 100)(L, E)[::-1], "not yet: tokens read the next one"),
    (shifted(1, 1), "not yet: the direction is right, but a token gives only"),
    (lambda L, E: (np.ones((L, E)), np.ones((L, E))), "not yet: all shares are equal"),
    (shifted(2, 100), "not yet: for L = 6 and E = 16, token 1 reads token 5 most, not token 0"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), SECOND)
def test_a_head_that_reads_the_token_before(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(sentence)


THIRD: list[tuple[Any, str]] = [
    (
        lambda w, b, u: [sum(r * x for r, x in zip(row, u, strict=True)) + c for row, c in zip(w, b, strict=True)],
        "right",
    ),
    (lambda w, b, u: np.einsum("oi,i->o", w, u) + b, "right: the answers stay the same"),
    (lambda w, b, u: w @ (b + u), "not yet: both biases go through the weight"),
    (lambda w, b, u: u, "not yet: that is the value's bias alone"),
    (lambda w, b, u: b + 7 * w @ u, "not yet: each bias counts once"),
    (lambda w, b, u: b + 4 * w @ u, "not yet: each head's bias goes through the weight once"),
    (None, "exercise 3 is not answered yet"),
    (lambda w, b, u: None, "not yet: your function returns None"),
    (lambda w, b, u: b + w @ u, "right: the answers stay the same"),
    (lambda w, b, u: b, "not yet: that is the old bias"),
    (lambda w, b, u: w @ u, "not yet: the old bias is lost"),
    (lambda w, b, u: b + u, "not yet: the value's bias goes through the weight"),
    (lambda w, b, u: b + u @ w, "not yet: the weight lies the other way"),
    (lambda w, b, u: b - w @ u, "not yet: the value's bias is to be added"),
    (lambda w, b, u: b + w * u, "not yet: the new bias has shape (24, 24), not (24,)"),
    (lambda w, b, u: b + 2 * w @ u, "not yet: the new bias is "),
]


@pytest.mark.parametrize(("answer", "sentence"), THIRD)
def test_the_bias_of_the_value(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys).startswith(sentence)
