"""The exercises of notebook 6: right answers are right, and each likely mistake gets its sentence."""

import math
from typing import Any

import numpy as np
import pytest

import minroberta
from minroberta import ops
from minroberta.exercises.backwards import HEAD_SIZE, check

Array = np.ndarray


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


# --- 1. the logits --------------------------------------------------------------------------------------------------


def of_logits(logits: Array, labels: Array) -> Array:
    counts = labels != -100
    g = ops.softmax(logits)
    g[counts, labels[counts]] -= 1
    return g * counts[:, None] / counts.sum()


def in_a_loop(logits: Array, labels: Array) -> Array:
    """Another right answer, row by row."""
    g, n = np.zeros_like(logits), sum(label != -100 for label in labels)
    for row, label in enumerate(labels):
        if label != -100:
            e = np.exp(logits[row])
            g[row] = e / e.sum() / n
            g[row, label] -= 1 / n
    return g


def everywhere(logits: Array, labels: Array) -> Array:
    g = ops.softmax(logits)
    g[np.arange(len(labels)), labels] -= 1
    return g


def without_label(logits: Array, labels: Array) -> Array:
    counts = labels != -100
    return ops.softmax(logits) * counts[:, None] / counts.sum()


def without_softmax(logits: Array, labels: Array) -> Array:
    counts = labels != -100
    g = logits.copy()
    g[counts, labels[counts]] -= 1
    return g * counts[:, None] / counts.sum()


def over_positions(logits: Array, labels: Array) -> Array:
    counts = labels != -100
    g = ops.softmax(logits.T).T
    g[counts, labels[counts]] -= 1
    return g * counts[:, None] / counts.sum()


def only_this_batch(logits: Array, labels: Array) -> Array:
    """Divided by 4, the number of labels that count in one of the batches."""
    return of_logits(logits, labels) * (labels != -100).sum() / 4


def kept(labels: Array) -> int:
    return int((labels != -100).sum())


FIRST: list[tuple[Any, str]] = [
    (lambda x, y: in_a_loop(x, y).tolist(), "right"),
    (lambda x, y: x[:, y[5] * 9], "not yet: your function raises IndexError in line "),
    (lambda x, y: [[1.0], [1.0, 2.0]], "not yet: ∂logits is not an array of numbers: do all its rows have one length?"),
    (None, "exercise 1 is not answered yet"),
    (lambda x, y: None, "not yet: your function returns None"),
    (of_logits, "right: each position that counts owes 0 in total"),
    (in_a_loop, "right"),
    (lambda x, y: -of_logits(x, y), "not yet: the sign is wrong"),
    (lambda x, y: of_logits(x, y) * kept(y), "not yet: that is the gradient of the sum"),
    (lambda x, y: of_logits(x, y) * kept(y) / len(y), "not yet: divide by the number of labels that count"),
    (lambda x, y: of_logits(x, y) * kept(y) / x.size, "not yet: ∂logits is "),
    (lambda x, y: everywhere(x, y) / kept(y), "not yet: positions with the label -100 owe nothing: set them to 0"),
    (everywhere, "not yet: positions with the label -100 owe nothing, and the sum is to be divided"),
    (lambda x, y: everywhere(x, y) / len(y), "not yet: positions with the label -100 owe nothing, and do not count"),
    (without_label, "not yet: the right token owes its probability less 1"),
    (without_softmax, "not yet: use probabilities"),
    (over_positions, "not yet: the softmax is over the classes, the last axis"),
    (only_this_batch, "not yet: ∂logits if all count is "),
    (lambda x, y: of_logits(x, y)[y != -100], "not yet: ∂logits has shape (4, 106), not (6, 106)"),
    (lambda x, y: np.zeros_like(x), "not yet: ∂logits is 0 at "),
]


@pytest.mark.parametrize(("answer", "sentence"), FIRST)
def test_the_gradient_of_the_logits(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, answer, capsys).startswith(sentence)


# --- 2. an RMS norm -------------------------------------------------------------------------------------------------


def of_norm(g: Array, x: Array, w: Array, eps: float, **how: Any) -> tuple[Array, Array]:
    """The right answer, and with how some wrong ones."""
    s = np.sqrt((x * x).mean(-1, keepdims=True) + how.get("epsilon", eps))
    z, h = x / s, g * (w if how.get("weight", True) else 1)
    along = z * (h * z).mean(how.get("axis", -1), keepdims=True) * how.get("times", 1)
    along = (h * z).mean(-1, keepdims=True) if how.get("bare") else along
    of_mean = h.mean(-1, keepdims=True) if how.get("mean") else 0
    gx = (h - of_mean - along) / (s if how.get("scale", True) else 1)
    return gx, (g * z).sum(0)


