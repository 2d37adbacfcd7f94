"""The exercises of notebook 8: right answers are right, and each likely mistake gets its sentence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minroberta import activations, ops
from minroberta.exercises.heads import check

Array = np.ndarray


def said(number: int, answer: Any, capsys: pytest.CaptureFixture) -> str:
    check(number, answer)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_silence_and_a_forgotten_return(number: int, capsys: pytest.CaptureFixture) -> None:
    assert said(number, None, capsys) == f"exercise {number} is not answered yet"
    assert said(number, lambda *arguments: None, capsys).startswith("not yet: your function returns None")


# --- 1. the classification head -------------------------------------------------------------------------------------


def head(read: Callable[[Array], Array] = lambda x: x[:, 0], bend: Callable[[Array], Array] = np.tanh) -> Any:
    def classification_head(x: Array, w: Array, b: Array, v: Array, c: Array) -> tuple[Array, Array]:
        hidden = bend(read(x) @ w.T + b)
        return hidden, hidden @ v.T + c

    return classification_head


def test_the_head(capsys: pytest.CaptureFixture) -> None:
    assert said(1, head(), capsys) == "right: the oracle agrees"


WRONG_HEADS = {
    "not yet: RoBERTa's head reads position 0 alone": head(lambda x: x.mean(1)),
    "not yet: the first wrong value is classifier.tanh": head(bend=activations.gelu),
    "not yet: two arrays are asked for": lambda *arguments: head()(*arguments)[1],
    "not yet: what stands after the tanh has shape (2, 7, 24), not (2, 24)": head(lambda x: x),
    "not yet: the first wrong value is logits": lambda x, w, b, v, c: (
        head()(x, w, b, v, c)[0],
        head()(x, w, b, v, 0 * c)[1],
    ),
}


@pytest.mark.parametrize("sentence", WRONG_HEADS)
def test_wrong_heads(sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(1, WRONG_HEADS[sentence], capsys).startswith(sentence)


def test_other_wrong_heads(capsys: pytest.CaptureFixture) -> None:
    transposed = lambda x, w, b, v, c: head()(x, w.T, b, v, c)  # noqa: E731
    for wrong in (head(lambda x: x[:, -1]), head(bend=lambda x: x), head(lambda x: x.max(1)), transposed):
        assert said(1, wrong, capsys).startswith("not yet: the first wrong value is classifier.tanh")


# --- 2. the loss of a span ------------------------------------------------------------------------------------------


def span(
    counts: Callable[[Array], Array] = lambda at: at < 7, over: Callable[[Array], Any] = np.mean, sign: int = -1
) -> Any:
    def span_loss(starts: Array, ends: Array, first: Array, last: Array) -> Any:
        found = []
        for logits, at in ((starts, first), (ends, last)):
            kept = np.flatnonzero(counts(at))
            found.append(over(sign * ops.log_softmax(logits)[kept, at[kept].clip(0, 6)]))
        return sum(found) / 2

    return span_loss


def test_the_span(capsys: pytest.CaptureFixture) -> None:
    assert said(2, span(), capsys).startswith("right")


WRONG_SPANS = {
    "not yet: that is the sum of the two losses": lambda *arguments: 2 * span()(*arguments),
    "not yet: the sign is wrong": span(sign=1),
    "not yet: -100 is not ignored here": span(lambda at: (at >= 0) & (at < 7)),
    "not yet: an answer that was cut off is to be ignored": span(lambda at: at == at),
    "not yet: these are sums over the texts": span(over=np.sum),
    "not yet: starts and ends are exchanged": lambda a, b, first, last: span()(b, a, first, last),
    "not yet: a text counts for its start even if its end was cut off": lambda a, b, first, last: span()(
        a[last < 7], b[last < 7], first[last < 7], last[last < 7]
    ),
    "not yet: your function, called with an array (5, 7) of float64": lambda a, b, first, last: (
        -ops.log_softmax(b)[np.arange(5), last].mean()
    ),
    "not yet: the mean is taken over starts and ends together": lambda a, b, first, last: (
        -np.concatenate(
            [ops.log_softmax(x)[np.flatnonzero(at < 7), at[at < 7].clip(0)] for x, at in ((a, first), (b, last))]
        ).mean()
    ),
    "not yet: divide each sum by the number of positions that count": span(over=lambda found: found.sum() / 5),
}


@pytest.mark.parametrize("sentence", WRONG_SPANS)
def test_wrong_spans(sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(2, WRONG_SPANS[sentence], capsys).startswith(sentence)


# --- 3. which loss? -------------------------------------------------------------------------------------------------


def right(logits: Array, labels: Array, problem_type: str | None = None) -> Any:
    if problem_type == "regression" or (problem_type is None and logits.shape[1] == 1):
        return ((logits - labels.reshape(logits.shape)) ** 2).mean()
    if problem_type is None and labels.dtype.kind in "iu":
        return ops.cross_entropy(logits, labels)
    chances = activations.sigmoid(logits)
    return -(labels * np.log(chances) + (1 - labels) * np.log(1 - chances)).mean()


def unless(when: Callable[[Array, Array, str | None], bool], instead: Callable[[Array, Array], Any]) -> Any:
    """The right losses, but in one case another."""
    return lambda x, y, kind=None: instead(x, y) if when(x, y, kind) else right(x, y, kind)


def integers(x: Array, y: Array, kind: str | None) -> bool:
    return kind is None and x.shape[1] > 1 and y.dtype.kind in "iu"


def chosen(x: Array, y: Array, of: Array) -> Array:
    return -ops.log_softmax(x)[np.arange(len(y)), of]


def floats(x: Array, y: Array, kind: str | None) -> bool:
    return kind is None and x.shape[1] > 1 and y.dtype.kind == "f"


def alone(x: Array, y: Array, kind: str | None) -> bool:
    return kind is None and x.shape[1] == 1


def test_the_losses(capsys: pytest.CaptureFixture) -> None:
    assert said(3, right, capsys) == "right: six calls, three losses"


WRONG_LOSSES = {
    "not yet: a label of -100 is to be ignored, and you took": unless(
        integers, lambda x, y: chosen(x, y, y % 3).mean()
    ),
    "not yet: a label of -100 is not class 0": unless(integers, lambda x, y: chosen(x, y, y.clip(0)).mean()),
    "not yet: divide by the number of labels": unless(
        integers, lambda x, y: chosen(x, y, y.clip(0))[y >= 0].sum() / len(y)
    ),
    "not yet: that is the sum: take the mean": unless(integers, lambda x, y: chosen(x, y, y.clip(0))[y >= 0].sum()),
    "not yet: the shapes broadcast": unless(alone, lambda x, y: ((x - y) ** 2).mean()),
    "not yet: that is half of the mean square": unless(alone, lambda x, y: right(x, y) / 2),
    "not yet: that is the squared error": unless(floats, lambda x, y: ((x - y) ** 2).mean()),
    "not yet: take the mean over labels": unless(floats, lambda x, y: 3 * right(x, y)),
    "not yet: the labels are independent": unless(floats, lambda x, y: -(y * ops.log_softmax(x)).sum(-1).mean()),
    "not yet: problem_type decides": lambda x, y, kind=None: right(x, y),
}


@pytest.mark.parametrize("sentence", WRONG_LOSSES)
def test_wrong_losses(sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert said(3, WRONG_LOSSES[sentence], capsys).startswith(sentence)


def test_a_label_without_a_class_as_an_index_is_a_sentence(capsys: pytest.CaptureFixture) -> None:
    wrong = unless(integers, lambda x, y: -ops.log_softmax(x)[np.arange(len(y)), y].mean())
    assert "raises IndexError" in (sentence := said(3, wrong, capsys))
    assert sentence.endswith("a label of -100 is not a class: leave those texts out before you index")