def by_loops(g: Array, x: Array, w: Array, eps: float) -> list[Any]:
    """Another right answer: the whole Jacobian of each row."""
    of_x, of_w = [], np.zeros(len(w))
    for row, debt in zip(x, g, strict=True):
        s = math.sqrt(sum(row * row) / len(row) + eps)
        jacobian = np.diag(w) / s - np.outer(w * row, row) / (len(row) * s**3)
        of_x.append((debt @ jacobian).tolist())
        of_w += debt * row / s
    return [of_x, of_w.tolist()]


def of_layer_norm(g: Array, x: Array, w: Array, eps: float) -> tuple[Array, Array]:
    s = np.sqrt(x.var(-1, keepdims=True) + eps)
    z, h = (x - x.mean(-1, keepdims=True)) / s, g * w
    return (h - h.mean(-1, keepdims=True) - z * (h * z).mean(-1, keepdims=True)) / s, (g * z).sum(0)


def with_x_for_z(g: Array, x: Array, w: Array, eps: float) -> tuple[Array, Array]:
    s, h = np.sqrt((x * x).mean(-1, keepdims=True) + eps), g * w
    return (h - x * (h * x).mean(-1, keepdims=True)) / s, (g * x / s).sum(0)


def with_weight_last(g: Array, x: Array, w: Array, eps: float) -> tuple[Array, Array]:
    gx, gw = of_norm(g / w, x, w, eps)
    return w * gx, gw * w


def of_weight(change: Any) -> Any:
    """An answer whose ∂x is right; change: ∂w from g, x, w and z."""

    def answer(g: Array, x: Array, w: Array, eps: float) -> tuple[Array, Array]:
        z = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
        return of_norm(g, x, w, eps)[0], change(g, x, w, z)

    return answer


def how(**settings: Any) -> Any:
    return lambda g, x, w, eps: of_norm(g, x, w, eps, **settings)


SECOND: list[tuple[Any, str]] = [
    (lambda g, x, w, eps: ([1, [2]], w), "not yet: ∂x is not an array of numbers: do all its rows have one length?"),
    (by_loops, "right: with one term less than a layer norm"),
    (lambda g, x, w, eps: (g @ x, w), "not yet: your function raises ValueError in line "),
    (lambda g, x, w, eps: of_norm(g, x, w, eps)[::-1], "not yet: return them in this order: ∂x, ∂w"),
    (None, "exercise 2 is not answered yet"),
    (lambda g, x, w, eps: None, "not yet: your function returns None"),
    (of_norm, "right: with one term less than a layer norm"),
    (lambda g, x, w, eps: of_norm(g, x, w, eps)[0], "not yet: 2 arrays are asked for: return ∂x, ∂w"),
    (how(times=0), "not yet: s depends on x too"),
    (how(mean=True), "not yet: nothing is subtracted forwards"),
    (how(mean=True, times=0), "not yet: mean(h) is the term to leave out"),
    (with_weight_last, "not yet: g goes through the weight first, inside the mean too"),
    (of_layer_norm, "not yet: that is the backward pass of a layer norm"),
    (how(weight=False), "not yet: g goes through the weight first"),
    (lambda g, x, w, eps: of_norm(g / w, x, w, eps), "not yet: g goes through the weight first"),
    (how(scale=False), "not yet: divide by s"),
    (how(times=-1), "not yet: z · mean(h·z) is subtracted, not added"),
    (how(times=8), "not yet: take the mean of h·z, not the sum"),
    (how(axis=0), "not yet: take the mean over the channels of a row"),
    (with_x_for_z, "not yet: the term is z · mean(h·z)"),
    (how(epsilon=0), "not yet: eps is missing"),
    (how(bare=True), "not yet: mean(h·z) is to be multiplied by z again"),
    (lambda g, x, w, eps: of_norm(g, x, w, 1e-5), "not yet: eps is missing, or not the one that was given"),
    (of_weight(lambda g, x, w, z: (g * x).sum(0)), "not yet: ∂w is the sum of g·z, with the normed z"),
    (of_weight(lambda g, x, w, z: (g * z).mean(0)), "not yet: ∂w is a sum over the rows"),
    (of_weight(lambda g, x, w, z: (g * w * z).sum(0)), "not yet: ∂w takes g, before it is multiplied by w"),
    (of_weight(lambda g, x, w, z: g.sum(0)), "not yet: that is the gradient of a bias"),
    (of_weight(lambda g, x, w, z: g * z), "not yet: ∂w has shape (5, 8), not (8,)"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), SECOND)
def test_a_norm_without_a_mean(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, answer, capsys).startswith(sentence)


# --- 3. attention ---------------------------------------------------------------------------------------------------


def attention(g: Array, q: Array, k: Array, v: Array, mask: Array, **how: Any) -> tuple[Array, Array, Array]:
    """The right answer, and with how some wrong ones."""
    scale = math.sqrt(q.shape[-1])
    p = ops.softmax(q @ k.swapaxes(-1, -2) / how.get("forward", scale) + mask * how.get("masked", 1))
    g_p = g @ v.swapaxes(-1, -2)
    sums = (p * g_p).sum(how.get("axis", -1), keepdims=True) * how.get("row", 1)
    s = (p if how.get("factor", True) else 1) * (g_p - sums)
    s = s / how.get("backward", scale)
    return s @ k, s.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g


def swapped(*a: Array) -> tuple[Array, Array, Array]:
    of_q, of_k, of_v = attention(*a)
    return of_k, of_q, of_v


def transposed(which: int) -> Any:
    """An answer in which one of ∂q, ∂k and ∂v has the other matrix of the two."""

    def answer(g: Array, q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, ...]:
        p = ops.softmax(q @ k.swapaxes(-1, -2) / 2 + mask)
        g_p = g @ v.swapaxes(-1, -2)
        s = p * (g_p - (p * g_p).sum(-1, keepdims=True)) / 2
        wrong = (s.swapaxes(-1, -2) @ k, s @ q, p @ g)
        return tuple(wrong[i] if i == which else x for i, x in enumerate(attention(g, q, k, v, mask)))

    return answer


def differently(**settings: Any) -> Any:
    return lambda *a: attention(*a, **settings)


def added_again(*a: Array) -> tuple[Array, Array, Array]:
    """The mask is added to the gradient, too."""
    of_q, of_k, of_v = attention(*a)
    return of_q + a[4][..., :1], of_k, of_v


def by_einsum(g: Array, q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Another right answer, stacked."""
    root = math.sqrt(q.shape[-1])
    p = ops.softmax(np.einsum("bhle,bhse->bhls", q, k) / root + mask)
    g_p = np.einsum("bhle,bhse->bhls", g, v)
    jacobian = np.einsum("bhls,st->bhlst", p, np.eye(p.shape[-1])) - np.einsum("bhls,bhlt->bhlst", p, p)
    s = np.einsum("bhlt,bhlst->bhls", g_p, jacobian) / root
    return np.stack([s @ k, np.einsum("bhls,bhle->bhse", s, q), np.einsum("bhls,bhle->bhse", p, g)])


THIRD: list[tuple[Any, str]] = [
    (by_einsum, "right: masked keys owe nothing"),
    (lambda *a: [x.tolist() for x in attention(*a)], "right: masked keys owe nothing"),
    (lambda *a: by_einsum(*a)[:2], "not yet: 3 arrays are asked for: return ∂q, ∂k, ∂v"),
    (lambda g, q, k, v, mask: np.concatenate([g, q], 0) @ k, "not yet: your function raises ValueError in line "),
    (None, "exercise 3 is not answered yet"),
    (lambda *a: None, "not yet: your function returns None"),
    (attention, "right: masked keys owe nothing"),
    (lambda *a: list(attention(*a)), "right"),
    (lambda *a: attention(*a)[:2], "not yet: 3 arrays are asked for: return ∂q, ∂k, ∂v"),
    (differently(masked=0), "not yet: the mask is missing"),
    (differently(forward=1), "not yet: the scores are divided by √E forwards"),
    (differently(row=0), "not yet: the row's sum is missing in the softmax"),
    (differently(axis=-2), "not yet: Σ p·∂p is a sum over the keys"),
    (differently(factor=False), "not yet: ∂p is missing its factor p"),
    (differently(factor=False, row=0), "not yet: the softmax is missing"),
    (differently(backward=1), "not yet: divide by √E, as the scores were"),
    (differently(backward=4), "not yet: divide by √E once, not twice"),
    (differently(forward=math.sqrt(32), backward=math.sqrt(32)), "not yet: E is the last axis of q, q.shape[-1]"),
    (lambda *a: attention(*a)[::-1], "not yet: return them in this order"),
    (swapped, "not yet: ∂q and ∂k are swapped"),
    (transposed(0), "not yet: ∂q is ∂scores k"),
    (transposed(1), "not yet: ∂k is ∂scoresᵀ q"),
    (transposed(2), "not yet: the shares are not a weight to be passed as they lie"),
    (lambda *a: attention(a[0], a[2], a[1], *a[3:]), "not yet: ∂v is "),
    (lambda *a: [-x for x in attention(*a)], "not yet: ∂v is "),
    (lambda *a: [x.sum(1) for x in attention(*a)], "not yet: ∂v has shape (2, 4, 4), not (2, 3, 4, 4)"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), THIRD)
def test_attention_backwards(answer: Any, sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, answer, capsys).startswith(sentence)


def test_the_head_size_is_that_of_the_embedded_model() -> None:
    assert minroberta.load().config.head_size == HEAD_SIZE
